"""What the suites of stores of late sign-ins share: chunks, and stores that are opened."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers.ledger.table.client import StateTable
from consumers.ledger.table.recent import TableRecentStore
from schemas.ledger_ports import RecentChunk
from tests.contracts.support_ledger import Told
from tests.servers.faults import FaultyWay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.ledger_ports import RecentStore
    from tests.contracts.support_ledger import Clock
    from tests.servers.azurite import Azurite

HOUR, DAY = 3_600.0, 86_400.0
START = 20_000 * DAY
"""An hour begins here."""


def chunk(
    first: float,
    last: float | None = None,
    body: bytes = b"sign-ins",
    addresses: bytes = b"sums",
    signins: int = 3,
) -> RecentChunk:
    """Return a chunk of ten minutes, unless *last* says otherwise."""
    return RecentChunk(first, first + 600.0 if last is None else last, signins, addresses, body)


def table_recent(connection_string: str, table: str, clock: Clock) -> TableRecentStore:
    """Return a store in a table, which is made with the first request."""
    return TableRecentStore(
        StateTable.at(table, Told(), connection_string=connection_string), clock
    )


def new_name() -> str:
    """Return the name of a table that is not there yet."""
    return f"t{uuid4().hex[:20]}recent"


@asynccontextmanager
async def behind(
    azurite: Azurite, clock: Clock, name: str | None = None
) -> AsyncIterator[tuple[FaultyWay, TableRecentStore]]:
    """Give a store in a table of its own, unless it is named, and the faulty way to it."""
    way = FaultyWay(azurite.table_port)
    async with way.server() as server:
        port = int(server.url.rpartition(":")[2])
        text = azurite.connection_string_at(azurite.blob_port, port)
        recent = table_recent(text, name or new_name(), clock)
        try:
            yield way, recent
        finally:
            await recent.close()


async def outlines(recent: RecentStore, since: float = 0.0) -> list[RecentChunk]:
    """Return all outlines."""
    return [one async for some in recent.segment_index(since) for one in some]


async def firsts(recent: RecentStore, since: float = 0.0) -> list[float]:
    """Return when the chunks begin."""
    return [one.first for one in await outlines(recent, since)]
