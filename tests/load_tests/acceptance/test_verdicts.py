"""Verdicts on runs made by hand: one that keeps every promise, and one that breaks each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from load_tests.acceptance.phases import SLOW, WITHOUT, Capacity, Found
from load_tests.acceptance.processor import Cores
from load_tests.acceptance.report import summarise
from load_tests.acceptance.slow import SlowClients
from load_tests.acceptance.target import Target
from load_tests.acceptance.verdicts import judge
from load_tests.bench.arrivals import Window
from load_tests.bench.client import Client
from load_tests.bench.record import Record

UNREAD = ("flashu_rejected_total", (("reason", "answer_unread"),))
Make = Callable[..., Record]
WINDOWS = {"idle": Window(0, 10), "alone": Window(10, 20), "mixed": Window(20, 30), "saturation": Window(30, 40)}
WINDOWS |= {"overload 10x": Window(40, 50), "after 10x": Window(50, 60)}
WINDOWS |= {f"{WITHOUT} 1": Window(60, 70), f"{SLOW} 1": Window(70, 80)}


GOODPUT_10X = {"goodput, overload 10x", "goodput of answers, overload 10x, of their share"}
REFUSAL_CPU = "a refusal, CPU time of the front end"
BESIDE_SLOW = "answers beside slow clients, p99, of that without, at least (95 % confidence)"


def good_run(made: Make) -> Found:
    """Ten answers a second everywhere, each of 0.1 s of work, and twice as many refused in the overload."""

    def answers(phase: str, window: Window, count: int = 100, **changes: Any) -> Iterator[Record]:
        for index in range(count):
            at = window.start + index * window.seconds / count
            values = {"phase": phase, "scheduled": at, "sent": at, "first_byte": at + 0.1, "end": at + 0.1}
            yield made(**{**values, "timings_ms": {"queue": 0.0, "total": 95.0}, **changes})

    found = Found(windows=dict(WINDOWS), busy=dict.fromkeys(WINDOWS, 0.01))
    found.scraped = {phase: ({}, {}) for phase in WINDOWS}
    found.capacity = Capacity(alone={"generate": 2.0, "vqa": 10.0}, mix=10.0, work=1.0)
    found.slow = SlowClients(Client("http://127.0.0.1:1"), readers=2)
    found.scraped[f"{SLOW} 1"] = ({UNREAD: 1.0}, {UNREAD: 3.0})
    for phase, window in WINDOWS.items():
        found.records += answers(phase, window)
    picture = {"features": 10.0, "backbone": 60.0, "head": 20.0, "guidance": 10.0, "total": 900.0}
    found.records += answers("mixed", WINDOWS["mixed"], 10, task="generate", timings_ms=picture, steps=10)
    for index in range(200):
        at = 40 + index / 20
        values = {"phase": "overload 10x", "scheduled": at, "sent": at, "first_byte": at + 0.01, "end": at + 0.01}
        found.records.append(made(**values, status=503, retry_after=1.0))
    return found


def verdicts(found: Found, **options: Any) -> dict[str, Target]:
    return {one.name: one for one in judge(found, summarise(found), **{"slow_limit_s": 3.0, **options})}


def missed(found: Found) -> set[str]:
    return {name for name, target in verdicts(found).items() if target.verdict == "missed"}


def change(found: Found, made: Make, phase: str, which: slice, **changes: Any) -> None:
    """Replaces some records of the phase; `delay` makes them so much later."""
    delay = changes.pop("delay", 0.0)
    places = [index for index, one in enumerate(found.records) if one.phase == phase and one.task == "vqa"][which]
    for index in places:
        values = {name: getattr(found.records[index], name) for name in Record.__dataclass_fields__}
        found.records[index] = made(**{**values, "end": values["end"] + delay, **changes})


def test_a_good_run_keeps_every_promise(made: Make) -> None:
    found = good_run(made)
    assert missed(found) == set()
    targets = verdicts(found)
    assert targets["goodput, overload 10x"].limit == pytest.approx(0.8, abs=0.02)
    assert targets["answers beside pictures, p99"].limit == pytest.approx(0.1 + 2 * 0.01)


@pytest.mark.parametrize(
    ("phase", "which", "changes", "broken"),
    [
        ("mixed", slice(0, 2), {"delay": 0.03}, {"answers beside pictures, p99"}),
        ("saturation", slice(0, 100, 5), {"status": 503, "retry_after": 1.0, "delay": -0.09}, {"goodput, saturation"}),
        ("overload 10x", slice(0, 100, 3), {"status": 503, "retry_after": 1.0, "delay": -0.09}, GOODPUT_10X),
        ("overload 10x", slice(100, 110), {"delay": 0.2}, {"refusals, p99, overload 10x"}),
        ("overload 10x", slice(100, 101), {"retry_after": None}, {"refusals without Retry-After"}),
        ("after 10x", slice(0, 60), {"delay": 0.3}, {"normal again after 10x"}),
        ("alone", slice(0, 1), {"status": None, "error": "reset"}, {"connections broken"}),
        ("alone", slice(0, 1), {"status": 500}, {"neither completed nor refused"}),
        ("idle", slice(0, 100), {"delay": 0.01}, {"front end, an answer at idle, median"}),
        (f"{SLOW} 1", slice(0, 8), {"delay": 0.1}, {BESIDE_SLOW}),
        (f"{SLOW} 1", slice(0, 1), {"status": 503, "retry_after": 1.0}, {BESIDE_SLOW}),  # too few are left to tell
    ],
)
def test_each_promise_can_be_broken(
    made: Make, phase: str, which: slice, changes: dict[str, Any], broken: set[str]
) -> None:
    found = good_run(made)
    change(found, made, phase, which, **changes)
    assert missed(found) == broken


CPU = ("process_cpu_seconds_total", ())
REFUSED = {"status": 503, "retry_after": 1.0, "delay": -0.09}


def spend(found: Found, refusal_s: float) -> None:
    """Writes counters of a front end to which a refusal costs that much, and an answer 2 ms."""
    for phase in ("idle", "alone", "mixed", "saturation", "overload 10x"):
        phases = (phase, "after 10x") if phase == "overload 10x" else (phase,)
        outcomes = [one.outcome for one in found.records if one.phase in phases]
        seconds = 0.002 * outcomes.count("completed") + refusal_s * outcomes.count("refused")
        found.scraped[phase] = ({CPU: 1.0}, {CPU: 1.0 + seconds})


@pytest.mark.parametrize(
    ("refusal_s", "lost", "broken"),
    [
        # 20 refusals a second of 1 ms leave 0.98 of the one core: 0.8 of that is promised.
        (0.001, slice(0, 0), set()),
        (0.001, slice(0, 100, 5), set()),
        (0.001, slice(0, 100, 3), GOODPUT_10X),
        # A server that collapses: cheap refusals excuse nothing, and dear ones are missed themselves.
        (0.001, slice(0, 70), GOODPUT_10X),
        (0.015, slice(0, 100, 3), {REFUSAL_CPU}),
        (0.015, slice(0, 70), GOODPUT_10X | {REFUSAL_CPU}),
    ],
)
def test_refusals_excuse_what_they_take_and_no_more(
    made: Make, refusal_s: float, lost: slice, broken: set[str]
) -> None:
    found = good_run(made)
    change(found, made, "overload 10x", lost, **REFUSED)
    spend(found, refusal_s)
    targets = verdicts(found, cores=Cores(server=1))
    assert {name for name, target in targets.items() if target.verdict == "missed"} == broken
    assert targets[REFUSAL_CPU].measured == pytest.approx(refusal_s, rel=0.1)


def test_without_metrics_refusals_excuse_nothing(made: Make) -> None:
    targets = verdicts(good_run(made), cores=Cores(server=1))
    assert targets[REFUSAL_CPU].verdict == "nothing to judge"
    assert targets["goodput, overload 10x"].limit == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("every", "verdict"), [(10, "met"), (3, "missed")])
def test_at_saturation_theory_says_what_a_queue_keeps(made: Make, every: int, verdict: str) -> None:
    """One alone takes as long as one of a full batch, so 8 places are 8 of M/M/1/8, which keeps 8 / 9."""
    found = good_run(made)
    change(found, made, "saturation", slice(0, 100, every), **REFUSED)
    target = verdicts(found, max_queue_s=0.71)["goodput, saturation"]
    assert target.limit == pytest.approx(0.9 * 8 / 9, abs=0.03)
    assert target.verdict == verdict


def test_a_slow_client_must_be_cut_off(made: Make) -> None:
    found = good_run(made)
    assert found.slow is not None
    found.slow.longest_s["body"] = 6.1
    assert missed(found) == {"slow body cut off within"}
    found.scraped[f"{SLOW} 1"] = ({UNREAD: 1.0}, {UNREAD: 2.0})
    assert missed(found) == {"slow body cut off within", "clients that do not read, cut off"}
    found.scraped[f"{SLOW} 1"] = ({}, {})
    assert verdicts(found)["clients that do not read, cut off"].verdict == "nothing to judge"
    assert verdicts(found, slow_limit_s=None)["slow body cut off within"].verdict == "nothing to judge"


def test_nothing_refused_is_nothing_to_judge_and_nothing_answered_is_missed(made: Make) -> None:
    found = good_run(made)
    found.records = [one for one in found.records if one.outcome == "completed"]
    assert verdicts(found)["refusals, p99"].verdict == "nothing to judge"
    found.records = [one for one in found.records if one.phase != "mixed"]
    assert "answers beside pictures, p99" in missed(found)


def test_a_lead_in_may_be_slow_and_break_nothing(made: Make) -> None:
    found = good_run(made)
    found.records.append(made(phase="mixed", counted=False, scheduled=20.0, sent=20.0, end=29.0))
    assert missed(found) == set()
    found.records.append(made(phase="mixed", counted=False, scheduled=20.0, sent=20.0, end=20.1, error="reset"))
    assert missed(found) == {"connections broken"}
    assert verdicts(found)["connections broken"].note == "mixed: reset, 1 times"


def test_every_request_is_one_of_four_outcomes(made: Make) -> None:
    found = good_run(made)
    change(found, made, "alone", slice(0, 3), status=500)
    change(found, made, "alone", slice(3, 5), status=None, error="cut")
    change(found, made, "alone", slice(5, 6), status=429)
    phase = summarise(found)["phases"]["alone"]
    assert [phase[name] for name in ("completed", "refused", "failed", "broken")] == [94, 1, 3, 2]
    assert phase["statuses"] == {"500": 3, "429": 1, "200": 94}
    assert phase["errors"] == {"cut": 2}
    assert phase["requests"] == 100


def test_where_the_time_goes(made: Make) -> None:
    found = good_run(made)
    timings = {"queue": 30.0, "total": 40.0}
    change(found, made, "alone", slice(0, 100), timings_ms=timings, scheduled=0.0, sent=0.01, end=0.1)
    where = summarise(found)["phases"]["alone"]["tasks"]["vqa"]["where_s"]
    assert {name: one["p50"] for name, one in where.items()} == pytest.approx(
        {"client": 0.01, "queue": 0.03, "engine": 0.04, "rest": 0.02}
    )
