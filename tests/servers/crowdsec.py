"""CrowdSec's enrichment API as documented, with its faults on request."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "a-good-key"
Fault = web.Response | str


def item(address: str, reputation: str | None = "malicious", **more: Any) -> dict[str, Any]:
    """Return an item of CrowdSec's with the usual fields."""
    return {
        "ip": address,
        "reputation": reputation,
        "confidence": "high",
        "background_noise_score": 6,
        "as_num": 64501,
        "as_name": "EXAMPLE-NET",
        "behaviors": [{"name": "http:bruteforce", "label": "", "description": ""}],
        "classifications": {"false_positives": [], "classifications": []},
        "location": {"country": "NL", "city": None},
        "history": {"first_seen": "2026-02-03T04:15:00+00:00", "days_age": None},
        "scores": {"overall": {"total": 4, "threat": None}},
        **more,
    }


@dataclass
class CrowdSec:
    """The state of the service; ``asked`` counts how often each address was asked about.

    ``fault`` is called before each answer: a response is sent instead, ``"reset"`` drops the
    connection, ``"hang"`` never answers. Free keys may not ask in batches.
    """

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: bool = True
    fault: Callable[[int], Fault | None] = lambda _: None
    asked: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    largest_batch: int = 0
    delay: float = 0.0
    """Seconds that an answer takes."""

    def server(self) -> Loopback:
        """Return a server; its base URL for clients ends in ``/v2``."""
        return Loopback(self._answer)

    def serve_bad(self, *addresses: str, reputation: str = "malicious") -> None:
        """Know these addresses as bad."""
        self.items |= {address: item(address, reputation) for address in addresses}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.headers.get("x-api-key") != KEY:
            return _json({"message": "Forbidden"}, 403)
        wanted = request.query.get("ips", "").split(",") if "ips" in request.query else []
        if wanted and not self.batches:
            return _json({"message": "Forbidden"}, 403)
        fault = self.fault(self.requests)
        if fault == "hang":
            self._count(wanted or [request.path.rpartition("/")[2]])
            await asyncio.Event().wait()
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
        if isinstance(fault, web.Response):
            if fault.status not in (403, 429):
                self._count(wanted or [request.path.rpartition("/")[2]])
            return fault
        names = wanted or [request.path.rpartition("/")[2]]
        await asyncio.sleep(self.delay)
        return self._several(wanted) if wanted else self._one(names[0])

    def _count(self, addresses: list[str]) -> None:
        self.asked.update(addresses)
        self.largest_batch = max(self.largest_batch, len(addresses))

    def _one(self, address: str) -> web.Response:
        self._count([address])
        found = self.items.get(address)
        if found is None:
            return _json({"message": "IP address information not found"}, 404)
        return _json(found)

    def _several(self, wanted: list[str]) -> web.Response:
        self._count(wanted)
        found = [self.items[one] for one in reversed(wanted) if one in self.items]
        missing = len(wanted) - len(found)
        return _json({"total": len(found), "not_found": missing, "items": found})


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)


def limit(text: str, **headers: str) -> web.Response:
    """Return a 429 with a message."""
    return web.json_response({"message": text}, status=429, headers=headers)
