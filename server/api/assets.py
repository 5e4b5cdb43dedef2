"""Static files of pages, read once and served with strict headers and an entity tag."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

# Nothing from other origins, nothing inline, no frames.
POLICY: tuple[str, ...] = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # cached, but validated every time: script and routes must be of one version
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file, its media type and its entity tag."""

    content: bytes
    media_type: str
    tag: str
    policy: str

    @classmethod
    def read(cls, package: str, name: str, media_type: str, *, policy: Iterable[str]) -> Asset:
        """The file `name` of a package's resources.

        Args:
            name: path in the package.
            policy: directives of its Content-Security-Policy.
        """
        content = files(package).joinpath(name).read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content=content, media_type=media_type, tag=tag, policy="; ".join(policy))

    def endpoint(self) -> Callable[[Request], Awaitable[Response]]:
        """Answers GET and HEAD with the file, or with 304 if the client has it."""

        async def answer(request: Request) -> Response:
            headers = {**_HEADERS, "Content-Security-Policy": self.policy, "ETag": self.tag}
            if self._matches(request.headers.getlist("if-none-match")):
                return Response(status_code=304, headers=headers)
            return Response(self.content, media_type=self.media_type, headers=headers)

        return answer

    def _matches(self, given: list[str]) -> bool:
        # A proxy that compresses the file marks its tag as weak.
        tags = [tag.strip().removeprefix("W/") for line in given for tag in line.split(",")]
        return self.tag in tags or "*" in tags
