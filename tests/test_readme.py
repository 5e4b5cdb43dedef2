"""README's snippets, run as they stand: only the port differs."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A real server with the embedded model, on a port of the system's choice."""
    program = "import sys; sys.argv = ['flashu', 'serve', '--port', '0']; from flashu_core.cli.main import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        try:
            assert server.stdout is not None
            found = None
            seen = []
            for line in server.stdout:
                seen.append(line)
                found = re.search(r"ready on http://127\.0\.0\.1:(\d+)", line)
                if found:
                    break
            assert found, "".join(seen)
            yield int(found[1])
        finally:
            server.terminate()
            server.wait(30)


def run(script: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-euo", "pipefail", "-c", script]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_first_two_commands_are_make_targets() -> None:
    commands = [line.split("#")[0].strip() for line in snippets("sh")[0].splitlines()]
    assert commands == ["make serve", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE) for command in commands)


def pixels(file: Path) -> bytes:
    with Image.open(file) as picture:
        assert picture.size == (64, 64)
        return picture.convert("RGB").tobytes()


@pytest.fixture(scope="module")
def served(program: Callable[[str], str], port: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """The picture that curl saved, and what it printed."""
    folder = tmp_path_factory.mktemp("curl")
    program("curl")
    (script,) = [text for text in snippets("sh") if "curl" in text]
    out = run(script.replace(":8000", f":{port}"), folder)
    return pixels(folder / "picture.png"), out


def test_the_server_generates_and_understands(served: tuple[bytes, str]) -> None:
    assert '"answer"' in served[1]


def test_an_openai_client_gets_the_same_picture(
    served: tuple[bytes, str], port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [text for text in snippets("python") if "openai" in text]
    names: dict[str, Any] = {}
    exec(compile(program.replace(":8000", f":{port}"), "README.md", "exec"), names)
    with Image.open(io.BytesIO(base64.b64decode(names["picture"].data[0].b64_json))) as picture:
        assert picture.convert("RGB").tobytes() == served[0]
    assert capsys.readouterr().out.strip()


def test_the_command_line_gives_the_same_picture(served: tuple[bytes, str], tmp_path: Path) -> None:
    (script,) = [text for text in snippets("sh") if "flashu generate" in text]
    assert run(script, tmp_path).strip()
    assert pixels(tmp_path / "picture.png") == served[0]


def test_python_gives_the_same_picture(served: tuple[bytes, str], capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [text for text in snippets("python") if "Engine" in text]
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert names["picture"].tobytes() == served[0]
    assert "prefills" in capsys.readouterr().out
