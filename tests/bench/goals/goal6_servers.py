"""CrowdSec for goal 6: a stand-in that knows of each address only from when it is listed.

It runs in the process of the replay and reads the replay's own clock, because a recording's time
passes nowhere else.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from consumers.wiring import replay as wiring
from tests.servers.crowdsec import KEY
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from consumers.clock import EventClock, WallClock

_NOT_FOUND = b'{"message":"IP address information not found"}'


class ListedLater:
    """CrowdSec's API by the recording's clock; counts what it is asked."""

    def __init__(self, items: Path, listed_from: Mapping[str, float]) -> None:
        told = orjson.loads(items.read_bytes())
        self._items = {address: orjson.dumps(one) for address, one in told.items()}
        self._listed_from = listed_from
        self.clock: EventClock | WallClock | None = None
        self.asked: Counter[str] = Counter()
        self.requests = 0

    def server(self) -> Loopback:
        """Return a server; its base URL for clients ends in ``/v2``."""
        return Loopback(self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.headers.get("x-api-key") != KEY:
            return _json(b'{"message":"Forbidden"}', 403)
        several = request.query.get("ips")
        wanted = several.split(",") if several else [request.path.rpartition("/")[2]]
        self.asked.update(wanted)
        found = [item for one in wanted if (item := self._known(one))]
        if not several:
            return _json(found[0]) if found else _json(_NOT_FOUND, 404)
        counts = b'{"total":%d,"not_found":%d,"items":[' % (len(found), len(wanted) - len(found))
        return _json(counts + b",".join(found) + b"]}")

    def _known(self, address: str) -> bytes | None:
        now = self.clock.now() if self.clock is not None else 0.0
        if self._listed_from.get(address, math.inf) > now:
            return None
        return self._items.get(address)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


@contextmanager
def sharing_the_clock(service: ListedLater) -> Iterator[None]:
    """Hand the clock of the next replay to *service*, when the replay makes it."""
    make = wiring.make_clock

    def make_and_show(kind: str) -> EventClock | WallClock:
        service.clock = make(kind)
        return service.clock

    wiring.make_clock = make_and_show
    try:
        yield
    finally:
        wiring.make_clock = make
