"""The engine: all that a server sees. It loads a checkpoint, takes requests, and advances them one unit at a step.

Not thread-safe: one thread owns an engine. It knows no HTTP and no queue limits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from flashu_core.acceleration.calibration import (
    CALIBRATION_PROMPT,
    FILE,
    QUESTIONS,
    Calibration,
    Sample,
    activation_norms,
    data_hash,
    importances,
    is_there,
)
from flashu_core.acceleration.flops import describe
from flashu_core.acceleration.neurons import NeuronPaths
from flashu_core.acceleration.policies import with_own
from flashu_core.checkpoint.load import Checkpoint, load_configured
from flashu_core.config import EngineConfig
from flashu_core.engine.context import Parts, model_info
from flashu_core.engine.direct import Direct
from flashu_core.engine.generation import GenerateRunner, GenerateSequence
from flashu_core.engine.graphs import use_graphs
from flashu_core.engine.latency_model import UnitCosts
from flashu_core.engine.scheduler import Bound, Entry, Scheduler, Unit
from flashu_core.engine.understanding import UnderstandRunner, UnderstandSequence
from flashu_core.engine.warmup import warm_up
from flashu_core.errors import CalibrationError, CancelledError, DeadlineExceededError, FlashUError
from flashu_core.timing import Spans, wait_for
from flashu_core.types import (
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    Request,
    Result,
    Task,
    UnderstandRequest,
    UnderstandResult,
    UnitReport,
)

_log = logging.getLogger("flashu.engine")


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
        policies = with_own(checkpoint.model.config.policies)
        self._parts = Parts(checkpoint.model, checkpoint.vae, checkpoint.tokenizer, self.info, policies, clock)
        self._device = checkpoint.model.device
        self._weights = sum(
            tensor.nbytes
            for part in (checkpoint.model, checkpoint.vae)
            for tensor in (*part.parameters(), *part.buffers())
        )
        self._checkpoint = checkpoint
        if not config.enforce_eager:
            use_graphs(checkpoint, config.max_picture_bytes + config.max_answer_bytes)
        self._clock = clock
        self._generate_runner = GenerateRunner(self._parts)
        self._understand_runner = UnderstandRunner(self._parts)
        self._scheduler = Scheduler(
            config.max_batch,
            answer_weight=config.answer_weight,
            bounds={
                "generate": Bound(rows=config.running, size=config.max_picture_bytes),
                "vqa": Bound(rows=config.running, size=config.max_answer_bytes),
            },
        )
        self._active: dict[int, GenerateSequence | UnderstandSequence] = {}
        self._entries: dict[int, Entry] = {}  # of all active: most wait, and theirs stay as they are
        self._cancelled: set[int] = set()
        self._submitted = 0
        self._on_begin: Callable[[int], None] = lambda _: None
        self._on_unit: Callable[[UnitReport], None] = lambda _: None
        self._direct = Direct(self._generate_runner, self._understand_runner, lambda unit: self._on_unit(unit))
        self.costs: UnitCosts | None = None

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
        for path in engine.calibration_files:
            if config.calibrated and is_there(path):
                engine.use(Calibration.load(path, digest=checkpoint.digest, shape=engine._shape))
                break
        return engine

    @property
    def _shape(self) -> tuple[int, int]:
        config = self._checkpoint.model.config.backbone
        return config.layers, config.ffn_size

    @property
    def calibration_files(self) -> list[Path]:
        """Where this checkpoint's calibration may be: beside it, else in the user's cache."""
        folder = self._checkpoint.folder
        places = [] if folder is None else [folder / FILE]
        with contextlib.suppress(RuntimeError):  # a user without a home has no cache
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            places.append(home / "flashu" / f"{self._checkpoint.digest}.safetensors")
        return places

    @property
    def calibrated(self) -> bool:
        """Whether it is known which neurons matter to which task."""
        return self._parts.paths is not None

    def calibrate(
        self, prompts: Sequence[str] = (CALIBRATION_PROMPT,), samples: Sequence[Sample] | None = None
    ) -> Calibration:
        """Measures which neurons matter: to generation while it draws, to understanding while it answers.

        Args:
            prompts: a picture is drawn of each.
            samples: pictures with a question each; by default questions about what was drawn.

        Raises:
            CalibrationError: there is nothing to measure on, or the neurons are in another order already.
        """
        if self.calibrated:
            raise CalibrationError("this engine is calibrated already; load the checkpoint anew to do it again")
        model = self._checkpoint.model
        direct = self._direct
        with activation_norms(model) as norms:
            generated = [
                direct.generate(GenerateRequest(prompt=text, seed=seed, acceleration="exact")).images[0]
                for seed, text in enumerate(prompts)
            ]
            scores: dict[Task, torch.Tensor] = {"generate": importances(model, norms())}
        requested = (
            samples if samples is not None else [Sample(image, text) for image in generated for text in QUESTIONS]
        )
        with activation_norms(model) as norms:
            for sample in requested:
                direct.understand(
                    UnderstandRequest(
                        question=sample.question, image=sample.image, max_new_tokens=16, acceleration="exact"
                    )
                )
            scores["vqa"] = importances(model, norms())
        return self.as_calibration(scores, prompts, requested)

    def as_calibration(
        self, scores: Mapping[Task, torch.Tensor], prompts: Sequence[str], samples: Sequence[Sample]
    ) -> Calibration:
        """Scores with what they were measured on: this checkpoint, these prompts and samples."""
        return Calibration(
            scores=scores,
            ratios=self._own_ratios,
            digest=self._checkpoint.digest,
            provenance={
                "prompts": str(len(prompts)),
                "samples": str(len(samples)),
                "data": data_hash(prompts, samples),
                "points": str(self.info.num_inference_steps),
                "dtype": self.info.dtype,
            },
        )

    def use(self, calibration: Calibration) -> None:
        """Orders the model's neurons by a calibration, so that each task's are views of the same weights."""
        self._parts.paths = NeuronPaths.of(self._checkpoint.model, calibration.scores, self._own_ratios)

    @property
    def _own_ratios(self) -> dict[Task, float]:
        """The share of the neurons that each task's path of its own prunes: that of the default policy."""
        policy = self._parts.policies["flashu"]
        return {"generate": policy.generate.ffn_ratio, "vqa": policy.vqa.ffn_ratio}

    @property
    def memory(self) -> dict[str, int]:
        """Bytes on the device: of the `weights`, of what begun requests hold in `caches`, of what is kept for all
        requests (`shared`: prefixes as they were read, indices of neurons), and on a GPU what is left of the `pool`
        that both are kept in, and what torch has `allocated` and `reserved` there."""
        paths = self._parts.paths
        held = {
            "weights": self._weights,
            "caches": sum(one.size for one in self._entries.values() if one.started),
            "shared": self._generate_runner.nbytes
            + self._understand_runner.nbytes
            + (0 if paths is None else paths.nbytes),
        }
        graphs = self._checkpoint.model.graphs
        if graphs is not None:
            held["pool"] = max(graphs.pool_bytes - held["caches"] - held["shared"], 0)
        if self._device.type == "cuda":
            held["allocated"] = torch.cuda.memory_allocated(self._device)
            held["reserved"] = torch.cuda.memory_reserved(self._device)
        return held

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._active

    def prepare(self) -> Path | None:
        """Calibrates where nobody did, and keeps the result where it may write; returns where that was."""
        if self.calibrated:
            return None
        _log.info("%s has no calibration; measuring which neurons matter", self.info.name)
        begun = self._clock()
        calibration = self.calibrate()
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

    def warm_up(self) -> None:
        """Prepares, and runs both tasks on every policy, so that the first request meets no first-time costs and
        `costs` says what each unit takes.

        Raises:
            FlashUError: the accelerator has too little memory for a few requests together.
        """
        try:
            self.prepare()
            graphs = self._checkpoint.model.graphs is not None
            self.costs = warm_up(self._direct, max_batch=self.config.max_batch, graphs=graphs)
        except torch.OutOfMemoryError as error:
            raise FlashUError("the accelerator ran out of memory while warming up; lower max_batch") from error

    def submit(self, request: Request, *, arrived: float | None = None) -> int:
        """Takes a request; it advances in later steps.

        Args:
            arrived: when it came, by the engine's clock, where that was before now: waiting counts from then.

        Returns:
            Its id; ids grow.

        Raises:
            DeadlineExceededError: it is too late already; nothing was done for it.
            InvalidRequestError: this model cannot do it.
        """
        if request.deadline is not None and self._clock() >= request.deadline:
            raise DeadlineExceededError("the request's time ran out before it was begun")
        identity = self._submitted + 1
        seed = int(torch.randint(0, 2**31, ())) if request.seed is None else request.seed
        spans = Spans(torch.device("cpu"))
        with spans.span("tokenize"):
            active = self._accept(identity, request, seed)
        active.arrived = self._clock() if arrived is None else arrived
        active.spans.append(spans)
        self._submitted = identity
        self._active[identity] = active
        self._entries[identity] = active.entry
        return identity

    def validate(self, request: Request) -> None:
        """Raises `InvalidRequestError` where this model cannot do a request; it is not taken in any case."""
        self._accept(0, request, 0)

    def forecast(self, request: GenerateRequest) -> int:
        """FLOPs that generation will take, without reading prompts and the autoencoder. Raises as `validate`."""
        sequence = self._generate_runner.accept(0, request, 0)
        return request.num_images * sum(
            line.flops
            for line in describe(
                self._checkpoint.model.config, sequence.policy, sequence.schedule, prompt_tokens=len(sequence.cond.ids)
            )
        )

    def watch(self, *, on_begin: Callable[[int], None], on_unit: Callable[[UnitReport], None]) -> None:
        """Tells from now on of every request before its first unit runs, and of every unit that ended, those of warming
        up too."""
        self._on_begin = on_begin
        self._on_unit = on_unit

    def cancel(self, request: int) -> None:
        """Ends a request at the next step; one that ended already is left alone."""
        if request in self._active:
            self._cancelled.add(request)

    def step(self) -> list[Event]:
        """Schedules, runs and reports one unit of work; an empty list where there is nothing to do or to tell."""
        events = self._unwanted()
        for event in events:
            self._forget(event.request)
        unit = self._scheduler.next_unit(self._entries.values())
        if unit is None:
            return events
        entries = [self._entries[request] for request in unit.requests]
        for entry in entries:
            if not entry.started:
                self._on_begin(entry.request)
        begun = self._clock()
        ran = self._run(unit)
        # A unit ends when its work is done, not when it is queued: else an answer would wait for all that is queued.
        wait_for(self._device)
        seconds = self._clock() - begun
        self._scheduler.ran(unit, seconds)
        for event in ran:
            if isinstance(event, (Finished, Failed)):
                self._forget(event.request)
        for request in unit.requests:
            if request in self._active:
                self._entries[request] = self._active[request].entry
        rows = sum(entry.rows for entry in entries)
        self._on_unit(UnitReport(stage=unit.stage, rows=rows, seconds=seconds, requests=unit.requests))
        return events + ran

    def generate(self, request: GenerateRequest, on_event: Callable[[Event], None] | None = None) -> GenerateResult:
        """Draws to the end, for callers with nothing else to do. Raises what the request failed with."""
        result = self._finish(request, on_event)
        assert isinstance(result, GenerateResult)
        return result

    def understand(
        self, request: UnderstandRequest, on_event: Callable[[Event], None] | None = None
    ) -> UnderstandResult:
        """Answers to the end, for callers with nothing else to do. Raises what the request failed with."""
        result = self._finish(request, on_event)
        assert isinstance(result, UnderstandResult)
        return result

    def _accept(self, identity: int, request: Request, seed: int) -> GenerateSequence | UnderstandSequence:
        if isinstance(request, GenerateRequest):
            return self._generate_runner.accept(identity, request, seed)
        return self._understand_runner.accept(identity, request, seed)

    def _finish(self, request: Request, on_event: Callable[[Event], None] | None) -> Result:
        identity = self.submit(request)
        while True:
            for event in self.step():
                if on_event is not None:
                    on_event(event)
                if event.request == identity and isinstance(event, Finished):
                    return event.result
                if event.request == identity and isinstance(event, Failed):
                    raise event.error

    def _unwanted(self) -> list[Event]:
        """The end of what was cancelled and of what is too late."""
        now = self._clock()
        events: list[Event] = []
        for identity, active in self._active.items():
            deadline = active.request.deadline
            if identity in self._cancelled:
                events.append(Failed(identity, CancelledError("the request was cancelled")))
            elif deadline is not None and now >= deadline:
                events.append(Failed(identity, DeadlineExceededError("the request's time ran out")))
        return events

    def _run(self, unit: Unit) -> list[Event]:
        spans = Spans(self._device)
        active = [self._active[request] for request in unit.requests]
        sequences = [one for one in active if isinstance(one, GenerateSequence)]
        questions = [one for one in active if isinstance(one, UnderstandSequence)]
        try:
            match unit.stage:
                case "prefix":
                    return self._generate_runner.read_prompts(sequences, spans)
                case "evaluate":
                    return self._generate_runner.evaluate(sequences, spans)
                case "vae_decode":
                    return self._generate_runner.decode(sequences, spans)
                case "prefill":
                    return self._understand_runner.prefill(questions, spans)
                case "decode":
                    return self._understand_runner.decode(questions, spans)
        except torch.OutOfMemoryError:
            error = FlashUError(f"the accelerator ran out of memory in {unit.stage}; send fewer or smaller requests")
            return [Failed(request, error) for request in unit.requests]

    def _forget(self, request: int) -> None:
        self._active.pop(request, None)
        self._entries.pop(request, None)
        self._cancelled.discard(request)
