"""What is known of one request beside its HTTP: whose it is, what was done for it, how long each part took. The routes
and the middleware write it, the log, the quotas and the traces read it. It holds no text and no picture of a client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from flashu_core import GenerateResult, Result, Task
from server.connections.slots import client_group
from server.errors import Problem


class Reservation(Protocol):
    """Work reserved for a request of what its key may use."""

    def add(self, work: int) -> None:
        """Counts work that ran."""

    def settle(self) -> None:
        """Charges what ran and releases the rest."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Filled in along the way; None is what is not known (yet).

    Attributes:
        address: of the client, an IPv6 one by its network of 64 bits; empty where there is none.
        key: name of the API key, never the key.
        account: reserves work, in denoising steps and tokens, of what the key may use; None where that is not limited.
        steps: of the denoising loop, summed over pictures.
        tokens: of the answer.
        timings_ms: milliseconds per component, and `queue`.
        trace: hexadecimal id of the request's trace.
        names: what the route calls parameters of the engine's, where it differs.
        error_status: of what the request failed with; of a stream, which has begun with 200, too.
        error_code: likewise, for programs.
    """

    address: str = ""
    key: str | None = None
    account: Callable[[int, Task], Reservation] | None = None
    task: str | None = None
    policy: str | None = None
    steps: int | None = None
    tokens: int | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    trace: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    error_status: int | None = None
    error_code: str | None = None

    @property
    def client(self) -> str:
        """Whose request it is, as far as is known: the key's, else the address's."""
        return f"address:{self.address}" if self.key is None else f"key:{self.key}"

    def take(self, task: str, result: Result, timings_ms: Mapping[str, float]) -> None:
        """Notes what the engine did; answers to several prompts add up."""
        self.task = task
        self.policy = result.acceleration
        self.timings_ms = timings_ms
        if isinstance(result, GenerateResult):
            self.steps = result.schedule.get("evaluations", 0) * len(result.images)
        else:
            self.tokens = (self.tokens or 0) + result.completion_tokens

    def fail(self, problem: Problem) -> None:
        """Notes the error that the client gets, or would get, without its message."""
        self.error_status = problem.status
        self.error_code = problem.code


def record_of(scope: Scope) -> Record:
    """The request's record, made on first use."""
    state = scope.setdefault("state", {})
    if "record" not in state:
        client = scope.get("client")
        state["record"] = Record(address=client_group(client[0] if client else None) or "")
    record = state["record"]
    if not isinstance(record, Record):
        raise TypeError(f"the request's state holds a {type(record).__name__} where its record should be")
    return record
