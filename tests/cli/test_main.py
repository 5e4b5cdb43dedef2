from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flashu_core import CalibrationError
from flashu_core.cli import main as cli
from flashu_core.cli.samples import read_samples


def call(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.argv = {['flashu', *map(str, words)]!r}; from flashu_core.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)


def run_here(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The same without a new process."""
    monkeypatch.setattr(sys, "argv", ["flashu", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_generating_and_understanding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out.png"
    words = ("generate", "a red circle", "-o", picture, "--seed", "4", "--num-inference-steps", "8", "--json")
    assert run_here(monkeypatch, *words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["seeds"] == [4]
    assert printed["schedule"]["evaluations"] == 7
    with Image.open(picture) as file:
        assert np.asarray(file).shape == (64, 64, 3)
    assert run_here(monkeypatch, "understand", picture, "how many squares are there?", "--max-new-tokens", "4") == 0
    out, err = capsys.readouterr()
    assert out.strip()
    assert "prefill" in err


def test_several_pictures_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("generate", "a", "-o", tmp_path / "x.webp", "--num-images", "2", "--num-inference-steps", "3")
    assert run_here(monkeypatch, *words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1.webp", "x-2.webp"]


@pytest.mark.parametrize(("name", "kind"), [("x.jpg", "JPEG"), ("x.JPG", "JPEG"), ("x.Jpeg", "JPEG"), ("x.PNG", "PNG")])
def test_the_ending_is_the_format_in_any_case(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_here(monkeypatch, "generate", "a", "-o", tmp_path / name, "--num-inference-steps", "2") == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.format == kind


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
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert "Errno" not in err
    assert len(err.splitlines()) <= 2 or words[0] in ("analyze", "eval", "calibrate")  # what was loaded, what is wrong


def test_a_calibration_is_replaced_by_force_only_and_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shapes-64"
    shutil.copytree(Path(str(files("flashu_core"))) / "assets" / "shapes-64", folder)
    before = (folder / "calibration.safetensors").read_bytes()
    assert run_here(monkeypatch, "calibrate", folder) == 2
    assert run_here(monkeypatch, "calibrate", folder, "--output", tmp_path / "other.safetensors") == 0
    assert (folder / "calibration.safetensors").read_bytes() == before
    assert run_here(monkeypatch, "calibrate", folder, "--force", "--prompt", "a red circle") == 0
    after = (folder / "calibration.safetensors").read_bytes()
    assert after != before
    listed = json.loads((folder / "manifest.json").read_text())["files"]["calibration.safetensors"]
    assert listed == {"sha256": hashlib.sha256(after).hexdigest(), "bytes": len(after)}
    capsys.readouterr()
    assert (
        run_here(
            monkeypatch, "generate", "a", "--model", folder, "--num-inference-steps", "3", "-o", tmp_path / "x.png"
        )
        == 0
    )


@pytest.mark.parametrize("words", [("generate", "a"), ("understand", "picture.png", "what?")])
def test_a_bad_policy_is_refused_before_loading(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    for more, said in (
        (("--acceleration", "warp"), "there is no acceleration policy 'warp'"),
        (("--set", "warp=1"), "there is no parameter 'warp'"),
    ):
        assert run_here(monkeypatch, *words, *more, "--model", "/nowhere") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"flashu {version('flashu-server')}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"picture": "a.png", "question": "b"}', "image is missing"),
        ('{"image": "a.png", "question": 3}', "question must be a string"),
        ("[]", "it is not an object"),
        ("{", "it is not JSON"),
        ('{"image": "no-such.png", "question": "b"}', "there is no such file"),
        ('{"image": "samples.jsonl", "question": "b"}', "samples.jsonl cannot be read as a picture: "),
    ],
)
def test_errors_in_samples_name_the_line(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(CalibrationError) as error:
        read_samples(path)
    assert f"{path}, line 2: " in str(error.value)
    assert said in str(error.value)
    assert "Error(" not in str(error.value)


def test_tables_are_whole_however_narrow_a_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert run_here(monkeypatch, "plan", "--num-inference-steps", "4") == 0
    out = capsys.readouterr().out
    assert "step" in out.splitlines()[0] and "TFLOP" in out.splitlines()[0]
    assert "…" not in out


def test_commands_of_other_packages_are_listed_and_loaded_only_then() -> None:
    listed = call("--help")
    assert listed.returncode == 0
    assert all(name in listed.stdout for name in ("generate", "ask", "convert", "eval", "serve"))
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


def test_plan_prints_the_schedule(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def plan(*words: str) -> int:
        return run_here(monkeypatch, "plan", *words)

    assert plan("--acceleration", "flashu", "--num-inference-steps", "35", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 34
    assert sum(row["backbone"] != "not needed" for row in rows) == 19
    assert sum(row["head"] == "computed" for row in rows) == 18
    assert plan("--set", "head_interval=1", "--set", "skip_ratio=0") == 0
    assert "34 backbone passes, 34 head passes" in capsys.readouterr().out.replace("\n", " ")
    for words in (("--set", "head_interval=x"), ("--set", "warp=1"), ("--size", "9b"), ("--acceleration", "none")):
        assert plan(*words) == 2
        assert words[1].partition("=")[0] in capsys.readouterr().err
