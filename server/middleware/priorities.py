"""Which priorities a request may have: lower runs first, so by default nobody may go below 0, and an operator says
which keys may."""

from __future__ import annotations

from collections.abc import Mapping

from flashu_core import ConfigurationError, InvalidRequestError

LOWEST, HIGHEST = -100, 100


class Priorities:
    """The best priority of each key.

    Args:
        least: for keys that `keys` does not name, and for servers without keys.
        keys: as `NAME:-10,OTHER:-100`.

    Raises:
        ConfigurationError: it cannot be read, or a priority is out of range.
    """

    def __init__(self, minimum: int = 0, keys: str = "") -> None:
        self._least = minimum
        self._of_keys = _parse(keys)

    def minimum(self, key: str | None) -> int:
        """The best (lowest) priority of a key by its name; None is a server without keys."""
        return self._least if key is None else self._of_keys.get(key, self._least)

    def check(self, key: str | None, priority: int) -> None:
        """Whether a key may have that priority.

        Raises:
            InvalidRequestError: it is better than allowed.
        """
        minimum = self.minimum(key)
        if priority < minimum:
            raise InvalidRequestError(
                f"priority is {priority}; this key may use {minimum} to {HIGHEST} (lower runs first): raise it, or ask "
                "the operator to allow more",
                parameter="priority",
            )


def _parse(text: str) -> Mapping[str, int]:
    allowed: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = entry.rpartition(":")
        try:
            minimum = int(value)
        except ValueError:
            minimum = HIGHEST + 1
        if not name or not LOWEST <= minimum <= HIGHEST:
            raise ConfigurationError(
                f"priority_keys is read as NAME:PRIORITY between commas, priorities from {LOWEST} to {HIGHEST}; "
                f"entry {len(allowed) + 1} is not"
            )
        allowed[name.strip()] = minimum
    return allowed
