"""The engine's own requests, for calibration and warm-up, run through the stages without queue, scheduler or request
id.

Only their units are reported, as signs of progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flashu_core.engine.generation import GenerateRunner
from flashu_core.engine.understanding import UnderstandRunner
from flashu_core.errors import FlashUError
from flashu_core.timing import Spans, wait_for
from flashu_core.types import (
    Event,
    Failed,
    Finished,
    GenerateRequest,
    GenerateResult,
    Result,
    Stage,
    UnderstandRequest,
    UnitReport,
)


class Direct:
    """Runs units one by one and measures them.

    Args:
        generate_runner, understand_runner: the stages of one engine.
        on_unit: called with the report of every unit.
    """

    def __init__(
        self,
        generate_runner: GenerateRunner,
        understand_runner: UnderstandRunner,
        on_unit: Callable[[UnitReport], None] = lambda _: None,
    ) -> None:
        self.generate_runner = generate_runner
        self.understand_runner = understand_runner
        self._on_unit = on_unit

    def unit(
        self, stage: Stage, rows: int, work: Callable[[Spans], Sequence[Event]]
    ) -> tuple[float, Spans, Sequence[Event]]:
        """Runs one unit; returns its seconds, its spans and its events."""
        device = self.generate_runner.parts.model.device
        spans = Spans(device)
        begun = self.generate_runner.parts.clock()
        events = work(spans)
        wait_for(device)
        taken = self.generate_runner.parts.clock() - begun
        self._on_unit(UnitReport(stage=stage, rows=rows, seconds=taken))
        return taken, spans, events

    def generate(self, request: GenerateRequest) -> GenerateResult:
        """Runs a request to its end; without a seed it has seed 0.

        Raises:
            FlashUError: this model cannot generate it.
        """
        sequence = self.generate_runner.accept(0, request, request.seed or 0)
        self.unit("prefix", request.num_images, partial(self.generate_runner.read_prompts, [sequence]))
        while sequence.state is not None and not sequence.state.done:
            self.unit("evaluate", request.num_images, partial(self.generate_runner.evaluate, [sequence]))
        _, _, events = self.unit("vae_decode", request.num_images, partial(self.generate_runner.decode, [sequence]))
        result = outcome(events)
        assert isinstance(result, GenerateResult)
        return result

    def understand(self, request: UnderstandRequest) -> None:
        """Runs a request to its end; without a seed it has seed 0.

        Raises:
            FlashUError: this model cannot answer it.
        """
        sequence = self.understand_runner.accept(0, request, request.seed or 0)
        _, _, events = self.unit("prefill", 1, partial(self.understand_runner.prefill, [sequence]))
        while sequence.state is not None and not sequence.state.done:
            _, _, events = self.unit("decode", 1, partial(self.understand_runner.decode, [sequence]))
        outcome(events)


def outcome(events: Sequence[Event]) -> Result:
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
