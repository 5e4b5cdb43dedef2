"""What clients receive when the queue is full, time is over or the model's process is away, and what becomes of the
requests of those who leave: over a real socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from error_bodies import check


def generate(live: Any, **fields: Any) -> httpx.Response:
    answer: httpx.Response = live.client.post("/v1/generate", json={"prompt": "a", **fields})
    return answer


def _hold(live: Any, pool: ThreadPoolExecutor, **fields: Any) -> Any:
    """Stops the engine with one request inside."""
    live.engine.hold()
    future = pool.submit(generate, live, **fields)
    live.wait_for(lambda: live.metric("flashu_requests_running") == 1)
    return future


def test_a_full_queue_is_503_with_retry_after(toy: Any, serving: Any) -> None:
    with serving(toy(), max_queue=1) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        taken = [_hold(live, pool), pool.submit(generate, live)]
        live.wait_for(lambda: live.metric("flashu_requests_waiting") == 1)
        begun = time.monotonic()
        response = generate(live)
        check(response, 503, "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        assert time.monotonic() - begun < 0.5
        assert live.metric('flashu_rejected_total{reason="queue_full"}') == 1
        live.engine.release()
        assert [future.result().status_code for future in taken] == [200, 200]


def test_a_picture_whose_file_is_late_is_not_delivered(toy: Any, serving: Any) -> None:
    """The engine is done in time, and encoding is not."""
    with serving(toy()) as live:
        live.wait_until_ready()
        assert generate(live).status_code == 200
        (pids,) = (pool.pids for pool in live.images.pools if pool.name == "encode")
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            done = len(live.engine.logged("step"))
            for fields in ({}, {"response_format": "binary"}, {"stream": True}):
                late = generate(live, timeout_s=1.0, **fields)
                assert "deadline_exceeded" in late.text
                assert late.status_code == (200 if "stream" in fields else 504)
            assert len(live.engine.logged("step")) == done + 3 * 4
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert generate(live).status_code == 200


def test_deadlines_are_504(toy: Any, serving: Any) -> None:
    with serving(toy(step_s=0.01)) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        assert check(generate(live, num_inference_steps=1000, timeout_s=0.1), 504, "deadline_exceeded")
        live.wait_for(lambda: live.metric("flashu_requests_running") == 0)
        first = _hold(live, pool)
        turned_to = len(live.engine.logged("begin"))
        begun = time.monotonic()
        check(generate(live, prompt="late", timeout_s=0.1), 504, "deadline_exceeded")
        assert time.monotonic() - begun < 1
        live.engine.release()
        assert first.result().status_code == 200
        assert generate(live).status_code == 200
        assert len(live.engine.logged("begin")) == turned_to + 1


def _post_and_leave(live: Any, body: dict[str, Any], until: str) -> None:
    data = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        head = f"POST /v1/generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
        client.sendall(head.encode() + b"\r\n\r\n" + data)
        live.wait_for(lambda: live.metric(until) == 1)


def test_clients_that_leave_free_their_place(toy: Any, serving: Any) -> None:
    with serving(toy(step_s=0.01)) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        _post_and_leave(live, {"prompt": "long", "num_inference_steps": 1000}, "flashu_requests_running")
        live.wait_for(lambda: live.metric("flashu_requests_running") == 0)
        assert [entry.request_id for entry in live.engine.logged("cancel")] == ["request-1"]
        assert len(live.engine.logged("step")) < 900
        assert live.metric("flashu_evaluations_saved_by_cancel_total") > 0
        first = _hold(live, pool)
        _post_and_leave(live, {"prompt": "waits"}, "flashu_requests_waiting")
        live.wait_for(lambda: live.metric('flashu_requests_total{policy="",status="499",task="generate"}') == 2)
        live.engine.release()
        assert first.result().status_code == 200
        assert generate(live).status_code == 200
        live.wait_for(lambda: live.metric("flashu_requests_waiting") == 0)
        assert "waits" not in [one.text for one in live.engine.logged("begin")]


def test_a_worker_that_dies_is_replaced(toy: Any, serving: Any) -> None:
    with serving(toy()) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        check(generate(live, prompt="refuse"), 500, "internal_error")
        assert generate(live).status_code == 200
        first = _hold(live, pool, prompt="explode")
        second = pool.submit(generate, live)
        live.wait_for(lambda: live.metric("flashu_requests_waiting") == 1)
        live.engine.hold("hold-loading")
        live.engine.release()
        for future, retried in ((first, False), (second, True)):
            response = future.result()
            check(response, 503, "worker_lost")
            assert "retry-after" in response.headers
            assert (response.headers.get("x-should-retry") is None) == retried
        response = live.client.get("/readyz")
        check(response, 503, "restarting")
        assert "retry-after" in response.headers
        check(generate(live), 503, "restarting")
        assert live.client.get("/livez").status_code == 200
        assert live.client.get("/v1/models").status_code == 200
        live.engine.release("hold-loading")
        live.wait_until_ready()
        assert generate(live).status_code == 200
        assert live.metric("flashu_worker_restarts_total") == 1
        assert abs(live.metric("flashu_worker_last_progress_timestamp_seconds") - time.time()) < 300


def test_a_busy_worker_without_progress_is_unready(toy: Any, serving: Any) -> None:
    with serving(toy(), hang_timeout_s=4) as live, ThreadPoolExecutor() as pool:
        live.wait_until_ready()
        first = _hold(live, pool)
        live.wait_for(lambda: live.client.get("/readyz").json().get("error", {}).get("code") == "stalled")
        live.engine.release()
        assert first.result().status_code in (200, 503)  # 503 where this machine was too slow to release it in time
        live.wait_until_ready()


def test_loading_and_a_model_that_does_not_load(toy: Any, serving: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    engine.hold("no-loading")
    with serving(engine) as live:
        for response in (
            live.client.get("/readyz"),
            generate(live),
            live.client.post("/v1/vqa", json={"question": "a", "image": "a"}),
        ):
            check(response, 503, "loading")
            assert "retry-after" in response.headers
        check(live.client.get("/v1/models"), 503, "loading")
        assert live.client.get("/livez").status_code == 200
        engine.release("hold-loading")
        live.wait_for(lambda: live.client.get("/readyz").json()["error"]["code"] == "failed")
        check(generate(live), 503, "failed")
        check(live.client.get("/v1/models"), 503, "failed")
        assert live.client.get("/livez").status_code == 200


def test_what_no_route_expected_is_a_500_of_fixed_words(toy: Any, serving: Any) -> None:
    engine = toy()
    with serving(engine) as live:
        live.wait_until_ready()
        info = live.worker.info()
        sizes = info.sizes
        object.__setattr__(info, "sizes", None)  # a fault of ours inside a route
        response = generate(live, size="64x64")
        check(response, 500, "internal_error")
        assert response.headers["x-request-id"]
        object.__setattr__(info, "sizes", sizes)
        assert generate(live).status_code == 200


def test_two_apps_do_not_meet(toy: Any, serving: Any) -> None:
    with serving(toy()) as one, serving(toy()) as other:
        one.wait_until_ready()
        other.wait_until_ready()
        assert generate(one).status_code == 200
        ok = 'flashu_requests_total{policy="flashu",status="200",task="generate"}'
        assert (one.metric(ok), other.metric(ok)) == (1, 0)
