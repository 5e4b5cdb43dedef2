from __future__ import annotations

import time

import pytest
import torch

from flashu_core.timing import Spans, total_milliseconds

CPU = torch.device("cpu")


def test_spans_of_one_name_add_up_over_units() -> None:
    units = [Spans(CPU), Spans(CPU)]
    for unit in units:
        with unit.span("backbone"):
            time.sleep(0.01)
        with unit.span("head"):
            pass
    totals = total_milliseconds(units)
    assert set(totals) == {"backbone", "head"}
    assert totals["backbone"] >= 20
    assert totals["head"] < totals["backbone"]


def test_nothing_measured_is_nothing() -> None:
    assert total_milliseconds([Spans(CPU)]) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_events_on_a_gpu() -> None:
    device = torch.device("cuda")
    spans = Spans(device)
    x = torch.randn(2048, 2048, device=device)
    with spans.span("product"):
        for _ in range(20):
            x = x @ x
    assert total_milliseconds([spans])["product"] > 0
