"""OpenAI's chat route, `POST /v1/chat/completions`: generates a picture for the last turn, or answers it."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from flashu_core import GenerateRequest, Text, TokenLogprobs, UnderstandRequest
from server.api import turns, work
from server.api.answers.openai import ChatAnswer
from server.api.bodies import JSON, media_type, read_open_json
from server.api.disconnect import unless_gone
from server.api.openai import work_done
from server.api.openapi import ERRORS, UNKNOWN_MODEL, answers, body_schema, takes
from server.api.schemas.conversation import Picture
from server.api.schemas.openai import ChatBody
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.api.sse import DONE, EventStream, server_event
from server.request_record import Record, record_of

# A chat has no field for the file format: every client reads png, and it is lossless.
_ENCODING = work.Encoding.of(None, None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Completion:
    """What all chunks of one completion share.

    Attributes:
        routing: the task, the reason, and the picture that the question is about.
        warnings: about fields without effect.
        counts: whether a stream ends with token counts.
    """

    id: str
    created: int
    model: str
    routing: dict[str, Any]
    warnings: Warnings
    counts: bool

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def whole(self, choice: dict[str, Any], finish: str, usage: dict[str, int], done: dict[str, Any]) -> Response:
        said = {"role": "assistant", "refusal": None, **choice.pop("message")}
        body = {
            **self.head("chat.completion"),
            "choices": [{"index": 0, "message": said, "finish_reason": finish, "logprobs": None, **choice}],
            "usage": usage,
            "routing": self.routing,
            **done,
        }
        return JSONResponse(body, headers=self.warnings.headers())

    def stream(self, chunks: AsyncGenerator[bytes, None]) -> Response:
        return EventStream(chunks, headers=self.warnings.headers())

    def chunk(
        self, delta: dict[str, Any], finish: str | None = None, logprobs: dict[str, Any] | None = None, **more: Any
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return self._chunk([choice], **({"usage": None} if self.counts else {}), **more)

    def done(
        self, request: GenerateRequest | UnderstandRequest, done: work.Generated | work.Answered
    ) -> dict[str, Any]:
        return work_done(request, done, self.warnings)

    def ending(self, finish: str, usage: dict[str, int], done: dict[str, Any]) -> bytes:
        """The last chunk with a choice, then the one with token counts if they are requested."""
        last = self.chunk({}, finish, routing=self.routing, **done)
        return last + self._chunk([], usage=usage) if self.counts else last

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return server_event(json.dumps({**self.head("chat.completion.chunk"), "choices": choices, **more}))


def chat_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=dict(ERRORS))

    @router.post(
        "/chat/completions",
        summary="Continue a conversation",
        response_model=ChatAnswer,
        responses={**answers({None: None}), 404: UNKNOWN_MODEL},  # chunks, then [DONE]
        openapi_extra=takes({JSON: body_schema(ChatBody)}),
    )
    async def chat(request: Request) -> Response:
        """Generates a picture for the last turn of a conversation, or answers it.

        Compatible with OpenAI's route of the same name.
        """
        media_type(request, JSON)
        body, warnings = await read_open_json(request, ChatBody)
        route = turns.routed(body, warnings, text="messages")
        request.state.task = route.task
        picture = body.picture if route.task == "vqa" else None
        record_of(request.scope).names = _names(body, picture)
        completion = _Completion(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=body.model,
            routing=turns.routing(route, picture),
            warnings=warnings,
            counts=body.wants_usage,
        )
        if route.task == "generate":
            return await _generate(services, request, body, completion)
        return await _answer(services, request, body, completion)

    return router


async def _generate(services: Services, request: Request, body: ChatBody, completion: _Completion) -> Response:
    record = record_of(request.scope)
    generation = turns.generation(services, record, body, completion.warnings)
    if body.stream:
        return completion.stream(_generation_chunks(services, record, generation, completion))
    generated = await unless_gone(request, work.generate(services, record, generation, _ENCODING))
    message = {"content": None, "images": _images(generated)}
    return completion.whole(
        {"message": message}, "stop", _generation_usage(generated), completion.done(generation, generated)
    )


async def _generation_chunks(
    services: Services, record: Record, generation: GenerateRequest, completion: _Completion
) -> AsyncGenerator[bytes, None]:
    begun = False
    async with contextlib.aclosing(work.generation_events(services, record, generation, _ENCODING)) as events:
        async for event in events:
            if not begun:
                yield completion.chunk({"role": "assistant", "content": ""})
                begun = True
            if isinstance(event, work.Generated):
                yield completion.chunk({"images": _images(event)})
                yield completion.ending("stop", _generation_usage(event), completion.done(generation, event))
    yield DONE


async def _answer(services: Services, request: Request, body: ChatBody, completion: _Completion) -> Response:
    question, decoded_ms = await turns.question(services, request, body, completion.warnings)
    if body.stream:
        return completion.stream(_answer_chunks(services, record_of(request.scope), question, decoded_ms, completion))
    answered = await unless_gone(request, work.answer(services, record_of(request.scope), question, decoded_ms))
    result = answered.result
    choice = {"message": {"content": result.answer}, "logprobs": _logprobs(question, result.logprobs)}
    return completion.whole(choice, result.finish_reason, _usage(answered), completion.done(question, answered))


async def _answer_chunks(
    services: Services,
    record: Record,
    question: UnderstandRequest,
    decoded_ms: float | None,
    completion: _Completion,
) -> AsyncGenerator[bytes, None]:
    begun = False
    async with contextlib.aclosing(work.answer_events(services, record, question, decoded_ms)) as events:
        async for event in events:
            if not begun:
                yield completion.chunk({"role": "assistant", "content": ""})
                begun = True
            if isinstance(event, Text):
                yield completion.chunk({"content": event.text}, logprobs=_logprobs(question, event.logprobs))
            else:
                done = completion.done(question, event)
                yield completion.ending(event.result.finish_reason, _usage(event), done)
    yield DONE


def _logprobs(question: UnderstandRequest, tokens: Sequence[TokenLogprobs]) -> dict[str, Any] | None:
    return None if question.logprobs is None else {"content": turns.logprobs(tokens), "refusal": None}


def _names(body: ChatBody, picture: Picture | None) -> dict[str, str]:
    """The chat's names of the engine's parameters."""
    names = {"prompt": "messages", "question": "messages"}
    names["max_new_tokens"] = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    if picture is not None:
        names["image"] = picture.param
    return names


def _images(generated: work.Generated) -> list[dict[str, Any]]:
    url = f"data:image/{_ENCODING.output_format};base64,"
    return [
        {"type": "image_url", "index": index, "image_url": {"url": url + file}}
        for index, file in enumerate(generated.base64())
    ]


def _generation_usage(generated: work.Generated) -> dict[str, int]:
    read = generated.result.prompt_tokens
    return {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read}


def _usage(answered: work.Answered) -> dict[str, int]:
    result = answered.result
    return {
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "total_tokens": result.prompt_tokens + result.completion_tokens,
    }
