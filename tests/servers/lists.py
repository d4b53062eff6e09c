"""A web server with a list of addresses, which can misbehave."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class ListServer:
    """Serves ``/list``; ``manner`` says how."""

    lines: list[str] = field(default_factory=list)
    manner: str = "plain"
    """plain, redirect, 429, truncated, html, endless, empty or junk."""
    password: str | None = None
    paged: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    not_modified: int = 0

    def server(self) -> Loopback:
        """Serve until the block ends."""
        return Loopback(self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/list":
            raise AssertionError(f"{request.path} must not be asked")
        self.requests.append(dict(request.query))
        pair = base64.b64encode(f"reader:{self.password}".encode()).decode()
        if self.password is not None and request.headers.get("Authorization") != f"Basic {pair}":
            return web.Response(status=401)
        if self.manner == "truncated":
            return await self._truncated(request)
        if self.manner == "endless":
            return await self._endless(request)
        return _ANSWERS[self.manner]() if self.manner in _ANSWERS else self._plain(request)

    def _plain(self, request: web.Request) -> web.Response:
        etag = f'"{hash(tuple(self.lines))}"'
        if request.headers.get("If-None-Match") == etag:
            self.not_modified += 1
            return web.Response(status=304)
        lines = self.lines
        if self.paged:
            size, page = int(request.query["page_size"]), int(request.query["page"])
            lines = lines[(page - 1) * size : page * size]
        return web.Response(text="\n".join(lines), headers={"ETag": etag})

    async def _truncated(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        await response.write(b"81.2.69.160\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"81.2.69.160\n" * 90_000)
        except ConnectionError:
            return response


_ANSWERS: dict[str, Callable[[], web.Response]] = {
    "redirect": lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    "429": lambda: web.Response(status=429, headers={"Retry-After": "3600"}),
    "html": lambda: web.Response(text="<!doctype html><p>moved</p>", content_type="text/html"),
    "empty": lambda: web.Response(text=""),
    "junk": lambda: web.Response(text="\n".join(f"name-{n},none" for n in range(50))),
}
