"""What is measured: every name with its type and labels, sums that add up, and series that stay bounded whatever
clients send."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flashu_core import CancelledError, DeadlineExceededError, InvalidRequestError
from server import __version__, errors
from server.connections.protocol import CUTS
from server.errors import FAILURES, REFUSALS, ServerError, problem_of
from server.metrics import Metrics

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


_COLLECTIONS = ("collections", "objects_collected", "objects_uncollectable")
_PROCESS = {
    **dict.fromkeys(("virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds"), "gauge"),
    **dict.fromkeys(("open_fds", "max_fds"), "gauge"),
    "cpu_seconds": "counter",
}

# name: its type and the labels it may have
EXPECTED = {
    "flashu_requests": ("counter", {"task", "policy", "status"}),
    "flashu_requests_running": ("gauge", set()),
    "flashu_requests_waiting": ("gauge", set()),
    "flashu_backlog_seconds": ("gauge", set()),
    "flashu_predicted_wait_seconds": ("gauge", {"task"}),
    "flashu_admission_accepted": ("counter", {"task"}),
    "flashu_admission_refused": ("counter", {"task", "reason"}),
    "flashu_admission_predicted_wait_seconds": ("counter", {"task"}),
    "flashu_admission_observed_wait_seconds": ("counter", {"task"}),
    "flashu_images_waiting": ("gauge", {"kind"}),
    "flashu_image_processes_replaced": ("counter", {"kind", "reason"}),
    "flashu_log_lines_dropped": ("counter", set()),
    "flashu_request_duration_seconds": ("histogram", {"task"}),
    "flashu_queue_time_seconds": ("histogram", {"task"}),
    "flashu_component_seconds": ("histogram", {"task", "policy", "component"}),
    "flashu_time_to_first_token_seconds": ("histogram", set()),
    "flashu_inter_token_seconds": ("histogram", set()),
    "flashu_evaluation_seconds": ("histogram", set()),
    "flashu_batch_size": ("histogram", {"task"}),
    "flashu_backbone_passes": ("counter", {"kind"}),
    "flashu_layers_skipped": ("counter", {"task"}),
    "flashu_head_passes": ("counter", {"kind"}),
    "flashu_visual_tokens": ("counter", {"kind"}),
    "flashu_tokens": ("counter", {"kind"}),
    "flashu_images": ("counter", set()),
    "flashu_evaluations_saved_by_cancel": ("counter", set()),
    "flashu_rejected": ("counter", {"reason"}),
    "flashu_worker_restarts": ("counter", set()),
    "flashu_worker_last_progress_timestamp_seconds": ("gauge", set()),
    "flashu_accelerator_memory_bytes": ("gauge", {"kind"}),
    "flashu_build_info": ("gauge", {"version", "model"}),
    "python_info": ("gauge", {"version", "implementation", "major", "minor", "patchlevel"}),
    **{f"python_gc_{name}": ("counter", {"generation"}) for name in _COLLECTIONS},
    **{
        f"{prefix}process_{name}": (kind, set()) for prefix in ("", "flashu_worker_") for name, kind in _PROCESS.items()
    },
}


def samples(live: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(live.client.get("/metrics").text)
        for sample in family.samples
    }


def drive(client: Any) -> Iterator[dict[str, Any]]:
    """Every route that works; yields the answers that tell their timings."""
    for policy in ("exact", "flashu"):
        generation = {"prompt": "a red circle", "seed": 1, "num_inference_steps": 9, "acceleration": policy}
        generated = client.post("/v1/generate", json=generation)
        yield generated.json()
        picture = generated.json()["images"][0]["b64_json"]
        question = {"question": "what is left of the circle?", "image": picture, "acceleration": policy}
        yield client.post("/v1/vqa", json={**question, "max_new_tokens": 8}).json()
    yield client.post("/v1/infer", json={"prompt": "draw a blue square", "num_inference_steps": 5}).json()
    yield client.post("/v1/infer", json={"prompt": "what colour is it?", "image": picture}).json()
    chat = {"model": "shapes-64", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    image = {"model": "shapes-64", "prompt": "a circle", "num_inference_steps": 5}
    assert client.post("/v1/images/generations", json=image).status_code == 200
    assert client.post("/v1/generate", json={"prompt": ""}).status_code == 400
    for path in ("/livez", "/readyz", "/health", "/version", "/v1/models"):
        assert client.get(path).status_code == 200


def test_every_metric_has_its_name_type_and_labels(serving: Any) -> None:
    with serving(None, dtype="float32") as live:
        live.wait_until_ready()
        answers = list(drive(live.client))
        families = {family.name: family for family in text_string_to_metric_families(live.client.get("/metrics").text)}
        assert set(families) == set(EXPECTED)
        for name, (kind, labels) in EXPECTED.items():
            family = families[name]
            assert family.type == kind, name
            assert family.documentation
            assert family.samples, name
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == labels, sample
        found = samples(live)

        def value(name: str, **labels: str) -> float:
            return found[f"flashu_{name}", frozenset(labels.items())]

        # What the answers tell is what is counted.
        generated = [answer for answer in answers if answer["task"] == "generate"]
        requested = [answer for answer in answers if answer["task"] == "vqa"]
        assert value("request_duration_seconds_count", task="generate") == len(generated) + 1  # OpenAI's route
        assert value("request_duration_seconds_count", task="vqa") == len(requested) + 1
        assert value("queue_time_seconds_count", task="vqa") == len(requested) + 1
        assert value("requests_total", task="generate", policy="", status="400") == 1
        assert value("requests_total", task="generate", policy="exact", status="200") == 1
        for kind in ("full", "pruned", "not_needed"):
            reported = sum(answer["schedule"].get(f"backbone_{kind}", 0) for answer in generated)
            assert value("backbone_passes_total", kind=kind) >= reported > 0
        assert value("head_passes_total", kind="reused") > 0
        assert value("build_info", version=__version__, model="shapes-64") == 1
        assert value("images_total") == len(generated) + 1
        tokens = sum(answer["usage"]["completion_tokens"] for answer in requested)
        assert 0 < tokens < value("tokens_total", kind="generated") <= tokens + 4  # OpenAI's route
        assert value("tokens_total", kind="prompt") > sum(answer["usage"]["prompt_tokens"] for answer in requested)
        assert value("layers_skipped_total", task="generate") > 0
        assert value("visual_tokens_total", kind="kept") == 16 * len(requested)
        assert value("accelerator_memory_bytes", kind="weights") > 1e7
        steps = sum(answer["schedule"]["evaluations"] for answer in generated)
        assert value("evaluation_seconds_count") == steps + 4
        backbone = sum(answer["timings_ms"]["backbone"] for answer in generated if answer["acceleration"] == "exact")
        measured = value("component_seconds_sum", task="generate", policy="exact", component="backbone")
        assert abs(measured - backbone / 1000) < 1e-9


def counts(live: Any, name: str) -> dict[tuple[str, ...], float]:
    """The series of a counter by the values of their labels, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(labels)): value
        for (sample, labels), value in samples(live).items()
        if sample == f"flashu_{name}"
    }


