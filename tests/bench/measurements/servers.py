"""The peers, each in a process of its own, so that their CPU time is nobody else's.

``python -m tests.bench.measurements.servers cti --count=580 …`` prints its URL, serves until
standard input ends, and tells at ``/told`` what it has counted since it was last asked.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from schemas.rows.columns import FINDINGS_TABLE
from tests.bench.measurements.data import item, reputations
from tests.bench.measurements.storage import StorageFront
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NOT_FOUND = b'{"message":"IP address information not found"}'


class Cti:
    """CrowdSec's enrichment API: knows a share of the addresses, takes *delay* seconds each.

    It fails as told at ``/fail``: the next requests with these statuses, and all of them with 403
    for some seconds. At ``/answered`` it tells when each address was answered, at the latest.
    """

    def __init__(self, known: dict[str, str], delay: float) -> None:
        self._items = {address: item(address, word) for address, word in known.items()}
        self._delay = delay
        self._counts: Counter[str] = Counter()
        self._asked: list[str] = []
        self._failures: list[int] = []
        self._refused_until = 0.0
        self._answered: dict[str, float] = {}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/told":
            told, self._counts = self._counts, Counter()
            asked, self._asked = self._asked, []
            return web.json_response({**told, "asked": asked})
        if request.path == "/answered":
            return web.json_response(self._answered)
        if request.path == "/fail":
            given = await request.json()
            self._failures += given.get("statuses", [])
            self._refused_until = time.monotonic() + given.get("refused", 0.0)
            return web.Response()
        if self._delay:
            await asyncio.sleep(self._delay)
        self._counts["requests"] += 1
        several = request.query.get("ips")
        wanted = several.split(",") if several else [request.path.rpartition("/")[2]]
        status = 403 if time.monotonic() < self._refused_until else 0
        if not status and self._failures:
            status = self._failures.pop(0)
        if status:
            self._counts[f"status {status}"] += 1
            self._counts["failed"] += len(wanted) if status >= 500 else 0
            return web.Response(status=status, headers={"Retry-After": "1"})
        self._asked += wanted
        self._answered |= dict.fromkeys(wanted, time.time())
        if several:
            return self._several(wanted)
        self._counts["addresses"] += 1
        found = self._items.get(wanted[0])
        return _json(_NOT_FOUND, 404) if found is None else _json(found)

    def _several(self, wanted: list[str]) -> web.Response:
        self._counts["addresses"] += len(wanted)
        found = [self._items[one] for one in wanted if one in self._items]
        counts = b'{"total":%d,"not_found":%d,"items":[' % (len(found), len(wanted) - len(found))
        return _json(counts + b",".join(found) + b"]}")


class Ingestion:
    """The Logs Ingestion API: accepts everything, and remembers the largest body.

    At ``/arrivals`` it tells when the finding of each event came first, if it is to keep that.
    """

    def __init__(self, *, arrivals: bool) -> None:
        self._counts: Counter[str] = Counter()
        self._arrivals: dict[str, float] | None = {} if arrivals else None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/told":
            told, self._counts = self._counts, Counter()
            return web.json_response(told)
        if request.path == "/arrivals":
            return web.json_response(self._arrivals)
        packed = await request.read()
        zipped = request.headers.get("Content-Encoding") == "gzip"
        # aiohttp unpacks by itself: what was sent is in Content-Length
        body = gzip.decompress(packed) if zipped and packed[:2] == b"\x1f\x8b" else packed
        sent = int(request.headers.get("Content-Length", len(packed)))
        counts = self._counts
        counts["requests"] += 1
        counts["rows"] += body.count(b'"FindingId"')
        counts["sent"] = max(counts["sent"], sent)
        counts["unpacked"] = max(counts["unpacked"], len(body))
        if self._arrivals is not None and request.path.endswith(FINDINGS_TABLE):
            now = time.time()
            for row in orjson.loads(body):
                self._arrivals.setdefault(row["EventId"], now)
        return web.Response(status=204)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


async def _serve(handler: Handler) -> None:
    """Serve until standard input ends, which it does when the benchmark is gone."""
    async with Loopback(handler) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


def main() -> None:
    """Run one server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["cti", "ingestion", "storage"])
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--known", type=float, default=0.05)
    parser.add_argument("--spread", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--arrivals", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    handler: Handler
    if given.kind == "cti":
        known = reputations(given.count, given.seed, given.known, spread=bool(given.spread))
        handler = Cti(known, given.delay)
    elif given.kind == "storage":
        handler = StorageFront(given.port, given.delay)
    else:
        handler = Ingestion(arrivals=bool(given.arrivals))
    asyncio.run(_serve(handler))


if __name__ == "__main__":
    main()
