"""Series stay bounded whatever clients send."""

from __future__ import annotations

import json
import random
import re
import socket
from typing import Any

KEY = "sk-known-0123456789"


def exchange(client: socket.socket, requests: list[bytes]) -> None:
    """Sends them all, and reads as many answers."""
    client.sendall(b"".join(requests))
    left = len(requests)
    buffer = b""
    while left:
        part = client.recv(2**20)
        assert part, "the server closed the connection"
        buffer += part
        while left and (
            head := re.match(rb"HTTP/1\.1 \d+ .*?content-length: (\d+).*?\r\n\r\n", buffer, re.DOTALL | re.I)
        ):
            whole = head.end() + int(head[1])
            if len(buffer) < whole:
                break
            buffer = buffer[whole:]
            left -= 1


def odd_request(number: int, chance: random.Random) -> bytes:
    word = f"{chance.getrandbits(64):x}"
    key = KEY if number % 2 else f"sk-{word}"
    body = json.dumps({"prompt": "a", word: 1} if number % 5 else {"prompt": "a", "acceleration": word}).encode()
    path = f"/v1/{word}" if number % 3 else "/v1/generate"
    method = "POST" if number % 7 else word.upper()
    lines = [
        f"{method} {path}?{word}={word} HTTP/1.1",
        f"Host: {word}",
        f"Authorization: Bearer {key}",
        f"X-Request-Id: {word}",
        f"User-Agent: {word}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def series(live: Any) -> set[str]:
    text = live.client.get("/metrics").text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_ten_thousand_odd_requests_make_no_series(toy: Any, serving: Any) -> None:
    chance = random.Random(0)
    with serving(toy(), api_keys=f"known:{KEY}", rate_limit="1000000/day", max_connections=600) as live:
        live.wait_for(lambda: live.client.get("/readyz").status_code == 200)
        with socket.create_connection(("127.0.0.1", live.port), timeout=60) as client:
            exchange(client, [odd_request(number, chance) for number in range(500)])
            before = series(live)
            for begin in range(500, 10_500, 100):
                exchange(client, [odd_request(number, chance) for number in range(begin, begin + 100)])
        assert series(live) == before
        assert not any(KEY in line or "known" in line for line in before)
