"""API keys, and the middleware that requires one on all but the open routes. Only names and digests are kept: keys are
hashed when they are read, so that nothing can leak them."""

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
from server.limits import MAX_KEY_CHARACTERS, MAX_KEY_NAME_CHARACTERS, MIN_KEY_CHARACTERS
from server.request_record import record_of

_log = logging.getLogger("flashu.keys")
# Routes that need no key: they show no prompts or pictures and do no work.
PROBES = frozenset({"/livez", "/readyz", "/health"})
METRICS = frozenset({"/metrics"})
_SCRIPTS = ("calls", "cards", "connection", "examples", "gallery", "playground", "showcase")
PAGE = frozenset({"/", "/playground.css", "/showcase.json", *(f"/{name}.js" for name in _SCRIPTS)})
_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # a Bearer token of RFC 6750
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_KEY_NAME_CHARACTERS}}}", re.ASCII)
_RELOAD_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    name: str
    digest: bytes


class KeyRing:
    """The keys of a server, from a text and a file, which is reloaded when it changes.

    One `key` or `name:key` per line (or comma-separated); `#` starts a comment line. A key without a name is named
    after its position, `key-1`. Two keys may share a name, so that keys can be rotated without downtime.

    Args:
        clock: monotonic seconds.

    Raises:
        ConfigurationError: a key or a name is malformed, or the file cannot be read or contains no keys.
    """

    def __init__(
        self, text: str = "", file: Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fixed = _parse(text, "api_keys")
        self._file = file
        self._clock = clock
        self._next_reload = clock() + _RELOAD_INTERVAL_S
        self._version = None if file is None else _version(file)
        self._keys = (*self._fixed, *_read(file)) if file is not None else self._fixed

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def name_of(self, key: bytes) -> str | None:
        """The name of a key; None if it is unknown. Takes the same time for every key."""
        self._reload()
        digest = hashlib.sha256(key).digest()
        found = None
        for own in self._keys:  # no early exit
            if hmac.compare_digest(digest, own.digest):
                found = own.name
        return found

    def _reload(self) -> None:
        now = self._clock()
        if self._file is None or now < self._next_reload:
            return
        self._next_reload = now + _RELOAD_INTERVAL_S
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = (*self._fixed, *_read(self._file))
        except ConfigurationError as error:  # a mistake in the file must not lock clients out or let them in
            _log.warning("%s; the previous keys stay in use", error)
        else:
            _log.info("reloaded the key file; %d keys are in use", len(self._keys))


class ApiKeys:
    """Passes requests that carry a valid key, go to one of `open_routes`, or read (GET, HEAD) below one of
    `open_prefixes`; rejects all others with 401.

    It decides by the same path as the router, and removes the key from the headers before other code sees them.
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
    """Whether other machines can reach a server that listens on `host`."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _bearer(header: bytes) -> bytes | None:
    scheme, _, key = header.partition(b" ")
    key = key.strip(b" ")
    return key if scheme.lower() == b"bearer" and 0 < len(key) <= MAX_KEY_CHARACTERS else None


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
        raise ConfigurationError(
            f"api_key_file cannot be read ({type(error).__name__}); set it to a text file"
        ) from None
    if not keys:  # an empty file must not open the server
        raise ConfigurationError("api_key_file contains no keys; write one `key` or `name:key` per line")
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
        where = f"line {number} of {source}"  # without key and name, which may be swapped
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{where} has an invalid key name; use up to {MAX_KEY_NAME_CHARACTERS} letters, digits, and ._-"
            )
        if not _KEY.fullmatch(key):
            raise ConfigurationError(
                f"{where} is not a valid key; use letters, digits and ._~+/-, with = only at the end"
            )
        if not MIN_KEY_CHARACTERS <= len(key) <= MAX_KEY_CHARACTERS:
            raise ConfigurationError(
                f"{where} is a key of {len(key)} characters; use {MIN_KEY_CHARACTERS} to {MAX_KEY_CHARACTERS}, "
                "e.g. from: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        keys.append(_Key(name=name, digest=hashlib.sha256(key.encode()).digest()))
    return tuple(keys)