def test_series_of_known_labels_begin_with_zero(toy: Any, serving: Any) -> None:
    with serving(toy()) as live:
        live.wait_until_ready()
        live.wait_for(lambda: ("flashu", "200", "vqa") in counts(live, "requests_total"))
        tasks = ("generate", "vqa")
        failures = {("", str(status), task) for status in FAILURES for task in (*tasks, "unrouted")}
        answers = {(policy, "200", task) for policy in ("exact", "flashu") for task in tasks}
        expected = {
            "requests_total": failures | answers,
            "rejected_total": {(reason,) for reason in (*REFUSALS, *CUTS)},
            "backbone_passes_total": {("full",), ("pruned",), ("not_needed",)},
            "head_passes_total": {("computed",), ("reused",)},
            "visual_tokens_total": {("kept",), ("pruned",)},
            "tokens_total": {("prompt",), ("generated",)},
            "images_total": {()},
        }
        by_task = ("request_duration_seconds_count", "queue_time_seconds_count", "batch_size_count")
        expected |= {name: {("generate",), ("vqa",)} for name in (*by_task, "layers_skipped_total")}
        for name, labels in expected.items():
            assert counts(live, name) == dict.fromkeys(labels, 0.0), name
        assert live.client.post("/v1/generate", json={"prompt": "a"}).status_code == 200
        assert len(counts(live, "requests_total")) == len(failures | answers)
        assert counts(live, "requests_total")["flashu", "200", "generate"] == 1


def test_every_error_has_its_series() -> None:
    problems = [
        *(errors.InvalidJsonError("x"), errors.InvalidApiKeyError(), errors.RateLimitedError("x", retry_after=1)),
        *(errors.OverloadedError("x"), errors.WorkerLostError(ran=True), errors.InternalError()),
        *(errors.BodyTooLargeError(1), errors.BodyTimeoutError(1), errors.UnsupportedMediaTypeError(("x",))),
        *(errors.UnknownModelError("x"), errors.ClientGoneError(), errors.MalformedBodyError("x")),
        *(
            errors.UnsupportedEncodingError(("x",)),
            errors.BodyMemoryError(1),
            errors.HostNotAllowedError(),
            errors.OriginNotAllowedError(),
        ),
        errors.UnsupportedValueError("x", "y"),
        *(errors.UnavailableError(reason) for reason in ("loading", "restarting", "stalled", "draining", "failed")),
    ]
    assert {type(error) for error in problems} == set(ServerError.__subclasses__()) - {errors.InvalidFieldError}
    problems += [CancelledError("x"), DeadlineExceededError("x"), InvalidRequestError("x"), ValueError("x")]
    answers = [problem_of(error) for error in problems]
    assert {answer.status for answer in answers} == set(FAILURES)
    # Refused or dropped: for a key, for a limit, for want of room or time.
    assert {answer.code for answer in answers if answer.status in (401, 403, 408, 413, 429, 503, 504)} == set(REFUSALS)


