"""The way to a storage service: slow like a network, and as strict as Azure.

Azurite takes transactions that Azure refuses. What Azure refuses is refused here, so that a bench
cannot be met by requests that would fail in use: more than 100 operations, 4 MiB, a property above
64 KiB, an entity twice, more than 2,000 entities a second in a partition.
"""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64decode
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from tests.bench.measurements.tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_OPERATIONS = 100
MAX_TRANSACTION_BYTES = 4 * 1_048_576
MAX_PROPERTY_BYTES = 65_536
MAX_ENTITIES_A_SECOND = 2_000
"""In one partition. Azure's own target."""
_OPERATION = re.compile(rb"^(POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r$", re.MULTILINE)
_KEYS = re.compile(rb"PartitionKey='([^']*)',RowKey='([^']*)'")
_ENTITY = re.compile(rb"^\{.*\}\r?$", re.MULTILINE)


Operation = tuple[tuple[bytes, bytes], dict[str, str], tuple[bytes, bytes, bytes]]


class Refused(Exception):
    """Azure would refuse this."""


class StorageFront:
    """Passes requests on to a port, after *delay* seconds; tells what it has passed.

    Without a port, it answers from tables in memory.
    """

    def __init__(self, port: int, delay: float) -> None:
        self._port = port
        self._tables = MemoryTables()
        self._delay = delay
        self._counts: Counter[str] = Counter()
        self._seconds: defaultdict[tuple[int, bytes], int] = defaultdict(int)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        if request.path == "/told":
            told, self._counts = self._counts, Counter()
            return web.json_response(told)
        body = await request.read()
        self._counts["requests"] += 1
        self._counts[request.method] += 1
        if self._delay:
            await asyncio.sleep(self._delay)
        operations = list(_operations(body)) if request.path.endswith("$batch") else []
        if operations:
            try:
                busy = self._checked(body, operations)
            except Refused as error:
                self._counts["refused"] += 1
                return web.Response(
                    status=400, text=str(error), headers={"x-ms-error-code": "InvalidInput"}
                )
            if busy:
                self._counts["busy"] += 1
                return web.Response(status=503, headers={"x-ms-error-code": "ServerBusy"})
        if not self._port:
            return self._tables.answer(request, body, [sent for _, _, sent in operations])
        return await self._passed_on(request, body)

    def _checked(self, body: bytes, operations: Sequence[Operation]) -> bool:
        """Count a transaction's entities; return True if its partition is busy."""
        if len(operations) > MAX_OPERATIONS or len(body) > MAX_TRANSACTION_BYTES:
            raise Refused(f"{len(operations)} operations, {len(body)} bytes")
        entities = [keys for keys, _, _ in operations]
        if len(set(entities)) < len(entities) or len({key for key, _ in entities}) > 1:
            raise Refused("an entity twice, or two partitions")
        for _, entity, _ in operations:
            for name, value in entity.items():
                binary = entity.get(f"{name}@odata.type") == "Edm.Binary"
                size = len(b64decode(value)) if binary else len(str(value)) * 2
                if size > MAX_PROPERTY_BYTES:
                    raise Refused(f"property {name} of {size} bytes")
        self._counts["entities"] += len(entities)
        second = int(time.monotonic()), entities[0][0]
        if len(self._seconds) > 1_000:
            self._seconds.clear()
        self._seconds[second] += len(entities)
        return self._seconds[second] > MAX_ENTITIES_A_SECOND

    async def _passed_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        url = URL(f"http://127.0.0.1:{self._port}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        skipped = ("Accept", "Content-Type", "User-Agent", "Accept-Encoding")  # may be signed
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, skip_auto_headers=skipped
        ) as answer:
            hop = ("transfer-encoding", "content-length", "connection", "keep-alive")
            kept = {name: v for name, v in answer.headers.items() if name.lower() not in hop}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


def _operations(body: bytes) -> Iterator[Operation]:
    """Yield the keys and the entity of each operation, none for a delete, and what was sent."""
    found = list(_OPERATION.finditer(body))
    ends = [match.start() for match in found[1:]] + [len(body)]
    for match, end in zip(found, ends, strict=True):
        sent = match[1], match[2], body[match.end() : end]
        entity: dict[str, str] = {}
        if match[1] != b"DELETE" and (text := _ENTITY.search(body, match.end(), end)):
            entity = orjson.loads(text[0])
        keys = _KEYS.search(match[2])
        if keys is not None:
            yield (keys[1], keys[2]), entity, sent
        else:
            yield (entity["PartitionKey"].encode(), entity["RowKey"].encode()), entity, sent
