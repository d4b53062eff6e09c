"""Every store of late sign-ins, through one suite; then what is true of a table alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from consumers.ledger.sqlite.recent import SqliteRecentStore
from consumers.ledger.table import recent as table_module
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentCoverage, RecentStore
from tests.contracts.support_recent import (
    DAY,
    HOUR,
    START,
    behind,
    chunk,
    firsts,
    new_name,
    outlines,
    table_recent,
)
from tests.servers.faults import LOST, RESET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contracts.support_ledger import Clock
    from tests.servers.azurite import Azurite

Open = Callable[[], RecentStore]


@pytest.fixture
async def opened(server: Azurite | None, tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    """Return a function that opens the same chunks again."""
    recents: list[RecentStore] = []
    name = new_name()

    def open_sqlite() -> RecentStore:
        recents.append(SqliteRecentStore(tmp_path, clock))
        return recents[-1]

    def open_table() -> RecentStore:
        assert server is not None
        recents.append(table_recent(server.connection_string, name, clock))
        return recents[-1]

    yield open_sqlite if server is None else open_table
    for recent in recents:
        await recent.close()


async def test_what_is_kept_is_found_again(opened: Open) -> None:
    """Outline and body, also after a restart, and nothing of what was not kept."""
    recent = opened()
    assert await outlines(recent) == []
    assert await recent.coverage() == RecentCoverage()
    kept = chunk(START + 0.25, START + 900.75, b"body", b"\x00sums\xff", 7)
    await recent.append(kept)
    await recent.close()
    recent = opened()
    (found,) = await outlines(recent)
    assert found == replace(kept, body=b"", key=found.key)
    assert await recent.body(found.key) == b"body"
    for stranger in ("", "h", "1|2", found.key + "0", found.key[:-1] + "x", "a'b|c\n"):
        assert await recent.body(stranger) is None


async def test_outlines_come_oldest_first(opened: Open) -> None:
    """Over hours and days, whatever order they were kept in, and however many."""
    recent = opened()
    times = [START + n * HOUR / 4 for n in range(12)] + [START + n * DAY for n in range(1, 4)]
    times += [START + 10 * HOUR + n for n in range(120)]
    mixed = random.Random(7).sample(times, len(times))
    for part in range(0, len(mixed), 20):
        await asyncio.gather(*(recent.append(chunk(first)) for first in mixed[part : part + 20]))
    assert await firsts(recent) == sorted(times)
    assert len({one.key for one in await outlines(recent)}) == len(times)


async def test_outlines_end_late_enough(opened: Open) -> None:
    """A chunk counts by its end, even if it began hours before."""
    recent = opened()
    await recent.append(chunk(START, START + 5 * HOUR))
    await recent.append(chunk(START + 60, START + 70))
    await recent.append(chunk(START + 2 * HOUR, START + 3 * HOUR))
    assert await firsts(recent, START + 70) == [START, START + 60, START + 2 * HOUR]
    assert await firsts(recent, START + 71) == [START, START + 2 * HOUR]
    assert await firsts(recent, START + 3 * HOUR + 1) == [START]
    assert await firsts(recent, START + 5 * HOUR) == [START]
    assert await firsts(recent, START + 5 * HOUR + 0.5) == []
    await recent.append(chunk(START + DAY, START + DAY + HOUR - 1))
    await recent.append(chunk(START + DAY + 1, START + DAY + HOUR))
    assert await firsts(recent, START + DAY + HOUR) == [START + DAY + 1]


async def test_large_chunks_come_back_whole(opened: Open) -> None:
    """Body and addresses of the largest size, and none at all."""
    recent, noise = opened(), random.Random(5)
    large = chunk(START, body=noise.randbytes(600_000), addresses=noise.randbytes(30_000))
    await recent.append(large)
    await recent.append(chunk(START + 1, body=b"", addresses=b""))
    first, second = await outlines(recent)
    assert first.addresses == large.addresses
    assert await recent.body(first.key) == large.body
    assert (second.addresses, await recent.body(second.key)) == (b"", b"")
    await recent.replace(first.key, chunk(START, body=large.body[:100_000]))
    assert await recent.body(first.key) == large.body[:100_000]


async def test_a_chunk_gives_way_to_another_or_to_nothing(opened: Open) -> None:
    """It keeps its key. What has gone stays gone, and the others stay as they are."""
    recent = opened()
    for n in range(3):
        await recent.append(chunk(START + n, body=b"%d" % n))
    one, two, three = await outlines(recent)
    other = chunk(START + 1, START + 3 * HOUR, b"other", b"other sums", 1)
    await recent.replace(two.key, other)
    assert await outlines(recent, START + 2 * HOUR) == [replace(other, body=b"", key=two.key)]
    assert await recent.body(two.key) == b"other"
    await recent.replace(one.key, None)
    await recent.replace(one.key, None)
    await recent.replace(one.key, other)
    await recent.replace("never a key", other)
    await recent.replace("never a key", None)
    assert await recent.body(one.key) is None
    assert [found.key for found in await outlines(recent)] == [two.key, three.key]
    assert await recent.body(three.key) == b"2"


async def test_what_ended_long_ago_is_dropped(opened: Open) -> None:
    """By its end, in whole hours and in the middle of one."""
    recent = opened()
    for n in range(8):
        await recent.append(chunk(START + n * HOUR / 2))
    await recent.append(chunk(START + 1, START + 4 * HOUR))
    await recent.enforce_limits(START + 2.5 * HOUR + 600.0, 10**9)
    assert await firsts(recent) == [START + 1, *(START + n * HOUR / 2 for n in (5, 6, 7))]
    await recent.enforce_limits(START + 9 * HOUR, 10**9)
    assert await firsts(recent) == []
    await recent.append(chunk(START))
    assert await firsts(recent) == [START]


async def test_the_oldest_give_way_to_the_size(opened: Open, clock: Clock) -> None:
    """As few as will do; those that end too early anyway do not count."""
    recent = opened()
    await recent.append(chunk(START - DAY, body=bytes(999), addresses=b"!"))
    for n in range(6):
        await recent.append(chunk(START + n * HOUR / 2, body=bytes(990), addresses=bytes(10)))
    await recent.enforce_limits(START, 6_000)
    assert len(await firsts(recent)) == 6
    await recent.enforce_limits(START, 4_000)
    assert await firsts(recent) == [START + n * HOUR / 2 for n in (2, 3, 4, 5)]
    clock.time += 300
    assert (await recent.coverage()).size == 4_000
    await recent.enforce_limits(START, 3_999)
    assert await firsts(recent) == [START + n * HOUR / 2 for n in (3, 4, 5)]
    await recent.enforce_limits(0.0, 0)
    assert await firsts(recent) == []


async def test_coverage_tells_how_much_there_is(opened: Open, clock: Clock) -> None:
    """Where from, how many sign-ins, and how many bytes; some minutes later for sure."""
    recent = opened()
    await recent.append(chunk(START + DAY, signins=5, body=bytes(70), addresses=bytes(30)))
    await recent.append(chunk(START, signins=2, body=bytes(8), addresses=bytes(2)))
    assert await recent.coverage() == RecentCoverage(START, 7, 110)
    await recent.enforce_limits(START + DAY, 10**9)
    clock.time += 300
    assert await recent.coverage() == RecentCoverage(START + DAY, 5, 100)


async def test_two_that_are_open_see_the_same(opened: Open) -> None:
    """What one keeps, the other one finds and may replace."""
    one, two = opened(), opened()
    await one.append(chunk(START, body=b"one"))
    await two.append(chunk(START + 1, body=b"two"))
    first, second = await outlines(one)
    assert await two.body(first.key) == b"one"
    await one.replace(second.key, None)
    assert [found.key for found in await outlines(two)] == [first.key]


# --- in a table ---


async def test_coverage_is_not_counted_each_time(azurite: Azurite, clock: Clock) -> None:
    """Five minutes by the clock; without a request before that."""
    async with behind(azurite, clock) as (way, recent):
        await recent.append(chunk(START))
        counted = await recent.coverage()
        await recent.append(chunk(START))
        requests = way.requests
        clock.time += 299
        assert await recent.coverage() == counted
        assert way.requests == requests
        clock.time += 1
        assert (await recent.coverage()).signins == 2 * counted.signins


async def test_what_is_too_large_is_refused(azurite: Azurite, clock: Clock) -> None:
    """Before anything is sent, with the sizes."""
    recent = table_recent(azurite.connection_string, new_name(), clock)
    for large in (chunk(START, body=bytes(600_001)), chunk(START, addresses=bytes(30_001))):
        with pytest.raises(LedgerFailed, match=r"600,001|30,001"):
            await recent.append(large)
    assert await firsts(recent) == []
    await recent.close()


async def test_lost_answers_keep_nothing_twice(azurite: Azurite, clock: Clock) -> None:
    """A write is done, nobody hears of it, and it is repeated."""
    writes = losing = 0

    def lose_one(request: web.Request) -> str | None:
        nonlocal writes
        writes += request.path.endswith("$batch")
        return LOST if request.path.endswith("$batch") and writes == losing else None

    def lose(nth: int) -> None:
        nonlocal writes, losing
        writes, losing = 0, nth

    async with behind(azurite, clock) as (way, recent):
        way.fault = lose_one
        for n in (1, 2):  # the first is that of the hour, the next that of the chunk
            lose(n)
            await recent.append(chunk(START + n * HOUR))
            assert writes > n
        assert await firsts(recent) == [START + HOUR, START + 2 * HOUR]
        one, two = await outlines(recent)
        lose(1)
        await recent.replace(one.key, chunk(START + HOUR, body=b"other"))
        assert writes == 3
        assert await recent.body(one.key) == b"other"
        lose(1)
        await recent.replace(two.key, None)
        assert writes == 2
        lose(1)
        await recent.enforce_limits(START + DAY, 10**9)
        assert writes > 2
        assert await firsts(recent) == []


async def test_no_answer_holds_nobody_back(
    azurite: Azurite, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request ends with LedgerFailed after a while, and all is well when it passes."""
    async with behind(azurite, clock) as (way, recent):
        monkeypatch.setattr(table_module, "REQUEST_TIMEOUT_SECONDS", 0.1)
        way.fault = lambda _: web.Response(status=503)
        with pytest.raises(LedgerFailed, match="no answer within"):
            await recent.append(chunk(START))
        monkeypatch.setattr(table_module, "REQUEST_TIMEOUT_SECONDS", 20.0)
        way.fault = lambda _: None
        await recent.append(chunk(START))
        ((found,),) = [one async for one in recent.segment_index(0.0)]
        monkeypatch.setattr(table_module, "REQUEST_TIMEOUT_SECONDS", 0.1)
        way.fault = lambda _: web.Response(status=503)
        for request in (
            recent.append(chunk(START)),
            outlines(recent),
            recent.body(found.key),
            recent.replace(found.key, None),
            recent.replace(found.key, chunk(START)),
            recent.enforce_limits(0.0, 0),
            recent.coverage(),
        ):
            with pytest.raises(LedgerFailed, match="no answer within"):
                await request
        monkeypatch.setattr(table_module, "REQUEST_TIMEOUT_SECONDS", 20.0)
        way.fault = lambda _: None
        assert await firsts(recent) == [START]


async def test_several_may_trim_at_once(azurite: Azurite, clock: Clock) -> None:
    """Each meets what the others have deleted already, and deletes the rest."""
    stuck, name = asyncio.Event(), new_name()

    def strike(request: web.Request) -> str | None:
        if not request.path.endswith("$batch"):
            return None
        stuck.set()
        return RESET

    other = table_recent(azurite.connection_string, name, clock)
    try:
        async with behind(azurite, clock, name) as (way, recent):
            times = [START + n * 60 for n in range(60)]
            await asyncio.gather(*(recent.append(chunk(first)) for first in times))
            found = await outlines(other)
            way.fault = strike
            trimming = asyncio.ensure_future(recent.enforce_limits(START + 55 * 60 + 600, 10**9))
            await stuck.wait()
            await other.replace(found[7].key, None)
            way.fault = lambda _: None
            await trimming
            assert await firsts(other) == times[55:]
            await asyncio.gather(
                *(one.enforce_limits(START + DAY, 10**9) for one in (recent, other))
            )
            assert await firsts(other) == []
    finally:
        await other.close()
