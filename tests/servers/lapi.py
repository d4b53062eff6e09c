"""A CrowdSec Security Engine's decisions, as its local API streams them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.servers.loopback import Loopback

LAPI_KEY = "a-bouncer-key"


def decision(value: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a decision."""
    return {
        "id": number,
        "origin": "crowdsec",
        "scenario": "crowdsecurity/ssh-bf",
        "scope": "Range" if "/" in value else "Ip",
        "type": "ban",
        "value": value,
        "duration": "3h59m58.123456789s",
        **more,
    }


@dataclass
class Lapi:
    """Serves ``/v1/decisions/stream``; remembers how far the bouncer has read."""

    decisions: dict[int, dict[str, Any]] = field(default_factory=dict)
    new: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    body: bytes | None = None
    """What is served instead."""
    asked: list[str] = field(default_factory=list)

    def add(self, *decisions: dict[str, Any]) -> None:
        """Make decisions."""
        self.decisions |= {one["id"]: one for one in decisions}
        self.new += decisions

    def delete(self, number: int) -> None:
        """Delete a decision."""
        self.deleted.append({**self.decisions.pop(number), "duration": "-1h0m0s"})

    def server(self) -> Loopback:
        """Serve until the block ends."""
        return Loopback(self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Api-Key") != LAPI_KEY:
            return web.json_response({"message": "access forbidden"}, status=403)
        if request.path == "/v1/decisions":
            return web.json_response(None)
        if request.path != "/v1/decisions/stream":
            return web.Response(status=404)
        if self.body is not None:
            return web.Response(body=self.body)
        startup = request.query["startup"]
        self.asked.append(startup)
        new = list(self.decisions.values()) if startup == "true" else self.new
        deleted = [] if startup == "true" else self.deleted
        self.new, self.deleted = [], []
        return web.json_response({"new": new or None, "deleted": deleted or None})
