"""A promise: its limit, the measured value and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["met", "missed", "nothing to judge"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A promise.

    Attributes:
        limit: maximum, or minimum if `at_least`.
        measured: None if the phase gave no value, which misses the promise unless `vacuous`.
        note: details of the figure.
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
        """Reads the output of `to_json`."""
        return cls(**{name: value for name, value in found.items() if name != "verdict"})
