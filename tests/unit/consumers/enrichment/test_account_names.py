"""One person is one account, whether a record names the object id, the user name, or both."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace

from consumers.enrichment.history import History
from consumers.enrichment.history_entries import (
    COUNTED_BY_ANOTHER_NAME,
    GroupEntry,
    decoded,
    merged,
    pseudonym,
)
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.events.outcomes import Outcome
from schemas.events.ranking_signals import Signals
from schemas.ledger_ports import EntrySpace
from tests.contracts.support_ledger import A, B, Clock, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADA, ADAS_ID = "ada@example.net", "0a0a0a0a-1111-2222-3333-444455556666"
BOTH, BY_NAME, BY_ID = (ADA, ADAS_ID), (ADA, ""), (ADAS_ID, ADAS_ID)


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
async def ledger(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteLedger]:
    """Open a ledger."""
    ledger = SqliteLedger(tmp_path, clock, waiting_per_address=9)
    yield ledger
    await ledger.close()


def signals(account: str, object_id: str) -> Signals:
    """Return the signals of a success."""
    return Signals(
        account, Outcome.SUCCESS, True, None, "", "", "", None, 3320, "de", "", "1", object_id
    )


async def accounts(ledger: SqliteLedger, clock: Clock, *named: tuple[str, str]) -> list[int]:
    """Return how many accounts each sign-in from a bad address sees, each read afresh."""
    counts = []
    for account, object_id in named:
        history = History(ledger, clock)
        details = replace(waiting("1").details, account=account, account_object_id=object_id)
        await history.fetch_bad([A], [details])
        counts.append(history.accounts_from(A, account, clock.now(), object_id))
        await history.flush()
    return counts


@pytest.mark.parametrize("named", [(BY_ID, BOTH), (BOTH, BY_ID), (BOTH, BY_NAME), (BY_NAME, BOTH)])
async def test_two_names_are_one_account(
    ledger: SqliteLedger, clock: Clock, named: tuple[tuple[str, str], ...]
) -> None:
    """In either order, and by instances that know nothing but the ledger."""
    assert await accounts(ledger, clock, *named) == [1, 1]


@pytest.mark.parametrize("named", list(permutations((BOTH, BY_NAME, BY_ID))))
async def test_three_records_end_as_one_account(
    ledger: SqliteLedger, clock: Clock, named: tuple[tuple[str, str], ...]
) -> None:
    """Two that share no name are two, until a third tells that they are the same."""
    assert (await accounts(ledger, clock, *named))[-1] == 1
    assert (await accounts(ledger, clock, ("bo@example.net", "0b")))[-1] == 2


async def test_what_is_learned_holds_for_every_name(ledger: SqliteLedger, clock: Clock) -> None:
    """A place that one name knows is known by the other."""
    history = History(ledger, clock)
    both = signals(ADA, ADAS_ID)
    await history.fetch([(A, both)])
    history.learn(A, both)
    await history.flush()
    clock.time += 86_400.0
    for account, object_id in (BY_NAME, BY_ID, BOTH):
        history = History(ledger, clock)
        again = signals(account, object_id)
        await history.fetch([(A, again), (B, again)])
        assert history.seen(A, again).place_days == 1
        assert history.seen(A, again).known_others == 0
        assert history.seen(B, again).place_days == -1


async def test_another_instance_does_not_bring_the_old_name_back(
    ledger: SqliteLedger, clock: Clock
) -> None:
    """It still has the count of before, and the two are merged either way."""
    name, person = pseudonym(ADA), pseudonym(ADAS_ID)
    await accounts(ledger, clock, BY_NAME, BOTH)
    found = await ledger.get_entries(EntrySpace.HISTORY, [f"b|{A}"])
    ours, theirs = found[f"b|{A}"], msgspec.msgpack.encode(GroupEntry({name: clock.now()}))
    for one, other in ((ours, theirs), (theirs, ours)):
        both = decoded(f"b|{A}", merged(f"b|{A}", one, other))
        assert isinstance(both, GroupEntry)
        assert both.accounts == {name: COUNTED_BY_ANOTHER_NAME, person: clock.now()}
