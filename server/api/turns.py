"""Turns of conversations: makes the engine's request of a validated body. What cannot be served is refused before a
picture is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

from starlette.requests import Request

from flashu_core import GenerateRequest, TokenLogprobs, UnderstandRequest
from server.api import work
from server.api.disconnect import unless_gone
from server.api.openai import check_model
from server.api.schemas.conversation import Picture
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.intent.classify import Route, Unrouted
from server.request_record import Record, record_of


class Turn(Protocol):
    """A body whose last turn is to be generated or answered."""

    @property
    def model(self) -> str: ...
    @property
    def timeout_s(self) -> float | None: ...
    @property
    def picture(self) -> Picture | None:
        """The picture that a question is about."""

    @property
    def own_picture(self) -> Picture | None:
        """The picture of the last turn itself."""

    @property
    def wanted_logprobs(self) -> int | None:
        """Number of likeliest tokens to report log probabilities for; None for no log probabilities."""

    def unrouted(self) -> Unrouted: ...

    def generate_request(self, deadline: float, default: str) -> GenerateRequest: ...
    def understand_request(self, deadline: float, default: str) -> UnderstandRequest: ...


def routed(turn: Turn, warnings: Warnings, *, text: str) -> Route:
    """Chooses the task of a turn and warns of fields without effect; `text` is the name of the field with its text.

    Raises:
        UnsupportedValueError: the turn asks for what the model cannot do.
    """
    own = turn.own_picture
    route = work.route(turn.unrouted(), warnings, text=text, image=None if own is None else own.param)
    if turn.wanted_logprobs is not None and route.task == "generate":
        warnings.add("logprobs", "ignored: pictures have no log probabilities")
    return route


def generation(services: Services, record: Record, turn: Turn, warnings: Warnings) -> GenerateRequest:
    """The engine's request for a picture.

    Raises:
        UnavailableError, OverloadedError, InvalidRequestError, UnknownModelError
    """
    request = turn.generate_request(work.deadline(services, turn.timeout_s), services.settings.acceleration)
    work.admit(services, record, request, warnings)
    check_model(services, turn.model)
    return request


async def question(
    services: Services, request: Request, turn: Turn, warnings: Warnings
) -> tuple[UnderstandRequest, float | None]:
    """The engine's request for an answer, and the milliseconds to decode its picture (None without one); warns if the
    maximum length is reduced.

    Raises:
        UnavailableError, OverloadedError, InvalidRequestError, UnknownModelError, ClientGoneError
    """
    ends = work.deadline(services, turn.timeout_s)
    # Made without the picture first: it may be refused before the picture is decoded.
    question = turn.understand_request(ends, services.settings.acceleration)
    record = record_of(request.scope)
    work.admit(services, record, question, warnings)
    check_model(services, turn.model)
    question = work.fit_answer(services, record, question, warnings, turn.timeout_s)
    picture = turn.picture
    if picture is None:
        return question, None
    image, decoded_ms = await unless_gone(request, work.decode(services, record, picture.address, ends))
    return replace(question, image=image), decoded_ms


def routing(route: Route, picture: Picture | None) -> dict[str, Any]:
    """The field `routing` of a response: the task, the reason, and the picture that the question is about."""
    seen = {} if picture is None else {"image": {"message": picture.message, "role": picture.role}}
    return {"task": route.task, "reason": route.reason, **seen}


def logprobs(tokens: Sequence[TokenLogprobs]) -> list[dict[str, Any]]:
    """Tokens and the likeliest tokens at their positions, in the form of OpenAI's newer routes."""
    return [{**asdict(token.chosen), "top_logprobs": [asdict(one) for one in token.top]} for token in tokens]
