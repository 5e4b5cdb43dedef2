"""What tests of the worker send it and wait for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from flashu_core import GenerateRequest


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def generation(prompt: str = "a", **fields: Any) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, **fields)


def begun(engine: Any) -> list[str]:
    """The texts of requests that the engine began, in order."""
    return [entry.text for entry in engine.logged("begin")]
