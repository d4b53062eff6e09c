"""A door before a storage emulator that counts, refuses, and loses answers on the way back."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_ENDPOINT = re.compile(r"BlobEndpoint=(http://[^/;]+)")
_OF_A_HOP = {"transfer-encoding", "content-length", "connection", "keep-alive", "date", "server"}


class Fault(Enum):
    """What the door does to a request."""

    NONE = "none"
    BUSY = "busy"
    """503 with Retry-After: 0; the emulator never hears of the request."""
    REFUSED = "refused"
    """403, as for a missing permission."""
    ANSWER_LOST = "answer lost"
    """The emulator does what is asked, and the connection is cut before it can say so."""


@dataclass(slots=True)
class Front:
    """Forwards everything but what *fault* says; ``requests`` tells methods and paths."""

    connection_string: str
    fault: Callable[[web.Request], Fault] = lambda _: Fault.NONE
    requests: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Give the connection string of the door."""
        found = _ENDPOINT.search(self.connection_string)
        assert found is not None
        behind = found[1]
        async with aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=["Content-Type", "Accept", "User-Agent"]
        ) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, session, behind)

            async with Loopback(handle) as server:
                yield self.connection_string.replace(behind, server.url)

    async def _handle(
        self, request: web.Request, session: aiohttp.ClientSession, behind: str
    ) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        fault = self.fault(request)
        if fault is Fault.BUSY:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if fault is Fault.REFUSED:
            return web.Response(
                status=403, headers={"x-ms-error-code": "AuthorizationPermissionMismatch"}
            )
        response = await self._forward(request, session, behind)
        if fault is Fault.ANSWER_LOST:
            assert request.transport is not None
            request.transport.abort()
        return response

    async def _forward(
        self, request: web.Request, session: aiohttp.ClientSession, behind: str
    ) -> web.Response:
        url = URL(behind + request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        body = await request.read()
        async with session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in _OF_A_HOP
            }
            return web.Response(status=answer.status, headers=kept, body=await answer.read())
