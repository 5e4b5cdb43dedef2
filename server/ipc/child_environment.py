"""The environment variables that child processes get: none of this server's settings, and no secrets but those that a
process needs. The variables of the front end hold API keys, and whatever else an operator gave to the container.

This keeps secrets out of what a process may show by accident: a crash report, an error's text, a library that sends
its environment somewhere. It is no boundary against code that runs in such a process: that has the same user, whose
files and processes it may read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from server.settings import PREFIX

# What a Python process, its libraries and its allocator look at. The processes that open pictures read files of
# strangers and need nothing else.
_PLAIN = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|PYTHON\w*|LD_\w+|DYLD_\w+|MALLOC_\w+", re.ASCII
)
# The worker needs variables of too many libraries and drivers to list them, so it gets all that do not look secret.
_SECRET = re.compile(
    r"SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY"
    r"|(^|_)(KEYS?|TOKENS?|PASS|PWD|AUTH|AUTHORIZATION|HEADERS|COOKIES?|DSN|SAS|PAT)(_|$)",
    re.IGNORECASE | re.ASCII,
)
_NOT_SECRET = re.compile(r"(OLD)?PWD")
_PASSWORD_IN_URL = re.compile(r"://[^/\s@]*:[^/\s@]+@")
# It downloads checkpoints, with the hub's token and perhaps through a proxy that wants a password.
_OF_DOWNLOADS = re.compile(r"HF_\w+|HUGGING_?FACE_\w+|(\w+_)?PROXY", re.IGNORECASE | re.ASCII)


def plain_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """For a process that opens pictures: an allow-list."""
    return {name: value for name, value in variables.items() if _PLAIN.fullmatch(name)}


def worker_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """For the process of the engine: without this server's settings, of which it is sent what it needs, and without
    what looks like a secret by its name, or holds a URL with a password. The hub's own variables and proxies stay."""
    return {
        name: value
        for name, value in variables.items()
        if not name.upper().startswith(PREFIX) and (_OF_DOWNLOADS.fullmatch(name) or not _is_secret(name, value))
    }


def _is_secret(name: str, value: str) -> bool:
    by_name = _SECRET.search(name) is not None and _NOT_SECRET.fullmatch(name) is None
    return by_name or _PASSWORD_IN_URL.search(value) is not None
