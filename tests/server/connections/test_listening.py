"""Which addresses a server listens on."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from server.connections.listening import ListenError, address_of, listen


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(host, port)
    try:
        for one in sockets:
            one.listen()
        yield sockets
    finally:
        for one in sockets:
            one.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "::", ""])
def test_both_families_on_one_port(host: str) -> None:
    with listening(host) as sockets:
        (port,) = {one.getsockname()[1] for one in sockets}
        for address in ("127.0.0.1", *(["::1"] if has_ipv6() else [])):
            with socket.create_connection((address, port), timeout=10) as connection:
                # As it would be without the other family: no address of IPv4 inside one of IPv6.
                assert connection.getpeername()[0] == address


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_address_of_one_family_is_that_one(host: str) -> None:
    with listening(host) as sockets:
        (one,) = sockets
        assert one.family == socket.AF_INET
        assert address_of(one) == f"http://{host}:{one.getsockname()[1]}"


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6")
def test_ipv6_alone() -> None:
    with listening("::1") as sockets:
        assert address_of(sockets[0]).startswith("http://[::1]:")


@pytest.mark.parametrize("host", ["1.2.3.4", "no.such.host.invalid", "no such host"])
def test_what_is_no_address_here_is_said(host: str) -> None:
    with pytest.raises(ListenError, match=f"host is '{host}'"):
        listen(host, 0)


def test_a_port_that_is_taken_is_said() -> None:
    with listening("127.0.0.1") as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)
