"""guidellm's benchmark, on the command line, of chats and of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
def test_every_request_succeeds(route: str, server: Any, tmp_path: Path, tool: Any) -> None:
    (tmp_path / "prompts.txt").write_text("what is red?\nwhat is blue?\nwhat is a circle?\n")
    tool(
        *("guidellm", "run", "--disable-console-interactive"),
        *("--backend", f"kind=openai_http,target={server.url},request_format={route}"),
        *("--profile", "kind=synchronous", "--constraint", "kind=max_requests,count=3"),
        *("--data", "kind=text_file,path=prompts.txt", "--output", "kind=json,path=report.json"),
        cwd=tmp_path,
    )
    (benchmark,) = json.loads((tmp_path / "report.json").read_text())["benchmarks"]
    requests = benchmark["requests"]
    assert [request["info"].get("error") for request in requests["errored"]] == []
    assert len(requests["successful"]) == 3
    assert all(request["output"] for request in requests["successful"])