def test_durations_are_of_what_was_answered_to_its_end(toy: Any, serving: Any) -> None:
    with serving(toy(step_s=0.002), max_body_bytes=100_000) as live:
        live.wait_until_ready()
        requested = {"prompt": "a red circle"}
        assert live.client.post("/v1/generate", json=requested).status_code == 200
        assert live.client.post("/v1/generate", json={**requested, "stream": True}).text.endswith("\n\n")
        assert live.client.post("/v1/generate", json={"prompt": "x" * 200_000}).status_code == 413
        assert live.client.post("/v1/generate", json={"prompt": "refuse"}).status_code == 500
        long = {**requested, "stream": True, "num_inference_steps": 1000}
        assert "deadline_exceeded" in live.client.post("/v1/generate", json={**long, "timeout_s": 0.5}).text
        with live.client.stream("POST", "/v1/generate", json=long) as response:
            assert "event: progress" in next(response.iter_lines())
        wanted = {"200": 2, "413": 1, "499": 1, "500": 1, "504": 1}

        def by_status() -> dict[str, float]:
            found = counts(live, "requests_total").items()
            return {status: value for (_, status, _), value in found if value}

        live.wait_for(lambda: by_status() == wanted)
        assert counts(live, "request_duration_seconds_count") == {("generate",): 2, ("vqa",): 0}
        reported = {reason: value for (reason,), value in counts(live, "rejected_total").items() if value}
        assert reported == {"body_too_large": 1, "deadline_exceeded": 1}


def test_only_work_is_refused(toy: Any, serving: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    with serving(engine, api_keys=f"known:{KEY}") as live:
        for path in ("/readyz", "/health", "/v1/models", "/v1/generate", "/nowhere"):
            live.client.get(path)
            live.client.get(path, headers={"Authorization": f"Bearer {KEY}"})
        assert set(counts(live, "rejected_total").values()) == {0.0}
        headers = {"Authorization": f"Bearer {KEY}"}
        for path, body in (("/v1/generate", {"prompt": "a"}), ("/v1/infer", {"prompt": "draw a circle"})):
            assert live.client.post(path, json=body).status_code == 401
            assert live.client.post(path, json=body, headers=headers).status_code == 503
        reported = {reason: value for (reason,), value in counts(live, "rejected_total").items() if value}
        assert reported == {"invalid_api_key": 2, "loading": 2}


@pytest.mark.parametrize("task", ["generate", "vqa"])
def test_components_add_up_to_the_whole(real: Any, task: str) -> None:
    """Within 10 %, in the best of some tries: what else runs on the machine may come between two units of work."""
    outside = {"total", "queue", "time_to_first_token", "tokenize", "image_encode", "image_decode"}
    shares = []
    for _ in range(8):
        answers = [answer for answer in drive(real.client) if answer["task"] == task]
        for timings in (answer["timings_ms"] for answer in answers):
            shares.append(sum(value for name, value in timings.items() if name not in outside) / timings["total"])
        assert max(shares) < 1.001
        if max(shares) >= 0.9:
            return
    raise AssertionError(shares)


def test_a_text_is_rendered_once_in_its_time() -> None:
    now = [0.0]
    metrics = Metrics(max_age_s=1.0, clock=lambda: now[0])
    before = metrics.render()
    metrics.reject("draining")
    now[0] = 0.99
    assert metrics.render() is before
    now[0] = 1.0
    assert b'flashu_rejected_total{reason="draining"} 1.0' in metrics.render()
    assert b"_created" not in metrics.render()


def test_the_setting_reaches_the_route(toy: Any, serving: Any) -> None:
    with serving(toy(), metrics_max_age_s=60) as live:
        first = live.client.get("/metrics").text
        live.wait_until_ready()
        assert live.client.get("/metrics").text == first
        assert live.client.head("/metrics").headers["content-type"].startswith("text/plain")


def test_the_model_is_shown_once_it_is_loaded(toy: Any, serving: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    with serving(engine) as live:
        assert live.metric(f'flashu_build_info{{model="",version="{__version__}"}}') == 1
        engine.release("hold-loading")
        live.wait_for(lambda: live.metric(f'flashu_build_info{{model="toy",version="{__version__}"}}') == 1)
        assert live.client.get("/metrics").text.count("flashu_build_info{") == 1
