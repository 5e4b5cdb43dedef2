"""Every message comes back as it was; whatever else comes is a `WireError` and nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flashu_core import (
    Begun,
    DenoisingStep,
    EngineConfig,
    Failed,
    Finished,
    FlashUError,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    ModelInfo,
    Preview,
    Progress,
    Stage,
    Text,
    TokenLogprob,
    TokenLogprobs,
    UnderstandRequest,
    UnderstandResult,
    UnitCost,
    UnitCosts,
    UnitEnded,
)
from server.ipc import framing as wire
from server.ipc.framing import PREFIX, WireError, decode_frame, encode
from server.ipc.protocol import (
    ERRORS,
    FROM_WORKER,
    TAGS,
    TO_WORKER,
    Cancel,
    Load,
    Loaded,
    LoadFailed,
    Refused,
    Shutdown,
    Submit,
    Valid,
    Validate,
)


def reals(*bounds: float, **options: Any) -> st.SearchStrategy[float]:
    # The tests' conftest flushes denormals, which hypothesis refuses to generate then.
    return st.floats(*bounds, **{"allow_nan": False, "allow_infinity": False, "allow_subnormal": False, **options})


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # NUL and all but lone surrogates
COUNT = st.integers(0, 2**63 - 1)
NUMBER = st.one_of(st.integers(-(2**63), 2**63 - 1), reals())
PICTURE = arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)))
TIMES = st.dictionaries(TEXT, NUMBER, max_size=3)
COUNTS = st.dictionaries(TEXT, COUNT, max_size=3)
DEADLINE = st.none() | reals(0, 1e9)
SIDE = st.integers(1, 4096)

GENERATE = st.builds(
    lambda size, images, previews, **rest: GenerateRequest(
        width=size and size[0],
        height=size and size[1],
        num_images=images,
        previews=previews if images == 1 else 0,  # they are of a single picture
        **rest,
    ),
    size=st.none() | st.tuples(SIDE, SIDE),
    prompt=TEXT,
    negative_prompt=TEXT,
    images=st.integers(1, 8),
    num_inference_steps=st.none() | st.integers(2, 1000),
    guidance_scale=st.none() | reals(0, 100),
    seed=st.none() | COUNT,
    acceleration=TEXT,
    overrides=TIMES,
    previews=st.integers(0, 3),
    priority=st.integers(-1000, 1000),
    deadline=DEADLINE,
)
UNDERSTAND = st.builds(
    UnderstandRequest,
    question=TEXT,
    image=st.none() | PICTURE,
    stop=st.lists(TEXT.filter(bool), max_size=3).map(tuple),
    logprobs=st.none() | st.integers(0, 20),
    max_new_tokens=st.integers(1, 4096),
    temperature=reals(0, 10),
    top_p=reals(0.001, 1),
    seed=st.none() | COUNT,
    acceleration=TEXT,
    overrides=TIMES,
    priority=st.integers(-1000, 1000),
    deadline=DEADLINE,
)
STEP = st.builds(
    DenoisingStep,
    backbone=st.sampled_from(["full", "pruned", "not_needed"]),
    head=st.sampled_from(["computed", "reused"]),
    layers_skipped=COUNT,
)
PICTURES = st.builds(
    GenerateResult,
    images=st.lists(PICTURE, max_size=3).map(tuple),
    seeds=st.lists(COUNT, max_size=3).map(tuple),
    num_inference_steps=COUNT,
    guidance_scale=NUMBER,
    acceleration=TEXT,
    schedule=COUNTS,
    steps=st.lists(STEP, max_size=4).map(tuple),
    prompt_tokens=COUNT,
    timings=TIMES,
)
LOGPROB = st.builds(
    TokenLogprob, token=TEXT, bytes=st.lists(st.integers(0, 255), max_size=4).map(tuple), logprob=reals(-9999, 0)
)
LOGPROBS = st.lists(
    st.builds(TokenLogprobs, chosen=LOGPROB, top=st.lists(LOGPROB, max_size=3).map(tuple)), max_size=3
).map(tuple)
ANSWER = st.builds(
    UnderstandResult,
    answer=TEXT,
    finish_reason=st.sampled_from(["stop", "length"]),
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    acceleration=TEXT,
    schedule=COUNTS,
    timings=TIMES,
    logprobs=LOGPROBS,
)
ERROR = st.one_of(
    st.builds(InvalidRequestError, TEXT, parameter=st.none() | TEXT),
    *(st.builds(kind, TEXT) for kind in ERRORS.values()),
)
INFO = st.builds(
    ModelInfo,
    name=TEXT,
    parameters=COUNT,
    dtype=TEXT,
    device=TEXT,
    sizes=st.lists(st.tuples(SIDE, SIDE), max_size=3).map(tuple),
    num_inference_steps=COUNT,
    guidance_scale=NUMBER,
    policies=st.lists(TEXT, max_size=3).map(tuple),
    max_prompt_tokens=COUNT,
    known_words=st.lists(TEXT, max_size=3).map(tuple),
    details=st.dictionaries(TEXT, TEXT, max_size=2),
)
COST = st.builds(UnitCost, reals(0, 1e6), reals(0, 1e6))
COSTS = st.builds(
    UnitCosts,
    **{
        field.name: COST
        for field in dataclasses.fields(UnitCosts)
        if field.name not in ("num_inference_steps", "guidance_scale", "pixels", "policies")
    },
    num_inference_steps=st.integers(2, 1000),
    guidance_scale=reals(0, 100),
    pixels=st.integers(1, 10**9),
    policies=st.dictionaries(TEXT, st.dictionaries(TEXT, TIMES, max_size=2), max_size=2),
)
ENGINE = st.builds(EngineConfig, device=TEXT, dtype=st.just("float32"), max_batch=st.integers(1, 9))
MESSAGES: dict[type, st.SearchStrategy[Any]] = {
    Load: st.builds(
        Load,
        model=st.none() | TEXT,
        engine=ENGINE,
        acceleration=TEXT,
        log_level=TEXT,
        log_format=st.sampled_from(["json", "text"]),
    ),
    Submit: st.builds(Submit, request_id=TEXT, request=GENERATE | UNDERSTAND, arrived=reals(0, 1e9)),
    Validate: st.builds(Validate, request_id=TEXT, request=GENERATE | UNDERSTAND),
    Cancel: st.builds(Cancel, request_id=TEXT),
    Shutdown: st.builds(Shutdown),
    Loaded: st.builds(Loaded, info=INFO, costs=COSTS),
    LoadFailed: st.builds(LoadFailed, message=TEXT),
    Begun: st.builds(Begun, request_id=TEXT),
    Valid: st.builds(Valid, request_id=TEXT),
    Refused: st.builds(Refused, request_id=TEXT, error=st.none() | ERROR),
    UnitEnded: st.builds(
        UnitEnded,
        stage=st.sampled_from(get_args(Stage)),
        rows=COUNT,
        seconds=reals(0, 1e6),
        memory=st.dictionaries(TEXT, COUNT, max_size=3),
        request_ids=st.lists(TEXT, max_size=3).map(tuple),
    ),
    Progress: st.builds(Progress, TEXT, COUNT, COUNT),
    Preview: st.builds(Preview, TEXT, COUNT, PICTURE),
    Text: st.builds(Text, TEXT, TEXT, LOGPROBS),
    Finished: st.builds(Finished, TEXT, PICTURES | ANSWER),
    Failed: st.builds(Failed, TEXT, ERROR),
}
ALL = (*TO_WORKER, *FROM_WORKER)


def same(one: Any, other: Any) -> bool:
    """Equality that looks into arrays and errors, and knows 1 from 1.0 and True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool((one == other).all())
    if isinstance(one, FlashUError):
        return str(one) == str(other) and getattr(one, "parameter", None) == getattr(other, "parameter", None)
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def joined(message: object) -> bytes:
    return b"".join(bytes(buffer) for buffer in encode(message))


