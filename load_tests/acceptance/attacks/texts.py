"""Texts that are expensive to route: of maximum length, of repeated keywords, of characters that normalisation expands.
Routing them must not delay other clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence

from load_tests.acceptance.attacks.rig import Rig
from load_tests.acceptance.crowd import crowd
from load_tests.acceptance.probe import Waits, probing
from load_tests.acceptance.target import Target
from load_tests.bench.client import Client, Message

_CLIENTS = 8
_SECONDS = 0.6  # of each text
_FIRST_S = 0.1
_WAIT_S = 0.1
_LENGTH = 32_000  # characters; the limit is 32,768


async def run(rig: Rig) -> Sequence[Target]:
    with rig.server() as server:
        client = Client(server.base_url)
        return [judge({name: await beside(client, text) for name, text in texts().items()})]


def texts() -> Mapping[str, str]:
    """Texts of nearly maximum length."""
    parts = {
        "one letter": "a",
        "a ligature of eighteen letters": "\ufdfa",
        "ligatures, spaced": "\ufdfa ,",
        "combining marks": "a" + "\u0301" * 40,
        "quotation marks": '"',
        "opening quotation marks": "\u201c",
        "dashes": " - ",
        "commas": ", ",
        "lines": "a\n",
        "sentences": "a? ",
        "can you": "can you ",
        "please": "please ",
        "without a picture": "without a picture ",
        "then": " then ",
        "no": "no ",
        "draw, cut short": "dra",
        "what is": "what is ",
    }
    return {name: (part * (_LENGTH // len(part) + 1))[:_LENGTH] for name, part in parts.items()}


async def beside(client: Client, text: str, seconds: float = _SECONDS) -> Waits:
    """Another client's waits meanwhile. The engine is not involved: the image is invalid."""
    body = {"prompt": text, "image": "bm90IGEgcGljdHVyZQ=="}
    message = Message(path="/v1/infer", body=json.dumps(body).encode())
    async with crowd(lambda _: client.exchange(message), _CLIENTS):
        await asyncio.sleep(_FIRST_S)
        async with probing(client) as waits:
            await asyncio.sleep(seconds)
    return waits


def judge(seen: Mapping[str, Waits]) -> Target:
    """Judges the worst text."""
    worst = max(seen, key=lambda name: seen[name].longest_s)
    return Target(
        name="another client's longest wait beside texts that are expensive to route",
        unit="s",
        limit=_WAIT_S,
        measured=seen[worst].longest_s,
        note=f"{worst}, of {len(seen)} texts from {_CLIENTS} clients each",
    )
