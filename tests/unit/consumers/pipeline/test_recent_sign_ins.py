"""The sign-ins of lately: noted, kept in chunks, found again by addresses and networks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import compress

import pytest
from msgspec import msgpack

from consumers.ledger.sqlite.recent import SqliteRecentStore
from consumers.pipeline import recent_sign_ins as module
from consumers.pipeline.recent_sign_ins import (
    LIMITS_INTERVAL_SECONDS,
    MAX_CHUNK_BODY_BYTES,
    MAX_RECENT_BYTES,
    SEGMENT_LINGER_SECONDS,
    SEGMENT_SIGN_INS,
    RecentSignIns,
)
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentChunk, RecentCoverage
from tests.contracts.support_ledger import Clock
from tests.recorded import decoded, encoded
from tests.recorded.entra import diagnostic, user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator
    from pathlib import Path

    from consumers.pipeline.in_flight import Sighting

HOUR = 3_600.0
START = 1_935_820_800.0
"""An hour of the sign-ins' day."""
A, B, C, SIX = "81.2.69.160", "81.2.69.161", "93.184.216.34", "2a02:8108::5"


class Failing:
    """A store, of which some calls fail."""

    def __init__(self, recent: SqliteRecentStore) -> None:
        self._recent = recent
        self.fails: set[str] = set()
        self.kept: list[RecentChunk] = []
        self.trims: list[tuple[float, int]] = []
        self.bodies = 0
        self.meanwhile: Any = None

    def _check(self, what: str) -> None:
        if what in self.fails:
            raise LedgerFailed("the disk is full")

    async def append(self, chunk: RecentChunk) -> None:
        """See the port."""
        self._check("keep")
        if self.meanwhile is not None:
            self.meanwhile()
        self.kept.append(chunk)
        await self._recent.append(chunk)

    async def segment_index(self, since: float) -> AsyncIterator[list[RecentChunk]]:
        """See the port."""
        self._check("outlines")
        async for some in self._recent.segment_index(since):
            yield some

    async def body(self, key: str) -> bytes | None:
        """See the port."""
        self._check("body")
        self.bodies += 1
        return await self._recent.body(key)

    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """See the port."""
        await self._recent.replace(key, chunk)

    async def enforce_limits(self, before: float, largest: int) -> None:
        """See the port."""
        self._check("trim")
        self.trims.append((before, largest))
        await self._recent.enforce_limits(before, largest)

    async def coverage(self) -> RecentCoverage:
        """See the port."""
        self._check("coverage")
        return await self._recent.coverage()

    async def close(self) -> None:
        """See the port."""
        await self._recent.close()


class World:
    """Sign-ins of lately, in a file."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.clock.time = START
        self.recent = Failing(SqliteRecentStore(folder, self.clock))
        self.lately = self.new()
        self.number = 0

    def new(self, window: float = 24 * HOUR) -> RecentSignIns:
        """Begin as a new process."""
        return RecentSignIns(self.recent, self.clock, window)

    def note(self, address: str, count: int = 1, **more: Any) -> list[str]:
        """Note sign-ins from an address; return their event ids."""
        names = [f"id-{self.number + n}" for n in range(count)]
        self.number += count
        self.lately.record({address: [signin(address, name, **more) for name in names]})
        return names

    async def named(self, *keys: str) -> list[str]:
        """Return the event ids that are found."""
        return await self.found(keys)

    async def found(self, keys: Collection[str] | None) -> list[str]:
        """Return the event ids that are found for keys, or of all."""
        found = [one async for some in self.lately.match(keys) for one in some]
        assert all(details.addresses == ((address, address),) for address, details in found)
        return [details.event_id for _, details in found]


def signin(address: str, name: str, **more: Any) -> Sighting:
    """Return a sign-in as it is held."""
    record = diagnostic("SignInLogs", user(name, ipAddress=address, **more))
    (one,) = decoded(encoded({"records": [record]})).signins
    return one, datetime.fromtimestamp(START, UTC), True


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world."""
    one = World(tmp_path)
    yield one
    one.recent._recent._database.close()


