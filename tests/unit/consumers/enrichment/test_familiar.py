"""Familiar addresses in the ledger: of several processes, over drops of memory, and erased."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from consumers.clock import WallClock
from consumers.enrichment import familiar as module
from consumers.enrichment.familiar import FamiliarAddresses, Familiarity, day_of
from consumers.enrichment.history_entries import pseudonym, without_account, without_address
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.events.outcomes import Outcome
from schemas.events.recent_sign_in import RecentSegment, RecentSignIn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from schemas.ledger_ports import Ledger

OFFICE, OTHER, SIX = "81.2.70.10", "81.2.71.10", "2a01:4f8::1"
DAY = datetime(2026, 3, 2, tzinfo=UTC).toordinal()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Return a ledger."""
    made = SqliteLedger(tmp_path, WallClock(), waiting_per_address=9, keep=False)
    yield made
    await made.close()


def learned(ledger: Ledger, address: str, accounts: range, *days: int) -> FamiliarAddresses:
    """Return a process that has seen accounts succeed."""
    made = FamiliarAddresses(ledger, WallClock())
    for day in days:
        for number in accounts:
            made.learn_success(address, f"user{number}", DAY + day)
    return made


@pytest.mark.parametrize("address", [OFFICE, SIX])
async def test_two_processes_add_up(ledger: Ledger, address: str) -> None:
    """Each has seen some people on some days."""
    for process in (
        learned(ledger, address, range(12), 0, 1),
        learned(ledger, address, range(8, 20), 2, 3),
    ):
        await process.flush()
    reader = FamiliarAddresses(ledger, WallClock())
    await reader.fetch([address])
    assert reader.familiarity(address, DAY + 9) == Familiarity(20, 4)
    assert reader.familiarity(address, DAY + 3) == Familiarity(20, 3)
    network = "2a01:4f8::/32" if ":" in address else "81.2.0.0/16"
    await reader.fetch([network])
    assert reader.familiarity(network, DAY + 9) == Familiarity(20, 4)


async def test_the_day_itself_never_counts(ledger: Ledger) -> None:
    """Nor do accounts that were there on that day alone, however familiar the address is."""
    process = learned(ledger, OFFICE, range(3), 0, 1, 2)
    for number in range(50):
        process.learn_success(OFFICE, f"new{number}", DAY + 3)
    assert process.familiarity(OFFICE, DAY + 3) == Familiarity(3, 3)
    assert process.familiarity(OFFICE, DAY + 4) == Familiarity(53, 4)


async def test_homes_are_not_stored(ledger: Ledger) -> None:
    """Fewer than five accounts stay in memory."""
    await learned(ledger, OFFICE, range(4), 0, 1, 2).flush()
    reader = FamiliarAddresses(ledger, WallClock())
    await reader.fetch([OFFICE])
    assert reader.familiarity(OFFICE, DAY + 9) == Familiarity()


async def test_what_memory_dropped_is_not_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again before it is written."""
    await learned(ledger, OFFICE, range(25), 0, 1, 2).flush()
    process = FamiliarAddresses(ledger, WallClock())
    await process.fetch([OFFICE])
    monkeypatch.setattr(module, "MAX_COUNTED_ADDRESSES", 1)
    process.learn_success(OTHER, "user0", DAY)
    monkeypatch.undo()
    for number in range(5):
        process.learn_success(OFFICE, f"user{number}", DAY + 5)
    await process.flush()
    reader = FamiliarAddresses(ledger, WallClock())
    await reader.fetch([OFFICE])
    assert reader.familiarity(OFFICE, DAY + 9) == Familiarity(25, 4)


async def test_only_successes_of_a_segment_count(ledger: Ledger) -> None:
    """By the day of the event, as a text or as a number."""
    process = FamiliarAddresses(ledger, WallClock())
    times: list[float | str] = [
        "2026-03-02T23:59:59Z",
        datetime(2026, 3, 3, tzinfo=UTC).timestamp(),
    ]
    process.learn(
        RecentSegment.of(
            RecentSignIn(OFFICE, "SigninLogs", f"e{time}{outcome}", f"u-{outcome}", outcome, time)
            for time in times
            for outcome in Outcome
        )
    )
    assert process.familiarity(OFFICE, DAY + 9) == Familiarity(1, 2)
    assert day_of(datetime(2026, 3, 2, 23, tzinfo=UTC).timestamp()) == DAY


async def test_people_and_addresses_are_forgotten(ledger: Ledger) -> None:
    """As everything else of the history."""
    await learned(ledger, OFFICE, range(6), 0, 1).flush()
    names = {pseudonym("user3")}
    await ledger.forget(lambda key, body: without_account(key, body, names))
    reader = FamiliarAddresses(ledger, WallClock())
    await reader.fetch([OFFICE])
    assert reader.familiarity(OFFICE, DAY + 9).accounts == 5
    await ledger.forget(lambda key, body: without_address(key, body, OFFICE))
    reader = FamiliarAddresses(ledger, WallClock())
    await reader.fetch([OFFICE, "81.2.0.0/16"])
    assert reader.familiarity("81.2.0.0/16", DAY + 9) == Familiarity()
