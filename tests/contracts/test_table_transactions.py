"""What of a transaction is written although some of its rows have changed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from consumers.ledger.table.client import StateTable
from consumers.ledger.table.entities import Write
from consumers.ledger.table.transactions import MAX_TRANSACTION_WRITES, Unit, apply, in_transactions
from schemas.ledger_ports import EntrySpace
from tests.contracts.support_ledger import Clock, Told, instances
from tests.contracts.test_table_faults import faulty
from tests.servers.faults import LOST, FaultyWay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiohttp import web

    from tests.servers.azurite import Azurite


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


ROWS = [f"row{number:02}" for number in range(60)]
STALE = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""
TOTAL = Write("replace", "total", {"n": 0})


@asynccontextmanager
async def filled(azurite: Azurite) -> AsyncIterator[tuple[FaultyWay, StateTable, dict[str, str]]]:
    """Give a table with rows, the way to it, and the ETags."""
    async with faulty(azurite) as (way, text):
        table = StateTable.at("transactions", Told(), connection_string=text)
        try:
            await table.open(create=True)
            created = [Write("replace", row, {"n": 1}) for row in ROWS]
            etags = await table.write("p", created)
            yield way, table, dict(zip(ROWS, etags, strict=True))
        finally:
            await table.close()


async def values(table: StateTable) -> dict[str, int]:
    """Return what the rows hold."""
    return {row.row: row.values["n"] for row in await table.rows("p", "row", "rox", ("n",))}


@pytest.mark.parametrize(
    ("stale", "transactions"),
    [
        ([], 1),
        ([40], 2),
        ([30, 31, 50], 4),
        ([0], 1),  # the first of 60: many others are likely to have changed as well
        (range(20, 60), 5),
    ],
)
async def test_what_has_not_changed_is_written(
    azurite: Azurite, stale: Sequence[int], transactions: int
) -> None:
    """A few conflicts are left out one after the other; a sign of many ends the attempts."""
    async with filled(azurite) as (way, table, etags):
        changed = {ROWS[number] for number in stale}
        units = [
            Unit(row, [Write("replace", row, {"n": 2}, STALE if row in changed else etag)])
            for row, etag in etags.items()
        ]
        before = way.requests
        applied = await apply(
            table, "p", units, lambda keys: [Write("replace", "total", {"n": len(keys)})]
        )
        assert way.requests - before == transactions
        gives_up = bool(stale) and transactions in (1, 5)
        written = set() if gives_up else set(ROWS) - changed
        assert set(applied.keys) == written
        assert sorted(applied.conflicts) == sorted(set(ROWS) - written)
        assert await values(table) == {row: 2 if row in written else 1 for row in ROWS}
        assert not applied.doubtful
        if written:
            total = await table.get("p", "total")
            assert total is not None
            assert total.values["n"] == len(written)
            current = {row.row: row.etag for row in await table.rows("p", "row", "rox")}
            assert {row: applied.etags[row] for row in written} == {
                row: current[row] for row in written
            }


@pytest.mark.parametrize("count", [3, 60])
async def test_after_a_lost_response_all_is_read_again(azurite: Azurite, count: int) -> None:
    """The conflicts are those of the lost write itself, and the caller learns that they may be."""
    async with filled(azurite) as (way, table, etags):
        rows = ROWS[:count]
        units = [Unit(row, [Write("replace", row, {"n": 2}, etags[row])]) for row in rows]
        lost = 0

        def lose_first(request: web.Request) -> str | None:
            nonlocal lost
            lost += request.path.endswith("$batch")
            return LOST if lost == 1 else None

        way.fault = lose_first
        applied = await apply(table, "p", units)
        assert (applied.keys, sorted(applied.conflicts), applied.doubtful) == ([], rows, True)
        assert [row for row, n in (await values(table)).items() if n == 2] == rows


async def test_many_entries_are_read_in_pages(azurite: Azurite, clock: Clock) -> None:
    """An instance that knows how few entries there are does not read them one by one."""
    entries = {f"a|{number:04}": f"{number}".encode() for number in range(400)}
    async with (
        faulty(azurite) as (way, text),
        instances(text, clock, 2) as (one, other),
    ):
        await one.put_entries(EntrySpace.HISTORY, entries, lambda _, ours, __: ours)
        wanted = list(entries)[:100]
        before = way.requests
        found = await other.get_entries(EntrySpace.HISTORY, [*wanted, "a|none"])
        assert found == {key: entries[key] for key in wanted}
        assert way.requests - before <= 8  # the keys of four partitions, and their entries
        before = way.requests
        assert await other.get_entries(EntrySpace.HISTORY, wanted[:4]) == {
            key: entries[key] for key in wanted[:4]
        }
        assert way.requests - before <= 4


def test_units_stay_whole_and_leave_room() -> None:
    """Three writes belong together, and one more is to fit in."""
    units = [Unit(n, [Write("delete", f"{n} {part}") for part in range(3)]) for n in range(70)]
    parts = list(in_transactions(units, reserved=1))
    assert [unit.key for part in parts for unit in part] == list(range(70))
    assert [sum(len(unit.writes) for unit in part) for part in parts] == [99, 99, 12]
    assert all(size < MAX_TRANSACTION_WRITES for size in (99, 99, 12))