async def test_what_was_noted_is_found(world: World) -> None:
    """By its address, by a network that holds it, or all of it; by a later process too."""
    first, second = world.note(A, 2), world.note(B)
    third, fourth = world.note(C), world.note(SIX, 2)
    for _ in range(2):
        assert await world.named(A) == first
        assert sorted(await world.named(A, C)) == sorted([*first, *third])
        assert sorted(await world.named("81.2.69.160/31")) == sorted([*first, *second])
        assert await world.named("2a02:8108::/32") == fourth
        assert sorted(await world.named(C, "81.2.69.0/24")) == sorted([*first, *second, *third])
        assert await world.named("81.2.69.162", "10.0.0.0/8") == []
        assert await world.named() == []
        assert sorted(await world.found(None)) == sorted([*first, *second, *third, *fourth])
        world.lately = world.new()


async def test_what_is_found_is_as_it_was(world: World) -> None:
    """As much of it as a late finding needs; it is counted."""
    world.note(A)
    (((address, details),),) = [one async for one in world.lately.match([A])]
    assert (address, details.table, details.account) == (A, "SigninLogs", "ada@example.net")
    assert details.event_time == datetime(2031, 5, 6, 7, 6, tzinfo=UTC)
    assert details.outcome.value == "Success"
    assert world.lately.found == 1


async def test_one_sign_in_of_several_addresses(world: World) -> None:
    """It is noted for each."""
    held = [signin(A, "id")]
    world.lately.record({A: held, B: held})
    assert await world.named(A) == await world.named(B) == ["id"]


async def test_chunks_that_cannot_have_it_are_passed_over(world: World) -> None:
    """Where addresses are looked for; networks need a look into each."""
    for address in (A, B, C):
        world.note(address)
        await world.lately.flush()
    await world.named(A)
    assert world.recent.bodies == 1
    await world.named("93.184.0.0/16")
    assert world.recent.bodies == 4


async def test_what_is_too_old_is_not_found(world: World) -> None:
    """By when it was noted; and it is dropped."""
    world.note(A)
    await world.lately.flush()
    world.clock.time += 24 * HOUR
    assert await world.named(A) == ["id-0"]
    world.clock.time += 0.5
    assert await world.named(A) == []
    await world.lately.flush_if_due()
    assert world.recent.trims == [(world.clock.time - 24 * HOUR, MAX_RECENT_BYTES)]
    assert (await world.lately.coverage()).signins == 0


async def test_it_is_kept_when_it_is_due(world: World) -> None:
    """After a minute, or when there is enough of it; trimmed every ten minutes."""
    world.note(A)
    await world.lately.flush_if_due()
    world.clock.time += SEGMENT_LINGER_SECONDS - 0.5
    world.note(B)
    await world.lately.flush_if_due()
    assert world.recent.kept == []
    world.clock.time += 0.5
    await world.lately.flush_if_due()
    assert [(one.signins, one.first, one.last) for one in world.recent.kept] == [
        (2, START, START + SEGMENT_LINGER_SECONDS)
    ]
    await world.lately.flush_if_due()
    assert len(world.recent.kept) == 1
    held = [signin(A, "one")] * SEGMENT_SIGN_INS
    world.lately.record({A: held})
    await world.lately.flush_if_due()
    assert len(world.recent.kept) == 2
    assert len(world.recent.trims) == 1
    world.clock.time += LIMITS_INTERVAL_SECONDS
    await world.lately.flush_if_due()
    assert len(world.recent.trims) == 2


async def test_much_becomes_several_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, and by size where texts are long; nothing is lost."""
    monkeypatch.setattr(module, "SEGMENT_SIGN_INS", 60)
    monkeypatch.setattr(module, "MAX_CHUNK_BODY_BYTES", 2_000)
    names = []
    for n in range(70):
        names += world.note(A, userPrincipalName="".join(f"{n * 7919 + m:x}" for m in range(100)))
    await world.lately.flush()
    kept = world.recent.kept
    assert sum(one.signins for one in kept) == 70
    assert len(kept) > 6
    assert max(len(one.body) for one in kept) <= 2_000
    assert await world.named(A) == names or sorted(await world.named(A)) == sorted(names)


async def test_chunks_fit_the_store(world: World) -> None:
    """By the bounds that ship, with the longest texts there are."""
    held = [signin(f"81.2.{n // 250}.{n % 250}", "é" * 1_000 + f"{n:024x}") for n in range(50)]
    world.lately.record({f"81.2.{n // 250}.{n % 250}": held for n in range(40)})
    await world.lately.flush()
    assert sum(one.signins for one in world.recent.kept) == 2_000
    for one in world.recent.kept:
        assert len(one.body) <= MAX_CHUNK_BODY_BYTES
        assert len(one.addresses) <= 30_000
        assert one.first <= one.last


async def test_a_chunk_begins_before_it_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when more is noted while it is being kept."""
    monkeypatch.setattr(module, "SEGMENT_SIGN_INS", 1)
    world.note(A, 3)

    def meanwhile() -> None:
        world.clock.time += 1.0
        world.recent.meanwhile = None
        world.note(B)

    world.recent.meanwhile = meanwhile
    await world.lately.flush()
    assert len(world.recent.kept) == 3
    assert {(one.first, one.last) for one in world.recent.kept} == {(START, START)}


