"""The whole command on real sockets with the embedded model, for a few seconds; and its errors."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from load_tests import mixed
from load_tests.acceptance.plan import Plan
from load_tests.acceptance.server_process import ServerError, ServerProcess
from load_tests.bench import record
from load_tests.bench.arrivals import arrivals


def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "records.jsonl.gz"
    arguments = ["--minutes", "0.04", "--threads", "1", "--seed", "3", "--slow-clients", "6", "--concurrency", "4"]
    status = mixed.main([*arguments, "--save", "short", "--results", str(tmp_path), "--records", str(kept)])
    found = json.loads((tmp_path / "short.json").read_text())
    assert status == any(promise["verdict"] == "missed" for promise in found["promises"])
    assert (tmp_path / "short.png").read_bytes().startswith(b"\x89PNG")
    assert "goodput, overload 2x" in capsys.readouterr().out
    assert found["settings"]["seed"] == 3
    assert found["machine"]["processor"]

    capacity = found["capacity_per_s"]
    assert all(capacity[name] > 0.1 for name in ("generate", "vqa", "mix", "work"))
    average = 0.3 / capacity["generate"] + 0.7 / capacity["vqa"]
    first = found["phases"]["capacity mix"]["share_of_capacity"] * capacity["work"]
    assert capacity["mix"] == pytest.approx(first / average)
    shares = [found["phases"][f"capacity mix{which}"]["share_of_capacity"] for which in ("", " again")]
    assert sum(shares) / 2 == pytest.approx(1.0)
    assert found["front_end_s"]["vqa"]["p50"] > 0
    expected = ["idle", "capacity generate", "capacity vqa", "capacity mix", "alone", "mixed", "saturation"]
    slow = [f"{kind} clients {block}" for block in (1, 2, 3) for kind in ("no slow", "slow")]
    assert list(found["phases"]) == [*expected, "overload 2x", "after 2x", "capacity mix again", *slow]

    # Every request that was to be sent is in the records, and every counted one in the summary, as one outcome.
    records = record.read(kept)
    plan = Plan(minutes=0.04)
    alone = {"generate": capacity["generate"], "vqa": capacity["vqa"]}
    segments = [plan.beside("mixed", alone), plan.saturated(capacity["mix"]), plan.overloaded(2.0, capacity["mix"])]  # type: ignore[arg-type]
    for due in segments:
        names = {segment.phase for segment in due}
        times = [(one.phase, one.task, one.counted) for one in arrivals(due, 3)]
        assert sorted((one.phase, one.task, one.counted) for one in records if one.phase in names) == sorted(times)
    for name, phase in found["phases"].items():
        counted = [one for one in records if one.phase == name and one.counted]
        assert phase["requests"] == len(counted)
        assert sum(phase[outcome] for outcome in ("completed", "refused", "failed", "broken")) == len(counted)
        assert phase["failed"] == 0
        assert phase["broken"] == 0
    assert any(one.phase == "warm-up" for one in records)
    assert not any(one.phase == "warm-up" and one.counted for one in records)
    assert sum(one.steps > 0 for one in records) == sum(
        one.task == "generate" and one.outcome == "completed" for one in records
    )


async def test_a_server_that_refuses_everything_misses_what_it_promises(
    serving: Callable[..., AbstractAsyncContextManager[str]], response: Callable[..., bytes], tmp_path: Path
) -> None:
    async def handler(head: bytes, body: bytes) -> bytes:
        return response(200) if b"/readyz" in head else response(503, b"{}", "Retry-After: 1")

    async with serving(handler) as url:
        arguments = ["--base-url", url, "--minutes", "0.02", "--results", str(tmp_path), "--overload", "10"]
        status = await asyncio.to_thread(mixed.main, [*arguments, "--concurrency", "2", "--slow-clients", "3"])
    assert status == 1
    text = (tmp_path / "load-mixed.json").read_text()
    assert "NaN" not in text
    verdicts = {promise["name"]: promise["verdict"] for promise in json.loads(text)["promises"]}
    assert verdicts["answers beside pictures, p99"] == "missed"
    assert verdicts["goodput, overload 10x"] == "missed"
    assert verdicts["normal again after 10x"] == "missed"
    assert verdicts["front end, an answer at idle, median"] == "missed"
    assert verdicts["connections broken"] == "met"
    assert verdicts["slow body cut off within"] == "nothing to judge"  # another server's limits are not known


def test_nobody_at_the_address() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        with pytest.raises(SystemExit, match="not ready: status None, connect"):
            mixed.main(["--base-url", f"http://127.0.0.1:{one.getsockname()[1]}"])


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(ServerError, match="queue"), ServerProcess(["--max-queue", "-5"]):
        pass


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--mix", "1.5"], ["--overload", "0.5"]])
def test_wrong_options(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        mixed.main(arguments)
    assert raised.value.code == 2
    assert "must be" in capsys.readouterr().err
