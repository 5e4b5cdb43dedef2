"""Open WebUI, where `make clients-open-webui` installed it (two gigabytes, so `make clients` does not), and the
requests that its version 0.12.4 was seen to make."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

BINARY = Path(__file__).parents[2] / ".venv-open-webui/bin/open-webui"
# The sliders of a chat's settings, moved.
SAMPLING: dict[str, Any] = {
    "temperature": 0.8,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "repeat_penalty": 1.1,
    "seed": 3,
    "stop": ["x"],
    "max_tokens": 64,
    "num_ctx": 4096,
}


@pytest.fixture(scope="module")
def webui(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of Open WebUI's own interface, signed in."""
    if not BINARY.exists():
        pytest.skip("Open WebUI is not installed; make clients-open-webui installs it")
    folder = tmp_path_factory.mktemp("open-webui")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "DATA_DIR": str(folder),
        "WEBUI_SECRET_KEY": "none",
        "OFFLINE_MODE": "true",
        "ENABLE_OLLAMA_API": "false",
        "OPENAI_API_BASE_URL": server.api,
        "OPENAI_API_KEY": "none",
        "RAG_EMBEDDING_ENGINE": "openai",
        "BYPASS_EMBEDDING_AND_RETRIEVAL": "true",
        "ENABLE_IMAGE_GENERATION": "true",
        "IMAGE_GENERATION_ENGINE": "openai",
        "IMAGE_GENERATION_MODEL": server.model,
        "IMAGE_SIZE": "64x64",
        "IMAGES_OPENAI_API_BASE_URL": server.api,
        "IMAGES_OPENAI_API_KEY": "none",
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [str(BINARY), "serve", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **settings},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                ends = time.monotonic() + 300
                while not _alive(client):
                    assert process.poll() is None and time.monotonic() < ends, (folder / "log").read_text()[-2000:]
                    time.sleep(0.5)
                somebody = {"name": "a", "email": "a@example.com", "password": "a-Password-1"}
                signed = client.post("/api/v1/auths/signup", json=somebody).json()
                client.headers["authorization"] = f"Bearer {signed['token']}"
                client.get("/api/models").raise_for_status()
                yield client
        finally:
            process.terminate()
            process.wait(60)


def _alive(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def test_models(webui: httpx.Client, server: Any) -> None:
    assert [model["id"] for model in webui.get("/api/models").json()["data"]] == [server.model]


def test_chat(webui: httpx.Client, server: Any, looking: Any) -> None:
    body = {"model": server.model, "stream": False, "messages": looking}
    answer = webui.post("/api/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == "blue"
    moved = webui.post("/api/chat/completions", json={**body, "params": SAMPLING}).json()
    assert moved["choices"][0]["message"]["content"]
    text = {**body, "stream": True, "messages": [{"role": "user", "content": "what is red?"}]}
    assert "data: [DONE]" in webui.post("/api/chat/completions", json=text).text


def test_a_picture(webui: httpx.Client) -> None:
    (drawn,) = webui.post("/api/v1/images/generations", json={"prompt": "a red circle"}).json()
    assert drawn["content_type"] == "image/png"
    assert webui.get(drawn["url"]).content.startswith(b"\x89PNG")


def test_sampling_settings(server: Any, looking: Any) -> None:
    body = {"model": server.model, "stream": False, "messages": looking, **SAMPLING}
    answer = httpx.post(f"{server.api}/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert {"top_k", "min_p", "num_ctx"} <= {one["param"] for one in answer.json()["warnings"]}


def test_what_its_pipelines_and_pictures_send(server: Any, looking: Any) -> None:
    somebody = {"name": "a", "id": "1", "email": "a@example.com", "role": "user"}
    body = {"model": server.model, "stream": False, "messages": looking, "user": somebody}
    assert httpx.post(f"{server.api}/chat/completions", json=body, timeout=60).status_code == 200
    drawing = {"model": server.model, "prompt": "a red circle", "n": 1, "size": "64x64", "response_format": "b64_json"}
    assert httpx.post(f"{server.api}/images/generations", json=drawing, timeout=60).status_code == 200
