"""OpenAI's routes that change pictures, `POST /v1/images/edits` and `/v1/images/variations`: the model cannot, and they
say so in words, for a 404 would read as a wrong address."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.answers.native import ErrorBody
from server.api.openapi import ERRORS
from server.errors import UnsupportedValueError


def edit_routes() -> APIRouter:
    router = APIRouter(prefix="/v1/images", responses=dict(ERRORS))

    @router.post("/edits", status_code=400, response_model=ErrorBody)
    async def edits(request: Request) -> Response:
        """Refused: the model edits no pictures."""
        await _drain(request)
        raise UnsupportedValueError(
            "image",
            "it draws from text alone and edits no pictures; describe the whole picture to /v1/images/generations",
        )

    @router.post("/variations", status_code=400, response_model=ErrorBody)
    async def variations(request: Request) -> Response:
        """Refused: the model makes no variations of pictures."""
        await _drain(request)
        raise UnsupportedValueError(
            "image", "it draws from text alone; for variations send a prompt and another seed to /v1/images/generations"
        )

    return router


async def _drain(request: Request) -> None:
    """Takes the body, within the limits of all bodies, and forgets it: a client that is still sending when the
    connection closes may never read its answer."""
    async for _ in request.stream():
        pass
