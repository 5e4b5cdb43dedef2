"""The arithmetic of the benchmark beside busy processes, from hand-made times."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from benchmarks.neighbour import MANY, SHIPPED, SPINNING, TORCH, busy, messages, ratios, verdicts


def times(answer: tuple[float, float], picture: tuple[float, float]) -> dict[str, dict[str, list[float]]]:
    """Quiet and busy seconds; one outlier each, which a median leaves out."""
    return {
        kind: {"quiet": [quiet, 99.0, quiet], "busy": [busy, busy, 0.0]}
        for kind, (quiet, busy) in (("answer", answer), ("picture", picture))
    }


def found(
    shipped: tuple[float, float], spinning: tuple[float, float], many: tuple[float, float] = (0.1, 0.3)
) -> dict[str, Any]:
    return ratios(
        {SHIPPED: times(shipped, (1.0, 2.0)), MANY: times(many, (1.2, 3.0)), TORCH: times(spinning, (1.0, 8.0))}
    )


def test_ratios_are_of_medians() -> None:
    by = found((0.2, 0.6), (0.1, 4.0))
    assert by["medians_s"][SHIPPED]["answer"] == {"quiet": 0.2, "busy": 0.6}
    assert by["busy_ratio"][SHIPPED] == {"answer": pytest.approx(3.0), "picture": 2.0}
    assert by["busy_ratio"][TORCH] == {"answer": pytest.approx(40.0), "picture": 8.0}
    assert by["quiet_ratio"][SHIPPED] == {"answer": pytest.approx(2.0), "picture": 1.0}
    assert by["quiet_ratio"][MANY] == {"answer": pytest.approx(1.0), "picture": pytest.approx(1.2)}


@pytest.mark.parametrize(
    ("shipped", "many", "kept"),
    [
        ((0.1, 0.4), (0.1, 0.4), [True, True, True, True]),
        ((0.1, 0.41), (0.1, 0.4), [False, True, True, True]),
        ((0.1, 0.4), (0.1, 0.41), [True, False, True, True]),
        ((0.106, 0.2), (0.1, 0.4), [True, True, False, True]),
    ],
)
def test_each_promise_is_judged_by_itself(
    shipped: tuple[float, float], many: tuple[float, float], kept: list[bool]
) -> None:
    assert [met for *_, met in verdicts(found(shipped, (0.1, 0.4), many))] == kept


def test_messages_are_a_question_with_its_picture_and_a_prompt() -> None:
    wanted = messages(5)
    question = json.loads(wanted["answer"][1])
    assert question["max_new_tokens"] == 5
    with Image.open(io.BytesIO(base64.b64decode(question["image"]))) as picture:
        assert picture.size == (64, 64)
    assert json.loads(wanted["picture"][1])["prompt"]
    assert set(SPINNING) == {"GOMP_SPINCOUNT", "OMP_NUM_THREADS"}


def test_busy_processes_end_with_their_block() -> None:
    with busy(1):
        pass
    with pytest.raises(ZeroDivisionError), busy(1):
        raise ZeroDivisionError
