"""Every ledger, through one suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from consumers.ledger.sqlite import SqliteStore
from schemas.errors import StateRefused
from schemas.outcomes import Outcome
from schemas.ports import Ledger, Waiting
from schemas.records import Details
from schemas.verdicts import Answer, Intel, Reputation, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = "81.2.69.160", "2a02:8108::5", "93.184.216.34"
LIMIT = 5


class Clock:
    """A clock that a test sets."""

    kind = "wall"

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        """Return what was set."""
        return self.time


Open = Callable[[], Ledger]


@pytest.fixture
def clock() -> Clock:
    """Return the ledger's clock."""
    return Clock()


@pytest.fixture(params=["sqlite"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Open]:
    """Return a function that opens the same state again."""
    assert request.param == "sqlite"
    ledgers: list[SqliteStore] = []

    def open_again() -> Ledger:
        ledgers.append(SqliteStore(tmp_path, clock, waiting_per_address=LIMIT))
        return ledgers[-1]

    yield open_again
    for ledger in ledgers:
        await ledger.close()


def verdict(expires: float = 2_000.0, reputation: Reputation = Reputation.MALICIOUS) -> Verdict:
    """Return a verdict with something in it."""
    intel = Intel(told_reputation="malicious", scores={"overall": {"total": 4}}, cves=("CVE-1",))
    return Verdict(
        reputation=reputation, source="crowdsec", time=1_000.0, expires=expires, intel=intel
    )


def waiting(
    key: str, address: str = A, outcome: Outcome = Outcome.FAILURE, parked: float = 1_000.0
) -> Waiting:
    """Return a sign-in that waits."""
    details = Details(
        table="SigninLogs",
        event_id=key,
        event_time=datetime(2026, 3, 2, tzinfo=UTC),
        addresses=((address, address),),
        account="ada@example.net",
        outcome=outcome,
        device_compliant=False,
    )
    return Waiting(key, address, details, parked)


async def test_answers_survive_and_expire(opened: Open, clock: Clock) -> None:
    """An answer is told until it expires, also after a restart, and unchanged."""
    kept: dict[str, Answer] = {A: verdict(), B: verdict(1_500.0, Reputation.UNKNOWN)}
    ledger = opened()
    await ledger.answer(kept)
    await ledger.close()
    ledger = opened()
    assert await ledger.answers([A, B, C]) == kept
    clock.time = 1_500.0
    assert await ledger.answers([A, B, C]) == {A: verdict()}
    clock.time = 2_000.0
    assert await ledger.answers([A, B, C]) == {}


async def test_what_one_process_must_not_ask_again_the_next_one_may(opened: Open) -> None:
    """A postponement ends with its time, or with the process: a person starts the next one."""
    ledger = opened()
    down = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_500.0)
    await ledger.answer({A: down})
    assert await ledger.answers([A]) == {A: down}
    await ledger.close()
    assert await opened().answers([A]) == {}


async def test_more_addresses_than_one_statement_takes(opened: Open) -> None:
    """A batch may be of any size."""
    ledger = opened()
    many: dict[str, Answer] = {f"81.2.{n // 250}.{n % 250}": verdict() for n in range(1_700)}
    await ledger.answer(many)
    assert await ledger.answers(list(many)) == many


async def test_parking_tells_what_was_answered_meanwhile(opened: Open) -> None:
    """Park-unless-answered is one step: an answered address parks nothing."""
    ledger = opened()
    await ledger.answer({A: verdict()})
    assert await ledger.park_unless_answered([waiting("1", A), waiting("2", B)]) == {A: verdict()}
    assert await ledger.waiting_for(A, 10) == []
    assert await ledger.waiting_for(B, 10) == [waiting("2", B)]


