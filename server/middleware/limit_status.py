"""What is left to somebody of a limit, as clients are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is left of the limit that is closest to its end.

    Attributes:
        kind: what is counted: requests, or tokens, of which an evaluation of a picture counts as one.
        reset_s: seconds until there is certainly room for one more, or where a request was refused for that request:
            what `Retry-After` says.
    """

    kind: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """Under OpenAI's names."""
        return {
            f"x-ratelimit-limit-{self.kind}": str(self.limit),
            f"x-ratelimit-remaining-{self.kind}": str(self.remaining),
            f"x-ratelimit-reset-{self.kind}": f"{self.reset_s}s",
        }

    @property
    def share(self) -> float:
        """What is left, of 1."""
        return self.remaining / self.limit
