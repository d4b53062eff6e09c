"""A proxy that stands between a client and a server, and makes the faults that a test wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

LOST = "lost"
"""The request is done, but its answer gets lost."""
RESET = "reset"
"""The connection breaks before the request is done."""


@dataclass
class FaultyWay:
    """The way to a server on loopback.

    ``fault`` sees each request, and may return an answer of its own, LOST, or RESET.
    """

    port: int
    fault: Callable[[web.Request], web.Response | str | None] = lambda _: None
    requests: int = 0

    def server(self) -> Loopback:
        """Return a server."""
        return Loopback(self._pass)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        fault = self.fault(request)
        if isinstance(fault, web.Response):
            return fault
        if fault != RESET:
            answer = await self._passed_on(request)
            if fault != LOST:
                return answer
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)

    async def _passed_on(self, request: web.Request) -> web.Response:
        url = URL(f"http://127.0.0.1:{self.port}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method,
                url,
                headers=headers,
                data=await request.read() or None,
                skip_auto_headers=("Accept", "Content-Type", "User-Agent"),  # they may be signed
            ) as answer,
        ):
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() in ("content-type", "etag") or name.lower().startswith("x-ms-")
            }
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)
