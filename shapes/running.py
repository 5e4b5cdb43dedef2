"""Runs many requests in the engine's batches, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import Progress

from flashu_core import Engine, Failed, Finished, Request, Result


def run_all(engine: Engine, requests: Sequence[Request], description: str) -> Iterator[tuple[int, Result]]:
    """Runs many requests in the engine's batches; gives (index, result) as they end."""
    waiting = list(enumerate(requests))[::-1]
    running: dict[str, int] = {}
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=len(requests))
        while waiting or running:
            while waiting and len(running) < engine.config.max_batch:
                index, request = waiting.pop()
                engine.submit(request, request_id=str(index))
                running[str(index)] = index
            for event in engine.step():
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Finished):
                    bar.advance(task)
                    yield running.pop(event.request_id), event.result
