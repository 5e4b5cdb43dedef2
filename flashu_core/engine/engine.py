"""The engine: all that a server sees. It loads a checkpoint, takes requests, and advances them one unit at a step.

Not thread-safe: one thread owns an engine. It knows no HTTP and no queue limits.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flashu_core.acceleration.calibration import CALIBRATION_PROMPT, Calibration, Sample, is_there
from flashu_core.acceleration.flops import describe
from flashu_core.acceleration.neurons import NeuronPaths
from flashu_core.acceleration.policies import with_own
from flashu_core.checkpoint.load import Checkpoint, load_configured
from flashu_core.config import EngineConfig
from flashu_core.engine import calibrate
from flashu_core.engine.context import Parts, model_info
from flashu_core.engine.generation import GenerateRunner, GenerateSequence
from flashu_core.engine.graphs import use_graphs
from flashu_core.engine.latency_model import UnitCosts
from flashu_core.engine.runner import Runner
from flashu_core.engine.scheduler import Bound, Scheduler, Unit
from flashu_core.engine.sequential import Sequential
from flashu_core.engine.understanding import UnderstandRunner, UnderstandSequence
from flashu_core.engine.warmup import warm_up
from flashu_core.errors import (
    CalibrationError,
    CancelledError,
    DeadlineExceededError,
    FlashUError,
    InvalidRequestError,
)
from flashu_core.timing import Spans, wait_for
from flashu_core.types import (
    Begun,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    Request,
    RequestEvent,
    Result,
    Stage,
    Task,
    UnderstandRequest,
    UnderstandResult,
    UnitEnded,
)

_log = logging.getLogger("flashu.engine")
AnySequence = GenerateSequence | UnderstandSequence
OnUnit = Callable[[UnitEnded], None]


class Engine:
    """A loaded model and the requests it is working on.

    Args:
        checkpoint: the weights, on the device they will run on.
        config: how to run.
        clock: monotonic seconds, against which deadlines are held and by which units are measured.

    Attributes:
        costs: what units cost on this machine, once it is warm.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: EngineConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.info = model_info(checkpoint, config)
        self.costs: UnitCosts | None = None
        policies = with_own(checkpoint.model.config.policies)
        self._parts = Parts(checkpoint.model, checkpoint.vae, checkpoint.tokenizer, self.info, policies, clock)
        self._checkpoint = checkpoint
        self._clock = clock
        self._device = checkpoint.model.device
        self._weights = sum(
            tensor.nbytes
            for part in (checkpoint.model, checkpoint.vae)
            for tensor in (*part.parameters(), *part.buffers())
        )
        if not config.enforce_eager:
            use_graphs(checkpoint, config.max_picture_bytes + config.max_answer_bytes)
        self._generate_runner = GenerateRunner(self._parts)
        self._understand_runner = UnderstandRunner(self._parts)
        # Which runner takes a sequence follows from its task, which types cannot say.
        self._runners: Mapping[Task, Runner[Any, Any]] = {
            "generate": self._generate_runner,
            "vqa": self._understand_runner,
        }
        self._scheduler: Scheduler[AnySequence] = Scheduler(
            config.max_batch,
            answer_weight=config.answer_weight,
            bounds={
                "generate": Bound(rows=config.running, nbytes=config.max_picture_bytes),
                "vqa": Bound(rows=config.running, nbytes=config.max_answer_bytes),
            },
        )
        self._active: dict[str, AnySequence] = {}
        self._cancelled: set[str] = set()
        self._next: Unit[AnySequence] | None = None  # of a request that has begun
        self._submitted = 0

    @classmethod
    def load(cls, source: str | Path | None = None, config: EngineConfig | None = None) -> Engine:
        """Loads a folder, a hub id, or with None the embedded model.

        Raises:
            CheckpointError: it cannot be used.
            KernelUnavailableError: this machine lacks the attention kernel asked for.
        """
        config = config or EngineConfig()
        checkpoint = load_configured(source, config, check=lambda model: with_own(model.policies))
        engine = cls(checkpoint, config)
        backbone = checkpoint.model.config.backbone
        for path in engine.calibration_files:
            if config.calibrated and is_there(path):
                shape = (backbone.layers, backbone.ffn_size)
                engine.use(Calibration.load(path, digest=checkpoint.digest, shape=shape))
                break
        return engine

    # Calibration and warm-up

    @property
    def calibration_files(self) -> list[Path]:
        """Where this checkpoint's calibration may be: beside it, else in the user's cache."""
        return calibrate.calibration_files(self._checkpoint)

    @property
    def calibrated(self) -> bool:
        """Whether it is known which neurons matter to which task."""
        return self._parts.paths is not None

    def calibrate(
        self,
        prompts: Sequence[str] = (CALIBRATION_PROMPT,),
        samples: Sequence[Sample] | None = None,
        *,
        on_unit: OnUnit | None = None,
    ) -> Calibration:
        """Measures which neurons matter to generation and which to understanding, while it does both.

        Args:
            prompts: a picture is generated for each.
            samples: pictures with a question each; by default questions about the generated pictures.
            on_unit: called after every unit of work.

        Raises:
            CalibrationError: there is nothing to measure on, or the neurons are in another order already.
        """
        if self.calibrated:
            raise CalibrationError("this engine is calibrated already; load the checkpoint anew to do it again")
        return calibrate.measure(self._sequential(on_unit), prompts, samples)

    def as_calibration(
        self, scores: Mapping[Task, Tensor], prompts: Sequence[str], samples: Sequence[Sample]
    ) -> Calibration:
        """Scores with what they were measured on: this checkpoint, these prompts and samples."""
        return calibrate.with_provenance(self._parts, scores, prompts, samples)

    def use(self, calibration: Calibration) -> None:
        """Orders the model's neurons by a calibration, so that each task's are views of the same weights."""
        ratios = calibrate.pruned_ratios(self._parts)
        self._parts.paths = NeuronPaths.of(self._checkpoint.model, calibration.scores, ratios)

    def prepare(self, on_unit: OnUnit | None = None) -> Path | None:
        """Calibrates a checkpoint that has no calibration, and keeps the result where it may write; returns where that
        was."""
        if self.calibrated:
            return None
        _log.info("%s has no calibration; measuring which neurons matter", self.info.name)
        begun = self._clock()
        calibration = self.calibrate(on_unit=on_unit)
        _log.info("calibrated in %.1f s", self._clock() - begun)
        place = None
        if self.config.calibrated:
            place = calibration.keep(self.calibration_files)
            if place is None:
                _log.warning("the calibration cannot be written anywhere and will be measured again at the next start")
            else:
                _log.info("the calibration is kept in %s", place)
        self.use(calibration)
        return place

    def warm_up(self, on_unit: OnUnit | None = None) -> None:
        """Prepares, and runs both tasks on every policy, so that the first request meets no first-time costs and
        `costs` says what each unit takes.

        Args:
            on_unit: called after every unit of work.

        Raises:
            FlashUError: the accelerator has too little memory for a few requests together.
        """
        try:
            self.prepare(on_unit)
            graphs = self._checkpoint.model.graphs is not None
            self.costs = warm_up(self._sequential(on_unit), max_batch=self.config.max_batch, graphs=graphs)
        except torch.OutOfMemoryError as error:
            raise FlashUError("the accelerator ran out of memory while warming up; lower max_batch") from error

    def _sequential(self, on_unit: OnUnit | None) -> Sequential:
        def report(stage: Stage, rows: int, seconds: float) -> None:
            if on_unit is not None:
                on_unit(UnitEnded(stage=stage, rows=rows, seconds=seconds, memory=self.memory))

        return Sequential(self._generate_runner, self._understand_runner, report)

    # Requests

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._active

    @property
    def memory(self) -> dict[str, int]:
        """Bytes on the device: of the `weights`, of what begun requests hold in `caches`, of what is kept for all
        requests (`shared`: prefixes as they were read, indices of neurons), and on a GPU what is left of the `pool`
        that both are kept in, and what torch has `allocated` and `reserved` there."""
        paths = self._parts.paths
        held = {
            "weights": self._weights,
            "caches": sum(sequence.nbytes for sequence in self._active.values() if sequence.started),
            "shared": sum(runner.nbytes for runner in self._runners.values()) + (0 if paths is None else paths.nbytes),
        }
        graphs = self._checkpoint.model.graphs
        if graphs is not None:
            held["pool"] = max(graphs.pool_bytes - held["caches"] - held["shared"], 0)
        if self._device.type == "cuda":
            held["allocated"] = torch.cuda.memory_allocated(self._device)
            held["reserved"] = torch.cuda.memory_reserved(self._device)
        return held

    def submit(self, request: Request, *, request_id: str, arrived: float | None = None) -> None:
        """Takes a request; it advances in later steps, and their events carry its id.

        Args:
            request_id: of no other active request.
            arrived: when it came, by the engine's clock, where that was before now: waiting counts from then.

        Raises:
            DeadlineExceededError: it is too late already; nothing was done for it.
            InvalidRequestError: this model cannot do it, or its id is taken.
        """
        if request_id in self._active:
            raise InvalidRequestError(
                f"request_id is {request_id!r}, which an active request has; use another", parameter="request_id"
            )
        if request.deadline is not None and self._clock() >= request.deadline:
            raise DeadlineExceededError("the request's time ran out before it was begun")
        seed = int(torch.randint(0, 2**31, ())) if request.seed is None else request.seed
        spans = Spans(torch.device("cpu"))
        with spans.span("tokenize"):
            sequence: AnySequence = self._runners[request.task].accept(request, request_id=request_id, seed=seed)
        self._submitted += 1
        sequence.arrival = self._submitted
        sequence.arrived = self._clock() if arrived is None else arrived
        sequence.spans.append(spans)
        self._active[request_id] = sequence

    def validate(self, request: Request) -> None:
        """Raises `InvalidRequestError` where this model cannot do a request; it is not taken in any case."""
        self._runners[request.task].accept(request, request_id="", seed=0)

    def forecast(self, request: GenerateRequest) -> int:
        """FLOPs that generation will take, without reading prompts and the autoencoder. Raises as `validate`."""
        sequence = self._generate_runner.accept(request, request_id="", seed=0)
        return request.num_images * sum(
            line.flops
            for line in describe(
                self._checkpoint.model.config,
                sequence.resolved.policy,
                sequence.resolved.schedule,
                prompt_tokens=len(sequence.cond.ids),
            )
        )

    def cancel(self, request_id: str) -> None:
        """Ends a request at the next step; nothing where it has ended."""
        if request_id in self._active:
            self._cancelled.add(request_id)

    def step(self) -> list[Event]:
        """Schedules and runs one unit of work, and returns its events; an empty list where there is nothing to do.

        A request's first unit runs in the step after the one that returns its `Begun`. So a caller that passes events
        on has reported which request runs even where that unit is the process's last.
        """
        failed = self._expired()
        unit = self._schedule()
        if unit is None:
            return [*failed]
        (first, *_) = unit.requests
        if not first.started and self._next is None:
            self._next = unit
            return [*failed, Begun(first.request_id)]
        self._next = None
        rows, request_ids = unit.rows, unit.request_ids
        begun = self._clock()
        events = self._run(unit)
        # A unit ends when its work is done, not when it is queued: else an answer would wait for all that is queued.
        wait_for(self._device)
        seconds = self._clock() - begun
        self._scheduler.ran(unit, seconds)
        self._forget(events)
        ended = UnitEnded(stage=unit.stage, rows=rows, seconds=seconds, memory=self.memory, request_ids=request_ids)
        return [*failed, ended, *events]

    def generate(self, request: GenerateRequest, on_event: Callable[[Event], None] | None = None) -> GenerateResult:
        """Runs a request to its end, for callers with nothing else to do; calibrates first where its policy needs
        that. Raises what the request failed with."""
        result = self._finish(request, on_event)
        assert isinstance(result, GenerateResult)
        return result

    def understand(
        self, request: UnderstandRequest, on_event: Callable[[Event], None] | None = None
    ) -> UnderstandResult:
        """As `generate`, of a question."""
        result = self._finish(request, on_event)
        assert isinstance(result, UnderstandResult)
        return result

    def _finish(self, request: Request, on_event: Callable[[Event], None] | None) -> Result:
        if self._runners[request.task].needs_calibration(request):
            self.prepare()
        request_id = uuid.uuid4().hex
        self.submit(request, request_id=request_id)
        while True:
            for event in self.step():
                if on_event is not None:
                    on_event(event)
                match event:
                    case Finished(request_id=ended, result=result) if ended == request_id:
                        return result
                    case Failed(request_id=ended, error=error) if ended == request_id:
                        raise error

    def _schedule(self) -> Unit[AnySequence] | None:
        """The first unit of a request that has begun, where it was not cancelled since; else what the scheduler
        chooses."""
        if self._next is not None and all(one.request_id in self._active for one in self._next.requests):
            return self._next
        self._next = None
        return self._scheduler.next_unit(self._active.values())

    def _run(self, unit: Unit[AnySequence]) -> Sequence[RequestEvent]:
        try:
            return self._runners[unit.task].run(unit.stage, unit.requests, Spans(self._device))
        except torch.OutOfMemoryError:
            error = FlashUError(f"the accelerator ran out of memory in {unit.stage}; send fewer or smaller requests")
            return [Failed(request_id, error) for request_id in unit.request_ids]

    def _expired(self) -> list[Failed]:
        """Ends what was cancelled and what is too late."""
        failed = list(self._failures())
        self._forget(failed)
        return failed

    def _failures(self) -> Iterator[Failed]:
        now = self._clock()
        for request_id, sequence in self._active.items():
            deadline = sequence.request.deadline
            if request_id in self._cancelled:
                yield Failed(request_id, CancelledError("the request was cancelled"))
            elif deadline is not None and now >= deadline:
                yield Failed(request_id, DeadlineExceededError("the request's time ran out"))

    def _forget(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, (Finished, Failed)):
                self._active.pop(event.request_id, None)
                self._cancelled.discard(event.request_id)
