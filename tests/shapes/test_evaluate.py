from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from flashu_core import Engine, GenerateRequest, UnderstandRequest
from shapes.evaluate import evaluate, grade_answers, grade_pictures, run_all
from shapes.prompts import grading_prompts
from shapes.render import render
from shapes.scene import sample_scene
from shapes.seeds import grading_rng
from shapes.studies import Variant

EXACT = Variant(name="exact", policy="exact")


def test_everything_is_run_and_kept_apart(embedded: Engine) -> None:
    image = render(sample_scene(grading_rng(5)), 64)
    requests = [
        GenerateRequest(prompt="a circle", seed=index, num_inference_steps=3, acceleration="exact") if index % 3 else
        UnderstandRequest(question="what?", image=image, max_new_tokens=2, acceleration="exact")
        for index in range(20)
    ]  # fmt: skip
    found = dict(run_all(embedded, requests, "test"))
    assert sorted(found) == list(range(20))
    assert all(hasattr(found[index], "seeds") == bool(index % 3) for index in found)
    assert [found[index].seeds[0] for index in (1, 2, 4)] == [1, 2, 4]  # type: ignore[union-attr]


def test_grades_are_those_of_the_graders(embedded: Engine) -> None:
    prompts = grading_prompts(6, 9)
    graded, judged = grade_pictures(embedded, prompts, EXACT, num_inference_steps=12)
    assert len(judged) == 6
    assert graded.overall.mean == pytest.approx(sum(good for _, _, good in judged) / 6)
    answered, kinds = grade_answers(embedded, 12, EXACT)
    assert answered.count == 12 == sum(kind.count for kind in kinds.values())


def test_the_command_writes_figures_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, pictures = tmp_path / "eval.json", tmp_path / "sheet.png"
    evaluate(None, prompts=6, questions=5, num_inference_steps=4, output=output, pictures=pictures)
    record = json.loads(output.read_text())
    assert set(record["policies"]["exact"]["categories"]) == {
        *("single_object", "two_objects", "counting", "colours", "position", "colour_attribution")
    }
    assert record["points"] == 4
    assert {"commit", "torch", "processor"} <= set(record["machine"])
    assert pictures.stat().st_size > 0
    assert json.loads(capsys.readouterr().out) == record["policies"]


def test_fidelity_is_measured_of_any_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PICTURES", "ANSWERS"):
        monkeypatch.setattr(f"shapes.land.evaluate.{name}", 1)
    prompts, output = tmp_path / "prompts.txt", tmp_path / "fidelity.json"
    prompts.write_text("a red circle\n")
    evaluate(None, policies="flashu", fidelity_only=True, prompt_file=prompts, output=output)
    measured = json.loads(output.read_text())["policies"]
    assert {"exact", "flashu", "exact, 7 points"} <= set(measured)
    assert measured["flashu"]["fidelity"]["psnr"]["count"] == 1


def test_times_are_measured_anew_without_the_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "eval.json"
    evaluate(None, prompts=6, questions=5, num_inference_steps=4, output=output)
    before = json.loads(output.read_text())
    evaluate(None, output=output, retime=True)
    after = json.loads(output.read_text())
    assert after["policies"]["exact"]["alone"] != before["policies"]["exact"]["alone"]
    assert set(after["policies"]["exact"]["alone"]) == {"picture_ms", "answer_ms"}
    del before["policies"]["exact"]["alone"], after["policies"]["exact"]["alone"], after["timed_on"]
    assert after == before
    with pytest.raises(typer.BadParameter, match="variants flashu"):
        evaluate(None, policies="flashu", output=output, retime=True)
    with pytest.raises(typer.BadParameter, match="--output"):
        evaluate(None, retime=True)
