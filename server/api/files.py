"""`GET /v1/images/files/{token}`: stored pictures. The token is the only secret."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from server.api.openapi import error
from server.api.services import Services
from server.images.store import PREFIX

_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", re.ASCII)
_FILES: dict[str, Any] = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}} for kind in ("png", "jpeg", "webp")
}


_LAST_PART = "The last part of the address."
_EXAMPLES = ["Jv3k0hXWm1cT6d2Qq8yZsA"]


def file_routes(services: Services) -> APIRouter:
    router = APIRouter()

    @router.get(
        PREFIX + "{token}",
        summary="Get a stored picture",
        tags=["OpenAI"],
        response_class=Response,
        responses={
            200: {"content": _FILES, "description": "The picture's file."},
            404: error("No picture is stored at this address."),
        },
    )
    async def image_file(token: Annotated[str, Path(description=_LAST_PART, examples=_EXAMPLES)]) -> Response:
        """Returns a picture whose address `response_format: "url"` gave.

        It is stored for an hour; 404 after that.
        """
        store = services.store
        image = None if store is None else store.get(token)
        if store is None or image is None:
            raise HTTPException(404, "no picture is stored at this address; pictures are stored for an hour")
        headers = {
            "Cache-Control": f"private, max-age={int(store.seconds_left(image))}",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(image.file, media_type=image.media_type, headers=headers)

    return router


def file_address(services: Services, request: Request, token: str) -> str:
    """The address of a stored picture, as the client of `request` can reach it."""
    base = services.settings.public_url.rstrip("/")
    if not base:
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            address, port = request.scope["server"] or ("127.0.0.1", services.settings.port)
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        base = f"{request.url.scheme}://{host}{services.settings.root_path}"
    return f"{base}{PREFIX}{token}"
