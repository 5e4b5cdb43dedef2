from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Flashu = Callable[..., int]


def test_generating_and_understanding(tmp_path: Path, flashu: Flashu, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "out.png"
    words = ("generate", "a red circle", "-o", picture, "--seed", "4", "--num-inference-steps", "8", "--json")
    assert flashu(*words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["seeds"] == [4]
    assert printed["schedule"]["evaluations"] == 7
    with Image.open(picture) as file:
        assert np.asarray(file).shape == (64, 64, 3)
    assert flashu("understand", picture, "how many squares are there?", "--max-new-tokens", "4") == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert "prefill" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "a", "--size", "huge"), "WIDTHxHEIGHT"),
        (("generate", "a", "--size", "65x64"), "65x64"),
        (("generate", "a", "--num-images", "9"), "num_images is 9"),
        (("generate", "a", "--model", "/nowhere/at/all"), "/nowhere/at/all"),
        (("understand", "no-such.png", "what?"), "no-such.png cannot be read as a picture: there is no such file"),
        (("generate", "a", "-o", "x.bmp"), "PNG, JPEG and WebP end with one of .png, .jpg, .jpeg, .webp"),
        (("generate", "a", "-o", "x"), "PNG, JPEG and WebP"),
        (("generate", "a", "-o", "/nowhere/x.png"), "no folder /nowhere"),
        (("generate", "a", "--device", "cuda"), "device is 'cuda'"),
        (("generate", "a", "--device", "nonsense"), "device is 'nonsense'; use auto, cpu, cuda"),
        (("generate", "a", "--device", "meta"), "device is 'meta'"),
        (("calibrate",), "calibration.safetensors is there already; replace it with --force, or name a file"),
        (("calibrate", "--samples", "no-such.jsonl"), "no-such.jsonl cannot be read: there is no such file"),
        (("analyze", "--prompts", "no-such.txt"), "no-such.txt cannot be read: there is no such file"),
        (("eval", "--policies", "warp"), "warp"),
        (("convert", "/nowhere/at/all", "/tmp/never-made"), "there is no /nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], said: str, flashu: Flashu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flashu(*words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert "Errno" not in err
    assert len(err.splitlines()) <= 2 or words[0] in ("analyze", "eval", "calibrate")  # what was loaded, what is wrong


@pytest.mark.parametrize("words", [("generate", "a"), ("understand", "picture.png", "what?")])
def test_a_bad_policy_is_refused_before_loading(
    words: tuple[str, ...],
    tmp_path: Path,
    flashu: Flashu,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    for more, said in (
        (("--acceleration", "warp"), "there is no acceleration policy 'warp'"),
        (("--set", "warp=1"), "there is no parameter 'warp'"),
    ):
        assert flashu(*words, *more, "--model", "/nowhere") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_the_version_is_printed(flashu: Flashu, capsys: pytest.CaptureFixture[str]) -> None:
    assert flashu("--version") == 0
    assert capsys.readouterr().out == f"flashu {version('flashu-server')}\n"


def test_commands_of_other_packages_are_listed_and_loaded_only_then(
    flashu: Flashu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flashu("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("generate", "understand", "convert", "eval", "serve"))
    program = (
        "import sys; sys.argv = ['flashu', 'convert', '--help']\n"
        "from flashu_core.cli.main import main\n"
        "try: main()\n"
        "finally: print('fastapi' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip().endswith("False")


def test_an_entry_point_may_be_a_group_of_commands(tmp_path: Path) -> None:
    metadata = tmp_path / "loads-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: loads\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[flashu.commands]\nloads = load_tests.bench.command:bench\n")
    root = Path(__file__).parents[2]
    program = (
        f"import sys; sys.path[:0] = [{str(root)!r}, {str(tmp_path)!r}]\n"
        "sys.argv = ['flashu', 'loads', *sys.argv[1:]]\n"
        "from flashu_core.cli.main import main; main()"
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
