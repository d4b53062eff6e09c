"""Every ledger, through one suite."""

from __future__ import annotations

from msgspec.structs import replace

from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Answer, Reputation, Unanswered, WhyUnanswered
from tests.contracts.support_ledger import LIMIT, A, B, C, Clock, Open, verdict, waiting


async def test_answers_survive_and_expire(opened: Open, clock: Clock) -> None:
    """An answer is told until it expires, also after a restart, and unchanged."""
    kept: dict[str, Answer] = {A: verdict(), B: verdict(1_500.0, Reputation.UNKNOWN)}
    ledger = await opened()
    await ledger.put_verdicts(kept)
    await ledger.close()
    ledger = await opened()
    assert await ledger.get_verdicts([A, B, C]) == kept
    clock.time = 1_500.0
    assert await ledger.get_verdicts([A, B, C]) == {A: verdict()}
    clock.time = 2_000.0
    assert await ledger.get_verdicts([A, B, C]) == {}


async def test_more_addresses_than_one_statement_takes(opened: Open) -> None:
    """A batch may be of any size."""
    ledger = await opened()
    many: dict[str, Answer] = {f"81.2.{n // 250}.{n % 250}": verdict() for n in range(1_700)}
    await ledger.put_verdicts(many)
    assert await ledger.get_verdicts(list(many)) == many


async def test_parking_tells_what_was_answered_meanwhile(opened: Open) -> None:
    """Park-unless-answered is one step: an answered address parks nothing."""
    ledger = await opened()
    await ledger.put_verdicts({A: verdict()})
    assert await ledger.enqueue_unless_answered([waiting("1", A), waiting("2", B)]) == {
        A: verdict()
    }
    assert await ledger.waiting_for(A, 10) == []
    assert await ledger.waiting_for(B, 10) == [waiting("2", B)]


async def test_waiting_survives_until_it_is_settled(opened: Open) -> None:
    """Parking twice changes nothing; only settling lets go."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1"), waiting("2")])
    await ledger.enqueue_unless_answered([waiting("1", parked=5_000.0)])
    await ledger.close()
    ledger = await opened()
    assert await ledger.waiting_for(A, 10) == [waiting("1"), waiting("2")]
    assert await ledger.waiting_for(A, 1) == [waiting("1")]
    assert await ledger.acknowledge([waiting("1"), waiting("unheard of")]) == {A: 1}
    assert await ledger.waiting_for(A, 10) == [waiting("2")]


async def test_answered_waiting_is_found_at_the_start(opened: Open) -> None:
    """What a process left between answer and settling is not forgotten."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1", A), waiting("2", B)])
    await ledger.put_verdicts(
        {A: verdict(), B: Unanswered(why=WhyUnanswered.QUOTA, expires=9_000.0)}
    )
    await ledger.close()
    assert await (await opened()).answered_waiting() == [A]


async def test_successes_are_crowded_out_last(opened: Open) -> None:
    """Beyond the limit failures give way, the latest first, and are counted."""
    ledger = await opened()
    failures = [waiting(f"f{n}", parked=1_000.0 + n) for n in range(LIMIT)]
    successes = [waiting(f"s{n}", outcome=Outcome.SUCCESS, parked=2_000.0) for n in range(3)]
    await ledger.enqueue_unless_answered(failures)
    await ledger.enqueue_unless_answered([*successes, waiting("b", B)])
    assert [one.key for one in await ledger.waiting_for(A, 10)] == ["f0", "f1", "s0", "s1", "s2"]
    size = await ledger.size()
    assert (size.waiting, size.waiting_addresses) == (LIMIT + 1, 2)
    assert size.dropped == {"displaced": 3}


async def test_the_most_deserving_are_due_first(opened: Open, clock: Clock) -> None:
    """Successes before failures; an address that may not be asked yet is not due."""
    ledger = await opened()
    await ledger.enqueue_unless_answered(
        [waiting("1", A), waiting("2", B, Outcome.SUCCESS, 1_500.0), waiting("3", C)]
    )
    await ledger.put_verdicts({C: Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_600.0)})
    assert [one.address for one in await ledger.due(10)] == [B, A]
    assert [one.address for one in await ledger.due(1)] == [B]
    clock.time = 1_600.0
    assert {one.address for one in await ledger.due(10)} == {A, B, C}


