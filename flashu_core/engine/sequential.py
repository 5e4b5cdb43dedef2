"""The engine's own requests, for calibration and warm-up, run one after the other: through the stages, without queue
and scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flashu_core.engine.context import Parts
from flashu_core.engine.generation import GenerateRunner
from flashu_core.engine.understanding import UnderstandRunner
from flashu_core.errors import FlashUError
from flashu_core.timing import Spans, wait_for
from flashu_core.types import (
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    RequestEvent,
    Result,
    Stage,
    UnderstandRequest,
)

REQUEST_ID = ""  # nobody follows these requests
OnUnit = Callable[[Stage, int, float], None]


class Sequential:
    """Runs units one by one and measures them.

    Args:
        generate_runner, understand_runner: the stages of one engine.
        on_unit: called after every unit with its stage, rows and seconds, as a sign of progress.
    """

    def __init__(
        self, generate_runner: GenerateRunner, understand_runner: UnderstandRunner, on_unit: OnUnit | None = None
    ) -> None:
        self.generate_runner = generate_runner
        self.understand_runner = understand_runner
        self._on_unit = on_unit

    @property
    def parts(self) -> Parts:
        """What the engine works with."""
        return self.generate_runner.parts

    def unit(
        self, stage: Stage, rows: int, work: Callable[[Spans], Sequence[RequestEvent]]
    ) -> tuple[float, Spans, Sequence[RequestEvent]]:
        """Runs one unit; returns its seconds, its spans and its events."""
        device = self.parts.model.device
        spans = Spans(device)
        begun = self.parts.clock()
        events = work(spans)
        wait_for(device)
        taken = self.parts.clock() - begun
        if self._on_unit is not None:
            self._on_unit(stage, rows, taken)
        return taken, spans, events

    def generate(self, request: GenerateRequest) -> GenerateResult:
        """Runs a request to its end; without a seed it has seed 0.

        Raises:
            FlashUError: this model cannot generate it.
        """
        runner, rows = self.generate_runner, request.num_images
        sequence = runner.accept(request, request_id=REQUEST_ID, seed=request.seed or 0)
        self.unit("prefix", rows, partial(runner.read_prompts, [sequence]))
        while sequence.state is not None and not sequence.state.done:
            self.unit("evaluate", rows, partial(runner.evaluate, [sequence]))
        _, _, events = self.unit("vae_decode", rows, partial(runner.decode, [sequence]))
        result = outcome(events)
        assert isinstance(result, GenerateResult)
        return result

    def understand(self, request: UnderstandRequest) -> None:
        """Runs a request to its end; without a seed it has seed 0.

        Raises:
            FlashUError: this model cannot answer it.
        """
        runner = self.understand_runner
        sequence = runner.accept(request, request_id=REQUEST_ID, seed=request.seed or 0)
        _, _, events = self.unit("prefill", 1, partial(runner.prefill, [sequence]))
        while sequence.state is not None and not sequence.state.done:
            _, _, events = self.unit("decode", 1, partial(runner.decode, [sequence]))
        outcome(events)


def outcome(events: Sequence[RequestEvent]) -> Result:
    """The result among the events of a request's last unit.

    Raises:
        FlashUError: what the request failed with.
    """
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Finished):
            return event.result
    raise FlashUError("the request ended without a result")
