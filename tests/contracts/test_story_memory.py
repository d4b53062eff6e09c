"""What the memory of stories tells through every ledger: once, and again after a restart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from consumers.enrichment.stories.memory import StoryMemory
from schemas.durations import DAY_SECONDS
from schemas.events.addresses import Networks
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.events.traits import traits_of_details
from tests.contracts.support_ledger import A, C, Clock, instances

if TYPE_CHECKING:
    from schemas.ledger_ports import Ledger
    from tests.contracts.support_ledger import Open
    from tests.servers.azurite import Azurite

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC).timestamp()
HOME, AWAY = 3_320, 14_061


@pytest.fixture
def clock() -> Clock:
    """Return the ledger's clock."""
    clock = Clock()
    clock.time = NOON
    return clock


def sign_in(number: int, days_before: float, **given: Any) -> Details:
    """Return a success of Ada's at home, by a browser in a session."""
    return Details(
        **{
            "table": "SigninLogs",
            "event_id": f"e{number}",
            "event_time": datetime.fromtimestamp(NOON - days_before * DAY_SECONDS, UTC),
            "addresses": ((A, A),),
            "account": "ada@example.net",
            "account_object_id": "10000000-0000-4000-8000-00000000000a",
            "outcome": Outcome.SUCCESS,
            "sign_in_as_number": HOME,
            "user_agent": "Mozilla/5.0 (Windows NT 10.0) Chrome/132.0.0.0 Edg/132.0.0.0",
            "session_id": "s-1",
            **given,
        }
    )


STOLEN = sign_in(9, 0.0, sign_in_as_number=AWAY, user_agent="axios/1.7")


async def told(memory: StoryMemory, *signins: tuple[str, Details]) -> list[tuple[str, set[str]]]:
    """Let a memory learn sign-ins; return the events of which it tells, with the signs."""
    for address, details in signins:
        traits = traits_of_details(details)
        await memory.fetch([(address, traits)])
        if memory.learn(address, traits):
            memory.keep(address, details)
    return [(details.event_id, set(it.signs)) for _, details, it in await memory.tell()]


def memory_of(ledger: Ledger, clock: Clock, *own: str) -> StoryMemory:
    """Return a memory on a ledger."""
    return StoryMemory(ledger, clock, Networks(own))


async def usual(memory: StoryMemory) -> None:
    """Let Ada sign in at home on four days."""
    assert await told(memory, *((A, sign_in(day, float(day))) for day in range(1, 5))) == []
    assert await told(memory, (A, sign_in(6, 0.1))) == []


async def test_a_stolen_session_is_told_once_and_again_after_a_restart(
    opened: Open, clock: Clock
) -> None:
    """A redelivered record: its finding may not have been accepted."""
    ledger = await opened()
    memory = memory_of(ledger, clock)
    await usual(memory)
    signs = {"session-moved", "script-agent", "first script"}
    assert await told(memory, (C, STOLEN)) == [("e9", signs)]
    assert await told(memory, (C, STOLEN)) == [], "delivered twice"
    await memory.flush()
    await ledger.close()
    again = memory_of(await opened(), clock)
    assert await told(again, (C, STOLEN)) == [("e9", signs)]


async def test_nothing_is_told_of_own_networks_or_before_days_are_known(
    opened: Open, clock: Clock
) -> None:
    """An account that is new has no habits."""
    ledger = await opened()
    own = memory_of(ledger, clock, f"{C}/128" if ":" in C else f"{C}/32")
    await usual(own)
    assert await told(own, (C, STOLEN)) == []
    new = memory_of(ledger, clock)
    bo = {"account": "bo@example.net", "account_object_id": None}
    assert await told(new, (A, sign_in(1, 1.0, **bo)), (C, sign_in(9, 0.0, **bo))) == []


async def test_the_order_of_arrival_does_not_matter(opened: Open, clock: Clock) -> None:
    """The second network comes first, as from another partition."""
    memory = memory_of(await opened(), clock)
    for day in range(1, 5):
        await told(memory, (A, sign_in(day, float(day), session_id=None)))
    browser = sign_in(9, 0.0, sign_in_as_number=AWAY)
    assert await told(memory, (C, browser)) == []
    assert await told(memory, (A, sign_in(6, 0.1))) == [("e9", {"session-moved"})]


async def test_a_first_sight_is_not_stored(opened: Open, clock: Clock) -> None:
    """And is one only once, of an account of which nothing is known."""
    ledger = await opened()
    memory = memory_of(ledger, clock)
    await memory.fetch_accounts(["ada@example.net"])
    assert memory.is_first_sight("ada@example.net")
    assert not memory.is_first_sight("ada@example.net")
    await told(memory, (A, sign_in(1, 1.0, account_object_id=None)))
    await memory.flush()
    await ledger.close()
    again = memory_of(await opened(), clock)
    await again.fetch_accounts(["ada@example.net"])
    assert not again.is_first_sight("ada@example.net")


async def test_one_person_has_two_names(opened: Open, clock: Clock) -> None:
    """A record by the name alone is of the account whose object id is known."""
    memory = memory_of(await opened(), clock)
    await usual(memory)
    by_name = sign_in(9, 0.0, sign_in_as_number=AWAY, account_object_id=None)
    assert await told(memory, (C, by_name)) == [("e9", {"session-moved"})]


async def test_two_instances_tell_of_a_session_that_both_saw(
    azurite: Azurite, clock: Clock
) -> None:
    """The last to write sees what the other has written."""
    async with instances(azurite.connection_string, clock, 2) as (first, second):
        ours, theirs = memory_of(first, clock), memory_of(second, clock)
        for day in range(1, 5):
            await told(ours, (A, sign_in(day, float(day), session_id=None)))
        await ours.flush()
        browser = sign_in(9, 0.0, sign_in_as_number=AWAY)
        assert await told(theirs, (C, browser)) == []
        assert await told(ours, (A, sign_in(6, 0.1))) == []
        await theirs.flush(urgent_only=True)
        await ours.flush()
        assert await told(ours) == [("e9", {"session-moved"})]


async def test_a_habit_is_read_again_if_its_account_is_not_in_memory(
    opened: Open, clock: Clock
) -> None:
    """What left the memory must not look like an account of which nothing is known."""
    ledger = await opened()
    memory = memory_of(ledger, clock)
    await usual(memory)
    traits = traits_of_details(sign_in(7, 0.0))
    habit, later = memory.habit(A, traits), "2026-05-20T14:00:00Z"
    assert memory.repeat(habit, later) is not None
    await memory.flush()
    empty = memory_of(ledger, clock)
    assert empty.repeat(habit, later) is None
    await empty.fetch([(A, traits)])
    assert empty.repeat(habit, later) is not None
    assert await told(empty, (C, STOLEN)) != []
