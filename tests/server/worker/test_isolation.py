"""The same request alone, in a batch, beside requests that fail or disconnect, and after the worker's process was
replaced gives the same picture and answer, with the embedded model over real sockets."""

from __future__ import annotations

import base64
import io
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from flashu_core.acceleration.policies import GenerationPolicy, UnderstandingPolicy

POLICIES = ["exact", "flashu"]
WITHIN = 2  # of 255: what sums in another order make of a pixel
POINTS = 10


def picture() -> str:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


ENCODED = picture()


def generation(policy: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"prompt": "a large red circle", "seed": 7, "num_inference_steps": POINTS, "acceleration": policy}
    return {**body, **fields}


def question(policy: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"question": "what is this?", "image": ENCODED, "max_new_tokens": 24, "acceleration": policy}
    return {**body, "temperature": 10.0, "seed": 4, **fields}


def post(live: Any, body: dict[str, Any]) -> httpx.Response:
    # A client each, for they are sent at once.
    route = "/v1/vqa" if "question" in body else "/v1/generate"
    return httpx.post(f"http://127.0.0.1:{live.port}{route}", json=body, timeout=60)


def pixels(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200, response.text
    found = []
    for image in response.json()["images"]:
        with Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) as opened:
            found.append(np.asarray(opened).astype(int))
    return found


def difference(one: httpx.Response, other: httpx.Response) -> int:
    pairs = zip(pixels(one), pixels(other), strict=True)
    return max(int(np.abs(first - second).max()) for first, second in pairs)


def together(live: Any, bodies: list[dict[str, Any]], meanwhile: Callable[[], None] = lambda: None) -> list[Any]:
    """The answers to requests that are all in the engine at once."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        waiting: list[Future[httpx.Response]] = [pool.submit(post, live, body) for body in bodies]
        meanwhile()
        return [future.result() for future in waiting]


@pytest.mark.parametrize("policy", POLICIES)
def test_alone_it_is_the_same_to_the_byte(policy: str, real: Any) -> None:
    first, again = (post(real, generation(policy, n=2)) for _ in range(2))
    assert first.json()["images"] == again.json()["images"]
    assert first.json()["schedule"] == again.json()["schedule"]
    one, other = (post(real, question(policy)).json() for _ in range(2))
    assert (one["answer"], one["usage"]) == (other["answer"], other["usage"])
    assert one["usage"]["completion_tokens"] > 5
    moved = post(real, generation(policy, seed=8))
    assert difference(moved, post(real, generation(policy))) > 50


@pytest.mark.parametrize(("load", "policy"), [(2, "exact"), (8, "exact"), (3, "flashu"), (8, "flashu")])
def test_in_a_batch_it_is_the_same_within_rounding(load: int, policy: str, real: Any) -> None:
    prompts = ["a small blue square", "two green stars on white", "a", "a yellow triangle left of a red circle"]
    bodies = []
    for index in range(1, load):
        text, num_inference_steps = prompts[index % 4], POINTS + index
        bodies.append(
            generation(
                policy, prompt=text, seed=index, guidance_scale=float(index), num_inference_steps=num_inference_steps
            )
            if index % 3
            else question(policy, question=f"{text}?", seed=index)
        )
    alone, answer = post(real, generation(policy)), post(real, question(policy)).json()["answer"]
    found, *_ = together(real, [generation(policy), *bodies])
    assert difference(found, alone) <= WITHIN
    assert found.json()["schedule"] == alone.json()["schedule"]
    said, *others = together(real, [question(policy), *bodies])
    assert said.json()["answer"] == answer
    assert all(other.status_code == 200 for other in others)


@pytest.mark.parametrize("policy", POLICIES)
def test_others_that_fail_or_leave_change_nothing(policy: str, real: Any) -> None:
    alone, answer = post(real, generation(policy)), post(real, question(policy)).json()["answer"]
    pid = real.worker.pid
    long = generation(policy, prompt="a blue square", num_inference_steps=1000)

    def leave() -> None:
        with httpx.stream(
            "POST", f"http://127.0.0.1:{real.port}/v1/generate", json={**long, "stream": True}, timeout=60
        ) as response:
            assert next(response.iter_lines()).startswith("event: progress")

    late = {**long, "timeout_s": 0.2}
    refused = generation(policy, prompt="word " * 5000)
    found = together(real, [generation(policy), question(policy), late, refused], leave)
    assert [one.status_code for one in found] == [200, 200, 504, 400]
    assert difference(found[0], alone) <= WITHIN
    assert found[1].json()["answer"] == answer
    assert real.worker.pid == pid


NEAR: dict[str, list[float]] = {
    # Beside the policy's own value, where a cache that rounds its keys would take one for the other; and far from it.
    "ffn_ratio": [0.2000000001, 0.1999999999, 0.1000000001, 0.0999999999, 0.5],
    "hybrid_threshold": [0.3000000001, 0.2999999999, 0.9],
    "skip_ratio": [0.2000000001, 0.1000000001, 0.6],
    "skip_interval": [9, 11, 1],
    "points": [0.7000000001, 0.3],
    "low_guidance": [0.7500000001, 0.7499999999, 3.0],
    "guidance_threshold": [0.3000000001, 0.9],
    "head_interval": [4, 6, 1],
    "token_ratio": [0.5000000001, 0.4999999999, 0.9],
    "token_layer": [1, 3],
}


@pytest.mark.parametrize(("task", "policy"), [(generation, GenerationPolicy), (question, UnderstandingPolicy)])
def test_what_others_change_of_their_policy_changes_nothing(task: Any, policy: type, real: Any) -> None:
    """Whatever one request sets, before another or beside it, the other stays the same to the byte."""
    victims = [task("flashu"), task({"policy": "flashu", "ffn_ratio": 0.3})]
    expected = [post(real, victim).json() for victim in victims]
    for parameter in (one.name for one in fields(policy)):
        for value in NEAR[parameter]:
            changed = task({"policy": "flashu", parameter: value}, seed=99)
            if task is generation and parameter == "points":
                del changed["num_inference_steps"]
            assert post(real, changed).status_code == 200, parameter
        for victim, before in zip(victims, expected, strict=True):
            found = post(real, victim).json()
            for same in ("images", "answer", "schedule", "usage"):
                assert found.get(same) == before.get(same), parameter


def test_a_stopped_process_is_replaced_and_generates_the_same(serving: Any) -> None:
    with serving(None, dtype="float32", hang_timeout_s=1.0, max_queue_seconds=3600) as live:
        live.wait_until_ready()
        bodies = [make(policy) for policy in POLICIES for make in (generation, question)]
        before = [post(live, body).json() for body in bodies]
        pid = live.worker.pid

        def stop() -> None:
            live.wait_for(lambda: live.worker.running == 2)
            os.kill(pid, signal.SIGSTOP)

        lost = together(
            live, [generation("exact", num_inference_steps=1000), generation("flashu", num_inference_steps=1000)], stop
        )
        assert [(one.status_code, one.json()["error"]["code"]) for one in lost] == [(503, "worker_lost")] * 2
        live.wait_until_ready()
        assert live.worker.pid not in (pid, None)
        assert live.metric("flashu_worker_restarts_total") == 1
        for body, expected in zip(bodies, before, strict=True):
            found = post(live, body).json()
            for same in ("images", "answer", "schedule", "usage"):
                assert found.get(same) == expected.get(same)
