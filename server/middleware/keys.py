"""API keys: which there are, and the middleware that asks for one on every route but the open ones. It knows names and
digests; the keys themselves are forgotten as soon as they are hashed, so that nothing can show them."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from flashu_core import ConfigurationError
from server.errors import InvalidApiKeyError, problem_of
from server.request_record import record_of

_log = logging.getLogger("flashu.keys")
# What may be read without a key: no prompts, no pictures, no work behind it.
PROBES = frozenset({"/livez", "/readyz", "/health"})
METRICS = frozenset({"/metrics"})
PAGE = frozenset({"/", "/playground.css", "/playground.js", "/calls.js", "/cards.js"})  # the same for everybody
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # what RFC 6750 lets a Bearer token be
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_LEAST_CHARACTERS = 8
_MAX_CHARACTERS = 512
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    name: str
    digest: bytes


class KeyRing:
    """The keys of a server, from a text and a file; the file is read again when it changes.

    One `key` or `name:key` a line (or between commas), `#` begins a comment line. A key without a name is called after
    its place, `key-1`. Two keys may share a name: that is how one is replaced by another without a gap.

    Args:
        clock: monotonic seconds.

    Raises:
        ConfigurationError: a key or a name is malformed, or the file cannot be read or holds no key.
    """

    def __init__(
        self, text: str = "", file: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed = _parse(text, "api_keys")
        self._file = file
        self._clock = clock
        self._look_at = clock() + _LOOK_EVERY_S
        self._version = None if file is None else _version(file)
        self._keys = (*self._fixed, *_read(file)) if file is not None else self._fixed

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def name_of(self, key: bytes) -> str | None:
        """The name of a key, or None where it is no key of ours. The time it takes does not depend on which."""
        self._look()
        digest = hashlib.sha256(key).digest()
        found = None
        for own in self._keys:  # all of them, found or not
            if hmac.compare_digest(digest, own.digest):
                found = own.name
        return found

    def _look(self) -> None:
        now = self._clock()
        if self._file is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = (*self._fixed, *_read(self._file))
        except ConfigurationError as error:  # never without keys because of a slip of the pen
            _log.warning("%s; the keys stay as they were", error)
        else:
            _log.info("the key file was read again; there are %d keys", len(self._keys))


class ApiKeys:
    """Lets a request through that names a key, or goes to one of `open_routes`, or reads below one of `open_prefixes`;
    all others end here with 401.

    It decides on the path that the routes are chosen by, and takes the key out of the headers before anybody else sees
    them.
    """

    def __init__(
        self, app: ASGIApp, *, ring: KeyRing, open_routes: frozenset[str], open_prefixes: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._ring = ring
        self._open_routes = open_routes
        self._open_prefixes = open_prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scope["headers"] = [header for header in scope["headers"] if header[0] != b"authorization"]
        key = _bearer(given[0]) if len(given) == 1 else None
        if scope["type"] == "http" and self._is_open(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        name = None if key is None else self._ring.name_of(key)
        if name is not None:
            record_of(scope).key = name
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            problem = problem_of(InvalidApiKeyError())
            record_of(scope).fail(problem)
            await problem.response()(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_open(self, method: str, path: str) -> bool:
        return path in self._open_routes or (method in ("GET", "HEAD") and path.startswith(self._open_prefixes))


def open_to_all(host: str) -> bool:
    """Whether a server without keys on `host` can be reached from other machines."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _bearer(header: bytes) -> bytes | None:
    scheme, _, key = header.partition(b" ")
    key = key.strip(b" ")
    return key if scheme.lower() == b"bearer" and 0 < len(key) <= _MAX_CHARACTERS else None


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(file: Path) -> tuple[_Key, ...]:
    try:
        keys = _parse(file.read_text("utf-8"), "api_key_file")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"api_key_file cannot be read ({type(error).__name__}); name a text file") from None
    if not keys:  # an empty file must not open the server
        raise ConfigurationError("api_key_file holds no key; write one `key` or `name:key` a line")
    return keys


def _parse(text: str, source: str) -> tuple[_Key, ...]:
    keys: list[_Key] = []
    entries = [
        (number, entry.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith("#")
        for entry in line.split(",")
    ]
    for number, entry in entries:
        if not entry:
            continue
        name, colon, key = entry.rpartition(":")
        name = name.strip() if colon else f"key-{len(keys) + 1}"
        key = key.strip()
        where = f"line {number} of {source}"  # neither key nor name is repeated: they may be swapped
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{where} names a key badly; use up to 64 letters, digits, and ._-")
        if not _KEY.fullmatch(key):
            raise ConfigurationError(f"{where} holds no key; use letters, digits, and ._~+/-, with = at the end only")
        if not _LEAST_CHARACTERS <= len(key) <= _MAX_CHARACTERS:
            raise ConfigurationError(
                f"{where} holds a key of {len(key)} characters; use {_LEAST_CHARACTERS} to {_MAX_CHARACTERS}, "
                "for example of: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        keys.append(_Key(name=name, digest=hashlib.sha256(key.encode()).digest()))
    return tuple(keys)