async def test_the_score_follows_the_evidence(opened: Open) -> None:
    """An address counts by the most that a sign-in of its says, and what is known last of it."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1", A, own=60.0, place=20.0)])
    await ledger.enqueue_unless_answered([waiting("2", B, own=50.0), waiting("3", C, own=40.0)])
    assert [one.score for one in await ledger.due(10)] == [80.0, 50.0, 40.0]
    await ledger.enqueue_unless_answered([waiting("4", A, own=10.0, place=-30.0, parked=1_001.0)])
    await ledger.enqueue_unless_answered([waiting("5", C, own=10.0, place=30.0, parked=1_001.0)])
    assert [(one.address, one.score) for one in await ledger.due(10)] == [
        (C, 70.0),
        (B, 50.0),
        (A, 30.0),
    ]
    assert {one.enqueued_at for one in await ledger.due(10)} == {1_000.0}
    await ledger.acknowledge(await ledger.waiting_for(C, 10))
    assert [one.address for one in await ledger.due(10)] == [B, A]


async def test_what_was_asked_before_makes_way(opened: Open, clock: Clock) -> None:
    """Nothing known yet: it waits, is due again when it is time, and gives way to the others."""
    ledger = await opened()
    again = replace(verdict(9e6, Reputation.UNKNOWN), recheck_at=1_600.0, first_lookup=1_000.0)
    await ledger.enqueue_unless_answered([waiting("1", A, own=60.0), waiting("2", B, own=50.0)])
    await ledger.put_verdicts({A: again, C: again})
    assert await ledger.enqueue_unless_answered([waiting("3", C, own=110.0)]) == {}
    assert [one.address for one in await ledger.due(10)] == [B]
    assert await ledger.answered_waiting() == []
    assert (await ledger.acquire([A], 10.0)).acquired == set()
    clock.time = 1_600.0
    due = await ledger.due(10)
    assert [(one.address, one.first_lookup) for one in due] == [
        (C, 1_000.0),
        (B, None),
        (A, 1_000.0),
    ]
    assert [one.address for one in await ledger.due(2)] == [C, B]
    assert (await ledger.get_verdicts([A]))[A] == again
    assert (await ledger.acquire([A], 10.0)).acquired == {A}
    clock.time = 1_000.0 + 23 * 3_600
    assert [one.address for one in await ledger.due(10)] == [C, B, A]
    await ledger.put_verdicts({C: verdict(9e6, Reputation.UNKNOWN)})
    assert await ledger.answered_waiting() == [C]


async def test_what_was_asked_before_is_given_up_without_a_word(opened: Open) -> None:
    """Nothing was known of it while it waited: that is an answer, and nothing is dropped."""
    ledger = await opened()
    again = replace(verdict(9e6, Reputation.UNKNOWN), recheck_at=1_600.0, first_lookup=1_000.0)
    await ledger.enqueue_unless_answered([waiting("1", A), waiting("2", B)])
    await ledger.put_verdicts({A: again})
    assert await ledger.expire_pending(2_000.0) == 1
    assert (await ledger.size()).dropped == {"waited too long": 1}
    assert await ledger.due(10) == []
    assert (await ledger.size()).waiting == 0


async def test_what_is_left_of_an_address_ranks_by_itself(opened: Open) -> None:
    """Giving up its best sign-in takes an address back in the order."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1", A, own=60.0)])
    await ledger.enqueue_unless_answered(
        [waiting("2", A, own=10.0, parked=3_000.0), waiting("3", B, own=50.0, parked=3_000.0)]
    )
    assert await ledger.expire_pending(2_000.0) == 1
    assert [(one.address, one.score, one.enqueued_at) for one in await ledger.due(10)] == [
        (B, 50.0, 3_000.0),
        (A, 10.0, 3_000.0),
    ]


