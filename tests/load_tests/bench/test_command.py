"""`flashu bench` on real sockets: against the embedded model, and against small servers that do one thing wrong or have
a known capacity."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from load_tests.acceptance.server_process import ServerProcess
from load_tests.bench import record
from load_tests.bench.command import bench
from load_tests.bench.workload import Wishes, Workload

Serving = Callable[..., AbstractAsyncContextManager[str]]
Make = Callable[..., bytes]
KEY = "sk-do-not-show"


def run(*words: str | Path) -> Result:
    ended = CliRunner().invoke(bench, [str(word) for word in words], env={"LOAD_TESTS_API_KEY": KEY})
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended


async def run_beside(*words: str | Path) -> Result:
    """The same while the test's own server goes on."""
    return await asyncio.to_thread(run, *words)


@pytest.fixture(scope="module")
def embedded() -> Iterator[str]:
    with ServerProcess(["--acceleration", "exact"], threads=1) as server:
        yield server.base_url


def picture(*numbers: int) -> str:
    """Base64 of noise that the numbers say."""
    file = io.BytesIO()
    pixels = np.random.default_rng(numbers).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def result(content: dict[str, Any]) -> bytes:
    return json.dumps({"timings_ms": {"total": 1.0}, "schedule": {}, **content}).encode()


def test_serve(embedded: str, tmp_path: Path) -> None:
    place, kept = tmp_path / "deep" / "figures.json", tmp_path / "records.jsonl.gz"
    words = [
        "serve",
        "--base-url",
        embedded,
        "--request-rate",
        "6",
        "--duration",
        "2",
        "--warmup",
        "0.5",
        "--seed",
        "3",
    ]
    words += [
        "--num-inference-steps",
        "9",
        "--slo",
        "vqa:p50=60,generate:p50=60",
        "--output",
        str(place),
        "--records",
        str(kept),
    ]
    ended = run(*words)
    assert ended.exit_code == 0, ended.output
    found = json.loads(place.read_text())
    assert place.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert (found["format"], found["requests"], found["completed"], found["met"]) == (1, 12, 12, True)
    assert found["goodput_per_s"] == pytest.approx(6.0)
    assert {task: one["requests"] for task, one in found["tasks"].items()} == {"vqa": 8, "generate": 4}
    assert all(one["attainment"] == 1.0 for one in found["objectives"])
    assert found["models"]["data"][0]["object"] == "model"
    assert found["settings"]["num_inference_steps"] == 9
    assert found["machine"]["processor"]
    assert KEY not in place.read_text() + ended.output
    records = record.read(kept)
    assert [one.counted for one in records].count(False) == 3
    assert {one.steps for one in records if one.task == "generate"} == {8}
    workload = Workload(3, Wishes(num_inference_steps=9))
    assert {one.key for one in records} == {workload.next(one.task).key for one in records}


def test_a_stream_s_start_is_measured_and_a_missed_objective_is_the_exit_status(embedded: str, tmp_path: Path) -> None:
    place = tmp_path / "figures.json"
    words = ["serve", "--base-url", embedded, "--request-rate", "4", "--duration", "2", "--warmup", "0", "--stream"]
    ended = run(*words, "--slo", "vqa:first_p50=60,generate:p50=0.000001", "--output", place)
    assert ended.exit_code == 1, ended.output
    found = json.loads(place.read_text())
    assert [one["met"] for one in found["objectives"]] == [True, False]
    assert found["completed"] == 8
    for one in found["tasks"].values():
        assert 0 < one["first_event_s"]["max"] <= one["latency_s"]["max"]
    assert found["tasks"]["generate"]["first_event_s"]["p50"] < found["tasks"]["generate"]["latency_s"]["p50"]


def test_the_embedded_model_is_deterministic_alone(embedded: str, tmp_path: Path) -> None:
    hashes = tmp_path / "hashes.json"
    words = ["serve", "--base-url", embedded, "--request-rate", "6", "--duration", "1", "--warmup", "0"]
    words += ["--replay", "alone", "--num-inference-steps", "9", "--hashes", str(hashes)]
    first, second = run(*words), run(*words)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "written" in first.output
    assert "same; 6 compared, 0 differ" in second.output
    kept = json.loads(hashes.read_text())["requests"]
    assert len({images for one in kept.values() for images in one["pictures"]}) == 2
    other = run(*words, "--seed", "1")
    assert other.exit_code == 2
    assert "other requests" in " ".join(other.output.split())


