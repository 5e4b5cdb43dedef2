"""Middleware that brings every request to one path before anything is decided by it, so that keys, quotas, logs and
routes all see the same. It knows spellings of paths and the list of routes, nothing of what they do."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCHEMES = (b"http://", b"https://")


class Paths:
    """Rewrites what is another spelling of a path, in the scope itself:

    - an absolute target (`GET http://host/livez`, as sent through proxies) becomes its path, and its host the `Host`;
    - `root_path` is cut off where a proxy left it on;
    - so is one trailing slash.

    `HEAD` is handed on as `GET`: the HTTP server leaves the body out. After the request `scope["route"]` is the route
    of its path, whoever answered and whatever the method.

    Args:
        routes: of the app.
        root_path: prefix under which a proxy publishes the server, as `/flashu`; empty for none. `scope["root_path"]`
            stays empty, for starlette would cut it off a second time, behind the checks.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], root_path: str = "") -> None:
        self._app = app
        self._routes = tuple(route for route in routes if isinstance(route, Route))
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        _from_absolute(scope)
        reads = scope["method"] in ("GET", "HEAD")
        if self._root_path and scope["path"] == self._root_path and reads:
            # The playground's relative addresses need the slash.
            await RedirectResponse(f"{self._root_path}/")(scope, receive, send)
            return
        scope["path"] = self._canonical(scope["path"])
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await self._app(inner, receive, _allowing_head(send))
        finally:
            if "route" not in scope:
                scope["route"] = inner.get("route", self._route(scope["path"]))

    def _canonical(self, path: str) -> str:
        if self._root_path and path.startswith(f"{self._root_path}/"):
            path = path[len(self._root_path) :]
        return path[:-1] if path.endswith("/") and not path.endswith("//") and path != "/" else path

    def _route(self, path: str) -> Route | None:
        return next((route for route in self._routes if route.path_regex.match(path)), None)


def _from_absolute(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or b""
    if not raw.lower().startswith(_SCHEMES):
        return
    authority, _, rest = raw.partition(b"://")[2].partition(b"/")
    scope["path"] = "/" + unquote(rest.decode("ascii", "replace"))
    # RFC 9112, 3.2.2: the target's own host counts, not the header.
    scope["headers"] = [(b"host", authority), *(header for header in scope["headers"] if header[0] != b"host")]


def _allowing_head(send: Send) -> Send:
    """Completes an `Allow`, which is made from routes that know GET and POST only."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in (204, 405):
            headers = MutableHeaders(scope=message)
            allowed = [method.strip() for method in headers.get("allow", "").split(",") if method.strip()]
            if allowed:
                headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
        await send(message)

    return send_marked
