"""The work behind all routes: checks requests, runs them on the worker, and turns results into files and timings."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from flashu_core import (
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    Pixels,
    Preview,
    Progress,
    Quote,
    Request,
    Result,
    Text,
    UnderstandRequest,
    UnderstandResult,
)
from server.api.schemas.native import OutputFormat
from server.api.schemas.warnings import Warnings
from server.api.services import Services
from server.errors import UnsupportedValueError
from server.images.data_urls import is_address
from server.intent.classify import Route, Unrouted, classify
from server.limits import MAX_WARNING_NAME_CHARACTERS
from server.request_record import Record
from server.worker.active_request import uncounted

_IN_TIME = 0.9  # of an answer's timeout; the rest is for decoding the picture and waiting in the queue
_LISTED_WORDS = 8  # in a warning
_ALL_IN_WORDS = "describe the whole picture without sending one, or ask for text about the picture"


@dataclass(frozen=True, slots=True)
class Encoding:
    """File format of pictures; `quality` (0 to 100) applies to jpeg and webp."""

    output_format: OutputFormat
    quality: int

    @classmethod
    def of(cls, output_format: OutputFormat | None, quality: int | None) -> Encoding:
        """The defaults of OpenAI's routes for what is None: png, 100."""
        return cls(output_format or "png", 100 if quality is None else quality)


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """A preview as base64 of a file."""

    index: int
    b64_json: str


@dataclass(frozen=True, slots=True, eq=False)
class Generated:
    """Finished pictures as files, and milliseconds per component."""

    result: GenerateResult
    files: tuple[bytes, ...]
    timings: dict[str, float]

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        height, width = self.result.images[0].shape[:2]
        return f"{width}x{height}"

    def base64(self) -> list[str]:
        """Each file as base64."""
        return [as_base64(file) for file in self.files]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A finished answer, and milliseconds per component."""

    result: UnderstandResult
    timings: dict[str, float]


def route(request: Unrouted, warnings: Warnings, *, text: str, image: str | None) -> Route:
    """Chooses the task of a request and warns if text and picture do not fit together.

    Args:
        text: name of the field with the text, for errors and warnings.
        image: name of the field with the picture; None without one.

    Raises:
        UnsupportedValueError: the request asks for what the model cannot do.
    """
    found = classify(request)
    if found.refused:
        raise UnsupportedValueError(text, f"{found.reason}, and it generates from text alone; {_ALL_IN_WORDS}")
    if found.no_image:
        warnings.add(text, "it refers to a picture and none was sent; the answer uses the text alone")
    if found.task == "generate" and image is not None:
        warnings.add(image, "ignored: a new picture is generated, from text alone")
    return found


def deadline(services: Services, timeout_s: float | None) -> float:
    """The request's deadline, in seconds of the monotonic clock."""
    return time.monotonic() + (services.settings.request_timeout_s if timeout_s is None else timeout_s)


def admit(services: Services, record: Record, request: Request, warnings: Warnings) -> None:
    """Refuses what can be refused before a picture is decoded, and warns of words that the model does not know.

    Raises:
        UnavailableError, OverloadedError
        InvalidRequestError: no such policy or size, or a priority that the API key may not use.
    """
    services.priorities.check(record.key, request.priority)
    services.worker.check_open(request.task, request.priority)
    info = services.worker.info()
    # The message does not repeat the name: it may be any text.
    if request.acceleration not in info.policies:
        known = ", ".join(info.policies)
        raise InvalidRequestError(
            f"acceleration names no policy of this server; use one of {known}", parameter="acceleration"
        )
    size = (request.width, request.height) if isinstance(request, GenerateRequest) else (None, None)
    if size != (None, None) and size not in info.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in info.sizes)
        raise InvalidRequestError(
            f"size {size[0]}x{size[1]} is not supported by this model; use one of {known}", parameter="size"
        )
    name, text = ("prompt", request.prompt) if isinstance(request, GenerateRequest) else ("question", request.question)
    if unknown := info.unknown_words(text):
        warnings.add(record.names.get(name, name), _unknown(unknown))


def _unknown(words: Sequence[str]) -> str:
    listed = ", ".join(f'"{word[:MAX_WARNING_NAME_CHARACTERS]}"' for word in words[:_LISTED_WORDS])
    more = f" and {len(words) - _LISTED_WORDS} more" if len(words) > _LISTED_WORDS else ""
    return f"the model was never trained on {listed}{more}; its result is a guess"


def fit_answer(
    services: Services, record: Record, question: UnderstandRequest, warnings: Warnings, timeout_s: float | None
) -> UnderstandRequest:
    """The request with `max_new_tokens` reduced to what fits its timeout, as predicted for a request that runs alone;
    warns if it is reduced. OpenAI's clients send a length as an upper bound and read in `finish_reason` that an answer
    was cut, so the request is not refused.

    Args:
        timeout_s: the request's timeout; None takes the server's default.

    Raises:
        UnavailableError
        InvalidRequestError: its cost cannot be predicted.
    """
    seconds = _IN_TIME * (services.settings.request_timeout_s if timeout_s is None else timeout_s)
    fitting = services.worker.longest_answer(question, seconds)
    if fitting == question.max_new_tokens:
        return question
    limit = services.settings.max_request_seconds
    reason = f"it has {seconds:g} s of timeout_s" if seconds < limit else f"a request may take {limit:g} s"
    warnings.replace(record.names["max_new_tokens"], f"reduced to {fitting}, which can be ready in time: {reason}")
    return replace(question, max_new_tokens=fitting)


