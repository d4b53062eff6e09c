"""The HTTP endpoints ``/healthz``, ``/readyz`` and ``/metrics``, and the status page ``/``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from consumers.service.status_page import PAGE_HEADERS
from consumers.settings.urls import is_loopback
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from consumers.service.health import Health
    from consumers.service.metrics import MetricsCollector
    from consumers.service.status import StatusReporter

_PROXY_HEADERS = (hdrs.FORWARDED, hdrs.X_FORWARDED_FOR, hdrs.X_FORWARDED_HOST, hdrs.VIA)


class ServiceStatus(Protocol):
    """The status that the probes report."""

    health: Health
    ready: bool
    """True while all loops run and the service is not draining."""

    def is_stalled(self) -> str | None:
        """Return what is stalled without an external cause, or None."""


@dataclass(frozen=True, slots=True)
class StatusPages:
    """The pages for people: the status at ``/`` and the runbook to which it links."""

    reporter: StatusReporter
    status: ServiceStatus
    details: bool
    """Whether every client sees details; otherwise only clients on this machine do."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/", self._show_status), web.get("/runbook", self._show_runbook)]

    async def _show_status(self, request: web.Request) -> web.Response:
        page = self.reporter.page(
            ready=self.status.ready,
            details=self.details or is_local(request.remote, request.host, request.headers),
            refresh="refresh" in request.query,
        )
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)

    async def _show_runbook(self, _: web.Request) -> web.Response:
        page = self.reporter.runbook()
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)


def is_local(remote: str | None, host: str, headers: Mapping[str, str]) -> bool:
    """Return True for a client on this machine, by its address and what it sent.

    Not for a client behind a proxy on this machine, nor for a web page that has pointed a name of
    its own at this machine: the host that the browser asks for must be a loopback address, too.
    """
    if any(name in headers for name in _PROXY_HEADERS):
        return False
    address = (remote or "").removeprefix("::ffff:")
    client = f"[{address}]" if ":" in address else address
    try:
        return is_loopback(f"//{client}") and is_loopback(f"//{host}")
    except ValueError:  # a host that is no host
        return False


@asynccontextmanager
async def serve_endpoints(
    host: str, port: int, status: ServiceStatus, metrics: MetricsCollector, pages: StatusPages
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
    app.add_routes(pages.routes())
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
