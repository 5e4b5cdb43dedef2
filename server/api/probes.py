"""Routes for operators and schedulers: probes, metrics, version, and what the model can do. They read, and change
nothing."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from server import __version__
from server.api.services import Services
from server.schemas import ErrorBody

_UNREADY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody}}


def probe_routes(services: Services) -> APIRouter:
    router = APIRouter()
    worker = services.worker
    created = int(time.time())

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """The process answers."""
        return {"status": "alive"}

    @router.get("/readyz", responses=_UNREADY)
    async def readyz() -> dict[str, str]:
        """Requests are taken and move on."""
        worker.check_ready()
        return {"status": "ready"}

    @router.get("/health", responses=_UNREADY)
    async def health() -> dict[str, str | int]:
        """As readiness, with the load."""
        worker.check_ready()
        return {"status": "ready", "model": worker.info().name, "running": worker.running, "waiting": worker.waiting}

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus text."""
        return Response(services.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    @router.get("/v1/models", responses=_UNREADY)
    async def models() -> dict[str, Any]:
        """The one model, in OpenAI's form, with what it can do."""
        info = worker.info()
        model = {
            "id": info.name,
            "object": "model",
            "created": created,
            "owned_by": "flashu",
            "parameters": info.parameters,
            "dtype": info.dtype,
            "device": info.device,
            "sizes": [f"{width}x{height}" for width, height in info.sizes],
            "num_inference_steps": info.points,
            "guidance_scale": info.guidance,
            "policies": list(info.policies),
            "max_prompt_tokens": info.max_prompt_tokens,
        }
        return {"object": "list", "data": [model]}

    return router
