"""OpenAI's client for npm, Vercel's AI SDK and promptfoo."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any


def test_openai(node: Any, server: Any, data_url: str, is_picture: Any) -> None:
    found = node("openai.mjs", server.api, server.model, data_url)
    assert found["models"] == [server.model]
    assert found["answer"] == found["streamed"] == found["response"] == "blue"
    assert found["usage"]["completion_tokens"] >= 1
    assert found["helper"] and found["completion"]
    assert is_picture(found["picture"])
    assert found["called"] == ["image_generation_call"] and found["events"][-1] == "response.completed"
    assert found["refused"] == {"status": 400, "param": "response_format", "code": "unsupported_value"}


def test_ai_sdk(node: Any, server: Any, data_url: str, is_picture: Any) -> None:
    found = node("ai_sdk.mjs", server.api, server.model, data_url)
    for way in ("responses", "chat", "compatible"):
        assert found[way]["answer"] == "blue", way
        assert (found[way]["finish"], found[way]["usage"]) == ("stop", 1)
        assert found[way]["streamed"]
    assert found["completion"]
    assert is_picture(found["picture"]) and is_picture(found["compatiblePicture"])
    assert [is_picture(picture) for picture in found["called"]] == [True]


def test_promptfoo(node: Any, server: Any, tmp_path: Path, data_url: str) -> None:
    binary = Path(__file__).parent / "npm/node_modules/.bin/promptfoo"
    config = {"apiBaseUrl": server.api, "apiKey": "none"}
    looking = [
        {"type": "text", "text": "{{question}}"},
        {"type": "image_url", "image_url": {"url": "{{picture}}"}},
    ]
    suite = {
        "prompts": ["{{question}}", json.dumps([{"role": "user", "content": looking}])],
        "providers": [
            {"id": f"openai:chat:{server.model}", "config": config},
            {"id": f"openai:responses:{server.model}", "config": config},
            {"id": f"openai:completion:{server.model}", "config": config},
            {"id": f"openai:image:{server.model}", "config": {**config, "size": "64x64"}},
        ],
        "tests": [{"vars": {"question": "What colour is the square?", "picture": data_url}}],
    }
    (tmp_path / "promptfooconfig.json").write_text(json.dumps(suite))
    command = [str(binary), "eval", "--config", "promptfooconfig.json", "--no-cache", "--no-table"]
    subprocess.run(
        [*command, "--output", "report.json"],
        env={**os.environ, "PROMPTFOO_CONFIG_DIR": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    results = json.loads((tmp_path / "report.json").read_text())["results"]["results"]
    told = {(one["provider"]["id"].split(":")[1], "image_url" in one["prompt"]["raw"]): one for one in results}
    assert told["chat", True]["response"]["output"] == "blue"
    for provider in ("chat", "responses", "completion", "image"):
        assert not told[provider, False].get("error"), provider
        assert told[provider, False]["response"]["output"]
