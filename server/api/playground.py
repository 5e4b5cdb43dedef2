"""The playground at `/`: one page with its style and scripts. The files hold no secrets and need no API key; the page
calls the native routes with the key that its user enters."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/playground.css": ("playground.css", "text/css; charset=utf-8"),
    "/playground.js": ("playground.js", "text/javascript; charset=utf-8"),
    "/calls.js": ("calls.js", "text/javascript; charset=utf-8"),
    "/cards.js": ("cards.js", "text/javascript; charset=utf-8"),
}
# Nothing from other origins, nothing inline, no frames, and no string that a script turns into markup.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # cached, but validated every time: script and routes must be of one version
}


def playground_routes() -> APIRouter:
    """GET and HEAD of the files; they are not in the OpenAPI document."""
    router = APIRouter()
    for path, (name, media_type) in FILES.items():
        router.add_route(path, _Asset.read(name, media_type).endpoint(), methods=["GET"], include_in_schema=False)
    return router


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    content: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, name: str, media_type: str) -> _Asset:
        content = (files("server") / "ui" / name).read_bytes()
        return cls(content=content, media_type=media_type, tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def endpoint(self) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            headers = {**_HEADERS, "ETag": self.tag}
            if self._held(request.headers.getlist("if-none-match")):
                return Response(status_code=304, headers=headers)
            return Response(self.content, media_type=self.media_type, headers=headers)

        return answer

    def _held(self, given: list[str]) -> bool:
        # A proxy that compresses the file marks its tag as weak.
        tags = [tag.strip().removeprefix("W/") for line in given for tag in line.split(",")]
        return self.tag in tags or "*" in tags