async def test_what_found_no_room_is_counted(opened: Open) -> None:
    """Sign-ins that were turned away before they reached the ledger are dropped like others."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1")], displaced=7)
    await ledger.enqueue_unless_answered([], displaced=2)
    assert (await ledger.size()).dropped == {"displaced": 9}


async def test_waiting_ends_some_day(opened: Open) -> None:
    """What waits too long is dropped and counted."""
    ledger = await opened()
    await ledger.enqueue_unless_answered([waiting("1"), waiting("2", parked=3_000.0)])
    assert await ledger.expire_pending(2_000.0) == 1
    assert [one.key for one in await ledger.waiting_for(A, 10)] == ["2"]
    assert (await ledger.size()).dropped == {"waited too long": 1}


async def test_the_budget_is_never_exceeded(opened: Open) -> None:
    """Reservations are durable, for each account and period apart."""
    ledger = await opened()
    assert await ledger.reserve("key", "march", 70, 100) == 70
    await ledger.close()
    ledger = await opened()
    assert await ledger.reserve("key", "march", 70, 100) == 30
    assert await ledger.reserve("key", "march", 1, 100) == 0
    assert await ledger.reserve("key", "april", 5, 100) == 5
    assert await ledger.reserve("other", "march", 5, 100) == 5
    await ledger.refund("key", "march", 10)
    assert await ledger.spent("key", "march") == 90
    assert await ledger.reserve("key", "march", 20, 50) == 0


async def test_notes_are_kept(opened: Open) -> None:
    """The last text under a name."""
    ledger = await opened()
    assert await ledger.get_value("cursor") is None
    await ledger.put_value("cursor", "a")
    await ledger.put_value("cursor", "b")
    assert await ledger.get_value("cursor") == "b"


async def test_a_claim_is_kept_and_renewed(opened: Open, clock: Clock) -> None:
    """An instance may claim again what it has claimed, and what has no answer any more."""
    ledger = await opened()
    await ledger.put_verdicts({A: verdict(1_500.0)})
    assert (await ledger.acquire([A, B, C, B], 60.0)).acquired == {B, C}
    assert (await ledger.acquire([B], 60.0)).acquired == {B}
    clock.time = 1_500.0
    assert (await ledger.acquire([A, B, C], 60.0)).acquired == {A, B, C}
    assert (await ledger.acquire([], 60.0)).acquired == set()


async def test_what_is_answered_is_claimed_no_more(opened: Open, clock: Clock) -> None:
    """Neither a verdict nor a reason not to ask can be claimed, until it expires."""
    ledger = await opened()
    assert (await ledger.acquire([A, B], 60.0)).acquired == {A, B}
    await ledger.put_verdicts(
        {A: verdict(), B: Unanswered(why=WhyUnanswered.QUOTA, expires=1_100.0)}
    )
    assert (await ledger.acquire([A, B], 60.0)).acquired == set()
    clock.time = 1_100.0
    assert (await ledger.acquire([A, B], 60.0)).acquired == {B}


async def test_what_is_released_can_be_claimed_again(opened: Open) -> None:
    """Releasing what was never claimed is harmless."""
    ledger = await opened()
    await ledger.acquire([A], 60.0)
    await ledger.release([A, B])
    await ledger.release([])
    assert await ledger.get_verdicts([A, B]) == {}
    assert (await ledger.acquire([A, B], 60.0)).acquired == {A, B}


async def test_who_is_waited_for(opened: Open) -> None:
    """Among any addresses, also those that begin like others."""
    ledger = await opened()
    many = [f"81.2.{n // 250}.{n % 250}" for n in range(300)]
    parked = [many[0], many[2], many[25], many[250], many[299], A, B]
    assert await ledger.waiting_among(many) == set()
    await ledger.enqueue_unless_answered([waiting(f"k{n}", one) for n, one in enumerate(parked)])
    assert await ledger.waiting_among([*many, A, B, C]) == set(parked)
    assert await ledger.waiting_among([A, C]) == {A}
    assert await ledger.waiting_among([]) == set()


async def test_sweeping_deletes_only_what_has_expired(opened: Open, clock: Clock) -> None:
    """Who waits goes on waiting, whatever becomes of the answer."""
    ledger = await opened()
    many: dict[str, Answer] = {f"81.2.{n // 250}.{n % 250}": verdict(1_100.0) for n in range(700)}
    await ledger.put_verdicts(many)
    await ledger.put_verdicts({B: verdict(3_000.0, Reputation.BENIGN)})
    await ledger.enqueue_unless_answered([waiting("1", A), waiting("2", C)])
    await ledger.put_verdicts({A: verdict(1_200.0)})
    clock.time = 1_500.0
    await ledger.purge_expired()
    assert await ledger.get_verdicts([*many, A, B]) == {B: verdict(3_000.0, Reputation.BENIGN)}
    assert await ledger.waiting_for(A, 10) == [waiting("1", A)]
    assert [one.address for one in await ledger.due(10)] == [A, C]
    size = await ledger.size()
    assert (size.verdicts, size.waiting, size.waiting_addresses) == (1, 2, 2)
    await ledger.purge_expired()
    assert await ledger.waiting_among([A, B, C]) == {A, C}