async def test_what_is_forgotten_is_gone(world: World) -> None:
    """From chunks, and from what is not kept yet; what is left is found as before."""
    first = world.note(A, 2)
    second = world.note(B)
    await world.lately.flush()
    third = world.note(A)
    assert await world.lately.forget(lambda one: one.address == A) == 3
    assert await world.found(None) == second
    assert await world.named(*[A]) == []
    assert [*first, *third] == ["id-0", "id-1", "id-3"]
    assert await world.lately.forget(lambda one: one.account == "ada@example.net") == 1
    assert await world.found(None) == []
    assert (await world.lately.coverage()).signins == 0
    assert await world.lately.forget(lambda _: True) == 0


async def test_a_store_that_fails_stops_nothing(world: World) -> None:
    """What is lost is counted; what can be read is."""
    world.note(A, 3)
    world.recent.fails = {"keep", "trim"}
    world.clock.time += SEGMENT_LINGER_SECONDS
    await world.lately.flush_if_due()
    assert world.lately.failed == 3
    world.recent.fails = set()
    kept = world.note(A)
    await world.lately.flush()
    for what in ("outlines", "body"):
        world.recent.fails = {what}
        assert await world.named(A) == []
    world.recent.fails = {"coverage"}
    assert await world.lately.coverage() == RecentCoverage()
    world.recent.fails = set()
    assert await world.named(A) == kept


async def test_forgetting_is_not_skipped_over(world: World) -> None:
    """Who asks for it has to know that it failed."""
    world.note(A)
    await world.lately.flush()
    world.recent.fails = {"body"}
    with pytest.raises(LedgerFailed):
        await world.lately.forget(lambda _: True)


@pytest.mark.parametrize(
    "body",
    [b"no", compress(msgpack.encode([["a"], [], [], [], [], []]))],
    ids=["nothing", "columns of different lengths"],
)
async def test_a_chunk_that_is_unreadable(world: World, body: bytes) -> None:
    """It ends the search, with a warning; forgetting fails."""
    await world.recent.append(RecentChunk(START, START, 1, b"\0\0\0\0", body))
    assert await world.found(None) == []
    with pytest.raises(LedgerFailed, match="unreadable"):
        await world.lately.forget(lambda _: True)


async def test_a_sign_in_at_the_end_of_time(world: World) -> None:
    """The last moment there is, which services write for none; others are found all the same."""
    world.note(A, createdDateTime="9999-12-31T23:59:59.9999999Z")
    world.note(B)
    assert sorted(await world.found(None)) == ["id-0", "id-1"]


@pytest.mark.parametrize("window", [0.0, HOUR])
async def test_without_a_store_or_a_window_nothing_is_done(world: World, window: float) -> None:
    """No call does any harm."""
    lately = RecentSignIns(None, world.clock, window) if window else world.new(window=0.0)
    assert not lately.recording
    lately.record({A: [signin(A, "id")]})
    await lately.flush_if_due()
    await lately.flush()
    assert [one async for one in lately.match(None)] == []
    assert await lately.forget(lambda _: True) == 0
    assert await lately.coverage() == RecentCoverage()
    assert (lately.failed, lately.found, world.recent.kept) == (0, 0, [])
    await lately.close()
    assert world.new().recording


async def test_what_this_process_took_just_now(world: World) -> None:
    """Kept or not yet, for a minute: another one may have looked through the rest before."""
    world.note(A)
    await world.lately.flush()
    world.note(A)
    world.note(B)
    assert [one.event_id for _, one in world.lately.match_own([A])] == ["id-0", "id-1"]
    assert [one.event_id for _, one in world.new().match_own([A])] == []
    world.clock.time += 61.0
    await world.lately.flush()
    assert [one.event_id for _, one in world.lately.match_own([A])] == ["id-1"]
