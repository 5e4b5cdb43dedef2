"""Middleware that normalises the path of every request first, so that keys, quotas, logs and routes see the same
path."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCHEMES = (b"http://", b"https://")


class Paths:
    """Normalises `scope["path"]` in place:

    - an absolute target (`GET http://host/livez`, as sent through proxies) becomes its path, and its host the `Host`;
    - `root_path` is removed if the proxy did not strip it;
    - one trailing slash is removed.

    `HEAD` is passed on as `GET`: the HTTP server omits the body. After the request `scope["route"]` is the route of its
    path, whichever middleware answered and whatever the method.

    Args:
        routes: the routes of the app.
        root_path: prefix under which a proxy publishes the server, e.g. `/flashu`; may be empty. `scope["root_path"]`
            stays empty, since starlette would strip it a second time, after the checks.
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
    # RFC 9112, 3.2.2: the target's host takes precedence over the header.
    scope["headers"] = [(b"host", authority), *(header for header in scope["headers"] if header[0] != b"host")]


def _allowing_head(send: Send) -> Send:
    """Adds HEAD and OPTIONS to an `Allow` header, which starlette makes from the routes' methods."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in (204, 405):
            headers = MutableHeaders(scope=message)
            allowed = [method.strip() for method in headers.get("allow", "").split(",") if method.strip()]
            if allowed:
                headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
        await send(message)

    return send_marked
