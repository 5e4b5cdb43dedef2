"""The search finds the capacity of simulated servers, to the precision and with few probes."""

from __future__ import annotations

import math

import pytest

from load_tests.bench.capacity_search import Found, Probe, Search, seconds_needed
from load_tests.bench.slo import parse_slo


async def found(search: Search, limit: float) -> Found:
    async def probe(rate: float) -> Probe:
        return Probe(rate=rate, met=rate <= limit)

    return await search.run(probe)


@pytest.mark.parametrize("limit", [0.07, 0.9, 1.0, 3.3, 37.0, 411.0])
@pytest.mark.parametrize("precision", [0.02, 0.1, 0.5])
async def test_it_finds_the_limit(limit: float, precision: float) -> None:
    search = Search(start=1.0, precision=precision, maximum=40)
    result = await found(search, limit)
    assert result.capacity is not None
    assert result.missed is not None
    assert result.capacity <= limit < result.missed <= result.capacity * (1 + precision)
    outwards = abs(math.log2(limit)) + 2
    assert len(result.probes) <= outwards + math.ceil(math.log2(1 / math.log2(1 + precision))) + 1


async def test_it_keeps_within_its_bounds() -> None:
    upwards = await found(Search(start=4.0, highest=20.0), math.inf)
    assert [probe.rate for probe in upwards.probes] == [4.0, 8.0, 16.0, 20.0]
    assert (upwards.capacity, upwards.missed) == (20.0, None)
    downwards = await found(Search(start=4.0, lowest=1.5), 0.0)
    assert [probe.rate for probe in downwards.probes] == [4.0, 2.0, 1.5]
    assert (downwards.capacity, downwards.missed) == (None, 1.5)


async def test_it_ends_when_its_probes_are_used_up() -> None:
    result = await found(Search(start=1.0, precision=0.001, maximum=5), 37.0)
    assert len(result.probes) == 5
    reported = result.to_json()
    assert (reported["capacity_per_s"], reported["missed_per_s"]) == (16.0, None)
    assert [probe["rate"] for probe in reported["probes"]] == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize(
    "values",
    [{"start": 0.0}, {"start": 1.0, "lowest": 2.0}, {"start": 1.0, "precision": 0.0}, {"start": 1.0, "maximum": 0}],
)
def test_what_is_no_search(values: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Search(**values)  # type: ignore[arg-type]


def test_a_probe_lasts_until_each_percentile_rests_on_something() -> None:
    mix = {"vqa": 0.5, "generate": 0.5}
    assert seconds_needed(10.0, mix, parse_slo("vqa:p99=1")) == pytest.approx(500 / 5)  # type: ignore[arg-type]
    assert seconds_needed(10.0, mix, parse_slo("vqa:p50=1,generate:p90=2")) == pytest.approx(50 / 5)  # type: ignore[arg-type]
    assert seconds_needed(10.0, mix, parse_slo("vqa:p100=1")) == pytest.approx(5 / 5)  # type: ignore[arg-type]
