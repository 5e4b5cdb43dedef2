from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flashu_core.cli import main as cli


@pytest.fixture
def flashu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `flashu` with these words in this process; returns its exit status."""

    def run(*words: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["flashu", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run
