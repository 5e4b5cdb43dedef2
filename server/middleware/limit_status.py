"""The rest of a rate limit, as clients see it in the `x-ratelimit-*` headers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is left of the limit that is closest to exhaustion.

    Attributes:
        kind: what is counted: requests, or tokens (a denoising step counts as one token).
        limit: maximum per window.
        remaining: what is left of it.
        reset_s: seconds until one more certainly fits or, for a rejected request, until that request does; the value
            of `Retry-After`.
    """

    kind: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """Response headers with OpenAI's names."""
        return {
            f"x-ratelimit-limit-{self.kind}": str(self.limit),
            f"x-ratelimit-remaining-{self.kind}": str(self.remaining),
            f"x-ratelimit-reset-{self.kind}": f"{self.reset_s}s",
        }

    @property
    def share(self) -> float:
        """The remaining fraction."""
        return self.remaining / self.limit
