"""Pictures at http and https addresses that a client names, fetched without letting it reach what only this server can:
every address is judged before a socket is opened, and the socket goes to that very address. It knows HTTP as far as GET
needs, and no formats of pictures: the bytes go to the decoder like any others.

A route fetches with one call, `await remote.fetch_image(url)`, where the operator has switched it on.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import h11

from flashu_core import InvalidRequestError
from server.images.addresses import is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
_URL = re.compile(r"https?://[!-~]{1,2048}", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")  # a name or an IPv6 address; no zone
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_HEAD_BYTES = 32 * 1024
_MAX_TRIES = 3  # of a host's addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteLimits:
    """Bounds on what is fetched.

    Attributes:
        hosts: names that may be fetched from, `.example.org` for all below it; none means every public one.
        ports: that may be connected to.
        max_bytes: of a picture's file.
        timeout_s: from the first lookup to the last byte, redirects included.
        redirects: followed at most.
        at_once: fetches at the same time; more wait, and their time runs.
    """

    hosts: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset({80, 443})
    max_bytes: int = 10 * 2**20
    timeout_s: float = 10.0
    redirects: int = 3
    at_once: int = 8

    def allows(self, host: str) -> bool:
        name = host.rstrip(".")
        return not self.hosts or any(name == one or (one[:1] == "." and name.endswith(one)) for one in self.hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    url: str
    secure: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, by the system's resolver, which also reads numbers (`2130706433`, `0x7f.1`)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


class RemoteImages:
    """Fetches pictures within `limits`. Made once per server.

    Args:
        resolve: all addresses of a host and port.
    """

    def __init__(self, limits: RemoteLimits, *, resolve: Resolve = resolve_host) -> None:
        self._limits = limits
        self._resolve = resolve
        self._tls = ssl.create_default_context()
        self._free = asyncio.Semaphore(limits.at_once)

    async def fetch_image(self, url: str) -> bytes:
        """The file at `url`, of whatever kind it is.

        Raises:
            InvalidRequestError: the address may not be fetched, or what came was no answer, too large or too late.
                The message does not tell an address that is refused from one that does not exist.
        """
        try:
            return await asyncio.wait_for(self._follow(url), self._limits.timeout_s)
        except asyncio.TimeoutError:
            raise _refused(f"did not arrive within {self._limits.timeout_s:g} s; send the picture itself") from None

    async def _follow(self, url: str) -> bytes:
        async with self._free:
            for _ in range(self._limits.redirects + 1):
                target = self._target(url)
                found = await self._get(target)
                if isinstance(found, bytes):
                    return found
                url = urljoin(target.url, found)
        raise _refused(f"was redirected more than {self._limits.redirects} times; name where it ends")

    def _target(self, url: str) -> _Target:
        if not _URL.fullmatch(url) or "\\" in url:
            raise _refused("has an address that is no plain http or https URL; percent-encode it")
        try:
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
        except ValueError:
            raise _refused("has an address that is no plain http or https URL; percent-encode it") from None
        host = parts.hostname or ""
        if "@" in parts.netloc or not _HOST.fullmatch(host):
            raise _refused("has an address with a user, a password or an odd host; name a plain one")
        if port not in self._limits.ports:
            known = ", ".join(str(port) for port in sorted(self._limits.ports))
            raise _refused(f"has an address with another port than {known}; use one of these")
        if not self._limits.allows(host):
            raise _refused("is on a host that this server does not fetch from; send the picture itself")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return _Target(url=url, secure=secure, host=host, port=port, path=path)

    async def _get(self, target: _Target) -> bytes | str:
        """The body, or where a redirect leads."""
        addresses = list(dict.fromkeys(await self._resolve(target.host, target.port)))
        if not addresses or not all(is_public(address) for address in addresses):
            raise _refused("is on a host without a public address; send the picture itself")
        reader, writer = await self._connect(target, addresses)
        try:
            return await self._exchange(target, reader, writer)
        except (OSError, h11.RemoteProtocolError):
            raise _refused("could not be fetched: the host broke off; send the picture itself") from None
        finally:
            writer.transport.abort()

    async def _connect(
        self, target: _Target, addresses: Sequence[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = self._tls if target.secure else None
        name = target.host if target.secure else None  # whom the certificate must name, wherever it was found
        for address in addresses[:_MAX_TRIES]:
            try:
                reader, writer = await asyncio.open_connection(address, target.port, ssl=tls, server_hostname=name)
            except (OSError, ValueError):  # ValueError: a name that no certificate can have
                continue
            return reader, writer
        raise _refused("could not be fetched: its host takes no connection; send the picture itself")

    async def _exchange(
        self, target: _Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | str:
        http = h11.Connection(h11.CLIENT, _MAX_HEAD_BYTES)
        headers = [
            ("Host", target.authority),
            ("User-Agent", "flashu-server"),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        for sent in (h11.Request(method="GET", target=target.path, headers=headers), h11.EndOfMessage()):
            writer.write(http.send(sent) or b"")
        await writer.drain()
        body = bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                location = self._check(event)
                if location is not None:
                    return location
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > self._limits.max_bytes:
                    raise self._too_large()
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)

    def _check(self, response: h11.Response) -> str | None:
        """Where a redirect leads, or None where a body follows that may be read."""
        headers = {name: value.decode("latin-1") for name, value in response.headers}
        if response.status_code in _REDIRECTS and b"location" in headers:
            return headers[b"location"]
        if response.status_code != 200:
            raise _refused(f"could not be fetched: its host answered {response.status_code}")
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise _refused("is compressed in transfer, which was not asked for; send the picture itself")
        if int(headers.get(b"content-length", "0")) > self._limits.max_bytes:
            raise self._too_large()
        return None

    def _too_large(self) -> InvalidRequestError:
        return _refused(f"has more than {self._limits.max_bytes} bytes at its address; send a smaller one")


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"image {message}", parameter="image")
