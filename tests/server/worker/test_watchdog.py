"""Since when a process is silent, with a clock of the test's own."""

from __future__ import annotations

from flashu_core import UnitEnded
from server.worker.watchdog import LOOK_S, Watchdog


def unit(seconds: float) -> UnitEnded:
    return UnitEnded(stage="evaluate", rows=1, seconds=seconds)


def look_until(watch: Watchdog, begun: float, ends: float) -> None:
    for index in range(1, round((ends - begun) / LOOK_S) + 1):
        watch.look(begun + index * LOOK_S)


def test_silence_lasts_from_the_last_sign_of_life() -> None:
    watch = Watchdog(2.0, 100.0)
    look_until(watch, 100.0, 103.0)
    assert abs(watch.silence(103.0) - 3.0) < 1e-6
    watch.receive(103.05)
    assert abs(watch.silence(103.1) - 0.05) < 1e-6
    watch.unit_ended(104.0, unit(0.5))
    assert watch.silence(104.0) == 0.0


def test_time_in_which_the_watcher_stood_still_is_no_silence() -> None:
    watch = Watchdog(2.0, 100.0)
    look_until(watch, 100.0, 101.0)
    watch.look(161.0)  # after a minute away
    assert watch.silence(161.0) < 1.2
    look_until(watch, 161.0, 163.0)
    assert watch.silence(163.0) > 2.0  # a hang is found as soon as ever


def test_a_pause_of_everything_teaches_nothing_however_often_it_comes() -> None:
    watch = Watchdog(2.0, 0.0)
    now = 0.0
    for pause in range(100):
        look_until(watch, now, now + 1.0)
        now += 1.0
        watch.unit_ended(now, unit(0.5))
        if pause % 2:  # which of the two is seen first, the message or the time, is chance
            watch.look(now + 60.0)
        now += 60.0
        watch.unit_ended(now, unit(60.2))
    assert watch.allowance(8) == 2.0


def test_what_units_take_counts_from_the_next_one_on() -> None:
    watch = Watchdog(2.0, 0.0)
    watch.look(60.0)
    watch.unit_ended(60.0, unit(60.0))
    for second in range(61, 65):
        look_until(watch, second - 1.0, second)
        watch.unit_ended(float(second), unit(3.0))
    assert watch.allowance(1) == 6.0
