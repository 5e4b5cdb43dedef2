"""The playground at `/`: one page with its style and scripts. The files hold no secrets and need no API key; the page
calls the native routes with the key that its user enters."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from server.api.assets import POLICY, Asset
from server.middleware.keys import PAGE

_MEDIA_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
}
_NAMES: Mapping[str, str] = {path: path[1:] or "index.html" for path in sorted(PAGE)}
# By path: the name of the file and its media type.
FILES: Mapping[str, tuple[str, str]] = {
    path: (name, _MEDIA_TYPES[name.rpartition(".")[2]]) for path, name in _NAMES.items()
}
# No string that a script turns into markup.
_POLICY = (*POLICY, "require-trusted-types-for 'script'")


def playground_routes() -> APIRouter:
    """GET and HEAD of the files; they are not in the OpenAPI document."""
    router = APIRouter()
    for path, (name, media_type) in FILES.items():
        asset = Asset.read("server", f"ui/{name}", media_type, policy=_POLICY)
        router.add_route(path, asset.endpoint(), methods=["GET"], include_in_schema=False)
    return router
