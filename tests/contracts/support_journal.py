"""What the suites of journals share: opened journals, faults, and what is to be read."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from consumers.ledger.table.client import StateTable
from consumers.ledger.table.journal import TableJournal
from schemas.feed_ports import JournalEntry, JournalPosition
from tests.contracts.support_ledger import Told
from tests.servers.faults import LOST, FaultyWay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from tests.servers.azurite import Azurite

PARTITION = "feed-taxii_2fone_3f_23_5c _25"
FEED = "taxii/one?#\\ %"
"""A feed whose name cannot be a row's."""
START = JournalPosition()


@asynccontextmanager
async def journals(
    azurite: Azurite, number: int = 1, *, text: str | None = None, table: str | None = None
) -> AsyncIterator[list[TableJournal]]:
    """Open the journals of several instances on one table."""
    name = table or f"t{uuid4().hex}"
    tables = [
        StateTable.at(name, Told(), connection_string=text or azurite.connection_string)
        for _ in range(number)
    ]
    made = [TableJournal(one) for one in tables]
    try:
        await asyncio.gather(*(one.open(create=True) for one in tables))
        yield made
    finally:
        for one in made:
            await one.close()


@asynccontextmanager
async def two_ways(azurite: Azurite) -> AsyncIterator[tuple[FaultyWay, TableJournal, TableJournal]]:
    """Open a journal by a faulty way, and by the straight one."""
    way, name = FaultyWay(azurite.table_port), f"t{uuid4().hex}"
    async with way.server() as server:
        text = azurite.connection_string_at(azurite.blob_port, int(server.url.rpartition(":")[2]))
        async with (
            journals(azurite, text=text, table=name) as (faulty,),
            journals(azurite, table=name) as (straight,),
        ):
            yield way, faulty, straight


def fault_at(nth: int, fault: str, hit: Callable[[], None]) -> Callable[[web.Request], str | None]:
    """Return a fault of the *nth* write and, unless its answer is lost, of all after it."""
    writes = 0

    def strike(request: web.Request) -> str | None:
        nonlocal writes
        writes += request.path.endswith("$batch")
        if not request.path.endswith("$batch") or writes < nth or (fault == LOST and writes > nth):
            return None
        hit()
        return fault

    return strike


def bodies(count: int, name: str = "entry") -> list[bytes]:
    """Return so many bodies."""
    return [f"{name} {n}".encode() for n in range(count)]


def numbered(generation: int, texts: Sequence[bytes], first: int = 1) -> list[JournalEntry]:
    """Return the entries that bodies become."""
    return [
        JournalEntry(JournalPosition(generation, n), body) for n, body in enumerate(texts, first)
    ]


async def read(
    journal: TableJournal, after: JournalPosition = START, feed: str = FEED
) -> list[JournalEntry]:
    """Return all entries after a place."""
    return [one async for some in journal.entries(feed, after) for one in some]


async def filled(journal: TableJournal, texts: Sequence[bytes]) -> JournalPosition:
    """Extend an empty journal."""
    end = START
    for start in range(0, len(texts), 20):
        then = await journal.extend(FEED, end, texts[start : start + 20])
        assert then is not None
        end = then
    return end


async def rows(journal: TableJournal) -> list[str]:
    """Return the names of all rows of the feed but the head's."""
    found = await journal._table.rows(PARTITION, "0", ":")
    return [one.row for one in found]
