"""Why a file could not be read or written, in words for users: without errno and without exceptions' names."""

from __future__ import annotations

import os

_WORDS: tuple[tuple[type[OSError], str], ...] = (
    (FileNotFoundError, "there is no such file or folder"),
    (IsADirectoryError, "it is a folder"),
    (NotADirectoryError, "part of its path is a file"),
    (FileExistsError, "a file of that name exists"),
    (PermissionError, "this user has no permission"),
)


def reason_of(error: Exception) -> str:
    """The reason of an `OSError`, or of a `ValueError` raised while a file's content was read."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if not isinstance(error, OSError):
        return str(error).partition("\n")[0] or "its content is damaged"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return os.strerror(error.errno).lower() if error.errno else "its content is damaged"
