"""The Logs Ingestion API as documented, with its faults on request."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

RULE = "dcr-00000000000000000000000000000001"
PATH = f"/dataCollectionRules/{RULE}/streams/Custom-SignInWatch"
FINDINGS = "Findings_CL"


@dataclass
class Ingestion:
    """The state of the service; ``rows`` are those accepted, in order.

    ``fault`` sees the number of the request and the rows, and may return a status (with headers)
    to refuse them, or ``"reset"``.
    """

    fault: Callable[[int, list[Any]], web.Response | str | None] = lambda *_: None
    rows: list[dict[str, Any]] = field(default_factory=list)
    reports: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"Verdicts_CL": [], "Health_CL": []}
    )
    """What was accepted for the other tables; faults are for findings alone."""
    statuses: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    largest_body: int = 0
    tokens: set[str] = field(default_factory=set)

    def server(self) -> Loopback:
        """Return a server."""
        return Loopback(self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        packed = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and packed.startswith(b"\x1f\x8b"):
            body = gzip.decompress(packed)
        else:
            body = packed
        self.largest_body = max(self.largest_body, len(body), len(packed))
        self.tokens.add(request.headers.get("Authorization", ""))
        table = request.path.removeprefix(PATH)
        if table in self.reports:
            self.reports[table] += orjson.loads(body)
            return web.Response(status=204)
        self.requests += 1
        if table != FINDINGS:
            return self._told(web.Response(status=404))
        if len(body) > 1_000_000:
            return self._told(web.Response(status=413))
        rows = orjson.loads(body)
        fault = self.fault(self.requests, rows)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        if isinstance(fault, web.Response):
            return self._told(fault)
        self.rows += rows
        return self._told(web.Response(status=204))

    def _told(self, response: web.Response) -> web.Response:
        self.statuses[response.status] += 1
        return response
