"""The native routes: `POST /v1/generate` and `POST /v1/vqa`. They read, check against the loaded model, hand to the
worker and write the answer; they know neither engine nor threads."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import Request

from flashu_core import GenerateResult, InvalidRequestError, ModelInfo, Pixels, UnderstandResult
from server.api.bodies import FORM, JSON, media_type, read_form, read_json
from server.api.disconnect import unless_gone
from server.api.services import Services
from server.images import decode_image, encode_image, read_base64
from server.record import Record, record_of
from server.schemas import (
    ErrorBody,
    GenerateAnswer,
    GenerateBody,
    PictureOut,
    Usage,
    VqaAnswer,
    VqaBody,
    VqaFields,
    applied,
)

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 408, 413, 415, 429, 500, 503, 504)
}


def native_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=_ERRORS)

    @router.post("/generate", response_model=GenerateAnswer, openapi_extra=_takes({JSON: _schema(GenerateBody)}))
    async def generate(request: Request) -> Response:
        """Draws pictures from a prompt."""
        media_type(request, JSON)
        body = await read_json(request, GenerateBody)
        return await unless_gone(request, _generate(services, body, record_of(request.scope)))

    form = _schema(VqaFields)
    form["properties"]["image"] = {"type": "string", "format": "binary"}
    form["required"] = [*form["required"], "image"]

    @router.post("/vqa", response_model=VqaAnswer, openapi_extra=_takes({JSON: _schema(VqaBody), FORM: form}))
    async def vqa(request: Request) -> Response:
        """Answers a question about a picture."""
        if media_type(request, JSON, FORM) == FORM:
            fields, picture = await read_form(request, VqaFields, file="image")
            return await unless_gone(request, _vqa(services, fields, picture, record_of(request.scope)))
        body = await read_json(request, VqaBody)
        return await unless_gone(request, _vqa(services, body, body.image, record_of(request.scope)))

    return router


async def _generate(services: Services, body: GenerateBody, record: Record) -> Response:
    deadline = _deadline(services, body.timeout_s)
    services.worker.check_open()
    info = services.worker.info()
    request = body.to_request(deadline, services.settings.acceleration)
    _check_policy(info, request.policy)
    _check_size(info, body.pixels())
    result, waited = await services.worker.run(request)
    if not isinstance(result, GenerateResult):
        raise TypeError(f"the engine answered a drawing with {type(result).__name__}")
    begun = time.perf_counter()
    files = [
        await services.images.run(partial(encode_image, image, body.output_format, body.output_compression))
        for image in result.images
    ]
    timings = {**result.timings, "image_encode": _since(begun), "queue": waited * 1000}
    services.metrics.work_done("generate", timings)
    record.take("generate", result, timings)
    identity = f"gen-{uuid.uuid4().hex}"
    if body.response_format == "binary":
        headers = {"X-Flashu-Id": identity, "X-Flashu-Seed": str(result.seeds[0])}
        return Response(files[0], media_type=f"image/{body.output_format}", headers=headers)
    height, width = result.images[0].shape[:2]
    return _json(
        GenerateAnswer(
            id=identity,
            acceleration=result.policy,
            timings_ms=timings,
            schedule=dict(result.schedule),
            images=[
                PictureOut(b64_json=base64.b64encode(file).decode(), seed=seed)
                for file, seed in zip(files, result.seeds, strict=True)
            ],
            size=f"{width}x{height}",
            output_format=body.output_format,
        )
    )


async def _vqa(services: Services, body: VqaFields, picture: str | bytes, record: Record) -> Response:
    deadline = _deadline(services, body.timeout_s)
    services.worker.check_open()
    default = services.settings.acceleration
    _check_policy(services.worker.info(), applied(body.acceleration, default)[0])
    begun = time.perf_counter()
    image = await _decode(services, picture)
    decoded_ms = _since(begun)
    result, waited = await services.worker.run(body.to_request(image, deadline, default))
    if not isinstance(result, UnderstandResult):
        raise TypeError(f"the engine answered a question with {type(result).__name__}")
    timings = {**result.timings, "image_decode": decoded_ms, "queue": waited * 1000}
    services.metrics.work_done("vqa", timings)
    record.take("vqa", result, timings)
    return _json(
        VqaAnswer(
            id=f"vqa-{uuid.uuid4().hex}",
            acceleration=result.policy,
            timings_ms=timings,
            schedule=dict(result.schedule),
            answer=result.answer,
            finish_reason=result.finish_reason,
            usage=Usage(
                prompt_tokens=result.prompt_tokens,
                completion_tokens=result.completion_tokens,
                total_tokens=result.prompt_tokens + result.completion_tokens,
            ),
        )
    )


async def _decode(services: Services, picture: str | bytes) -> Pixels:
    limits = services.image_limits
    seconds = services.settings.image_decode_timeout_s
    try:
        return await services.images.run(
            lambda: decode_image(read_base64(picture) if isinstance(picture, str) else picture, limits), seconds
        )
    except asyncio.TimeoutError:
        raise InvalidRequestError(
            f"image took longer than {seconds:g} s to decode; send a smaller one", parameter="image"
        ) from None


def _deadline(services: Services, timeout_s: float | None) -> float:
    return time.monotonic() + (services.settings.request_timeout_s if timeout_s is None else timeout_s)


def _check_policy(info: ModelInfo, name: str) -> None:
    # The name is not repeated: it may be anything.
    if name not in info.policies:
        known = ", ".join(info.policies)
        raise InvalidRequestError(f"acceleration names no policy of this server: {known}", parameter="acceleration")


def _check_size(info: ModelInfo, size: tuple[int, int] | None) -> None:
    if size is not None and size not in info.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in info.sizes)
        raise InvalidRequestError(f"size {size[0]}x{size[1]} is not one this model draws: {known}", parameter="size")


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000


def _json(answer: GenerateAnswer | VqaAnswer) -> Response:
    return Response(answer.model_dump_json(), media_type=JSON)


def _schema(body: type[GenerateBody | VqaFields]) -> dict[str, Any]:
    return body.model_json_schema()


def _takes(content: dict[str, dict[str, Any]]) -> dict[str, Any]:
    # The routes read bodies themselves, so FastAPI has to be told what they are.
    schemas = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": schemas}}
