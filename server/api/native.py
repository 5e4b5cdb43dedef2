"""The native routes: `POST /v1/generate`, `POST /v1/vqa` and `POST /v1/infer`, which chooses between them."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, replace

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.requests import Request

from flashu_core import GenerateRequest, Progress, Text, UnderstandRequest
from server.api import work
from server.api.answers.native import (
    DenoisingStepOut,
    EitherDone,
    GenerateAnswer,
    GenerateDone,
    ImageEvent,
    PartialImageEvent,
    PictureOut,
    ProgressEvent,
    Routing,
    TextEvent,
    Usage,
    VqaAnswer,
    WarningOut,
)
from server.api.bodies import FORM, JSON, media_type, read_form, read_json
from server.api.disconnect import unless_gone
from server.api.openapi import ERRORS, answers, body_schema, form_schema, takes
from server.api.schemas.native import GenerateBody, InferBody, InferFields, VqaBody, VqaFields
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.api.sse import EventStream, server_event
from server.intent.classify import Unrouted
from server.request_record import Record, record_of

_GENERATION_EVENTS: Mapping[str | None, type[BaseModel]] = {
    "progress": ProgressEvent,
    "partial_image": PartialImageEvent,
    "image": ImageEvent,
    "done": GenerateDone,
}
_ANSWER_EVENTS: Mapping[str | None, type[BaseModel]] = {"text": TextEvent, "done": VqaAnswer}
_ANY_EVENTS: Mapping[str | None, type[BaseModel]] = {**_GENERATION_EVENTS, **_ANSWER_EVENTS, "done": EitherDone}


@dataclass(frozen=True, slots=True)
class _Notes:
    """What a response says beside its result: how the task was chosen, where the route leaves it open, and warnings."""

    warnings: Warnings
    routing: Routing | None = None

    @property
    def listed(self) -> list[WarningOut] | None:
        return [WarningOut.model_validate(one) for one in self.warnings.as_json()] or None


def native_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["Native"], responses=dict(ERRORS))

    @router.post(
        "/generate",
        summary="Generate pictures",
        response_model=GenerateAnswer,
        responses=answers(_GENERATION_EVENTS, files=True),
        openapi_extra=takes({JSON: body_schema(GenerateBody)}),
    )
    async def generate(request: Request) -> Response:
        """Generates pictures from a prompt."""
        media_type(request, JSON)
        return await _generate(services, request, await read_json(request, GenerateBody), _Notes(Warnings()))

    @router.post(
        "/vqa",
        summary="Answer a question about a picture",
        response_model=VqaAnswer,
        responses=answers(_ANSWER_EVENTS),
        openapi_extra=takes({JSON: body_schema(VqaBody), FORM: form_schema(VqaFields, file="image", required=True)}),
    )
    async def vqa(request: Request) -> Response:
        """Answers a question about a picture."""
        if media_type(request, JSON, FORM) == FORM:
            fields, picture = await read_form(request, VqaFields, file="image")
            return await _vqa(services, request, fields, picture, _Notes(Warnings()))
        body = await read_json(request, VqaBody)
        return await _vqa(services, request, body, body.image, _Notes(Warnings()))

    @router.post(
        "/infer",
        summary="Generate or answer",
        response_model=GenerateAnswer | VqaAnswer,
        responses=answers(_ANY_EVENTS, files=True),
        openapi_extra=takes(
            {JSON: body_schema(InferBody), FORM: form_schema(InferFields, file="image", required=False)}
        ),
    )
    async def infer(request: Request) -> Response:
        """Generates pictures or answers a question, as the text asks.

        The response has the chosen task and the reason in `routing`.
        """
        body: InferFields
        picture: str | bytes | None
        if media_type(request, JSON, FORM) == FORM:
            body, picture = await read_form(request, InferFields, file="image", required=False)
        else:
            body = sent = await read_json(request, InferBody)
            picture = sent.image
        text = "question" if body.prompt is None else "prompt"
        record_of(request.scope).names = {"prompt": text, "question": text}
        warnings = Warnings()
        unrouted = Unrouted(text=body.text, image=picture is not None, task=body.task)
        route = work.route(unrouted, warnings, text=text, image=None if picture is None else "image")
        request.state.task = route.task
        notes = _Notes(warnings, Routing(task=route.task, reason=route.reason))
        if route.task == "generate":
            return await _generate(services, request, body, notes)
        return await _vqa(services, request, body, picture, notes)

    return router


async def _generate(services: Services, request: Request, body: GenerateBody | InferFields, notes: _Notes) -> Response:
    generation = body.generate_request(work.deadline(services, body.timeout_s), services.settings.acceleration)
    record = record_of(request.scope)
    work.admit(services, record, generation, notes.warnings)
    identity = f"gen-{uuid.uuid4().hex}"
    encoding = work.Encoding(body.output_format, body.output_compression)
    if body.stream:
        events = _generation_events(services, record, generation, encoding, identity, notes)
        return EventStream(events, headers=notes.warnings.headers())
    generated = await unless_gone(request, work.generate(services, record, generation, encoding))
    if body.response_format == "binary":
        headers = {"X-Flashu-Id": identity, "X-Flashu-Seed": str(generated.result.seeds[0]), **notes.warnings.headers()}
        return Response(generated.files[0], media_type=f"image/{body.output_format}", headers=headers)
    done = _generation_done(generation, generated, encoding, identity, notes)
    images = [
        PictureOut(b64_json=file, seed=seed)
        for file, seed in zip(generated.base64(), generated.result.seeds, strict=True)
    ]
    return _json(GenerateAnswer(**dict(done), images=images), notes)


async def _generation_events(
    services: Services,
    record: Record,
    generation: GenerateRequest,
    encoding: work.Encoding,
    identity: str,
    notes: _Notes,
) -> AsyncGenerator[bytes, None]:
    first: tuple[float, int] | None = None  # when the first observed step ended, and its number
    async with contextlib.aclosing(work.generation_events(services, record, generation, encoding)) as events:
        async for event in events:
            match event:
                case Progress(step=step, of=of):
                    now = time.perf_counter()
                    first = first or (now, step)
                    ran = step - first[1]
                    eta = (now - first[0]) / ran * (of - step) if ran else None
                    progress = ProgressEvent(
                        evaluation=step,  # a public field
                        of=of,
                        eta_s=eta,
                    )
                    yield _event("progress", progress)
                case work.Partial(index=index, b64_json=file):
                    yield _event("partial_image", PartialImageEvent(index=index, b64_json=file))
                case work.Generated():
                    for index, (file, seed) in enumerate(zip(event.base64(), event.result.seeds, strict=True)):
                        yield _event("image", ImageEvent(index=index, b64_json=file, seed=seed))
                    yield _event("done", _generation_done(generation, event, encoding, identity, notes))


def _generation_done(
    generation: GenerateRequest,
    generated: work.Generated,
    encoding: work.Encoding,
    identity: str,
    notes: _Notes,
) -> GenerateDone:
    return GenerateDone(
        id=identity,
        acceleration=work.applied_policy(generation),
        timings_ms=generated.timings,
        schedule=dict(generated.result.schedule),
        evaluations=[DenoisingStepOut(**asdict(step)) for step in generated.result.steps],  # a public field
        size=generated.size,
        output_format=encoding.output_format,
        routing=notes.routing,
        warnings=notes.listed,
    )


async def _vqa(
    services: Services,
    request: Request,
    body: VqaFields | InferFields,
    picture: str | bytes | None,
    notes: _Notes,
) -> Response:
    ends = work.deadline(services, body.timeout_s)
    record = record_of(request.scope)
    question, decoded_ms = body.understand_request(ends, services.settings.acceleration), None
    work.admit(services, record, question, notes.warnings)
    if picture is not None:
        image, decoded_ms = await unless_gone(request, work.decode(services, record, picture, ends))
        question = replace(question, image=image)
    identity = f"vqa-{uuid.uuid4().hex}"
    if body.stream:
        events = _answer_events(services, record, question, decoded_ms, identity, notes)
        return EventStream(events, headers=notes.warnings.headers())
    answered = await unless_gone(request, work.answer(services, record, question, decoded_ms))
    return _json(_answer(question, answered, identity, notes), notes)


async def _answer_events(
    services: Services,
    record: Record,
    question: UnderstandRequest,
    decoded_ms: float | None,
    identity: str,
    notes: _Notes,
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(work.answer_events(services, record, question, decoded_ms)) as events:
        async for event in events:
            if isinstance(event, Text):
                yield _event("text", TextEvent(text=event.text))
            else:
                yield _event("done", _answer(question, event, identity, notes))


def _answer(question: UnderstandRequest, answered: work.Answered, identity: str, notes: _Notes) -> VqaAnswer:
    result = answered.result
    return VqaAnswer(
        id=identity,
        acceleration=work.applied_policy(question),
        timings_ms=answered.timings,
        schedule=dict(result.schedule),
        answer=result.answer,
        finish_reason=result.finish_reason,
        usage=Usage(
            prompt_tokens=result.prompt_tokens,
            completion_tokens=result.completion_tokens,
            total_tokens=result.prompt_tokens + result.completion_tokens,
        ),
        routing=notes.routing,
        warnings=notes.listed,
    )


def _json(answer: GenerateAnswer | VqaAnswer, notes: _Notes) -> Response:
    return Response(answer.model_dump_json(exclude_none=True), media_type=JSON, headers=notes.warnings.headers())


def _event(name: str, event: BaseModel) -> bytes:
    # Only a final answer omits fields that are null; in other events null has a meaning.
    return server_event(event.model_dump_json(exclude_none=isinstance(event, (GenerateDone, VqaAnswer))), name)
