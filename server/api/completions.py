"""OpenAI's older route for text, `POST /v1/completions`: each prompt is answered as a separate question."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from flashu_core import InvalidRequestError, Text, TokenLogprobs, UnderstandRequest
from server.api import work
from server.api.answers.openai import CompletionAnswer
from server.api.bodies import JSON, media_type, read_open_json
from server.api.disconnect import unless_gone
from server.api.openai import check_model
from server.api.openapi import ERRORS, UNKNOWN_MODEL, answers, body_schema, takes
from server.api.schemas.completions import CompletionBody
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.api.sse import DONE, EventStream, server_event
from server.request_record import Record, record_of

T = TypeVar("T")
_NAMES = {"question": "prompt", "max_new_tokens": "max_tokens"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Completion:
    """What all chunks of one completion share."""

    id: str
    created: int
    body: CompletionBody
    questions: Sequence[UnderstandRequest]
    warnings: Warnings

    def whole(self, answered: Sequence[work.Answered]) -> Response:
        choices = [
            self.choice(index, one.result.answer, one.result.logprobs, finish=one.result.finish_reason, begins=True)
            for index, one in enumerate(answered)
        ]
        shown = {**self._head(), "choices": choices, "usage": _usage(answered), **self.done(answered)}
        return JSONResponse(shown, headers=self.warnings.headers())

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        # With include_usage every chunk has `usage`; it is null in all but the last.
        unknown = {"usage": None} if self.body.wants_usage else {}
        return server_event(json.dumps({**self._head(), "choices": choices, **unknown, **more}))

    def choice(
        self,
        index: int,
        text: str,
        tokens: Sequence[TokenLogprobs] = (),
        *,
        finish: str | None = None,
        begins: bool = False,
        place: int = 0,
    ) -> dict[str, Any]:
        """A choice or a piece of one.

        Args:
            begins: whether it is the first piece, which the echoed prompt precedes.
            place: number of characters of the answer before it.
        """
        echoed = self.body.prompts[index] if self.body.echo else ""
        shown = None if self.body.logprobs is None else _logprobs(tokens, len(echoed) + place)
        whole = echoed + text if begins else text
        return {"text": whole, "index": index, "logprobs": shown, "finish_reason": finish}

    def done(self, answered: Sequence[work.Answered]) -> dict[str, Any]:
        timings: Counter[str] = Counter()
        schedule: Counter[str] = Counter()
        for one in answered:
            timings.update(one.timings)
            schedule.update(one.result.schedule)
        added = {
            "acceleration": work.applied_policy(self.questions[0]),
            "timings_ms": dict(timings),
            "schedule": dict(schedule),
        }
        return {**added, "warnings": self.warnings.as_json()} if self.warnings else added

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "text_completion", "created": self.created, "model": self.body.model}


def completion_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=dict(ERRORS))

    @router.post(
        "/completions",
        summary="Answer prompts",
        response_model=CompletionAnswer,
        responses={**answers({None: None}), 404: UNKNOWN_MODEL},  # chunks, then [DONE]
        openapi_extra=takes({JSON: body_schema(CompletionBody)}),
    )
    async def completions(request: Request) -> Response:
        """Answers one or more prompts with text.

        Compatible with OpenAI's route of the same name.
        """
        media_type(request, JSON)
        body, warnings = await read_open_json(request, CompletionBody)
        record = record_of(request.scope)
        record.names = _NAMES
        ends, default = work.deadline(services, body.timeout_s), services.settings.acceleration
        questions = body.understand_requests(ends, default)
        for question in questions:
            work.admit(services, record, question, warnings)
        check_model(services, body.model)
        # A stream sends one answer after another, so they share its timeout.
        timeout_s = services.settings.request_timeout_s if body.timeout_s is None else body.timeout_s
        share_s = timeout_s / len(questions) if body.stream else timeout_s
        questions = [work.fit_answer(services, record, question, warnings, share_s) for question in questions]
        completion = _Completion(
            id=f"cmpl-{uuid.uuid4().hex}", created=int(time.time()), body=body, questions=questions, warnings=warnings
        )
        if body.stream:
            return EventStream(_chunks(services, record, completion), headers=warnings.headers())
        return completion.whole(await unless_gone(request, _answer_all(services, record, questions)))

    return router


async def _answer_all(
    services: Services, record: Record, questions: Sequence[UnderstandRequest]
) -> Sequence[work.Answered]:
    """Computes all answers together."""

    async def answer(index: int) -> work.Answered:
        with _naming(record, index, len(questions)):
            return await work.answer(services, record, questions[index], None)

    return await _together(answer(index) for index in range(len(questions)))


async def _validate_all(services: Services, record: Record, questions: Sequence[UnderstandRequest]) -> None:
    """Raises the error of a prompt that the engine would refuse."""

    async def validate(index: int) -> None:
        with _naming(record, index, len(questions)):
            await services.worker.validate(questions[index])

    await _together(validate(index) for index in range(len(questions)))


async def _together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all coroutines; if one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _naming(record: Record, index: int, prompts: int) -> Iterator[None]:
    """Makes an error about the question name this prompt."""
    try:
        yield
    except InvalidRequestError:
        if prompts > 1 and record.names == _NAMES:  # the first failure is the one reported
            record.names = {**_NAMES, "question": f"prompt.{index}"}
        raise


async def _chunks(services: Services, record: Record, completion: _Completion) -> AsyncGenerator[bytes, None]:
    """One choice after another. An invalid later prompt is reported before the stream begins."""
    await _validate_all(services, record, completion.questions)
    answered: list[work.Answered] = []
    for index, question in enumerate(completion.questions):
        place = -1
        async with contextlib.aclosing(work.answer_events(services, record, question, None)) as events:
            async for event in events:
                begins, place = place < 0, max(place, 0)
                if isinstance(event, Text):
                    piece = completion.choice(index, event.text, event.logprobs, begins=begins, place=place)
                    yield completion.chunk([piece])
                    place += len(event.text)
                    continue
                answered.append(event)
                last = index == len(completion.questions) - 1
                more = completion.done(answered) if last else {}
                ending = completion.choice(index, "", finish=event.result.finish_reason, begins=begins)
                yield completion.chunk([ending], **more)
    if completion.body.wants_usage:
        yield completion.chunk([], usage=_usage(answered))
    yield DONE


def _logprobs(tokens: Sequence[TokenLogprobs], offset: int) -> dict[str, Any]:
    """In this route's form: parallel lists, with each token's offset in the text."""
    places = accumulate((len(one.chosen.token) for one in tokens), initial=offset)
    return {
        "tokens": [one.chosen.token for one in tokens],
        "token_logprobs": [one.chosen.logprob for one in tokens],
        "top_logprobs": [{top.token: top.logprob for top in one.top} for one in tokens],
        "text_offset": list(places)[:-1],
    }


def _usage(answered: Sequence[work.Answered]) -> dict[str, int]:
    prompt = sum(one.result.prompt_tokens for one in answered)
    completion = sum(one.result.completion_tokens for one in answered)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
