from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashu_core import cli


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.argv = {['flashu', *map(str, words)]!r}; from flashu_core.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


def run_here(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The same without a new process."""
    monkeypatch.setattr(sys, "argv", ["flashu", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_drawing_and_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out.png"
    words = ("generate", "a red circle", "-o", picture, "--seed", "4", "--steps", "8", "--json")
    assert run_here(monkeypatch, *words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seeds"] == [4]
    assert told["schedule"]["evaluations"] == 7
    with Image.open(picture) as drawn:
        assert np.asarray(drawn).shape == (64, 64, 3)
    assert run_here(monkeypatch, "ask", picture, "how many squares are there?", "--max-new-tokens", "4") == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert "prefill" in err


def test_several_pictures_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("generate", "a", "-o", tmp_path / "x.webp", "--n", "2", "--steps", "3")
    assert run_here(monkeypatch, *words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1.webp", "x-2.webp"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "a", "--size", "huge"), "WIDTHxHEIGHT"),
        (("generate", "a", "--size", "65x64"), "65x64"),
        (("generate", "a", "--n", "9"), "images is 9"),
        (("generate", "a", "--model", "/nowhere/at/all"), "/nowhere/at/all"),
        (("ask", "no-such.png", "what?"), "no-such.png"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_commands_of_other_packages_are_listed_and_loaded_only_then() -> None:
    listed = call("--help")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in ("generate", "ask", "convert", "eval", "serve"))
    program = (
        "import sys; sys.argv = ['flashu', 'convert', '--help']\n"
        "from flashu_core.cli import main\n"
        "try: main()\n"
        "finally: print('fastapi' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip().endswith("False")


def test_an_entry_point_may_be_a_group_of_commands(tmp_path: Path) -> None:
    metadata = tmp_path / "loads-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: loads\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[flashu.commands]\nloads = load_tests.command:bench\n")
    root = Path(__file__).parents[1]
    program = (
        f"import sys; sys.path[:0] = [{str(root)!r}, {str(tmp_path)!r}]\n"
        "sys.argv = ['flashu', 'loads', *sys.argv[1:]]\n"
        "from flashu_core.cli import main; main()"
    )
    for words, said in ((["--help"], "capacity"), (["capacity", "--help"], "--precision")):
        command = [sys.executable, "-c", program, *words]
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"}
        )
        assert ended.returncode == 0, ended.stderr
        assert said in ended.stdout
    wrong = subprocess.run([sys.executable, "-c", program, "serve", "--mix", "vqa=x"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "share of vqa" in wrong.stderr


def test_plan_prints_the_schedule(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def plan(*words: str) -> int:
        return run_here(monkeypatch, "plan", *words)

    assert plan("--policy", "flashu", "--steps", "35", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 34
    assert sum(row["backbone"] != "not needed" for row in rows) == 19
    assert sum(row["head"] == "computed" for row in rows) == 18
    assert plan("--set", "head_interval=1", "--set", "skip_ratio=0") == 0
    assert "34 backbone passes, 34 head passes" in capsys.readouterr().out.replace("\n", " ")
    for words in (("--set", "head_interval=x"), ("--set", "warp=1"), ("--size", "9b"), ("--policy", "none")):
        assert plan(*words) == 2
        assert words[1].partition("=")[0] in capsys.readouterr().err
