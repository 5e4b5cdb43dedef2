"""litellm's proxy between OpenAI's client and the server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

KEY = "sk-4f1c0d5f9b3e4a7c8d2e6b1a"  # the proxy starts with none that is short
CONFIG = """
general_settings: {{master_key: "{key}"}}
model_list:
  - model_name: flashu
    litellm_params: {{model: openai/{model}, api_base: "{api}", api_key: none}}
  - model_name: flashu-draws
    model_info: {{mode: image_generation}}
    litellm_params: {{model: openai/{model}, api_base: "{api}", api_key: none}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def client(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "config.yaml").write_text(CONFIG.format(key=KEY, model=server.model, api=server.api))
    port = free_port()
    with (folder / "log").open("w") as log:
        command = [str(Path(sys.executable).parent / "litellm"), "--config", "config.yaml"]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            ends = time.monotonic() + 90
            while not _alive(port):
                assert process.poll() is None and time.monotonic() < ends, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness").status_code == 200
    except httpx.TransportError:
        return False


def test_chat(client: openai.OpenAI, looking: Any) -> None:
    assert "flashu" in [model.id for model in client.models.list()]
    answer = client.chat.completions.create(model="flashu", messages=looking)
    assert answer.choices[0].message.content == "blue"
    chunks = client.chat.completions.create(
        model="flashu", messages=looking, stream=True, stream_options={"include_usage": True}
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "blue"


def test_responses(client: openai.OpenAI) -> None:
    assert client.responses.create(model="flashu", input="what is red?").output_text
    kinds = [event.type for event in client.responses.create(model="flashu", input="what is red?", stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_pictures(client: openai.OpenAI, is_picture: Any) -> None:
    drawn = client.images.generate(model="flashu-draws", prompt="a red circle")
    assert drawn.data is not None and is_picture(drawn.data[0].b64_json)
    turn: Any = [{"role": "user", "content": "Draw a red circle"}]
    message = client.chat.completions.create(model="flashu", messages=turn).choices[0].message
    assert is_picture((message.model_extra or {})["images"][0]["image_url"]["url"])


def test_text_alone(client: openai.OpenAI) -> None:
    assert client.completions.create(model="flashu", prompt="what is red?").choices[0].text
