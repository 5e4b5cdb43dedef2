"""Read-only routes for operators and schedulers: probes, metrics and version."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from server import __version__
from server.api.openapi import ERRORS
from server.api.services import Services

_UNREADY: dict[int | str, dict[str, Any]] = {503: ERRORS[503]}


def probe_routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["Operation"])
    worker = services.worker

    @router.get("/livez", summary="Liveness")
    async def livez() -> dict[str, str]:
        """Reports that the process responds."""
        return {"status": "alive"}

    @router.get("/readyz", summary="Readiness", responses=_UNREADY)
    async def readyz() -> dict[str, str]:
        """Reports whether requests are accepted and make progress."""
        worker.check_ready()
        return {"status": "ready"}

    @router.get("/health", summary="Health", responses=_UNREADY)
    async def health() -> dict[str, str | int]:
        """Reports readiness with the number of running and waiting requests."""
        worker.check_ready()
        return {"status": "ready", "model": worker.info().name, "running": worker.running, "waiting": worker.waiting}

    @router.get(
        "/metrics",
        summary="Metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: ERRORS[401]},
    )
    async def metrics() -> Response:
        """Exports all metrics in Prometheus' text format."""
        return Response(services.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @router.get("/version", summary="Version")
    async def version() -> dict[str, str]:
        """Reports the server's version."""
        return {"version": __version__}

    return router
