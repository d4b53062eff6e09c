"""The HTTP endpoints ``/healthz``, ``/readyz`` and ``/metrics``."""

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
    """The status that the probes report."""

    health: Health
    ready: bool
    """True while all loops run and the service is not draining."""

    def is_stalled(self) -> str | None:
        """Return what is stalled without an external cause, or None."""


@asynccontextmanager
async def serve_endpoints(
    host: str, port: int, status: ServiceStatus, metrics: MetricsCollector
) -> AsyncIterator[int]:
    """Serve until the block ends; yield the port, which the system chooses for 0.

    ``/healthz`` fails while the process is stalled, so that it is restarted. ``/readyz`` fails
    before the loops run and while the service drains, but not for external problems: an
    orchestrator that waits for readiness would keep the old revision while a role assignment
    takes effect. Its body lists all problems. Raise ConfigurationError if the port is unavailable.
    """

    async def alive(_: web.Request) -> web.Response:
        stalled = status.is_stalled()
        return web.Response(text=f"{stalled or 'ok'}\n", status=503 if stalled else 200)

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
                f"SIGNINWATCH_HTTP__PORT: cannot listen on {host}:{port}: {error.strerror}; "
                "set another port"
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
