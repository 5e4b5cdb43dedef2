"""Errors for unknown routes and methods, which name the nearest route or the methods it has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.limits import MAX_NAME_CHARACTERS

_ALIKE = 0.75


class UnknownRoute:
    """The router's default: 404, with a suggestion.

    Args:
        paths: of all routes; paths with parameters are not suggested.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted({path for path in paths if "{" not in path and path != "/"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        likely = self.likeliest(scope["path"])
        remedy = f"did you mean {likely}?" if likely else "see /openapi.json for all routes"
        raise HTTPException(404, f"no such route; {remedy}")

    def likeliest(self, path: str) -> str | None:
        """The path most similar to `path`, or None if none is similar."""
        if len(path) > MAX_NAME_CHARACTERS:
            return None
        close = difflib.get_close_matches(path.lower().rstrip("/"), self._paths, n=1, cutoff=_ALIKE)
        return close[0] if close else None


def allowing(method: str, error: HTTPException) -> Response | HTTPException:
    """The answer to a method that a route does not have: for OPTIONS the methods it has (RFC 9110, 9.3.7), for others
    an error that names them. `error` is starlette's 405."""
    allow = dict(error.headers or {}).get("Allow", "")
    if method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allow})
    return HTTPException(405, f"this route does not accept this method; use {allow}", {"Allow": allow})