async def test_waiting_survives_until_it_is_settled(opened: Open) -> None:
    """Parking twice changes nothing; only settling lets go."""
    ledger = opened()
    await ledger.park_unless_answered([waiting("1"), waiting("2")])
    await ledger.park_unless_answered([waiting("1", parked=5_000.0)])
    await ledger.close()
    ledger = opened()
    assert await ledger.waiting_for(A, 10) == [waiting("1"), waiting("2")]
    assert await ledger.waiting_for(A, 1) == [waiting("1")]
    await ledger.settle(["1", "unheard of"])
    assert await ledger.waiting_for(A, 10) == [waiting("2")]


async def test_answered_waiting_is_found_at_the_start(opened: Open) -> None:
    """What a process left between answer and settling is not forgotten."""
    ledger = opened()
    await ledger.park_unless_answered([waiting("1", A), waiting("2", B)])
    await ledger.answer({A: verdict(), B: Unanswered(why=WhyUnanswered.QUOTA, expires=9_000.0)})
    await ledger.close()
    assert await opened().answered_waiting() == [A]


async def test_successes_are_crowded_out_last(opened: Open) -> None:
    """Beyond the limit failures give way, the latest first, and are counted."""
    ledger = opened()
    failures = [waiting(f"f{n}", parked=1_000.0 + n) for n in range(LIMIT)]
    successes = [waiting(f"s{n}", outcome=Outcome.SUCCESS, parked=2_000.0) for n in range(3)]
    await ledger.park_unless_answered(failures)
    await ledger.park_unless_answered([*successes, waiting("b", B)])
    assert [one.key for one in await ledger.waiting_for(A, 10)] == ["f0", "f1", "s0", "s1", "s2"]
    size = await ledger.size()
    assert (size.waiting, size.waiting_addresses) == (LIMIT + 1, 2)
    assert size.dropped == {"crowded out": 3}


async def test_the_most_deserving_are_due_first(opened: Open, clock: Clock) -> None:
    """Successes before failures; an address that may not be asked yet is not due."""
    ledger = opened()
    await ledger.park_unless_answered(
        [waiting("1", A), waiting("2", B, Outcome.SUCCESS, 1_500.0), waiting("3", C)]
    )
    await ledger.answer({C: Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_600.0)})
    assert await ledger.due(10) == [B, A]
    assert await ledger.due(1) == [B]
    clock.time = 1_600.0
    assert set(await ledger.due(10)) == {A, B, C}


async def test_waiting_ends_some_day(opened: Open) -> None:
    """What waits too long is dropped and counted."""
    ledger = opened()
    await ledger.park_unless_answered([waiting("1"), waiting("2", parked=3_000.0)])
    assert await ledger.give_up(2_000.0) == 1
    assert [one.key for one in await ledger.waiting_for(A, 10)] == ["2"]
    assert (await ledger.size()).dropped == {"waited too long": 1}


async def test_the_budget_is_never_exceeded(opened: Open) -> None:
    """Reservations are durable, for each account and period apart."""
    ledger = opened()
    assert await ledger.reserve("key", "march", 70, 100) == 70
    await ledger.close()
    ledger = opened()
    assert await ledger.reserve("key", "march", 70, 100) == 30
    assert await ledger.reserve("key", "march", 1, 100) == 0
    assert await ledger.reserve("key", "april", 5, 100) == 5
    assert await ledger.reserve("other", "march", 5, 100) == 5
    await ledger.refund("key", "march", 10)
    assert await ledger.spent("key", "march") == 90
    assert await ledger.reserve("key", "march", 20, 50) == 0


async def test_notes_are_kept(opened: Open) -> None:
    """The last text under a name."""
    ledger = opened()
    assert await ledger.note("cursor") is None
    await ledger.leave_note("cursor", "a")
    await ledger.leave_note("cursor", "b")
    assert await ledger.note("cursor") == "b"


async def test_a_directory_serves_one_process(opened: Open) -> None:
    """A second one is refused while the first lives, and welcome after."""
    ledger = opened()
    with pytest.raises(StateRefused, match="in use"):
        opened()
    await ledger.close()
    assert await opened().answers([A]) == {}
