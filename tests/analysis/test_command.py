from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from flashu_core.checkpoint.load import Checkpoint
from flashu_core.cli import analyze as command
from flashu_core.errors import CheckpointError, ConfigurationError

FIGURES = ("specialisation", "similarity-generation", "similarity-understanding", "tokens", "components")


def test_every_figure_has_its_numbers(
    own_tiny: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_configured", lambda *_, **__: own_tiny)
    prompts, samples, output = tmp_path / "prompts.txt", tmp_path / "samples.jsonl", tmp_path / "deep" / "figures"
    prompts.write_text("a red circle\n")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    lines = [{"image": "a.png", "question": question} for question in ("what is it?", "how many?")]
    samples.write_text("\n".join(json.dumps(line) for line in lines))
    command.analyze(None, output=output, prompts=prompts, samples=samples, max_new_tokens=3, runs=1)
    assert sorted(path.name for path in output.iterdir()) == sorted(
        f"{name}.{ending}" for name in FIGURES for ending in ("json", "png")
    )
    assert "tokens.png" in capsys.readouterr().err
    records = {name: json.loads((output / f"{name}.json").read_text()) for name in FIGURES}
    for name, record in records.items():
        assert record["figure"] == name
        assert (record["model"], record["digest"]) == ("tiny", "random")
        settings = record["settings"]
        assert (settings["prompts"], settings["samples"], settings["max_new_tokens"]) == (["a red circle"], 2, 3)
        assert (settings["points"], len(settings["data"])) == (8, 64)
        assert {"commit", "torch", "processor"} <= set(record["machine"])
    found = records["specialisation"]["numbers"]
    assert np.shape(found["errors"]["generate"]["vqa"]) == (len(found["ratios"]), 4)
    assert np.shape(records["similarity-generation"]["numbers"]["cosine"]) == (4, 7)
    assert records["similarity-understanding"]["numbers"]["requests"][0] == 2
    assert np.shape(records["tokens"]["numbers"][0]["norms"]) == (1, 16)
    times = {(one["task"], one["policy"]): one for one in records["components"]["numbers"]}
    assert set(times) == {(task, policy) for task in ("generate", "vqa") for policy in ("exact", "flashu")}
    for one in times.values():
        assert one["requests"] == 1
        assert sum(one["milliseconds"].values()) == pytest.approx(one["total"], rel=1e-4)
    assert times["generate", "exact"]["schedule"]["head_computed"] == 7
    assert times["generate", "flashu"]["schedule"]["head_computed"] < 7


def test_mistakes_show_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> Checkpoint:
        raise AssertionError("loaded")

    monkeypatch.setattr(command, "load_configured", load)
    with pytest.raises(ConfigurationError, match="--output"):
        taken = tmp_path / "file"
        taken.touch()
        command.analyze(None, output=taken / "inside")
    with pytest.raises(ConfigurationError, match="one prompt per line"):
        command.analyze(None, output=tmp_path / "figures", prompts=tmp_path / "none.txt")
    assert not (tmp_path / "figures").exists()


def test_its_options_are_those_of_a_command_line(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command("analyze")(command.analyze)
    words = ["some/model", "-o", str(tmp_path), "--prompts", str(tmp_path / "none.txt"), "--dtype", "float32"]
    ended = CliRunner().invoke(app, words)
    assert isinstance(ended.exception, ConfigurationError)
    assert "none.txt" in str(ended.exception)
    assert CliRunner().invoke(app, ["--runs", "0"]).exit_code == 2


def test_a_checkpoint_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="/nowhere/at/all"):
        command.analyze("/nowhere/at/all", output=tmp_path)


def test_numbers_are_what_json_can_hold() -> None:
    assert command._plain({"a": (1.23456789, math.nan, 3), "b": [math.inf, "x", None, True]}) == {
        "a": [1.23457, None, 3],
        "b": [None, "x", None, True],
    }
