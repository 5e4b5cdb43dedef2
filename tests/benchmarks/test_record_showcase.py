from __future__ import annotations

import base64
import io

import httpx
import pytest
from PIL import Image

from benchmarks import record_showcase
from benchmarks.record_showcase import record
from benchmarks.screenshots import serving


def test_a_policy_is_recorded_on_a_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_showcase, "RUNS", 1)
    with serving() as address, httpx.Client(base_url=address, timeout=120) as client:
        recorded = record(client, "flashu", prompt="a red circle", seed=3)
    assert recorded["policy"] == "flashu"
    assert {step["backbone"] for step in recorded["evaluations"]} == {"full", "pruned", "not_needed"}
    assert recorded["timings_ms"]["total"] > recorded["timings_ms"]["backbone"] > 0
    with Image.open(io.BytesIO(base64.b64decode(recorded["image"]))) as image:
        assert image.size == (64, 64)
