"""Requests of the engine's own, for calibration and warming up, run straight through the stages: no queue, no scheduler
and no id, so nobody who watches clients' requests hears of them. Only their units are told, as signs of progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flashu_core.engine.generation import Drawer
from flashu_core.engine.understanding import Asker
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
        drawer, asker: the stages of one engine.
        on_unit: told of every unit that ends.
    """

    def __init__(self, drawer: Drawer, asker: Asker, on_unit: Callable[[UnitReport], None] = lambda _: None) -> None:
        self.drawer = drawer
        self.asker = asker
        self._on_unit = on_unit

    def unit(
        self, stage: Stage, rows: int, work: Callable[[Spans], Sequence[Event]]
    ) -> tuple[float, Spans, Sequence[Event]]:
        """Runs one unit; returns its seconds, its spans and what it told."""
        device = self.drawer.parts.model.device
        spans = Spans(device)
        begun = self.drawer.parts.clock()
        events = work(spans)
        wait_for(device)
        taken = self.drawer.parts.clock() - begun
        self._on_unit(UnitReport(stage=stage, rows=rows, seconds=taken))
        return taken, spans, events

    def generate(self, request: GenerateRequest) -> GenerateResult:
        """Draws to the end; a request without a seed has seed 0.

        Raises:
            FlashUError: this model cannot draw it.
        """
        drawing = self.drawer.accept(0, request, request.seed or 0)
        self.unit("prefix", request.images, partial(self.drawer.read_prompts, [drawing]))
        while drawing.state is not None and not drawing.state.done:
            self.unit("evaluate", request.images, partial(self.drawer.evaluate, [drawing]))
        _, _, events = self.unit("vae_decode", request.images, partial(self.drawer.decode, [drawing]))
        result = outcome(events)
        assert isinstance(result, GenerateResult)
        return result

    def ask(self, request: UnderstandRequest) -> None:
        """Answers to the end; a request without a seed has seed 0.

        Raises:
            FlashUError: this model cannot answer it.
        """
        asking = self.asker.accept(0, request, request.seed or 0)
        _, _, events = self.unit("prefill", 1, partial(self.asker.prefill, [asking]))
        while asking.state is not None and not asking.state.done:
            _, _, events = self.unit("decode", 1, partial(self.asker.decode, [asking]))
        outcome(events)


def outcome(events: Sequence[Event]) -> Result:
    """The result that the last unit of a request told.

    Raises:
        FlashUError: what the request failed with.
    """
    for event in events:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Finished):
            return event.result
    raise FlashUError("the request ended without a result")
