"""Which priorities a request may use. Lower runs first, so by default no request may go below 0, except with keys that
the operator lists."""

from __future__ import annotations

from collections.abc import Mapping

from flashu_core import ConfigurationError, InvalidRequestError
from server.limits import MAX_PRIORITY, MIN_PRIORITY


class Priorities:
    """The lowest priority value of each key.

    Args:
        minimum: for keys that `keys` does not name, and for servers without keys.
        keys: e.g. `NAME:-10,OTHER:-100`.

    Raises:
        ConfigurationError: `keys` is malformed, or a priority is out of range.
    """

    def __init__(self, minimum: int = 0, keys: str = "") -> None:
        self._default = minimum
        self._of_keys = _parse(keys)

    def minimum(self, key: str | None) -> int:
        """The lowest priority value of the key with that name; None stands for a server without keys."""
        return self._default if key is None else self._of_keys.get(key, self._default)

    def check(self, key: str | None, priority: int) -> None:
        """Checks that a key may use a priority.

        Raises:
            InvalidRequestError: it is lower than allowed.
        """
        minimum = self.minimum(key)
        if priority < minimum:
            raise InvalidRequestError(
                f"priority is {priority}; this key may use {minimum} to {MAX_PRIORITY} (lower runs first): raise it, "
                "or have the operator allow more",
                parameter="priority",
            )


def _parse(text: str) -> Mapping[str, int]:
    allowed: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = entry.rpartition(":")
        try:
            minimum = int(value)
        except ValueError:
            minimum = MAX_PRIORITY + 1
        if not name or not MIN_PRIORITY <= minimum <= MAX_PRIORITY:
            raise ConfigurationError(
                f"entry {len(allowed) + 1} of priority_keys is invalid; write comma-separated NAME:PRIORITY, "
                f"priorities from {MIN_PRIORITY} to {MAX_PRIORITY}"
            )
        allowed[name.strip()] = minimum
    return allowed
