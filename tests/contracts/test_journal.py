"""Journals in a table: what many readers and writers at once may rely on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from schemas.errors import LedgerFailed
from schemas.feed_ports import JournalPosition
from tests.contracts.support_journal import (
    FEED,
    START,
    bodies,
    filled,
    journals,
    numbered,
    read,
    rows,
    two_ways,
)

if TYPE_CHECKING:
    from consumers.ledger.table.journal import TableJournal
    from tests.servers.azurite import Azurite


# --- one reader, one writer ---


async def test_a_journal_is_read_as_it_was_written(azurite: Azurite) -> None:
    """From the beginning or from any place, each feed for itself."""
    texts = [*bodies(4), b"", bytes(range(256))]
    async with journals(azurite) as (journal,):
        assert await read(journal) == []
        assert await journal.extend(FEED, START, texts[:2]) == JournalPosition(0, 2)
        assert await journal.extend(FEED, JournalPosition(0, 2), []) == JournalPosition(0, 2)
        assert await journal.extend(FEED, JournalPosition(0, 2), texts[2:]) == JournalPosition(0, 6)
        assert await journal.extend("other", START, [b"other"]) == JournalPosition(0, 1)
        everything = numbered(0, texts)
        for number in range(7):
            assert await read(journal, JournalPosition(0, number)) == everything[number:]
        assert await read(journal, START, "other") == numbered(0, [b"other"])


async def test_only_the_end_can_be_extended(azurite: Azurite) -> None:
    """Any other place is behind, or was never there."""
    async with journals(azurite) as (journal,):
        for nowhere in (JournalPosition(0, 1), JournalPosition(1, 0)):
            assert await journal.extend(FEED, nowhere, [b"no"]) is None
        await journal.extend(FEED, START, bodies(3))
        for behind in (
            START,
            JournalPosition(0, 2),
            JournalPosition(0, 4),
            JournalPosition(1, 3),
            JournalPosition(1, 0),
        ):
            assert await journal.extend(FEED, behind, [b"no"]) is None
            assert await journal.extend(FEED, behind, []) is None
            assert await journal.renew(FEED, behind, [b"no"]) is None
        assert await read(journal) == numbered(0, bodies(3))
        assert await rows(journal) == [f"000000-{n:09}" for n in (1, 2, 3)]


async def test_nothing_new_is_one_request(azurite: Azurite) -> None:
    """It is asked often."""
    async with two_ways(azurite) as (way, journal, _):
        for after, texts in ((START, []), (JournalPosition(0, 30), bodies(30))):
            await filled(journal, texts)
            before = way.requests
            assert await read(journal, after) == []
            assert way.requests == before + 1


async def test_long_journals_come_in_pages(azurite: Azurite) -> None:
    """In order, none left out, and never many at once."""
    texts = bodies(1_100)
    async with journals(azurite) as (journal,):
        await filled(journal, texts)
        lists = [some async for some in journal.entries(FEED, JournalPosition(0, 7))]
        assert [one for some in lists for one in some] == numbered(0, texts)[7:]
        assert max(map(len, lists)) <= 64


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_bodies_of_the_largest_size(azurite: Azurite) -> None:
    """Twenty at once; one byte or one body more is refused before anything is written."""
    large = [bytes([n]) * 60_000 for n in range(20)]
    async with journals(azurite) as (journal,):
        end = await journal.extend(FEED, START, large)
        assert end == JournalPosition(0, 20)
        with pytest.raises(LedgerFailed, match="60,001"):
            await journal.extend(FEED, end, [bytes(60_001)])
        with pytest.raises(LedgerFailed, match="20 bodies"):
            await journal.extend(FEED, end, bodies(21))
        with pytest.raises(LedgerFailed, match="60,001"):
            await journal.renew(FEED, end, [b"", bytes(60_001)])
        with pytest.raises(LedgerFailed, match="nothing"):
            await journal.renew(FEED, end, [])
        assert await read(journal) == numbered(0, large)
        assert await journal.renew(FEED, end, large * 2) == JournalPosition(1, 40)
        assert await read(journal, end) == numbered(1, large * 2)


# --- several writers ---


async def test_one_of_two_is_first(azurite: Azurite) -> None:
    """The other one adds nothing, reads on, and is the next."""
    async with journals(azurite, 2) as (one, two):
        end = START
        for turn in range(10):
            ends = await asyncio.gather(
                one.extend(FEED, end, bodies(3, f"one {turn}")),
                two.extend(FEED, end, bodies(2, f"two {turn}")),
            )
            assert ends.count(None) == 1
            loser, name = (one, "one") if ends[0] is None else (two, "two")
            found = await read(loser, end)
            assert found[-1].place in ends
            assert len(found) == found[-1].place.number - end.number
            again = await loser.extend(FEED, found[-1].place, [f"{name} again".encode()])
            assert again == JournalPosition(0, found[-1].place.number + 1)
            end = again
        assert [one.place.number for one in await read(two)] == list(range(1, end.number + 1))


async def test_nothing_is_lost_or_doubled(azurite: Azurite) -> None:
    """Six writers append ten entries each; each keeps its order, and readers see the same."""

    async def append(journal: TableJournal, name: str) -> None:
        end = START
        for n in range(10):
            while (then := await journal.extend(FEED, end, [f"{name} {n}".encode()])) is None:
                if found := await read(journal, end):
                    end = found[-1].place
            end = then

    async with journals(azurite, 6) as several:
        await asyncio.gather(*(append(one, f"{n}") for n, one in enumerate(several)))
        found = await read(several[0])
        assert await read(several[5]) == found
        assert [one.place for one in found] == [JournalPosition(0, n) for n in range(1, 61)]
        for n in range(6):
            mine = [one.body for one in found if one.body.startswith(b"%d " % n)]
            assert mine == bodies(10, f"{n}")


async def test_one_of_many_renews(azurite: Azurite) -> None:
    """Renewals and extensions from the same place: one comes about, whole, with nothing left."""
    async with journals(azurite, 4) as several:
        end = await filled(several[0], bodies(5))
        for turn in range(4):
            tries = [
                *(
                    one.renew(FEED, end, bodies(150, f"{n} {turn}"))
                    for n, one in enumerate(several)
                ),
                several[0].extend(FEED, end, bodies(1, f"4 {turn}")),
            ]
            ends = await asyncio.gather(*tries)
            (winner,) = (n for n, one in enumerate(ends) if one is not None)
            then = ends[winner]
            assert then is not None
            found = await read(several[1], end)
            assert [one.body for one in found] == bodies(
                1 if winner == 4 else 150, f"{winner} {turn}"
            )
            assert found[-1].place == then
            end = then
        end_of_all = await several[2].renew(FEED, end, bodies(2))
        assert end_of_all is not None
        assert await rows(several[0]) == [f"{end_of_all.generation:06}-{n:09}" for n in (1, 2)]