def test_every_message_has_a_strategy_and_every_tag_a_use() -> None:
    assert set(MESSAGES) == set(ALL)
    assert set(TAGS.values()) >= set(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_messages_come_back_as_they_were(kind: type) -> None:
    @settings(max_examples=60, deadline=None)
    @given(MESSAGES[kind])
    def check(message: Any) -> None:
        assert same(decode_frame(joined(message), ALL), message)

    check()


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_frame(data, ALL)
    with pytest.raises(WireError):
        decode_frame(PREFIX.pack(len(data), 0) + data, ALL)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | NUMBER | TEXT | st.sampled_from(sorted(TAGS)),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["tag", "request_id", "request", "image", "error", "text", "at"]), inner)
        ),
    ),
    st.binary(max_size=30),
)
def test_other_json_is_a_wire_error_or_a_message(value: Any, pictures: bytes) -> None:
    text = json.dumps(value).encode()
    try:
        message = decode_frame(PREFIX.pack(len(text), len(pictures)) + text + pictures, ALL)
    except WireError:
        return
    assert same(decode_frame(joined(message), ALL), message)


@settings(max_examples=300, deadline=None)
@given(st.one_of(*MESSAGES.values()), st.data())
def test_damaged_frames_are_a_wire_error_or_a_message(message: Any, data: st.DataObject) -> None:
    frame = bytearray(joined(message))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(WireError):
        decode_frame(bytes(frame), ALL)
    with pytest.raises(WireError):
        decode_frame(joined(message)[: data.draw(st.integers(0, len(frame) - 1))], ALL)
    with pytest.raises(WireError):
        decode_frame(joined(message) + b"x", ALL)


