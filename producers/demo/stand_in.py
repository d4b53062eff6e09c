"""A mock of CrowdSec's API on loopback: the documented responses, from a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BATCH_SIZE = 100


class CrowdSecStandIn:
    """Serves ``/v2/smoke``; an async context manager that yields the base URL."""

    def __init__(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        self._items = items
        app = web.Application()
        app.router.add_get("/v2/smoke", self._several)
        app.router.add_get("/v2/smoke/{address}", self._single)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}/v2"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _single(self, request: web.Request) -> web.Response:
        item = self._items.get(request.match_info["address"])
        if item is None:
            return _json({"message": "IP address information not found"}, 404)
        return _json(item)

    async def _several(self, request: web.Request) -> web.Response:
        requested = [text for text in request.query.get("ips", "").split(",") if text][
            :MAX_BATCH_SIZE
        ]
        items = [self._items[text] for text in requested if text in self._items]
        found = {"total": len(items), "not_found": len(requested) - len(items), "items": items}
        return _json(found) if requested else web.Response(status=400)


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
