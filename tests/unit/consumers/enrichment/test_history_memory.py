"""The memory before the ledger: what is learned is lost neither to its size nor to its haste."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers.enrichment.history import History
from consumers.enrichment.history_entries import merged
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.durations import DAY_SECONDS
from schemas.errors import LedgerFailed
from schemas.ledger_ports import EntrySpace
from tests.contracts.support_history import NOON, signals
from tests.contracts.support_ledger import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

A, B = "81.2.69.160", "93.184.216.34"


@pytest.fixture
def clock() -> Clock:
    """Return a clock at noon."""
    clock = Clock()
    clock.time = NOON
    return clock


@pytest.fixture
async def ledger(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteLedger]:
    """Return a ledger."""
    store = SqliteLedger(tmp_path, clock, waiting_per_address=9, keep=False)
    yield store
    await store.close()


async def test_a_small_memory_falls_back_to_the_ledger(ledger: SqliteLedger, clock: Clock) -> None:
    """What was pushed out is read again, when it was flushed before."""
    history = History(ledger, clock, max_entries=4)
    people = [(f"81.2.69.{n}", signals(f"user{n}", as_number=n + 1)) for n in range(20)]
    for address, one in people:
        await history.fetch([(address, one)])
        history.learn(address, one)
        await history.flush()
    clock.time += DAY_SECONDS
    for address, one in people:
        await history.fetch([(address, one)])
        seen = history.seen(address, one)
        assert (seen.place_days, seen.network_days, seen.experience) == (1, 1, 0.4)


async def test_what_is_not_flushed_yet_survives_a_small_memory(
    ledger: SqliteLedger, clock: Clock
) -> None:
    """Pushed out of memory, fetched again, learned again: the first lesson is not lost."""
    history = History(ledger, clock, max_entries=4)
    for address in (A, B):
        await history.fetch([(address, signals())])
        history.learn(address, signals())
        for n in range(20):
            await history.fetch([(f"81.2.69.{n}", signals(f"user{n}", as_number=n + 1))])
    await history.flush()
    fresh = History(ledger, clock)
    clock.time += DAY_SECONDS
    await fresh.fetch([(A, signals()), (B, signals())])
    assert [fresh.seen(one, signals()).place_days for one in (A, B)] == [1, 1]


async def test_a_batch_larger_than_the_memory_costs_no_history(
    ledger: SqliteLedger, clock: Clock
) -> None:
    """What was fetched and pushed out again is not taken for nothing, and written over."""
    people = [(f"81.2.69.{n}", signals(f"user{n}", as_number=n + 1)) for n in range(20)]
    history = History(ledger, clock)
    for address, one in people:
        history.learn(address, one)
    await history.flush()
    clock.time += DAY_SECONDS
    small = History(ledger, clock, max_entries=20)
    await small.fetch(people)
    for _, one in people:
        small.learn(B, one)
    await small.flush()
    fresh = History(ledger, clock)
    await fresh.fetch(people)
    known = [fresh.seen(address, one).place_days for address, one in people]
    assert known == [1] * len(people)


class _Slow:
    """A ledger whose answers wait until they are let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers: list[asyncio.Event] = []

    async def get_entries(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, bytes]:
        """Return nothing, later."""
        del space, keys
        event = asyncio.Event()
        self.answers.append(event)
        await event.wait()
        return {}


async def test_two_batches_at_once_learn_both(clock: Clock) -> None:
    """Both fetch the same entry; what the first has learned outlives the answer to the second."""
    slow = _Slow()
    history = History(slow, clock)  # type: ignore[arg-type]
    one = signals()
    first = asyncio.create_task(history.fetch([(A, one)]))
    second = asyncio.create_task(history.fetch([(A, one)]))
    await asyncio.sleep(0)
    slow.answers[0].set()
    await first
    history.learn(A, one)
    for answer in slow.answers[1:]:
        answer.set()
    await second
    clock.time += DAY_SECONDS
    assert history.seen(A, one).place_days == 1


class _Failing:
    """A ledger that keeps nothing the first time."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.fails = True

    async def put_entries(
        self, space: EntrySpace, entries: dict[str, bytes], merge: object
    ) -> dict[str, bytes]:
        """Keep, or fail once."""
        del space, merge
        if self.fails:
            self.fails = False
            raise LedgerFailed("disk full")
        self.kept |= entries
        return {}


async def test_what_could_not_be_flushed_is_flushed_again(clock: Clock) -> None:
    """A ledger that fails for a while costs nothing that was learned."""
    failing = _Failing()
    history = History(failing, clock)  # type: ignore[arg-type]
    history.learn(A, signals())
    with pytest.raises(LedgerFailed):
        await history.flush()
    await history.flush()
    assert f"p|{A}" in failing.kept


async def test_an_unreadable_entry_is_told(ledger: SqliteLedger, clock: Clock) -> None:
    """Without the name that it is of."""
    await ledger.put_entries(EntrySpace.HISTORY, {f"p|{A}": b"nonsense"}, merged)
    with pytest.raises(LedgerFailed, match=r"history of p\|… is unreadable") as failed:
        await History(ledger, clock).fetch([(A, signals())])
    assert A not in str(failed.value)
