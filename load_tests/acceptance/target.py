"""One promise: its limit, what was measured, and whether that keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["met", "missed", "nothing to judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One promise.

    Attributes:
        limit: at most this, or at least where `at_least`.
        measured: None where nothing came of the phase, which misses; but `vacuous` says that there was nothing to come.
        note: what the figure is based on.
    """

    name: str
    unit: str
    limit: float | None
    measured: float | None
    at_least: bool = False
    vacuous: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.measured is None or self.limit is None:
            return "nothing to judge" if self.vacuous else "missed"
        kept = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "met" if kept else "missed"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Target:
        """What `to_json` gave."""
        return cls(**{name: value for name, value in found.items() if name != "verdict"})
