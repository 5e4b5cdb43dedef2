from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from rich.progress import Progress

from flashu_core import Engine, EngineConfig
from flashu_core.analysis.study import Study, study
from flashu_core.checkpoint.load import Checkpoint


@pytest.fixture
def own_tiny(tiny: Checkpoint) -> Checkpoint:
    """A copy of the tiny model for tests that change its weights."""
    return replace(tiny, model=copy.deepcopy(tiny.model))


@pytest.fixture(scope="session")
def prompts() -> tuple[str, ...]:
    return ("a red circle", "a blue square")


@pytest.fixture(scope="session")
def studied(tiny: Checkpoint, prompts: tuple[str, ...]) -> Study:
    """What is found of the tiny model, with the calibration's questions."""
    engine = Engine(tiny, EngineConfig())
    return study(engine, tiny.model, prompts, None, max_new_tokens=3, progress=Progress(disable=True))
