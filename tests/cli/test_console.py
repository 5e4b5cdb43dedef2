from __future__ import annotations

from collections.abc import Callable

import pytest

Flashu = Callable[..., int]


def test_tables_are_whole_however_narrow_a_terminal_is(
    flashu: Flashu, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert flashu("plan", "--num-inference-steps", "4") == 0
    out = capsys.readouterr().out
    assert "step" in out.splitlines()[0] and "TFLOP" in out.splitlines()[0]
    assert "…" not in out
