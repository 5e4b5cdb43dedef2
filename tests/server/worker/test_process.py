"""The worker's process with the real model, spoken to over its pipe as the front end does."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashu_core import (
    CancelledError,
    DeadlineExceededError,
    Engine,
    EngineConfig,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    InvalidRequestError,
    Progress,
    PromptTooLongError,
    Text,
    UnderstandRequest,
    UnderstandResult,
    UnitEnded,
)
from server.ipc.child_process import PROGRAM
from server.ipc.framing import PREFIX, decode, encode, lengths
from server.ipc.protocol import (
    FROM_WORKER,
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

LOAD = Load(model=None, engine=EngineConfig(dtype="float32"), acceleration="flashu", log_level="info")
GENEROUS_S = 60.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Process:
    """The child and our end of its pipe."""

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self.pipe, theirs = socket.socketpair()
        self.pipe.settimeout(GENEROUS_S)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
        with theirs:
            self.process = subprocess.Popen(
                [*program, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.PIPE
            )

    def send(self, message: object) -> None:
        for buffer in encode(message):
            self.pipe.sendall(buffer)

    def receive(self) -> Any:
        header, pictures = lengths(self._read(PREFIX.size))
        return decode(self._read(header), self._read(pictures), FROM_WORKER)

    def until(self, kind: type, request_id: str | None = None) -> tuple[Any, list[Any]]:
        """The next message of a kind, and those before it."""
        before: list[Any] = []
        while True:
            message = self.receive()
            if isinstance(message, kind) and request_id in (None, getattr(message, "request_id", None)):
                return message, before
            before.append(message)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self.pipe.recv(length - len(data))
            assert more, f"the process ended with {self.process.wait()}"
            data += more
        return data

    def end(self) -> tuple[int, str]:
        """Its exit status and what it logged."""
        status = self.process.wait(GENEROUS_S)
        assert self.process.stderr is not None
        with self.process.stderr as log:
            return status, log.read().decode()


@contextlib.contextmanager
def started(load: Load | None = LOAD, program: Sequence[str] = PROGRAM) -> Iterator[Process]:
    child = Process(program)
    try:
        if load is not None:
            child.send(load)
        yield child
    finally:
        child.pipe.close()
        child.process.kill()
        child.end() if child.process.stderr and not child.process.stderr.closed else None


@pytest.fixture(scope="module")
def ready() -> Iterator[Process]:
    with started() as child:
        loaded, before = child.until(Loaded)
        assert loaded.info.name == "shapes-64"
        units = [message for message in before if isinstance(message, UnitEnded)]
        assert {unit.stage for unit in units} == {"prefix", "evaluate", "vae_decode", "prefill", "decode"}
        assert all(unit.request_ids == () and unit.memory["weights"] > 0 for unit in units)
        yield child


@pytest.fixture
def request_id() -> Callable[[], str]:
    numbers = itertools.count(time.monotonic_ns())
    return lambda: str(next(numbers))


def test_it_generates_and_answers_as_the_engine_does(ready: Process, embedded: Engine, request_id: Any) -> None:
    request = GenerateRequest(prompt="a red circle", seed=5, num_inference_steps=6, num_images=2, acceleration="exact")
    ready.send(Submit(request_id=(one := request_id()), arrived=0.0, request=request))
    finished, before = ready.until(Finished)
    assert finished.request_id == one
    generated, expected = finished.result, embedded.generate(request)
    assert isinstance(generated, GenerateResult)
    assert (finished.request_id, generated.seeds, generated.schedule) == (one, expected.seeds, expected.schedule)
    for mine, theirs in zip(generated.images, expected.images, strict=True):
        assert np.abs(mine.astype(int) - theirs.astype(int)).max() <= 1  # its neurons may be in another order
    assert [message for message in before if isinstance(message, Progress)] == [
        Progress(one, step, 5) for step in range(1, 6)
    ]
    question = UnderstandRequest(
        question="what is it?", image=generated.images[0], max_new_tokens=8, acceleration="exact"
    )
    ready.send(Submit(request_id=(two := request_id()), arrived=0.0, request=question))
    finished, before = ready.until(Finished)
    assert isinstance(finished.result, UnderstandResult)
    assert finished.result.answer == embedded.understand(question).answer
    assert "".join(message.text for message in before if isinstance(message, Text)) == finished.result.answer
    assert finished.request_id == two


def test_a_refusal_keeps_its_class_and_harms_nobody(ready: Process, request_id: Any) -> None:
    ready.send(
        Submit(
            request_id=(good := request_id()),
            arrived=0.0,
            request=GenerateRequest(prompt="a", num_inference_steps=4, acceleration="exact"),
        )
    )
    ready.send(
        Submit(
            request_id=(bad := request_id()),
            arrived=0.0,
            request=GenerateRequest(prompt="a red circle " * 500, acceleration="exact"),
        )
    )
    refused, _ = ready.until(Refused)
    assert refused.request_id == bad
    assert isinstance(refused.error, InvalidRequestError)
    assert refused.error.parameter == "prompt"
    assert ready.until(Finished)[0].request_id == good


def test_validating_runs_nothing(ready: Process, request_id: Any) -> None:
    ready.send(
        Validate(
            request_id=(good := request_id()), request=UnderstandRequest(question="what is it?", acceleration="exact")
        )
    )
    ready.send(
        Validate(
            request_id=(bad := request_id()),
            request=UnderstandRequest(question="what is it? " * 500, acceleration="exact"),
        )
    )
    refused, before = ready.until(Refused)
    assert before == [Valid(request_id=good)]
    assert (refused.request_id, type(refused.error), refused.error.parameter) == (bad, PromptTooLongError, "question")


def test_what_is_too_late_is_refused_before_anything_is_done_for_it(ready: Process, request_id: Any) -> None:
    # Its prompt is too long, too, which nobody finds out.
    late = GenerateRequest(
        prompt="a red circle " * 500, num_inference_steps=1000, deadline=time.monotonic() - 0.001, acceleration="exact"
    )
    ready.send(Submit(request_id=(one := request_id()), arrived=0.0, request=late))
    refused, _ = ready.until(Refused)
    assert refused.request_id == one
    assert isinstance(refused.error, DeadlineExceededError)


def test_a_flood_of_commands_does_not_stall_active_requests(toy: Any) -> None:
    engine = toy()
    with started(program=engine.program) as child:
        child.until(Loaded)
        child.send(
            Submit(
                request_id="1",
                arrived=0.0,
                request=GenerateRequest(prompt="active", num_inference_steps=1000, acceleration="exact"),
            )
        )
        child.until(Progress)
        engine.hold()
        for number in range(2, 1002):
            refused = GenerateRequest(prompt="word " * 300, acceleration="exact")
            child.send(Submit(request_id=str(number), arrived=0.0, request=refused))
        child.send(
            Submit(
                request_id="2000", arrived=0.0, request=UnderstandRequest(question="after them", acceleration="exact")
            )
        )
        time.sleep(0.5)  # until all are read
        engine.release()
        child.until(Finished, "2000")
    log = (engine.folder / "log").read_text().splitlines()
    flood = log[next(place for place, line in enumerate(log) if "word" in line) :]
    in_a_row = longest = 0
    for line in flood:
        in_a_row = 0 if '"step"' in line else in_a_row + ("word" in line)
        longest = max(longest, in_a_row)
    assert sum("word" in line for line in flood) == 1000
    assert 0 < longest <= 64


def test_shutting_down_waits_for_no_flood(toy: Any) -> None:
    engine = toy()
    with started(program=engine.program) as child:
        child.until(Loaded)
        child.send(
            Submit(
                request_id="1",
                arrived=0.0,
                request=GenerateRequest(prompt="active", num_inference_steps=1000, acceleration="exact"),
            )
        )
        child.until(Progress)
        engine.hold()
        for number in range(2, 1002):
            child.send(
                Submit(
                    request_id=str(number),
                    arrived=0.0,
                    request=GenerateRequest(prompt="word " * 300, acceleration="exact"),
                )
            )
        child.send(Shutdown())
        time.sleep(0.5)
        engine.release()
        assert child.end()[0] == 0
    assert len([entry for entry in engine.seen if entry.text.startswith("word")]) < 500


def test_cancelling_takes_effect_at_the_next_unit(ready: Process, request_id: Any) -> None:
    ready.send(
        Submit(
            request_id=(one := request_id()),
            arrived=0.0,
            request=GenerateRequest(prompt="a", num_inference_steps=1000, acceleration="exact"),
        )
    )
    ready.until(Progress)
    ready.send(Cancel(request_id=one))
    ready.send(Cancel(request_id=request_id()))  # of nobody
    failed, before = ready.until(Failed)
    assert failed.request_id == one
    assert isinstance(failed.error, CancelledError)
    assert sum(isinstance(message, Progress) for message in before) < 900


def test_a_deadline_is_held_on_the_shared_clock(ready: Process, request_id: Any) -> None:
    past = GenerateRequest(prompt="a", num_inference_steps=1000, deadline=time.monotonic() + 0.3, acceleration="exact")
    ready.send(Submit(request_id=request_id(), arrived=0.0, request=past))
    failed, _ = ready.until(Failed)
    assert isinstance(failed.error, DeadlineExceededError)


def test_signals_of_the_terminal_are_left_to_the_front_end(ready: Process, request_id: Any) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        ready.process.send_signal(name)
    ready.send(
        Submit(
            request_id=request_id(),
            arrived=0.0,
            request=GenerateRequest(prompt="a", num_inference_steps=4, acceleration="exact"),
        )
    )
    assert ready.until(Finished)
    assert ready.process.poll() is None


@linux
def test_it_listens_nowhere_and_shares_no_memory(ready: Process) -> None:
    proc = Path(f"/proc/{ready.process.pid}")
    sockets = {link.readlink().name for link in (proc / "fd").iterdir() if "socket:" in str(link.readlink())}
    inodes = {name.removeprefix("socket:[").removesuffix("]") for name in sockets}
    assert inodes
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = proc / "net" / table
        held = {line.split()[9] for line in path.read_text().splitlines()[1:]} if path.exists() else set()
        assert not inodes & held
    assert "/dev/shm" not in (proc / "maps").read_text()


def test_it_ends_at_once_when_the_pipe_does() -> None:
    with started() as child:
        child.until(Loaded)
        child.send(
            Submit(
                request_id="1",
                arrived=0.0,
                request=GenerateRequest(
                    prompt="canary prompt", num_inference_steps=1000, num_images=8, acceleration="exact"
                ),
            )
        )
        child.until(Progress)
        child.pipe.close()
        status, log = child.end()
        assert status == 0
        assert "canary" not in log


def test_it_ends_even_while_it_loads() -> None:
    with started() as child:
        child.pipe.close()
        assert child.end()[0] == 0


def test_shutdown_ends_it_in_order() -> None:
    with started() as child:
        child.until(Loaded)
        child.send(
            Submit(
                request_id="1",
                arrived=0.0,
                request=GenerateRequest(prompt="a", num_inference_steps=1000, acceleration="exact"),
            )
        )
        child.until(Progress)
        child.send(Shutdown())
        assert child.end()[0] == 0


def test_a_broken_frame_ends_it_with_an_error() -> None:
    with started(None) as child:
        child.pipe.sendall(b"canary" * 100)
        status, log = child.end()
        assert status == 1
        assert "broken frame" in log and "canary" not in log


def test_anything_before_what_to_load_ends_it() -> None:
    with started(None) as child:
        child.send(Cancel(request_id="1"))
        status, log = child.end()
        assert (status, "not what to load" in log) == (1, True)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"model": "/nowhere/at/all"}, "nowhere"), ({"acceleration": "warp"}, "use one of: exact, flashu")],
)
def test_a_failed_load_is_reported(change: dict[str, Any], word: str) -> None:
    with started(dataclasses.replace(LOAD, **change)) as child:
        failed, _ = child.until(LoadFailed)
        assert word in failed.message
        assert child.end()[0] == 1
