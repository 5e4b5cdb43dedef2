"""The real server answers every request to OpenAI's routes."""

from __future__ import annotations

import json
import random

from load_tests.acceptance.server_process import ServerProcess
from load_tests.bench.client import Client
from load_tests.bench.openai_bodies import openai_bodies


async def test_all_kinds_are_answered() -> None:
    pick = openai_bodies("shapes-64", 0)
    rng = random.Random(0)
    messages = [pick(rng) for _ in range(200)]
    kinds = {(one.path, b'"stream": true' in one.body, b"image_url" in one.body): one for one in messages}
    assert len(kinds) == 6
    with ServerProcess(threads=1) as server:
        client = Client(server.base_url)
        for message in kinds.values():
            reply = await client.exchange(message)
            assert reply.status == 200, reply.body[:300]
            if b'"stream": true' not in message.body:
                assert "error" not in json.loads(reply.body) or json.loads(reply.body)["error"] is None
