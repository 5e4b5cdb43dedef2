"""OpenAI's routes that edit pictures, `POST /v1/images/edits` and `/v1/images/variations`. The model cannot edit, and
these routes say so: a 404 would look like a wrong address."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.answers.native import ErrorBody
from server.api.openapi import ERRORS
from server.errors import UnsupportedValueError


def edit_routes() -> APIRouter:
    router = APIRouter(prefix="/v1/images", tags=["OpenAI"], responses=dict(ERRORS))

    @router.post("/edits", summary="Edit a picture (not supported)", status_code=400, response_model=ErrorBody)
    async def edits(request: Request) -> Response:
        """Always refused: the model cannot edit pictures."""
        await _drain(request)
        raise UnsupportedValueError(
            "image",
            "it generates from text alone and edits no pictures; describe the whole picture to /v1/images/generations",
        )

    @router.post("/variations", summary="Vary a picture (not supported)", status_code=400, response_model=ErrorBody)
    async def variations(request: Request) -> Response:
        """Always refused: the model cannot make variations of pictures."""
        await _drain(request)
        raise UnsupportedValueError(
            "image",
            "it generates from text alone; for variations send a prompt and another seed to /v1/images/generations",
        )

    return router


async def _drain(request: Request) -> None:
    """Reads and discards the body, within the limits of all bodies: a client that is still sending when the
    connection closes may never read the response."""
    async for _ in request.stream():
        pass
