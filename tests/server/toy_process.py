"""The worker's program with a toy engine in place of the model: it generates seeded noise, names a picture's mean
colour, and harms its process where the prompt says so. It runs as `python toy_process.py FOLDER STEP_S DESCRIPTOR`; the
folder is how a test holds it (`hold`, `hold-harm`, `hold-loading`, `slow-loading`, `no-loading`, `no-memory`) and reads
what it did (`log`)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from flashu_core import (
    Begun,
    CancelledError,
    ConfigurationError,
    DeadlineExceededError,
    DenoisingStep,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    Progress,
    PromptTooLongError,
    Request,
    Stage,
    Text,
    UnderstandResult,
    UnitCost,
    UnitCosts,
    UnitEnded,
)
from server.worker.process import main

_HARMS = ("explode", "exit", "garble", "loop", "SIGKILL", "SIGSEGV", "SIGSTOP")
SECRET = "/secret/path/of/weights.bin"


class ToyEngine:
    """Each step runs one denoising step, or one word, of one request, in turn."""

    def __init__(self, folder: Path, step_s: float, descriptor: int) -> None:
        self.info = ModelInfo(
            name="toy",
            parameters=1,
            dtype="float32",
            device="cpu",
            sizes=((64, 64), (96, 64)),
            num_inference_steps=5,
            guidance_scale=5.0,
            policies=("exact", "flashu"),
            max_prompt_tokens=256,
            known_words=tuple((folder / "known-words").read_text().split()),
        )
        cost = UnitCost(step_s, 0.0)
        self.costs = UnitCosts(
            prefix=UnitCost(0.0, 0.0),
            backbone_full=cost,
            backbone_pruned=cost,
            backbone_not_needed=cost,
            head_computed=UnitCost(0.0, 0.0),
            head_reused=UnitCost(0.0, 0.0),
            vae_decode=UnitCost(0.0, 0.0),
            prefill=cost,
            decode=cost,
            num_inference_steps=self.info.num_inference_steps,
            guidance_scale=self.info.guidance_scale,
            pixels=64 * 64,
        )
        self._folder = folder
        self._step_s = step_s
        self._descriptor = descriptor
        self._active: dict[str, tuple[Request, int]] = {}
        self._arrived: dict[str, float] = {}
        self._waited: dict[str, float] = {}  # milliseconds
        self._unwanted: set[str] = set()

    @property
    def idle(self) -> bool:
        return not self._active

    @property
    def memory(self) -> dict[str, int]:
        return {"weights": 4, "caches": 100 * len(self._active)}

    def warm_up(self, on_unit: Callable[[UnitEnded], None]) -> None:
        self._wait_while("hold-loading")
        if (self._folder / "no-loading").exists():
            raise ConfigurationError("acceleration is 'warp'; use exact")
        if (self._folder / "no-memory").exists():
            self._log("no memory")
            raise OSError(SECRET)
        on_unit(self._unit("evaluate"))
        while (self._folder / "slow-loading").exists():
            on_unit(self._unit("evaluate"))
        self._log("warm")

    def validate(self, request: Request) -> None:
        self._log("validate", text=request.prompt if isinstance(request, GenerateRequest) else request.question)
        self._check(request)

    def _check(self, request: Request) -> None:
        text = request.prompt if isinstance(request, GenerateRequest) else request.question
        if text == "refuse":
            raise ValueError(SECRET)
        if len(text.split()) > self.info.max_prompt_tokens:
            name = "prompt" if isinstance(request, GenerateRequest) else "question"
            raise PromptTooLongError(f"the {name} is too long; shorten it", parameter=name)

    def submit(self, request: Request, *, request_id: str, arrived: float | None = None) -> None:
        text = request.prompt if isinstance(request, GenerateRequest) else request.question
        is_generation = isinstance(request, GenerateRequest)
        self._log("submit", text=text, seed=request.seed, temperature=None if is_generation else request.temperature)
        self._check(request)
        self._active[request_id] = (request, 0)
        self._arrived[request_id] = time.monotonic() if arrived is None else arrived
        self._log("active", count=len(self._active))

    def cancel(self, request_id: str) -> None:
        if request_id in self._active:
            self._log("cancel", request_id=request_id)
            self._unwanted.add(request_id)

    def step(self) -> list[Event]:
        if self.idle:
            return []
        failed = [Failed(one, CancelledError("cancelled")) for one in self._active if one in self._unwanted]
        now = time.monotonic()
        for one, (wanted, _) in self._active.items():
            if one not in self._unwanted and wanted.deadline is not None and wanted.deadline <= now:
                failed.append(Failed(one, DeadlineExceededError("too late")))
        for event in failed:
            del self._active[event.request_id]
        self._unwanted.clear()
        if self.idle:
            return [*failed]
        identity = next(iter(self._active))
        request, done = self._active[identity]
        text = request.prompt if isinstance(request, GenerateRequest) else request.question
        if identity not in self._waited:
            self._log("begin", text=text)
            self._waited[identity] = (time.monotonic() - self._arrived[identity]) * 1000
            return [*failed, Begun(identity)]
        del self._active[identity]
        self._wait_while("hold")
        self._harm(text)
        is_generation = isinstance(request, GenerateRequest)
        unit = self._unit("evaluate" if is_generation else "decode" if done else "prefill", identity)
        new = (
            _generate(identity, request, done, self._waited[identity])
            if isinstance(request, GenerateRequest)
            else _name(identity, request, done, self._waited[identity])
        )
        self._log("step")
        if not isinstance(new[-1], Finished):
            self._active[identity] = (request, done + 1)
        return [*failed, unit, *new]

    def _unit(self, stage: Stage, *request_ids: str) -> UnitEnded:
        begun = time.monotonic()
        self._wait_while("hold")
        time.sleep(self._step_s)
        seconds = time.monotonic() - begun
        return UnitEnded(stage=stage, rows=1, seconds=seconds, memory=self.memory, request_ids=request_ids)

    def _harm(self, text: str) -> None:
        if text in _HARMS:
            self._wait_while("hold-harm")
        match text:
            case "chatter":
                os.write(2, b"chatter of a library\n" * 1000)
            case "warn":
                warnings.warn("a warning", stacklevel=1)
            case "explode":
                raise RuntimeError(SECRET)
            case "exit":
                os._exit(3)
            case "garble":
                os.write(self._descriptor, b"\xff" * 100)
            case "loop":
                while True:
                    pass
            case "SIGKILL" | "SIGSEGV" | "SIGSTOP":
                os.kill(os.getpid(), signal.Signals[text])

    def _wait_while(self, name: str) -> None:
        while (self._folder / name).exists():
            time.sleep(0.002)

    def _log(self, what: str, **fields: Any) -> None:
        with (self._folder / "log").open("a") as file:
            file.write(json.dumps({"what": what, **fields}) + "\n")


def _generate(identity: str, request: GenerateRequest, done: int, waited: float) -> list[Event]:
    of = (request.num_inference_steps or 5) - 1
    progress = Progress(identity, done + 1, of)
    if done + 1 < of:
        return [progress]
    seed = 0 if request.seed is None else request.seed
    seeds = tuple(seed + index for index in range(request.num_images))
    text = zlib.crc32(request.prompt.encode())
    shape = (request.height or 64, request.width or 64, 3)
    result = GenerateResult(
        images=tuple(np.random.default_rng([text, s]).integers(0, 256, shape).astype(np.uint8) for s in seeds),
        seeds=seeds,
        num_inference_steps=of + 1,
        guidance_scale=5.0 if request.guidance_scale is None else request.guidance_scale,
        acceleration=request.acceleration,
        schedule={"evaluations": of},
        steps=(DenoisingStep(backbone="full", head="computed"),) * of,
        prompt_tokens=len(request.prompt.split()),
        timings={"backbone": 1.0 * of, "queue": waited, "total": 1.0 * of},
    )
    return [progress, Finished(identity, result)]


def _name(identity: str, request: Any, done: int, waited: float) -> list[Event]:
    if request.image is None:
        words = ["no", "picture"]
    else:
        height, width = request.image.shape[:2]
        words = [f"{width}x{height}", *(str(round(value)) for value in request.image.mean((0, 1)))]
    cut = len(words) > request.max_new_tokens
    words = words[: request.max_new_tokens]
    text = Text(identity, " " * (done > 0) + words[done])
    if done + 1 < len(words):
        return [text]
    result = UnderstandResult(
        answer=" ".join(words),
        finish_reason="length" if cut else "stop",
        prompt_tokens=7,
        completion_tokens=4,
        acceleration=request.acceleration,
        schedule={"prefills": 1},
        timings={"prefill": 1.0, "queue": waited, "time_to_first_token": 1.0, "total": 1.0},
    )
    return [text, Finished(identity, result)]


if __name__ == "__main__":
    main(int(sys.argv[3]), lambda _: ToyEngine(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
