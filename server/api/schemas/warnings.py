"""What a client sent that had no effect: a list in the answer, and the names in a header, so that nothing is ignored in
silence. It knows that names are a client's own words, and shows only what fits a header."""

from __future__ import annotations

import re

from server.limits import MAX_WARNING_NAME_CHARACTERS, MAX_WARNINGS

HEADER = "X-Flashu-Warnings"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.$-]")


class Warnings:
    """Collects what to warn of, in order, each parameter once and `MAX_WARNINGS` of them at most."""

    def __init__(self) -> None:
        self._messages: dict[str, str] = {}
        self._omitted = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def full(self) -> bool:
        """Whether the words of one more would not be shown."""
        return len(self._messages) == MAX_WARNINGS

    def add(self, param: str, message: str) -> None:
        """Warns of a parameter, named as `messages.0.content`.

        Args:
            param: may be of a client's making; it is cut and cleaned.
            message: our own words only.
        """
        name = _UNSAFE.sub("?", param[:MAX_WARNING_NAME_CHARACTERS]) or "?"
        if name in self._messages:
            return
        if self.full:
            self._omitted += 1
        else:
            self._messages[name] = message

    def replace(self, param: str, message: str) -> None:
        """Warns of a parameter in these words, whatever was said of it before."""
        if param in self._messages:
            self._messages[param] = message
        else:
            self.add(param, message)

    def as_json(self) -> list[dict[str, str | None]]:
        """The list `warnings` of an answer; its last entry tells of those that did not fit."""
        listed: list[dict[str, str | None]] = [
            {"param": param, "message": message} for param, message in self._messages.items()
        ]
        if self._omitted:
            listed.append({"param": None, "message": f"{self._omitted} more like these"})
        return listed

    def headers(self) -> dict[str, str]:
        """The header that names the parameters; nothing where there are none."""
        return {HEADER: ", ".join(self._messages)} if self._messages else {}
