"""What is said where no route is: which one is nearest, and which methods a route has. It knows the list of paths."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.limits import MAX_NAME_CHARACTERS

_ALIKE = 0.75


class UnknownRoute:
    """The end of the router: a 404 in words.

    Args:
        paths: of all routes; templates are not suggested.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted({path for path in paths if "{" not in path and path != "/"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        likely = self.likeliest(scope["path"])
        remedy = f"did you mean {likely}?" if likely else "/openapi.json lists those there are"
        raise HTTPException(404, f"there is no such route; {remedy}")

    def likeliest(self, path: str) -> str | None:
        """The path that most likely was meant, or None where none is near."""
        if len(path) > MAX_NAME_CHARACTERS:
            return None
        close = difflib.get_close_matches(path.lower().rstrip("/"), self._paths, n=1, cutoff=_ALIKE)
        return close[0] if close else None


def allowing(method: str, error: HTTPException) -> Response | HTTPException:
    """What a method that a route does not have is answered with: OPTIONS with the ones it has (RFC 9110, 9.3.7), others
    with an error that names them. `error` is starlette's 405."""
    allow = dict(error.headers or {}).get("Allow", "")
    if method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allow})
    return HTTPException(405, f"this route does not take that method; send {allow}", {"Allow": allow})
