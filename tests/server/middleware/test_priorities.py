"""Who may run before others."""

from __future__ import annotations

from typing import Any

import pytest

from flashu_core import ConfigurationError, InvalidRequestError
from server.middleware.priorities import Priorities


def test_keys_lower_only_their_own_priority() -> None:
    priorities = Priorities(keys="batch:5, desk:-10")
    for key, minimum in ((None, 0), ("other", 0), ("batch", 5), ("desk", -10)):
        priorities.check(key, minimum)
        priorities.check(key, 100)
        with pytest.raises(InvalidRequestError, match=f"priority is {minimum - 1}; this key may use {minimum} to 100"):
            priorities.check(key, minimum - 1)
    Priorities(minimum=-100).check(None, -100)


@pytest.mark.parametrize("text", ["desk", "desk:", ":-5", "desk:x", "desk:-101", "desk:101", "a:1,b"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="priority_keys"):
        Priorities(keys=text)


def test_a_better_priority_needs_an_allowed_key(toy: Any, serving: Any) -> None:
    keys = "desk:sk-desk-0123456789,web:sk-web-0123456789"
    with serving(toy(), api_keys=keys, priority_keys="desk:-10") as live:
        live.wait_until_ready()

        def status(key: str, priority: int, **body: Any) -> int:
            sent = {"prompt": "a", "priority": priority, **body}
            reply = live.client.post("/v1/generate", json=sent, headers={"authorization": f"Bearer {key}"})
            if reply.status_code == 400:
                error = reply.json()["error"]
                assert error["param"] == "priority" and str(priority) in error["message"]
            return reply.status_code

        assert [status("sk-desk-0123456789", priority) for priority in (-10, 0, 100, -11)] == [200, 200, 200, 400]
        assert [status("sk-web-0123456789", priority) for priority in (0, 100, -1, -100)] == [200, 200, 400, 400]
        assert status("sk-web-0123456789", -1, stream=True) == 400


def test_a_priority_is_refused_before_a_picture_is_decoded(toy: Any, serving: Any) -> None:
    with serving(toy()) as live:
        live.wait_until_ready()
        damaged = {"question": "what?", "image": "AAAA", "priority": -1}
        chat = {
            "model": "toy",
            "priority": -1,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what?"},
                        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
                    ],
                }
            ],
        }
        for route, body in (("/v1/vqa", damaged), ("/v1/infer", damaged), ("/v1/chat/completions", chat)):
            for stream in (False, True):
                reply = live.client.post(route, json={**body, "stream": stream})
                assert (reply.status_code, reply.json()["error"]["param"]) == (400, "priority")
