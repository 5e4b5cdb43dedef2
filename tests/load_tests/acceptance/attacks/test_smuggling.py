"""Rejected and accepted requests are distinguished, on a server that rejects and on one that accepts everything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from load_tests import promises
from load_tests.acceptance.attacks.smuggling import judge, requests
from load_tests.bench.client import Client

Serving = Callable[[Any], AbstractAsyncContextManager[str]]


async def test_a_server_that_takes_everything(serving: Serving, response: Callable[..., bytes]) -> None:
    async def take(head: bytes, body: bytes) -> bytes:
        return response(200)

    async with serving(take) as url:
        (target,) = await judge(Client(url))
        assert target.measured == len(requests(Client(url))) > 8
    assert target.verdict == "missed"
    assert "Host example.org: 200" in target.note


async def test_a_server_that_looks(serving: Serving, response: Callable[..., bytes]) -> None:
    async def look(head: bytes, body: bytes) -> bytes:
        text = head.lower()
        port = text.partition(b"host: 127.0.0.1:")[2].partition(b"\r\n")[0]
        odd = b"transfer-encoding" in text or b"origin" in text or text.count(b"content-length") > 1
        return response(400 if odd or not port.isdigit() else 200)

    async with serving(look) as url:
        (target,) = await judge(Client(url))
    assert (target.measured, target.verdict) == (0, "met")


async def test_a_server_that_refuses_everybody_shows_nothing(serving: Serving, response: Callable[..., bytes]) -> None:
    async def refuse(head: bytes, body: bytes) -> bytes:
        return response(403)

    async with serving(refuse) as url:
        (target,) = await judge(Client(url))
    assert target.verdict == "missed"


def test_the_real_server(tmp_path: Path) -> None:
    options = ["--only", "smuggling", "--threads", "1", "--results", str(tmp_path)]
    assert promises.main(options) == 0