PICTURE_OF_ONE = np.zeros((1, 1, 3), np.uint8)
SUBMIT = Submit(
    request_id="1", arrived=0.0, request=UnderstandRequest(question="a", image=PICTURE_OF_ONE, acceleration="exact")
)


def test_pictures_are_not_copied_and_slices_are_whole() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    frame = encode(
        Submit(request_id="1", arrived=0.0, request=UnderstandRequest(question="a", image=image, acceleration="exact"))
    )
    assert np.shares_memory(np.frombuffer(frame[1], np.uint8), image)
    flipped = Submit(
        request_id="1",
        arrived=0.0,
        request=UnderstandRequest(question="a", image=image[::2, ::-1], acceleration="exact"),
    )
    back = decode_frame(joined(flipped), TO_WORKER)
    assert isinstance(back, Submit) and isinstance(back.request, UnderstandRequest)
    assert (back.request.image == image[::2, ::-1]).all()


async def test_a_stream_is_read_message_by_message() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(joined(Cancel(request_id="1")) + joined(SUBMIT) + joined(Shutdown())[:-1])
    stream.feed_eof()
    assert await wire.receive(stream, TO_WORKER) == Cancel(request_id="1")
    assert same(await wire.receive(stream, TO_WORKER), SUBMIT)
    with pytest.raises(WireError, match="within"):
        await wire.receive(stream, TO_WORKER)
    ended = asyncio.StreamReader()
    ended.feed_eof()
    assert await wire.receive(ended, TO_WORKER) is None


def test_latents_stay_in_their_process() -> None:
    result = GenerateResult(
        images=(),
        seeds=(),
        num_inference_steps=2,
        guidance_scale=1.0,
        acceleration="exact",
        schedule={},
        steps=(),
        prompt_tokens=2,
        timings={},
        latents=np.ones((1, 4, 2, 2), np.float32),
    )
    frame = encode(Finished("a", result))
    assert b"latents" not in b"".join(frame)
    found = decode_frame(b"".join(frame), FROM_WORKER)
    assert isinstance(found, Finished) and isinstance(found.result, GenerateResult) and found.result.latents is None
