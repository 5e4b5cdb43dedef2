"""Warnings about fields that had no effect or not the whole one: a list in the response, and their names in a header.
Names come from the client, so they are cut and cleaned."""

from __future__ import annotations

import re

from server.limits import MAX_WARNING_NAME_CHARACTERS, MAX_WARNINGS

HEADER = "X-Flashu-Warnings"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.$-]")


class Warnings:
    """Collects warnings in order, one per parameter, up to `MAX_WARNINGS`."""

    def __init__(self) -> None:
        self._messages: dict[str, str] = {}
        self._omitted = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def full(self) -> bool:
        """Whether further warnings are only counted."""
        return len(self._messages) == MAX_WARNINGS

    def add(self, param: str, message: str) -> None:
        """Adds a warning.

        Args:
            param: path of the parameter, as `messages.0.content`; may contain a client's text.
            message: the server's own text, which may quote words of the client's.
        """
        name = _UNSAFE.sub("?", param[:MAX_WARNING_NAME_CHARACTERS]) or "?"
        if name in self._messages:
            return
        if self.full:
            self._omitted += 1
        else:
            self._messages[name] = message

    def replace(self, param: str, message: str) -> None:
        """Adds a warning in place of an earlier one about the same parameter."""
        if param in self._messages:
            self._messages[param] = message
        else:
            self.add(param, message)

    def as_json(self) -> list[dict[str, str | None]]:
        """The field `warnings` of a response; the last entry has the number of those omitted."""
        listed: list[dict[str, str | None]] = [
            {"param": param, "message": message} for param, message in self._messages.items()
        ]
        if self._omitted:
            listed.append({"param": None, "message": f"{self._omitted} more fields were ignored"})
        return listed

    def headers(self) -> dict[str, str]:
        """The header with the names of the parameters; empty without warnings."""
        return {HEADER: ", ".join(self._messages)} if self._messages else {}
