"""Journals in a table while they are renewed, cut off, left without answers, and damaged."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from consumers.ledger.table.entities import Write
from schemas.errors import LedgerFailed
from schemas.feed_ports import JournalPosition
from tests.contracts.support_journal import (
    FEED,
    PARTITION,
    START,
    bodies,
    fault_at,
    filled,
    journals,
    numbered,
    read,
    rows,
    two_ways,
)
from tests.servers.faults import LOST, RESET

if TYPE_CHECKING:
    from tests.servers.azurite import Azurite


# --- renewals ---


async def test_a_reader_behind_a_renewal_begins_anew(azurite: Azurite) -> None:
    """Wherever it was; and it goes on from there as before."""
    async with journals(azurite, 2) as (writer, reader):
        end = await filled(writer, bodies(30))
        assert await writer.renew(FEED, end, bodies(40, "new")) == JournalPosition(1, 40)
        for after in (START, JournalPosition(0, 7), end, JournalPosition(0, 40)):
            assert await read(reader, after) == numbered(1, bodies(40, "new"))
        assert await reader.extend(FEED, end, [b"no"]) is None
        assert await reader.extend(FEED, JournalPosition(1, 40), [b"more"]) == JournalPosition(
            1, 41
        )
        assert await read(writer, JournalPosition(1, 40)) == numbered(1, [b"more"], 41)
        assert await reader.renew(FEED, JournalPosition(1, 41), [b"newest"]) == JournalPosition(
            2, 1
        )
        assert await read(writer, JournalPosition(1, 40)) == numbered(2, [b"newest"])
        assert await rows(writer) == ["000002-000000001"]


async def test_an_empty_journal_can_be_renewed(azurite: Azurite) -> None:
    """It begins its first generation with it."""
    async with journals(azurite) as (journal,):
        assert await journal.renew(FEED, START, bodies(3)) == JournalPosition(1, 3)
        assert await read(journal) == numbered(1, bodies(3))


async def test_a_renewal_while_somebody_reads(azurite: Azurite) -> None:
    """The reader gets part of what was, then all of what is: it never takes a gap for the end."""
    new = numbered(1, bodies(100, "new"))
    async with journals(azurite, 2) as (writer, reader):
        end = await filled(writer, bodies(200))
        async with aclosing(reader.entries(FEED, START)) as lists:
            found = await anext(lists)
            assert found == numbered(0, bodies(200))[: len(found)]
            await writer.renew(FEED, end, bodies(100, "new"))
            assert [one async for some in lists for one in some] == new


async def test_a_gap_that_a_renewal_makes_is_noticed(azurite: Azurite) -> None:
    """Part of the old generation is deleted already; what is left of it is not told."""
    stuck = asyncio.Event()
    old = numbered(0, bodies(300))
    async with two_ways(azurite) as (way, writer, reader):
        end = await filled(writer, bodies(300))
        async with aclosing(reader.entries(FEED, START)) as lists:
            found = await anext(lists)
            # Claim, entries, switch, and the first hundred; the next deletion never comes through.
            way.fault = fault_at(5, RESET, stuck.set)
            renewing = asyncio.ensure_future(writer.renew(FEED, end, bodies(10, "new")))
            await stuck.wait()
            assert (await rows(reader))[0] == "000000-000000101"
            found += [one async for some in lists for one in some]
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        assert found[-10:] == numbered(1, bodies(10, "new"))
        assert found[:-10] == old[: len(found) - 10]
        assert len(found) - 10 <= 100
        way.fault = lambda _: None
        assert await writer.extend(FEED, JournalPosition(1, 10), [b"more"]) == JournalPosition(
            1, 11
        )
        assert await rows(reader) == [f"000001-{n:09}" for n in range(1, 12)]


@pytest.mark.parametrize("step", range(1, 9))
async def test_a_renewal_cut_off_anywhere(azurite: Azurite, step: int) -> None:
    """Readers see all of the old generation or all of the new one, and the next renewal tidies."""
    stuck = asyncio.Event()
    old, new = bodies(120, "old"), bodies(210, "new")
    async with two_ways(azurite) as (way, writer, other):
        end = await filled(writer, old)
        way.fault = fault_at(step, RESET, stuck.set)
        renewing = asyncio.ensure_future(writer.renew(FEED, end, new))
        await stuck.wait()
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        in_force = step > 5  # claim, three transactions of entries, switch; then it only tidies
        found = await read(other)
        assert found == (numbered(1, new) if in_force else numbered(0, old))
        assert await read(other, end) == (found if in_force else [])
        last = found[-1].place
        then = await other.extend(FEED, last, [b"more"])
        assert then == JournalPosition(last.generation, last.number + 1)
        again = await other.renew(FEED, then, bodies(3, "again"))
        generation = 1 if step == 1 else 2  # the one that was claimed is not taken again
        assert again == JournalPosition(generation, 3)
        assert await read(writer, end) == numbered(generation, bodies(3, "again"))
        assert await rows(other) == [f"{generation:06}-{n:09}" for n in (1, 2, 3)]


@pytest.mark.parametrize("step", [2, 3, 4])
async def test_a_renewal_that_was_too_slow_leaves_nothing(azurite: Azurite, step: int) -> None:
    """Somebody extends the old generation while the new one is written, or just put in force."""
    stuck = asyncio.Event()
    async with two_ways(azurite) as (way, writer, other):
        end = await filled(writer, bodies(5))
        way.fault = fault_at(step, RESET, stuck.set)
        renewing = asyncio.ensure_future(writer.renew(FEED, end, bodies(150, "new")))
        await stuck.wait()
        assert await other.extend(FEED, end, [b"more"]) == JournalPosition(0, 6)
        way.fault = lambda _: None
        assert await renewing is None
        assert await read(other) == numbered(0, [*bodies(5), b"more"])
        assert len(await rows(other)) == 6


async def test_an_extension_that_was_too_slow_changes_nothing(azurite: Azurite) -> None:
    """Somebody renews between its look at the end and its write."""
    stuck = asyncio.Event()
    async with two_ways(azurite) as (way, writer, other):
        end = await filled(writer, bodies(5))
        way.fault = fault_at(1, RESET, stuck.set)
        extending = asyncio.ensure_future(writer.extend(FEED, end, [b"more"]))
        await stuck.wait()
        assert await other.renew(FEED, end, bodies(9, "new")) == JournalPosition(1, 9)
        way.fault = lambda _: None
        assert await extending is None
        assert await read(other) == numbered(1, bodies(9, "new"))
        assert len(await rows(other)) == 9


# --- answers that get lost ---


async def test_a_lost_answer_doubles_nothing(azurite: Azurite) -> None:
    """The extension has happened, and is told so, also when others have come after it."""
    hit = asyncio.Event()
    async with two_ways(azurite) as (way, journal, other):
        end = START
        for turn in range(3):
            way.fault = fault_at(1, LOST, hit.set)
            then = await journal.extend(FEED, end, bodies(2, f"{turn}"))
            assert then == JournalPosition(0, end.number + 2)
            assert hit.is_set()
            hit.clear()
            end = then
        assert [one.body for one in await read(other)] == [
            f"{turn} {n}".encode() for turn in range(3) for n in range(2)
        ]

        def cut_off() -> None:
            way.fault = lambda _: RESET
            hit.set()

        way.fault = fault_at(1, LOST, cut_off)
        extending = asyncio.ensure_future(journal.extend(FEED, end, [b"mine"]))
        await hit.wait()
        while not await read(other, end):
            assert not extending.done()
        assert await other.extend(FEED, JournalPosition(0, 7), [b"theirs"]) == JournalPosition(0, 8)
        way.fault = lambda _: None
        assert await extending == JournalPosition(0, 7)
        assert [one.body for one in await read(journal, end)] == [b"mine", b"theirs"]


async def test_who_was_second_is_told_so_even_in_doubt(azurite: Azurite) -> None:
    """The first try never arrived, and meanwhile somebody else was first."""
    stuck = asyncio.Event()
    async with two_ways(azurite) as (way, journal, other):
        way.fault = fault_at(1, RESET, stuck.set)
        extending = asyncio.ensure_future(journal.extend(FEED, START, [b"mine"]))
        await stuck.wait()
        assert await other.extend(FEED, START, [b"theirs"]) == JournalPosition(0, 1)
        way.fault = lambda _: None
        assert await extending is None
        assert await read(other) == numbered(0, [b"theirs"])


@pytest.mark.parametrize("step", range(1, 7))
async def test_a_renewal_whose_answers_get_lost(azurite: Azurite, step: int) -> None:
    """Whichever it is, the renewal comes about once."""
    hit = asyncio.Event()
    async with two_ways(azurite) as (way, journal, other):
        end = await filled(journal, bodies(5))
        way.fault = fault_at(step, LOST, hit.set)
        then = await journal.renew(FEED, end, bodies(120, "new"))
        assert hit.is_set()
        assert then is not None
        assert await read(other, end) == numbered(then.generation, bodies(120, "new"))
        way.fault = lambda _: None
        assert await other.extend(FEED, then, [b"more"]) == JournalPosition(then.generation, 121)
        assert len(await rows(other)) == 121


# --- damage ---


async def test_entries_that_are_missing_are_told(azurite: Azurite) -> None:
    """Somebody has deleted what no renewal would: that is neither a gap to skip nor the end."""
    async with journals(azurite) as (journal,):
        await filled(journal, bodies(20))
        await journal._table.write(PARTITION, [Write("delete", "000000-000000020")])
        for after in (START, JournalPosition(0, 19)):
            with pytest.raises(LedgerFailed, match="lacks what comes after 19"):
                await read(journal, after)
        await journal._table.write(PARTITION, [Write("delete", "000000-000000007")])
        with pytest.raises(LedgerFailed, match="lacks what comes after 6"):
            await read(journal)


async def test_a_journal_that_was_lost(azurite: Azurite) -> None:
    """Nothing is new, nothing can be added to it, and it can be renewed from any place."""
    async with journals(azurite) as (journal,):
        await filled(journal, bodies(5))
        await journal._table.write(PARTITION, [Write("delete", "head")])
        assert await read(journal, JournalPosition(3, 7)) == []
        assert await journal.extend(FEED, JournalPosition(3, 7), [b"no"]) is None
        with pytest.raises(LedgerFailed, match="beyond its end"):
            await journal.extend(FEED, START, [b"no"])
        assert await journal.renew(FEED, JournalPosition(3, 7), bodies(2)) == JournalPosition(4, 2)
        assert await read(journal, JournalPosition(3, 7)) == numbered(4, bodies(2))
        assert await rows(journal) == ["000004-000000001", "000004-000000002"]


async def test_a_journal_that_has_lost_its_end(azurite: Azurite) -> None:
    """A failover may lose the last minutes: who was further reads from the beginning."""
    async with journals(azurite) as (journal,):
        end = await filled(journal, bodies(5))
        assert await read(journal, JournalPosition(0, 9)) == numbered(0, bodies(5))
        assert await read(journal, end) == []
