from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashu_core.analysis import charts
from flashu_core.analysis.components import ComponentTimes
from flashu_core.analysis.study import Study
from flashu_core.errors import ConfigurationError

TIMES = [
    ComponentTimes(
        task="vqa",
        policy=policy,
        milliseconds={"prefill": 3.0, "decode": 5.0},
        total=8.0,
        requests=2,
        tokens=4.0,
        schedule={},
    )
    for policy in ("exact", "flashu")
]


@pytest.mark.parametrize(
    "plot",
    [
        lambda study, path: charts.plot_specialisation(study.specialisation, path),
        lambda study, path: charts.plot_similarity(study.generation, path),
        lambda study, path: charts.plot_similarity(study.answering, path),
        lambda study, path: charts.plot_tokens(study.tokens, path),
        lambda study, path: charts.plot_components(TIMES, path),
    ],
    ids=["specialisation", "generation", "answering", "tokens", "components"],
)
def test_figures_are_pictures(plot: Callable[[Study, Path], None], studied: Study, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    plot(studied, path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    # Some of it is coloured: there is more on it than axes.
    assert (np.ptp(pixels.astype(int), axis=2) > 60).mean() > 0.001


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'flashu-server\[bench\]'"):
        charts.new_figure(1, 1)
