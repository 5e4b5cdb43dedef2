"""The sockets that a server listens on. It knows host names and families of addresses: `::` and `localhost` mean both
IPv4 and IPv6 to those who write them, so there is a socket for each that the machine has."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from flashu_core import ConfigurationError

_ALL = ("0.0.0.0", "::")  # noqa: S104 - where an operator says so
_BOTH = {"localhost": ("127.0.0.1", "::1"), "::": _ALL, "": _ALL}
# Families and addresses that a machine lacks.
_LACKING = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
_TRIES = 8


class ListenError(ConfigurationError):
    """The address cannot be listened on."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Bound sockets, one for each address of `host`, all of one port.

    Args:
        host: an address or a name. `localhost` is both loopback addresses, `::` all addresses of both families,
            `0.0.0.0` all of IPv4; where the machine has one family only, that one is taken.
        port: 0 takes a free one.

    Raises:
        ListenError: there is no such address here, or the port is taken.
    """
    hosts = _BOTH.get(host, (host,))
    for tries_left in reversed(range(_TRIES)):
        try:
            return _bind_all(hosts, port)
        except OSError as error:
            # A free port of one family may be taken in the other.
            if not (port == 0 and error.errno == errno.EADDRINUSE and tries_left):
                raise ListenError(_described(host, port, error)) from error
    raise AssertionError("unreachable")


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for host in hosts:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                at = (address[0], bound[0].getsockname()[1] if bound else port, *address[2:])
                try:
                    bound.append(_bind(family, at))
                except OSError as error:
                    if error.errno not in _LACKING:
                        raise
                    lacking = error
        if not bound:
            assert lacking is not None
            raise lacking
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    # The protocol is named because asyncio sends small answers at once (TCP_NODELAY) only where it is.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own, so that its clients' addresses look as they do without IPv6.
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one


def _described(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host is {host!r}, which is no address of this machine and no name that is known; use 127.0.0.1 or ::"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is taken; choose another with --port, or end what listens there"
        case errno.EACCES:
            return f"port {port} of {host} is not allowed to this user; choose one from 1024 on with --port"
        case code if code in _LACKING:
            return f"host is {host!r}, which is no address of this machine; use 127.0.0.1, or :: for all"
        case code:
            return f"{host}, port {port}, cannot be listened on: {os.strerror(code or 0)}"


def address_of(listening: socket.socket) -> str:
    """Where a socket is reached, as `http://127.0.0.1:8000`."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
