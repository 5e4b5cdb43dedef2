"""Peers that leave while nothing is read from them."""

from __future__ import annotations

import asyncio
import select
import socket

import pytest

from server.connections.hangups import Hangups

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll here")


async def test_a_peer_that_left_is_noticed_behind_what_it_sent() -> None:
    hangups = Hangups()
    here, there = socket.socketpair()
    stays, other = socket.socketpair()
    gone = asyncio.Event()
    noticed: list[str] = []
    hangups.watch(here.fileno(), gone.set)
    hangups.watch(here.fileno(), lambda: noticed.append("twice"))
    hangups.watch(stays.fileno(), lambda: noticed.append("the wrong one"))
    there.sendall(b"x" * 1000)
    await asyncio.sleep(0.05)
    assert not gone.is_set()
    there.close()
    await asyncio.wait_for(gone.wait(), 60)
    hangups.forget(stays.fileno())
    other.close()
    await asyncio.sleep(0.05)
    assert noticed == []
    here.close()
    stays.close()
