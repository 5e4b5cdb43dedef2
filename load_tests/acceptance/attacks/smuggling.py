"""Request smuggling and cross-site requests: a content length beside chunks, a foreign Host or Origin. The server must
reject them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.sockets import head, talk
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client

_BODY = b'{"prompt": "a", "num_inference_steps": 2}'
_JSON = "Content-Type: application/json"
_LENGTH = f"Content-Length: {len(_BODY)}"
_CHUNKED = "Transfer-Encoding: chunked"
_CHUNKS = b"%x\r\n" % len(_BODY) + _BODY + b"\r\n0\r\n\r\n"
_LINE = "POST /v1/generate"


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server() as server:
        return await judge(Client(server.base_url))


async def judge(client: Client) -> list[Target]:
    own = head(client, _LINE, _JSON, _LENGTH) + _BODY
    accepted = await talk(client, own)
    statuses = {name: await talk(client, request) for name, request in requests(client).items()}
    passed = [f"{name}: {status}" for name, status in statuses.items() if not _refused(status)]
    return [
        Target(
            name="requests with two lengths, foreign hosts or origins, not rejected",
            unit="",
            limit=0,
            measured=len(passed) if accepted == 200 else None,
            note="; ".join(passed) if accepted == 200 else f"an ordinary request: {accepted}",
        )
    ]


def requests(client: Client) -> Mapping[str, bytes]:
    """Requests that must not generate an image."""
    two = {
        "length, then chunks": (_LENGTH, _CHUNKED),
        "chunks, then length": (_CHUNKED, _LENGTH),
        "chunks and a length of 0": (_CHUNKED, "Content-Length: 0"),
    }
    found = {name: head(client, _LINE, _JSON, *headers) + _CHUNKS for name, headers in two.items()}
    found["two lengths"] = head(client, _LINE, _JSON, _LENGTH, f"Content-Length: {len(_BODY) + 1}") + _BODY
    for origin in ("https://example.org", "http://127.0.0.1.example.org", "null"):
        found[f"Origin {origin}"] = head(client, _LINE, _JSON, _LENGTH, f"Origin: {origin}") + _BODY
    for host in ("example.org", "127.0.0.1.example.org", f"localhost.example.org:{client.port}"):
        own = f"Host: {client.host}:{client.port}".encode()
        found[f"Host {host}"] = (head(client, _LINE, _JSON, _LENGTH) + _BODY).replace(own, f"Host: {host}".encode())
    return found


def _refused(status: int | None) -> bool:
    return status is not None and 400 <= status < 500
