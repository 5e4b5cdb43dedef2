"""How long answers are expected to be: a share of the tokens that they may have at most, learnt from answers that ended
or are known to be long. It is a high quantile and has a floor, so that nobody can make long answers look cheap."""

from __future__ import annotations

from collections.abc import Sequence

_SHARES: Sequence[float] = (
    1 / 8,
    1 / 4,
    1 / 2,
    1.0,
)  # an answer counts in the first that holds it; the first is the floor
_QUANTILE = 0.9
_MEMORY = 64  # answers after which an older one counts for 1/e
_PRIOR = 8.0  # as so many answers of full length counts that nothing is known


class Lengths:
    """Lengths of answers, apart for each magnitude of `max_new_tokens`: what ends early among those of 4,096 says
    nothing of those of 128."""

    def __init__(self) -> None:
        self._counts: dict[int, list[float]] = {}

    def share(self, maximum: int) -> float:
        """The share of its tokens that an answer of at most `maximum` takes, in nine of ten cases or more."""
        counts = self._of(maximum)
        needed, seen = _QUANTILE * sum(counts), 0.0
        for share, count in zip(_SHARES, counts, strict=True):
            seen += count
            if seen >= needed:
                return share
        return 1.0

    def saw(self, maximum: int, tokens: int) -> None:
        """An answer of at most `maximum` tokens has so many, or at least so many where it still runs."""
        counts = self._of(maximum)
        for index in range(len(counts)):
            counts[index] *= 1.0 - 1.0 / _MEMORY
        counts[next(index for index, share in enumerate(_SHARES) if tokens <= share * maximum or share == 1.0)] += 1.0

    def _of(self, maximum: int) -> list[float]:
        return self._counts.setdefault(maximum.bit_length(), [0.0] * (len(_SHARES) - 1) + [_PRIOR])
