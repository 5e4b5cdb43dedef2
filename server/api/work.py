"""The work behind the routes, native and OpenAI's alike: what is checked before it, the worker's results made into
files and timings, at once or on the way. It knows the worker and the image processes, no bodies and no answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace

from flashu_core import (
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    Pixels,
    Preview,
    Progress,
    Request,
    Result,
    Task,
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
from server.request_record import Record

_IN_TIME = 0.9  # of the time that an answer has: a picture is decoded and others are waited for in the rest
_ALL_IN_WORDS = "describe the whole picture without sending one, or ask for text to have the picture looked at"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures become files; `quality` 0-100 is of jpeg and webp."""

    output_format: OutputFormat
    quality: int


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
    """The task of a request, with a warning where what was sent and what is wished for do not go together.

    Args:
        text: the field that the text came in, for errors and warnings.
        image: likewise of a picture that came with it.

    Raises:
        UnsupportedValueError: it wishes for what the model cannot do.
    """
    found = classify(request)
    if found.refused:
        raise UnsupportedValueError(text, f"{found.reason}, and it draws from text alone; {_ALL_IN_WORDS}")
    if found.no_image:
        warnings.add(text, "it speaks of a picture and none was sent; the answer is from the text alone")
    if found.task == "generate" and image is not None:
        warnings.add(image, "ignored: a new picture is drawn, from text alone")
    return found


def deadline(services: Services, timeout_s: float | None) -> float:
    """The monotonic second after which the result is of no use."""
    return time.monotonic() + (services.settings.request_timeout_s if timeout_s is None else timeout_s)


def admit(
    services: Services,
    record: Record,
    task: Task,
    policy: str,
    *,
    priority: int = 0,
    size: tuple[int, int] | None = None,
) -> None:
    """Refuses what can be refused at once, before any picture is decoded.

    Raises:
        UnavailableError, OverloadedError
        InvalidRequestError: there is no such policy or size, or the key may not have that priority.
    """
    services.priorities.check(record.key, priority)
    services.worker.check_open(task, priority)
    info = services.worker.info()
    # The name is not repeated: it may be anything.
    if policy not in info.policies:
        known = ", ".join(info.policies)
        raise InvalidRequestError(f"acceleration names no policy of this server: {known}", parameter="acceleration")
    if size is not None and size not in info.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in info.sizes)
        raise InvalidRequestError(
            f"size {size[0]}x{size[1]} is not supported by this model; it draws {known}", parameter="size"
        )


def fit_answer(
    services: Services, record: Record, question: UnderstandRequest, warnings: Warnings, timeout_s: float | None
) -> UnderstandRequest:
    """The request with as many tokens as can be ready in time, by the forecast for one that runs alone; warns where
    that is less than it asks for. OpenAI's clients send a length as a bound, and read in `finish_reason` that an
    answer was cut, so it is not refused.

    Args:
        timeout_s: that it has; None is the server's default.

    Raises:
        UnavailableError
        InvalidRequestError: nobody can price it.
    """
    seconds = _IN_TIME * (services.settings.request_timeout_s if timeout_s is None else timeout_s)
    fitting = services.worker.longest_answer(question, seconds)
    if fitting == question.max_new_tokens:
        return question
    limit = services.settings.max_request_seconds
    reason = f"it has {seconds:g} s of timeout_s" if seconds < limit else f"a request may take {limit:g} s"
    warnings.replace(record.names["max_new_tokens"], f"cut to {fitting}, which can be ready in time: {reason}")
    return replace(question, max_new_tokens=fitting)


async def decode(services: Services, record: Record, picture: str | bytes, deadline: float) -> tuple[Pixels, float]:
    """The pixels of a sent file, base64, data URL or, where they are allowed, address, and the milliseconds that took
    (fetching is not among them). Of a large picture they are those that the model reads, made as it would make them
    itself: what waits in a queue is to be small.

    Args:
        deadline: of the request, in monotonic seconds.

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


async def draw(services: Services, record: Record, request: GenerateRequest, encoding: Encoding) -> Generated:
    """The pictures of a request.

    Raises:
        ServerError, FlashUError: as the worker's `run`.
    """
    with _accounted(services, record, request) as on_work:
        result = await services.worker.run(request, on_work)
    return await _drawn(services, record, request, result, encoding)


async def generation_events(
    services: Services, record: Record, request: GenerateRequest, encoding: Encoding
) -> AsyncGenerator[Progress | Partial | Generated, None]:
    """As `draw`, told as it happens; the last one is `Generated`. Closing the generator cancels the request."""
    with _accounted(services, record, request) as on_work:
        async with contextlib.aclosing(services.worker.events(request, on_work)) as events:
            async for event in events:
                match event:
                    case Progress():
                        yield event
                    case Preview(index=index, image=image):
                        yield Partial(index, as_base64(await _encode(services, record, request, image, encoding)))
                    case Finished(result=result):
                        yield await _drawn(services, record, request, result, encoding)
                    case _:
                        pass


async def answer(services: Services, record: Record, request: UnderstandRequest, decoded_ms: float | None) -> Answered:
    """The answer to a request; `decoded_ms` is what its picture took, None where there was none.

    Raises:
        ServerError, FlashUError: as the worker's `run`.
    """
    with _accounted(services, record, request) as on_work:
        result = await services.worker.run(request, on_work)
    return _answered(services, record, result, decoded_ms)


async def answer_events(
    services: Services, record: Record, request: UnderstandRequest, decoded_ms: float | None
) -> AsyncGenerator[Text | Answered, None]:
    """As `answer`, in pieces of text; the last one is `Answered`. Closing the generator cancels the request."""
    with _accounted(services, record, request) as on_work:
        async with contextlib.aclosing(services.worker.events(request, on_work)) as events:
            async for event in events:
                match event:
                    case Text():
                        yield event
                    case Finished(result=result):
                        yield _answered(services, record, result, decoded_ms)
                    case _:
                        pass


@contextlib.contextmanager
def _accounted(services: Services, record: Record, request: Request) -> Iterator[Callable[[int], None]]:
    """Counts the work that is run for a key: all that may run is reserved first.

    Raises:
        InvalidRequestError: the key can never have so much work.
        RateLimitedError: it has less work left.
    """
    if record.account is None:
        yield lambda _: None
        return
    task: Task = "generate" if isinstance(request, GenerateRequest) else "vqa"
    reservation = record.account(services.worker.quote(request).work, task)
    try:
        yield reservation.add
    finally:
        reservation.settle()


def applied_policy(request: Request) -> str | dict[str, str | float]:
    """The policy as a client may name it: by name, or an object where parameters were changed."""
    return {"policy": request.acceleration, **request.overrides} if request.overrides else request.acceleration


def as_base64(file: bytes) -> str:
    """The file's bytes as a client reads them in JSON."""
    return base64.b64encode(file).decode()


async def _drawn(
    services: Services, record: Record, request: GenerateRequest, result: Result, encoding: Encoding
) -> Generated:
    if not isinstance(result, GenerateResult):
        raise TypeError(f"the engine answered a drawing with {type(result).__name__}")
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
