"""OpenAI's routes for pictures and models: `POST /v1/images/generations` and `GET /v1/models`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from flashu_core import GenerateRequest, InvalidRequestError, UnderstandRequest
from server.api import work
from server.api.answers.openai import ImagesAnswer, Model, ModelList
from server.api.bodies import JSON, media_type, read_open_json
from server.api.disconnect import unless_gone
from server.api.files import file_address
from server.api.openapi import ERRORS, UNKNOWN_MODEL, answers, body_schema, takes
from server.api.schemas.openai import ImagesBody
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.api.sse import EventStream, server_event
from server.errors import UnknownModelError, UnsupportedValueError
from server.request_record import Record, record_of


def openai_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=dict(ERRORS))
    created = int(time.time())

    @router.post(
        "/images/generations",
        summary="Generate pictures",
        response_model=ImagesAnswer,
        responses={
            **answers({"image_generation.partial_image": None, "image_generation.completed": None}),
            404: UNKNOWN_MODEL,
        },
        openapi_extra=takes({JSON: body_schema(ImagesBody)}),
    )
    async def images(request: Request) -> Response:
        """Generates pictures from a prompt.

        Compatible with OpenAI's route of the same name.
        """
        media_type(request, JSON)
        sent, warnings = await read_open_json(request, ImagesBody)
        generation = sent.generate_request(work.deadline(services, sent.timeout_s), services.settings.acceleration)
        record = record_of(request.scope)
        work.admit(services, record, generation, warnings)
        check_model(services, sent.model)
        encoding = work.Encoding.of(sent.output_format, sent.output_compression)
        if sent.response_format == "url":
            _check_store(services, warnings, stream=bool(sent.stream))
        if sent.stream:
            events = _events(services, record, generation, encoding, warnings)
            return EventStream(events, headers=warnings.headers())
        generated = await unless_gone(request, work.generate(services, record, generation, encoding))
        data = _data(services, request, sent, generated)
        about = _about(encoding, generated.size)
        about["created"] = about.pop("created_at")
        done = work_done(generation, generated, warnings)
        usage = _usage(generated)
        return JSONResponse({**about, "data": data, "usage": usage, **done}, headers=warnings.headers())

    unready: dict[int | str, dict[str, Any]] = {503: ERRORS[503]}

    @router.get("/models", summary="List models", responses=unready)
    async def models() -> ModelList:
        """Lists the names of the loaded model, in OpenAI's form, with its capabilities."""
        return ModelList(object="list", data=[_model(services, name, created) for name in services.model_names])

    @router.get("/models/{name:path}", summary="Describe a model", responses={**unready, 404: UNKNOWN_MODEL})
    async def model(
        name: Annotated[str, Path(description="Name of the model.", examples=["shapes-64"])],
    ) -> Model:
        """Describes the model of this name."""
        check_model(services, name)
        return _model(services, name, created)

    return router


def check_model(services: Services, name: str | None) -> None:
    """Refuses names other than the loaded model's; None is that model.

    Raises:
        UnknownModelError
    """
    known = services.model_names
    if name is not None and name not in known:
        raise UnknownModelError(*known)


def work_done(
    request: GenerateRequest | UnderstandRequest, done: work.Generated | work.Answered, warnings: Warnings
) -> dict[str, Any]:
    """The fields that this server adds to OpenAI's responses."""
    added = {
        "acceleration": work.applied_policy(request),
        "timings_ms": done.timings,
        "schedule": dict(done.result.schedule),
    }
    return {**added, "warnings": warnings.as_json()} if warnings else added


def _check_store(services: Services, warnings: Warnings, *, stream: bool) -> None:
    if services.store is None:
        raise UnsupportedValueError(
            "response_format", "this server does not store pictures; use b64_json or omit the field"
        )
    if stream:
        warnings.add("response_format", "ignored: streams have pictures as base64")


def _data(services: Services, request: Request, sent: ImagesBody, generated: work.Generated) -> list[dict[str, Any]]:
    if sent.response_format != "url" or services.store is None:
        files = zip(generated.base64(), generated.result.seeds, strict=True)
        return [{"b64_json": file, "seed": seed} for file, seed in files]
    store = services.store
    if not store.fits(sum(map(len, generated.files))):
        raise InvalidRequestError(
            "the pictures have more bytes than the server stores; use response_format b64_json",
            parameter="response_format",
        )
    kind = f"image/{sent.output_format or 'png'}"
    return [
        {"url": file_address(services, request, store.put(file, kind)), "seed": seed}
        for file, seed in zip(generated.files, generated.result.seeds, strict=True)
    ]


def _usage(generated: work.Generated) -> dict[str, Any]:
    read = generated.result.prompt_tokens
    details = {"text_tokens": read, "image_tokens": 0}
    return {"input_tokens": read, "input_tokens_details": details, "output_tokens": 0, "total_tokens": read}


async def _events(
    services: Services, record: Record, generation: GenerateRequest, encoding: work.Encoding, warnings: Warnings
) -> AsyncGenerator[bytes, None]:
    width, height = generation.width, generation.height
    default = services.worker.info().sizes[0]
    size = f"{width or default[0]}x{height or default[1]}"
    async with contextlib.aclosing(work.generation_events(services, record, generation, encoding)) as events:
        async for event in events:
            about = _about(encoding, size)
            match event:
                case work.Partial(index=index, b64_json=file):
                    yield _event("partial_image", {**about, "b64_json": file, "partial_image_index": index})
                case work.Generated():
                    done, usage = work_done(generation, event, warnings), _usage(event)
                    for file, seed in zip(event.base64(), event.result.seeds, strict=True):
                        yield _event("completed", {**about, "b64_json": file, "usage": usage, "seed": seed, **done})
                case _:
                    pass


def _about(encoding: work.Encoding, size: str) -> dict[str, Any]:
    return {
        "created_at": int(time.time()),
        "size": size,
        "quality": "auto",
        "background": "opaque",
        "output_format": encoding.output_format,
    }


def _event(name: str, fields: Mapping[str, Any]) -> bytes:
    kind = f"image_generation.{name}"
    return server_event(json.dumps({"type": kind, **fields}), kind)


def _model(services: Services, name: str, created: int) -> Model:
    info = services.worker.info()
    return Model(
        id=name,
        object="model",
        created=created,
        owned_by="flashu",
        parameters=info.parameters,
        dtype=info.dtype,
        device=info.device,
        sizes=[f"{width}x{height}" for width, height in info.sizes],
        num_inference_steps=info.num_inference_steps,
        guidance_scale=info.guidance_scale,
        policies=list(info.policies),
        max_prompt_tokens=info.max_prompt_tokens,
    )