async def decode(services: Services, record: Record, picture: str | bytes, deadline: float) -> tuple[Pixels, float]:
    """Decodes a picture.

    A large picture is resized to the model's input size, as the model would do it: a queued request stays small.

    Args:
        picture: a file, base64, a data URL or, if the server fetches pictures, an address.
        deadline: of the request, in monotonic seconds.

    Returns:
        The pixels, and the milliseconds that decoding took, without fetching.

    Raises:
        InvalidRequestError, OverloadedError, UnavailableError, DeadlineExceededError
    """
    if isinstance(picture, str) and is_address(picture):
        kept = None if services.store is None else services.store.at(picture)
        if kept is not None:
            picture = kept
        elif services.remote is not None:
            picture = await services.remote.fetch_image(picture)
    begun = time.perf_counter()
    pixels = await services.images.decode(picture, services.worker.info().sizes[0], deadline, client=record.client)
    return pixels, _since(begun)


async def generate(services: Services, record: Record, request: GenerateRequest, encoding: Encoding) -> Generated:
    """Runs a request for pictures.

    Raises:
        ServerError, FlashUError: as `Worker.run`.
    """
    with _accounted(services, record, request) as (on_work, quote):
        result = await services.worker.run(request, on_work, quote=quote)
    return await _generated(services, record, request, result, encoding)


async def generation_events(
    services: Services, record: Record, request: GenerateRequest, encoding: Encoding
) -> AsyncGenerator[Progress | Partial | Generated, None]:
    """As `generate`, event by event; the last one is `Generated`. Closing the generator cancels the request."""
    with _accounted(services, record, request) as (on_work, quote):
        async with contextlib.aclosing(services.worker.events(request, on_work, quote=quote)) as events:
            async for event in events:
                match event:
                    case Progress():
                        yield event
                    case Preview(index=index, image=image):
                        yield Partial(index, as_base64(await _encode(services, record, request, image, encoding)))
                    case Finished(result=result):
                        yield await _generated(services, record, request, result, encoding)
                    case _:
                        pass


async def answer(services: Services, record: Record, request: UnderstandRequest, decoded_ms: float | None) -> Answered:
    """Runs a request for an answer; `decoded_ms` is the time its picture took, None without one.

    Raises:
        ServerError, FlashUError: as `Worker.run`.
    """
    with _accounted(services, record, request) as (on_work, quote):
        result = await services.worker.run(request, on_work, quote=quote)
    return _answered(services, record, result, decoded_ms)


async def answer_events(
    services: Services, record: Record, request: UnderstandRequest, decoded_ms: float | None
) -> AsyncGenerator[Text | Answered, None]:
    """As `answer`, piece by piece of text; the last event is `Answered`. Closing the generator cancels the request."""
    with _accounted(services, record, request) as (on_work, quote):
        async with contextlib.aclosing(services.worker.events(request, on_work, quote=quote)) as events:
            async for event in events:
                match event:
                    case Text():
                        yield event
                    case Finished(result=result):
                        yield _answered(services, record, result, decoded_ms)
                    case _:
                        pass


@contextlib.contextmanager
def _accounted(services: Services, record: Record, request: Request) -> Iterator[tuple[Callable[[int], None], Quote]]:
    """Prices a request and accounts for the work of its API key: reserves the maximum first, releases what did not run.

    Yields:
        What to call with the work that ran, and the price.

    Raises:
        UnavailableError
        InvalidRequestError: the request is more work than the key may ever have.
        RateLimitedError: the key has less work left.
    """
    quote = services.worker.quote(request)
    if record.account is None:
        yield uncounted, quote
        return
    reservation = record.account(quote.work, request.task)
    try:
        yield reservation.add, quote
    finally:
        reservation.settle()


def applied_policy(request: Request) -> str | dict[str, str | float]:
    """The policy as a client can send it: its name, or an object if parameters were changed."""
    return {"policy": request.acceleration, **request.overrides} if request.overrides else request.acceleration


def as_base64(file: bytes) -> str:
    """The file's bytes as base64."""
    return base64.b64encode(file).decode()


async def _generated(
    services: Services, record: Record, request: GenerateRequest, result: Result, encoding: Encoding
) -> Generated:
    if not isinstance(result, GenerateResult):
        raise TypeError(f"the engine answered a generation with {type(result).__name__}")
    begun = time.perf_counter()
    files = tuple(
        await asyncio.gather(*(_encode(services, record, request, image, encoding) for image in result.images))
    )
    timings = {**result.timings, "image_encode": _since(begun)}
    services.metrics.work_done(result, timings)
    record.take("generate", result, timings)
    return Generated(result, files, timings)


def _answered(services: Services, record: Record, result: Result, decoded_ms: float | None) -> Answered:
    if not isinstance(result, UnderstandResult):
        raise TypeError(f"the engine answered a question with {type(result).__name__}")
    decoding = {} if decoded_ms is None else {"image_decode": decoded_ms}
    timings = {**result.timings, **decoding}
    services.metrics.work_done(result, timings)
    record.take("vqa", result, timings)
    return Answered(result, timings)


async def _encode(
    services: Services, record: Record, request: GenerateRequest, image: Pixels, encoding: Encoding
) -> bytes:
    ends = deadline(services, None) if request.deadline is None else request.deadline
    return await services.images.encode(image, encoding.output_format, encoding.quality, ends, client=record.client)


def _since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
