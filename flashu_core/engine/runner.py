"""What the engine needs of a task: to accept its requests and to run its stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from flashu_core.timing import Spans
from flashu_core.types import RequestEvent, Stage

Q = TypeVar("Q", contravariant=True)
S = TypeVar("S")


class Runner(Protocol[Q, S]):
    """The stages of one task on one model, for requests `Q` that become sequences `S`."""

    @property
    def nbytes(self) -> int:
        """Bytes of what was read for all requests."""

    def needs_calibration(self, request: Q) -> bool:
        """Whether the request prunes neurons, and it is not known which. Raises as `accept`."""

    def accept(self, request: Q, *, request_id: str, seed: int) -> S:
        """Settles what the request will do; nothing runs.

        Raises:
            InvalidRequestError: this model cannot do it.
        """

    def run(self, stage: Stage, sequences: Sequence[S], spans: Spans) -> Sequence[RequestEvent]:
        """Runs one unit: a stage for a batch."""