def test_a_short_search_on_the_embedded_model(embedded: str, tmp_path: Path) -> None:
    place = tmp_path / "capacity.json"
    words = ["capacity", "--base-url", embedded, "--slo", "vqa:p50=60", "--mix", "vqa=1", "--output", str(place)]
    ended = run(*words, "--start", "5", "--highest", "10", "--duration", "0.5", "--warmup", "0")
    assert ended.exit_code == 0, ended.output
    found = json.loads(place.read_text())
    assert [(one["rate"], one["met"], one["requests"]) for one in found["probes"]] == [
        (5.0, True, 10),
        (10.0, True, 10),
    ]
    assert (found["capacity_per_s"], found["missed_per_s"]) == (10.0, None)
    assert place.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "at least 10" in ended.output


@pytest.mark.parametrize("replay", ["alone", "arrivals"])
async def test_a_server_that_ignores_seeds_is_caught(
    replay: str, serving: Serving, response: Make, tmp_path: Path
) -> None:
    images = 0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal images
        if head.startswith(b"GET"):
            return response(200)
        images += 1
        if b"/vqa" in head:
            return response(200, result({"answer": "red"}))
        return response(200, result({"images": [{"b64_json": picture(images)}]}))

    hashes, kept, place = tmp_path / "hashes.json", tmp_path / "kept", tmp_path / "figures.json"
    async with serving(handler) as url:
        words = ["serve", "--base-url", url, "--request-rate", "40", "--duration", "0.5", "--warmup", "0"]
        words += ["--replay", replay, "--hashes", str(hashes), "--output", str(place)]
        first = await run_beside(*words, "--keep", kept)
        second = await run_beside(*words)
    assert first.exit_code == 0, first.output
    assert second.exit_code == (1 if replay == "alone" else 0), second.output
    found = json.loads(place.read_text())["hashes"]
    assert found["verdict"] == ("nondeterministic" if replay == "alone" else "differs in a batch")
    assert found["compared"] == 20
    assert {one["key"] for one in found["differences"]} == {f"generate/{index}" for index in range(6)}
    assert all(one["largest"] > 100 for one in found["differences"])
    assert "6 differ" in second.output


async def test_refusals_failures_and_resets_are_distinguished(serving: Serving, response: Make, tmp_path: Path) -> None:
    requested = 0

    async def handler(head: bytes, body: bytes) -> bytes | None:
        nonlocal requested
        if head.startswith(b"GET"):
            return response(200)
        if b"authorization: Bearer " + KEY.encode() not in head:
            return response(401)
        requested += 1
        return [
            response(200, result({"answer": "red"})),
            response(503, b'{"error": {"code": "overloaded"}}', "Retry-After: 2"),
            response(429),
            response(500, b'{"error": {"code": "internal_error"}}'),
            response(200, b"not a result"),
            None,
        ][requested % 6]

    place = tmp_path / "figures.json"
    async with serving(handler) as url:
        words = ["serve", "--base-url", url, "--request-rate", "60", "--duration", "1", "--warmup", "0"]
        ended = await run_beside(*words, "--mix", "vqa=1", "--slo", "vqa:p50=60", "--output", place)
    assert ended.exit_code == 1
    found = json.loads(place.read_text())
    assert [found[name] for name in ("completed", "refused", "failed", "broken")] == [10, 20, 20, 10]
    assert (found["refused_with_retry_after"], found["refused_without_retry_after"]) == (10, 10)
    assert found["failures"] == {"overloaded": 10, "internal_error": 10, "no_result": 10}
    assert found["errors"] == {"reset": 10}
    assert found["objectives"][0]["attainment"] == pytest.approx(1 / 6)
    assert found["objectives"][0]["measured_s"] is None
    assert found["goodput_per_s"] == pytest.approx(10.0)
    assert "NaN" not in place.read_text()
    assert "Infinity" not in place.read_text()


