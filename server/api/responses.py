"""OpenAI's newest route, `POST /v1/responses`: generates a picture for the last item of the input, or answers it. No
response is stored."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from flashu_core import GenerateRequest, Text, TokenLogprobs, UnderstandRequest
from server.api import turns, work
from server.api.answers.responses import ResponsesAnswer
from server.api.bodies import JSON, media_type, read_open_json
from server.api.disconnect import unless_gone
from server.api.openai import work_done
from server.api.openapi import ERRORS, UNKNOWN_MODEL, answers, body_schema, takes
from server.api.schemas.conversation import Picture
from server.api.schemas.responses import PICTURE_ID, ResponsesBody
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.api.sse import EventStream, server_event
from server.errors import Problem
from server.request_record import Record, record_of

_EVENTS = (
    *("response.created", "response.in_progress", "response.completed", "response.incomplete"),
    *("response.output_item.added", "response.output_item.done"),
    *("response.content_part.added", "response.content_part.done"),
    *("response.output_text.delta", "response.output_text.done"),
    *(f"response.image_generation_call.{name}" for name in ("in_progress", "generating", "partial_image", "completed")),
)
_Item = dict[str, Any]


@dataclass(kw_only=True, slots=True)
class _Response:
    """A response in progress: what all its events share, and their sequence numbers."""

    id: str
    created_at: int
    body: ResponsesBody
    routing: dict[str, Any]
    warnings: Warnings
    item_id: str
    _events: int = field(default=0, init=False)

    def head(self, status: str) -> dict[str, Any]:
        """The response without output."""
        body = self.body
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": body.model,
            "output": [],
            "usage": None,
            "temperature": body.temperature or 0.0,
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "max_output_tokens": body.max_output_tokens,
            "tools": [] if body.image_tool is None else [{"type": body.image_tool.type}],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "store": False,
            "background": False,
            "instructions": None,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "text": {"format": {"type": "text"}},
            "truncation": "disabled",
            "metadata": {},
        }

    def generated(self, request: GenerateRequest, generated: work.Generated, item: _Item) -> dict[str, Any]:
        """The response with its picture."""
        return {
            **self._done("completed"),
            "output": [item],
            "usage": _usage(generated.result.prompt_tokens, 0),
            **work_done(request, generated, self.warnings),
        }

    def answered(self, request: UnderstandRequest, answered: work.Answered, item: _Item) -> dict[str, Any]:
        """The response with its answer."""
        cut = answered.result.finish_reason == "length"
        return {
            **self._done("incomplete" if cut else "completed"),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [item],
            "usage": _usage(answered.result.prompt_tokens, answered.result.completion_tokens),
            **work_done(request, answered, self.warnings),
        }

    def whole(self, shown: dict[str, Any]) -> Response:
        return JSONResponse(shown, headers=self.warnings.headers())

    def stream(self, events: AsyncGenerator[bytes, None]) -> Response:
        return EventStream(events, headers=self.warnings.headers(), failure=self._failure)

    def event(self, name: str, **fields: Any) -> bytes:
        """The next event of the stream, `response.NAME`."""
        return self._event(f"response.{name}", fields)

    def of_item(self, name: str, **fields: Any) -> bytes:
        """The next event about the one output item."""
        return self.event(name, item_id=self.item_id, output_index=0, **fields)

    def begun(self) -> list[bytes]:
        """The first two events."""
        return [self.event(name, response=self.head("in_progress")) for name in ("created", "in_progress")]

    def _done(self, status: str) -> dict[str, Any]:
        return {**self.head(status), "completed_at": int(time.time()), "routing": self.routing}

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        self._events += 1
        return server_event(json.dumps({"type": kind, "sequence_number": self._events - 1, **fields}), kind)

    def _failure(self, problem: Problem) -> bytes:
        # OpenAI's event is flat; some clients read the common error body, so it has both.
        shown = problem.body()
        error = shown["error"]
        return self._event(
            "error", {"code": error["code"], "message": error["message"], "param": error["param"], **shown}
        )


def responses_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=dict(ERRORS))

    @router.post(
        "/responses",
        summary="Create a response",
        response_model=ResponsesAnswer,
        responses={**answers(dict.fromkeys(_EVENTS)), 404: UNKNOWN_MODEL},
        openapi_extra=takes({JSON: body_schema(ResponsesBody)}),
    )
    async def responses(request: Request) -> Response:
        """Generates a picture for the last item of the input, or answers it.

        Compatible with OpenAI's route of the same name; no response is stored.
        """
        media_type(request, JSON)
        body, warnings = await read_open_json(request, ResponsesBody)
        route = turns.routed(body, warnings, text="input")
        request.state.task = route.task
        generates = route.task == "generate"
        picture = None if generates else body.picture
        record_of(request.scope).names = _names(body, picture)
        response = _Response(
            id=f"resp_{uuid.uuid4().hex}",
            created_at=int(time.time()),
            body=body,
            routing=turns.routing(route, picture),
            warnings=warnings,
            item_id=(PICTURE_ID if generates else "msg_") + uuid.uuid4().hex,
        )
        if generates:
            return await _generate(services, request, response)
        return await _answer(services, request, response)

    return router


async def _generate(services: Services, request: Request, response: _Response) -> Response:
    record = record_of(request.scope)
    generation = turns.generation(services, record, response.body, response.warnings)
    tool = response.body.image_tool
    file_format, quality = (None, None) if tool is None else (tool.output_format, tool.output_compression)
    encoding = work.Encoding.of(file_format, quality)
    if response.body.stream:
        return response.stream(_generation_events(services, record, generation, encoding, response))
    generated = await unless_gone(request, work.generate(services, record, generation, encoding))
    return response.whole(response.generated(generation, generated, _picture(response.item_id, generated, encoding)))


async def _generation_events(
    services: Services, record: Record, generation: GenerateRequest, encoding: work.Encoding, response: _Response
) -> AsyncGenerator[bytes, None]:
    call, begun = "image_generation_call", False
    async with contextlib.aclosing(work.generation_events(services, record, generation, encoding)) as events:
        async for event in events:
            if not begun:
                for one in response.begun():
                    yield one
                item = {"id": response.item_id, "type": call, "status": "in_progress", "result": None}
                yield response.event("output_item.added", output_index=0, item=item)
                yield response.of_item(f"{call}.in_progress")
                yield response.of_item(f"{call}.generating")
                begun = True
            if isinstance(event, work.Partial):
                shown = {"partial_image_index": event.index, "partial_image_b64": event.b64_json}
                yield response.of_item(f"{call}.partial_image", **shown, **_about(encoding))
            if isinstance(event, work.Generated):
                item = _picture(response.item_id, event, encoding)
                yield response.of_item(f"{call}.completed")
                yield response.event("output_item.done", output_index=0, item=item)
                yield response.event("completed", response=response.generated(generation, event, item))


async def _answer(services: Services, request: Request, response: _Response) -> Response:
    record = record_of(request.scope)
    question, decoded_ms = await turns.question(services, request, response.body, response.warnings)
    if response.body.stream:
        return response.stream(_answer_events(services, record, question, decoded_ms, response))
    answered = await unless_gone(request, work.answer(services, record, question, decoded_ms))
    return response.whole(response.answered(question, answered, _message(response.item_id, answered)))


async def _answer_events(
    services: Services, record: Record, question: UnderstandRequest, decoded_ms: float | None, response: _Response
) -> AsyncGenerator[bytes, None]:
    begun = False
    async with contextlib.aclosing(work.answer_events(services, record, question, decoded_ms)) as events:
        async for event in events:
            if not begun:
                for one in response.begun():
                    yield one
                item = {"id": response.item_id, "type": "message", "role": "assistant", "content": []}
                yield response.event("output_item.added", output_index=0, item={**item, "status": "in_progress"})
                yield response.of_item("content_part.added", content_index=0, part=_text(""))
                begun = True
            if isinstance(event, Text):
                tokens = turns.logprobs(event.logprobs)
                yield response.of_item("output_text.delta", content_index=0, delta=event.text, logprobs=tokens)
                continue
            done = _message(response.item_id, event)
            (part,) = done["content"]
            shown = response.answered(question, event, done)
            yield response.of_item("output_text.done", content_index=0, text=part["text"], logprobs=part["logprobs"])
            yield response.of_item("content_part.done", content_index=0, part=part)
            yield response.event("output_item.done", output_index=0, item=done)
            yield response.event(shown["status"], response=shown)


def _names(body: ResponsesBody, picture: Picture | None) -> dict[str, str]:
    """This route's names of the engine's parameters."""
    names = {"prompt": "input", "question": "input", "max_new_tokens": "max_output_tokens"}
    if body.size_field != "size":
        names["size"] = body.size_field
    if picture is not None:
        names["image"] = picture.param
    return names


def _text(text: str, tokens: Sequence[TokenLogprobs] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": turns.logprobs(tokens)}


def _message(item_id: str, answered: work.Answered) -> _Item:
    cut = answered.result.finish_reason == "length"
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "incomplete" if cut else "completed",
        "content": [_text(answered.result.answer, answered.result.logprobs)],
    }


def _picture(item_id: str, generated: work.Generated, encoding: work.Encoding) -> _Item:
    return {
        "id": item_id,
        "type": "image_generation_call",
        "status": "completed",
        "result": generated.base64()[0],
        "action": "generate",
        "size": generated.size,
        "seed": generated.result.seeds[0],
        **_about(encoding),
    }


def _about(encoding: work.Encoding) -> dict[str, str]:
    return {"background": "opaque", "output_format": encoding.output_format, "quality": "auto"}


def _usage(read: int, written: int) -> dict[str, Any]:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
