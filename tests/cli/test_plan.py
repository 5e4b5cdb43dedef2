from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Flashu = Callable[..., int]


def test_plan_prints_the_schedule(flashu: Flashu, capsys: pytest.CaptureFixture[str]) -> None:
    def plan(*words: str) -> int:
        return flashu("plan", *words)

    assert plan("--acceleration", "flashu", "--num-inference-steps", "35", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 34
    assert sum(row["backbone"] != "not needed" for row in rows) == 19
    assert sum(row["head"] == "computed" for row in rows) == 18
    assert plan("--set", "head_interval=1", "--set", "skip_ratio=0") == 0
    assert "34 backbone passes, 34 head passes" in capsys.readouterr().out.replace("\n", " ")
    for words in (("--set", "head_interval=x"), ("--set", "warp=1"), ("--size", "9b"), ("--acceleration", "none")):
        assert plan(*words) == 2
        assert words[1].partition("=")[0] in capsys.readouterr().err
