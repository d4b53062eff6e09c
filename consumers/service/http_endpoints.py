"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.service.health import Health
    from consumers.service.metrics import MetricsCollector


class ServiceStatus(Protocol):
    """What the probes are about."""

    health: Health
    ready: bool
    """Whether all its loops run, and it does not drain."""

    def is_stalled(self) -> str | None:
        """Return what of its own work stands still, or None."""


@asynccontextmanager
async def serve_endpoints(
    host: str, port: int, status: ServiceStatus, metrics: MetricsCollector
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port, which is chosen by the system for 0.

    ``/healthz`` fails while the process's own work stands, so that it is restarted. ``/readyz``
    fails before its loops run and while it drains, and for nothing outside: an orchestrator that
    waits for readiness would keep the old revision while a role spreads. Its body lists all
    troubles. ConfigurationError when the port cannot be had.
    """

    async def alive(_: web.Request) -> web.Response:
        stands = status.is_stalled()
        return web.Response(text=f"{stands or 'ok'}\n", status=503 if stands else 200)

    async def ready(_: web.Request) -> web.Response:
        health = status.health
        body = {"ready": status.ready, "healthy": health.healthy, "reasons": health.reasons()}
        return web.Response(
            body=orjson.dumps(body),
            status=200 if status.ready else 503,
            content_type="application/json",
        )

    async def prometheus(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/healthz", alive), web.get("/readyz", ready), web.get("/metrics", prometheus)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"SIGNINWATCH_HTTP__PORT: {host}:{port}: {error.strerror}"
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
