from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from shapes.land.evaluate import captioned, evaluate

CONTROLS = {f"exact, {points} points" for points in (35, 20, 14, 10, 7)}


@pytest.fixture(autouse=True)
def _few_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PICTURES", "ANSWERS"):
        monkeypatch.setattr(f"shapes.land.evaluate.{name}", 1)


def test_everything_is_measured_beside_the_controls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, pictures = tmp_path / "eval.json", tmp_path / "sheet.png"
    evaluate(
        None, policies="flashu", prompts=3, questions=8, distance_pictures=2, output=output, pictures=pictures, seed=9
    )
    record = json.loads(output.read_text())
    measured = record["policies"]
    assert set(measured) == {"exact", "flashu"} | CONTROLS
    assert {"commit", "torch", "processor"} <= set(record["machine"])
    for name, own in measured.items():
        assert own["pictures"]["overall"]["count"] == 3 and own["distances"]["count"] == 2
        assert ("answers" in own) is (name not in CONTROLS)
    assert measured["exact"]["fidelity"]["latent_error"]["mean"] == 0.0
    # The fewer points, the cheaper and the farther from all of them.
    order = ["exact", *(f"exact, {points} points" for points in (35, 20, 14, 10, 7))]
    costs = [measured[name]["gigaflops"] for name in order]
    assert costs == sorted(costs, reverse=True)
    errors = [measured[name]["fidelity"]["latent_error"]["mean"] for name in order]
    assert errors[-1] > errors[2] > errors[0]
    assert json.loads(capsys.readouterr().out) == measured
    assert sorted(path.name for path in tmp_path.glob("*.png"))[0] == "sheet-exact-10-points.png"


def test_fidelity_alone_needs_nothing_but_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "prompts.txt"
    lines.write_text("a red circle\n\na lighthouse in the fog\n")
    evaluate(None, policies="flashu", controls=False, fidelity_only=True, prompt_file=lines)
    measured = json.loads(capsys.readouterr().out)
    assert set(measured) == {"exact", "flashu"}
    assert set(measured["flashu"]) == {"gigaflops", "fidelity", "seconds", "alone"}
    assert measured["flashu"]["fidelity"]["psnr"]["count"] == 2


def test_a_prompt_file_without_fidelity_or_prompts_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "prompts.txt"
    empty.write_text("\n")
    with pytest.raises(typer.BadParameter, match="--fidelity"):
        evaluate(None, prompt_file=empty)
    with pytest.raises(typer.BadParameter, match="no prompts"):
        evaluate(None, prompt_file=empty, fidelity_only=True)


def test_captions_are_the_same_each_time() -> None:
    assert captioned(5, 1) == captioned(5, 1) != captioned(5, 2)


def test_times_are_measured_anew_without_the_rest(tmp_path: Path) -> None:
    output = tmp_path / "eval.json"
    evaluate(None, policies="flashu", controls=False, fidelity_only=True, prompts=2, output=output)
    before = json.loads(output.read_text())["policies"]
    evaluate(None, policies="flashu", output=output, retime=True)
    after = json.loads(output.read_text())["policies"]
    assert after["flashu"]["alone"] != before["flashu"]["alone"]
    assert set(after["flashu"]["alone"]) == {"picture_ms", "answer_ms"}
    del before["flashu"]["alone"], after["flashu"]["alone"], before["exact"]["alone"], after["exact"]["alone"]
    assert after == before
    with pytest.raises(typer.BadParameter, match="flashu-fast"):
        evaluate(None, policies="flashu-fast", output=output, retime=True)
    with pytest.raises(typer.BadParameter, match="--output"):
        evaluate(None, retime=True)