async def test_the_search_finds_what_a_server_can_do(serving: Serving, response: Make, tmp_path: Path) -> None:
    """The server has work for a fifth of a second in its queue at most, and refuses what comes beyond: 50 a second. The
    bounds are wide, for time on a busy machine is not the server's own."""
    free_at = 0.0

    async def handler(head: bytes, body: bytes) -> bytes:
        nonlocal free_at
        if head.startswith(b"GET"):
            return response(200)
        now = asyncio.get_running_loop().time()
        if free_at > now + 0.2:
            return response(503, b"{}", "Retry-After: 1")
        free_at = max(free_at, now) + 1 / 50
        return response(200, result({"answer": "red"}))

    place = tmp_path / "capacity.json"
    async with serving(handler) as url:
        words = ["capacity", "--base-url", url, "--slo", "vqa:p80=30", "--mix", "vqa=1", "--warmup", "0.3"]
        words += ["--start", "20", "--duration", "1.2", "--precision", "0.3", "--output", str(place)]
        ended = await run_beside(*words)
    assert ended.exit_code == 0, ended.output
    found = json.loads(place.read_text())
    assert 5 <= found["capacity_per_s"] <= 90
    assert found["capacity_per_s"] < found["missed_per_s"] <= found["capacity_per_s"] * 1.3
    missed = [one for one in found["probes"] if not one["met"]]
    assert missed
    assert all(one["client"]["ended_early"] for one in missed)
    assert all(one["objectives"][0]["attainment"] >= 0.8 for one in found["probes"] if one["met"])


async def test_a_limit_on_requests_under_way(serving: Serving, response: Make, tmp_path: Path) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        await asyncio.sleep(0.02)
        return response(200, result({"answer": "red"}))

    place = tmp_path / "figures.json"
    async with serving(handler) as url:
        words = ["serve", "--base-url", url, "--request-rate", "100", "--duration", "0.4", "--warmup", "0"]
        words += ["--arrivals", "constant", "--concurrency-limit", "1", "--output", str(place)]
        ended = await run_beside(*words)
    assert ended.exit_code == 0, ended.output
    found = json.loads(place.read_text())
    assert (found["completed"], found["client"]["max_concurrent"], found["client"]["limited"]) == (40, 1, True)
    assert found["tasks"]["vqa"]["latency_s"]["max"] > 0.2  # they waited in the client: 0.8 s of work in 0.4 s
    assert "concurrency limit" in ended.output


async def test_nothing_completed_is_no_success(serving: Serving, response: Make) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(200) if head.startswith(b"GET") else response(400, b'{"error": {"code": "invalid_value"}}')

    async with serving(handler) as url:
        ended = await run_beside(
            "serve", "--base-url", url, "--request-rate", "20", "--duration", "0.2", "--warmup", "0"
        )
    assert ended.exit_code == 1
    assert "no request completed" in ended.output
    assert "invalid_value 4" in ended.output


async def test_no_rate_is_low_enough(serving: Serving, response: Make) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(200) if head.startswith(b"GET") else response(503)

    async with serving(handler) as url:
        words = ["capacity", "--base-url", url, "--slo", "vqa:p50=1", "--duration", "0.2", "--warmup", "0"]
        ended = await run_beside(*words, "--start", "100", "--lowest", "60")
    assert ended.exit_code == 1
    assert "no tried rate" in ended.output


def test_nobody_at_the_address() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        for command in (["serve"], ["capacity", "--slo", "vqa:p50=1"]):
            ended = run(*command, "--base-url", f"http://127.0.0.1:{one.getsockname()[1]}")
            assert ended.exit_code == 2
            assert "not ready: status None, connect" in ended.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "--slo", "vqa=1"], "not an objective"),
        (["serve", "--mix", "vqa=1", "--slo", "generate:p50=1"], "share in --mix"),
        (["serve", "--slo", "vqa:first_p50=1"], "add --stream"),
        (["serve", "--request-rate", "0"], "rate is 0"),
        (["serve", "--request-rate", "0.1", "--duration", "1"], "are none"),
        (["serve", "--save", "a/b"], "plain file name"),
        (["serve", "--save", "a", "--output", "b.json"], "use one"),
        (["serve", "--keep", "folder"], "--hashes"),
        (["serve", "--base-url", "127.0.0.1:1"], "give one such"),
        (["capacity", "--slo", ""], "--slo is empty"),
        (["capacity", "--slo", "vqa:p50=1", "--start", "0"], "lowest <= start"),
    ],
)
def test_wrong_options(words: list[str], said: str) -> None:
    ended = run(*words)
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.replace("│", " ").split())
