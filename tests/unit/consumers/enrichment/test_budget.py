"""The budget: what a period allows, and the pace along which it may go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from consumers.clock import EventClock
from consumers.enrichment.budget import Budget, Pacing
from consumers.ledger.sqlite.ledger import SqliteLedger
from tests.contracts.support_ledger import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DAY = 86_400.0


@pytest.fixture
def clock() -> Clock:
    """Return the time, which a test sets: the first of March."""
    clock = Clock()
    clock.time = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    return clock


@pytest.fixture
async def ledger(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteLedger]:
    """Return a ledger."""
    store = SqliteLedger(tmp_path, clock, waiting_per_address=5, keep=False)
    yield store
    await store.close()


def _budget(ledger: SqliteLedger, clock: Clock, quota: int = 300, *, key: str = "k") -> Budget:
    return Budget(ledger, clock, key=key, quota=quota, reset_day=1)


def test_the_pace_is_a_line() -> None:
    """A day's share at once, the quota in the end, and never more."""
    pace = Pacing(began=0.0, base=0, ends=30 * DAY)
    assert [pace.allowed_by(day * DAY, 300) for day in (-1, 0, 15, 30, 99)] == [
        10,
        10,
        155,
        300,
        300,
    ]
    late = Pacing(began=20 * DAY, base=50, ends=30 * DAY)
    assert [late.allowed_by(day * DAY, 300) for day in (20, 25, 30)] == [60, 180, 300]
    assert Pacing(0.0, 300, 30 * DAY).allowed_by(15 * DAY, 300) == 300
    assert Pacing(0.0, 0, 30 * DAY).allowed_by(0.0, 1) == 1


async def test_a_days_share_goes_at_once_and_the_rest_by_and_by(
    ledger: SqliteLedger, clock: Clock
) -> None:
    """What is not spent may be spent later."""
    budget = _budget(ledger, clock)
    assert await budget.allowance() == 10
    assert (await budget.reserve(100)).lookups == 10
    assert await budget.allowance() == 0
    assert await budget.open()
    clock.time += 10 * DAY
    assert await budget.allowance() == pytest.approx(94, abs=2)
    assert (await budget.reserve(20)).lookups == 20


async def test_instances_keep_the_pace_together(ledger: SqliteLedger, clock: Clock) -> None:
    """Whoever asks, it is one line for all; who did not look knows when he asks."""
    one, other = _budget(ledger, clock), _budget(ledger, clock)
    assert await other.allowance() == 10
    assert (await one.reserve(7)).lookups == 7
    assert (await other.reserve(7)).lookups == 3
    await one.look()
    assert await one.allowance() == 0
    clock.time += DAY
    later = _budget(ledger, clock)
    assert await later.allowance() == pytest.approx(9, abs=1)


async def test_the_next_period_begins_anew(ledger: SqliteLedger, clock: Clock) -> None:
    """With a share of its own, however much was left or spent."""
    budget = _budget(ledger, clock)
    clock.time = datetime(2026, 3, 31, 23, 59, tzinfo=UTC).timestamp()
    assert (await budget.reserve(1_000)).lookups == 10  # begun on the last day
    clock.time += 120
    assert await budget.allowance() == 10
    status = await budget.status()
    assert (status.period, status.quota, status.spent, status.left) == ("2026-04-01", 300, 0, 300)
    assert status.allowed == 10
    assert status.ends == datetime(2026, 5, 1, tzinfo=UTC).timestamp()


async def test_another_key_has_an_account_of_its_own(ledger: SqliteLedger, clock: Clock) -> None:
    """Also for the pace."""
    budget = _budget(ledger, clock)
    await budget.reserve(10)
    budget.use_key("another")
    assert await budget.allowance() == 10


async def test_hurrying_spends_the_rest_and_no_more(ledger: SqliteLedger, clock: Clock) -> None:
    """At the end of a recording after which nothing comes."""
    budget = _budget(ledger, clock)
    await budget.reserve(10)
    assert await budget.is_new()
    budget.spend_remaining()
    assert await budget.allowance() == 290
    assert (await budget.reserve(1_000)).lookups == 290
    assert not await budget.open()
    clock.time += DAY
    assert not await budget.is_new()


async def test_refunds_come_back_to_the_pace(ledger: SqliteLedger, clock: Clock) -> None:
    """A lookup that was not counted may be made later."""
    budget = _budget(ledger, clock)
    reservation = await budget.reserve(10)
    await budget.refund(reservation)
    assert await budget.allowance() == 10


async def test_an_event_period_is_thirty_days_from_the_first_record(tmp_path: Path) -> None:
    """And the pace of each ends with it."""
    clock = EventClock()
    store = SqliteLedger(tmp_path, clock, waiting_per_address=5, keep=False)
    clock.advance([datetime(2026, 3, 10, tzinfo=UTC)] * 2)
    budget = Budget(store, clock, key="k", quota=300, reset_day=1)
    await budget.begin()
    spent = []
    for day in range(61):
        clock.advance_within(datetime(2026, 3, 10, tzinfo=UTC).timestamp() + day * DAY)
        spent.append((await budget.reserve(1_000)).lookups)
    await store.close()
    assert sum(spent[:30]) <= 300
    assert sum(spent[30:60]) <= 300
    assert sum(spent[:30]) > 280
    assert spent[30] == 10
    assert spent[60] == 10
