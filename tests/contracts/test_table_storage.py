"""What several instances on one table may rely on, and what is large."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest

from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Answer, Intel, Unanswered, WhyUnanswered
from schemas.ledger_ports import LedgerSize
from tests.contracts.support_ledger import LIMIT, A, B, C, Clock, instances, verdict, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.ledger.table.ledger import TableLedger
    from tests.servers.azurite import Azurite

ADDRESSES = [f"81.2.{n // 250}.{n % 250}" for n in range(60)]


@pytest.fixture
def clock() -> Clock:
    """Return the clock of all instances."""
    return Clock()


def disjoint(parts: Sequence[set[str]]) -> set[str]:
    """Return the union of sets that have nothing in common."""
    union = set().union(*parts)
    assert len(union) == sum(map(len, parts))
    return union


# --- several instances ---


async def test_each_address_is_claimed_by_one_instance(azurite: Azurite, clock: Clock) -> None:
    """However many want it at once."""
    async with instances(azurite.connection_string, clock, 4) as stores:
        claims = await asyncio.gather(*(store.acquire(ADDRESSES, 60.0) for store in stores))
        assert disjoint([one.acquired for one in claims]) == set(ADDRESSES)
        again = await asyncio.gather(*(store.acquire(ADDRESSES, 60.0) for store in stores))
        assert list(again) == list(claims)


async def test_a_claim_ends_with_time_release_or_answer(azurite: Azurite, clock: Clock) -> None:
    """Then, and only then, another instance may take over."""
    async with instances(azurite.connection_string, clock, 2) as (one, two):
        assert (await one.acquire([A, B, C], 60.0)).acquired == {A, B, C}
        await two.release([A, B, C])
        assert (await two.acquire([A, B, C], 60.0)).acquired == set()
        await one.release([A])
        await one.put_verdicts({B: Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_030.0)})
        assert (await two.acquire([A, B, C], 60.0)).acquired == {A}
        clock.time = 1_050.0
        assert (await one.acquire([C], 60.0)).acquired == {C}
        assert (await two.acquire([B, C], 60.0)).acquired == {B}
        clock.time = 1_110.0
        assert (await two.acquire([B, C], 60.0)).acquired == {B, C}


async def test_what_another_instance_asks_about_is_not_due(azurite: Azurite, clock: Clock) -> None:
    """It is left to that instance while its claim lasts."""
    async with instances(azurite.connection_string, clock, 2) as (one, two):
        await one.enqueue_unless_answered([waiting("1", A, parked=900.0), waiting("2", B)])
        await one.acquire([A], 60.0)
        assert [one.address for one in await one.due(10)] == [B]
        assert [one.address for one in await two.due(10)] == [B]
        clock.time = 1_060.0
        assert [one.address for one in await two.due(10)] == [A, B]


async def test_nobody_waits_for_an_answer_that_was_given(azurite: Azurite, clock: Clock) -> None:
    """One parks while another answers: the one is told, or the other finds who waits."""
    told = found = 0

    async def answered(store: TableLedger, address: str) -> set[str]:
        await store.put_verdicts({address: verdict()})
        return {one.key for one in await store.waiting_for(address, 10)}

    async with instances(azurite.connection_string, clock, 3) as (one, two, three):
        for turn in range(12):
            for address in (addresses := [f"81.2.{turn}.{n}" for n in range(8)]):
                if turn % 2:
                    await one.acquire([address], 60.0)
            first, second, *seen = await asyncio.gather(
                one.enqueue_unless_answered([waiting(f"1 {a}", a) for a in addresses]),
                two.enqueue_unless_answered([waiting(f"2 {a}", a) for a in addresses]),
                *(answered(three, address) for address in addresses),
            )
            for address, keys in zip(addresses, seen, strict=True):
                assert (address in first) == (f"1 {address}" not in keys)
                assert (address in second) == (f"2 {address}" not in keys)
                told += (address in first) + (address in second)
                found += len(keys)
    assert told + found == 12 * 8 * 2


async def test_the_budget_holds_over_instances(azurite: Azurite, clock: Clock) -> None:
    """All that is granted is spent, and never more than the quota."""
    async with instances(azurite.connection_string, clock, 4) as stores:
        granted = await asyncio.gather(
            *(store.reserve("key", "march", 7, 100) for store in stores for _ in range(6))
        )
        assert sum(granted) == 100
        assert await stores[0].spent("key", "march") == 100
        await asyncio.gather(*(store.refund("key", "march", 10) for store in stores))
        assert await stores[1].spent("key", "march") == 60


async def test_what_comes_while_another_one_judges_is_judged(
    azurite: Azurite, clock: Clock
) -> None:
    """An instance adds to its own row, and may not notice the verdict: who judges is told."""
    async with instances(azurite.connection_string, clock, 2) as (first, second):
        assert await first.enqueue_unless_answered([waiting("1", A)]) == {}
        await second.put_verdicts({A: verdict(9_000.0)})
        assert await second.waiting_among([A], just_answered=True) == {A}
        found = await second.waiting_for(A, 10)
        unnoticed = await first.enqueue_unless_answered([waiting("2", A)])
        assert await second.acknowledge(found) == ({} if unnoticed else {A: 1})
        rest = await second.waiting_for(A, 10)
        assert await second.acknowledge(rest) == {}
        assert await first.enqueue_unless_answered([waiting("3", A)]) == {A: verdict(9_000.0)}
        assert await first.waiting_among([A]) == set()


async def test_the_bound_of_waiting_holds_over_instances(azurite: Azurite, clock: Clock) -> None:
    """The same sign-ins, parked by several at once, wait once; what gives way is counted."""
    signins = [waiting(f"{n}", A, parked=1_000.0 + n) for n in range(LIMIT + 3)]
    async with instances(azurite.connection_string, clock, 3) as stores:
        await asyncio.gather(*(store.enqueue_unless_answered(signins[:LIMIT]) for store in stores))
        assert await stores[0].waiting_for(A, 100) == signins[:LIMIT]
        success = [waiting(f"s{n}", A, Outcome.SUCCESS, 2_000.0) for n in range(3)]
        await asyncio.gather(
            *(
                store.enqueue_unless_answered([one])
                for store, one in zip(stores, success, strict=True)
            )
        )
        kept = [*signins[: LIMIT - 1], *success]  # the bound is that of one instance
        assert await stores[0].waiting_for(A, 100) == kept
        assert (await stores[0].size()).dropped == {"displaced": 3}
        await stores[1].acknowledge(kept)
        assert await stores[2].waiting_among([A]) == set()
        assert (await stores[0].size()).waiting == 0


async def test_several_may_sweep_and_give_up_at_once(azurite: Azurite, clock: Clock) -> None:
    """Everything is counted once, and claims outlive a sweep."""
    async with instances(azurite.connection_string, clock, 3) as stores:
        many: dict[str, Answer] = dict.fromkeys(ADDRESSES, verdict(1_100.0))
        await stores[0].put_verdicts({**many, C: verdict()})
        await stores[0].enqueue_unless_answered([waiting(f"{n}", B) for n in range(LIMIT)])
        clock.time = 1_500.0
        assert (await stores[0].acquire([A], 60.0)).acquired == {A}
        await asyncio.gather(*(store.purge_expired() for store in stores))
        assert (await stores[1].acquire([A], 60.0)).acquired == set()
        assert await stores[1].get_verdicts([*ADDRESSES, C]) == {C: verdict()}
        gone = await asyncio.gather(*(store.expire_pending(1_001.0) for store in stores))
        assert sum(gone) == LIMIT
        size = await stores[2].size()
        assert (size.verdicts, size.waiting) == (1, 0)
        assert size.dropped == {"waited too long": LIMIT}


async def test_budgets_of_long_ago_are_forgotten(azurite: Azurite, clock: Clock) -> None:
    """After more than a year that nobody touched them."""
    async with instances(azurite.connection_string, clock) as (store,):
        await store.reserve("key", "march", 5, 10)
        clock.time += 390 * 86_400.0
        await store.reserve("key/other", "april#2", 5, 10)
        await store.purge_expired()
        assert await store.spent("key", "march") == 5
        clock.time += 20 * 86_400.0
        await store.purge_expired()
        assert await store.spent("key", "march") == 0
        assert await store.spent("key/other", "april#2") == 5


async def test_size_is_that_of_all_instances(azurite: Azurite, clock: Clock) -> None:
    """Each counts what it adds and removes; the sum is what there is, however it is asked."""
    async with instances(azurite.connection_string, clock, 2) as (one, two):
        await one.enqueue_unless_answered([waiting("1", A), waiting("2", B)])
        await two.enqueue_unless_answered([waiting("3", A), waiting("4", C)])
        size = await one.size()
        assert (size.waiting, size.waiting_addresses) == (4, 3)
        await two.put_verdicts({A: verdict()})
        await two.acknowledge_addresses([A, B])
        assert await one.size() == await two.size() == LedgerSize(1, 1, 1)


# --- much at once, and large things ---


async def test_more_waits_for_an_address_than_a_transaction_takes(
    azurite: Azurite, clock: Clock
) -> None:
    """Beyond the bound the latest failures give way, over several transactions."""
    early = [waiting(f"e{n}", A, parked=1_000.0 + n) for n in range(230)]
    late = [waiting(f"l{n}", A, Outcome.SUCCESS, 5_000.0 + n) for n in range(150)]
    others = [waiting(f"o{n}", address) for n, address in enumerate(ADDRESSES)]
    async with instances(azurite.connection_string, clock, waiting_per_address=250) as (store,):
        await store.enqueue_unless_answered([*early, *others])
        assert await store.waiting_for(A, 1_000) == early
        await store.enqueue_unless_answered([*others, *late])
        assert await store.waiting_for(A, 1_000) == [*early[:100], *late]
        assert await store.waiting_for(A, 120) == [*early[:100], *late[:20]]
        size = await store.size()
        assert (size.waiting, size.waiting_addresses) == (250 + 60, 61)
        assert size.dropped == {"displaced": 130}
        await store.acknowledge([*early, *late])
        assert await store.waiting_among([A, *ADDRESSES]) == set(ADDRESSES)


async def test_a_lower_bound_is_brought_about(azurite: Azurite, clock: Clock) -> None:
    """What waits beyond it gives way when the next sign-in comes."""
    name = f"t{uuid4().hex}"
    text = azurite.connection_string
    many = [waiting(f"{n:03}", A, parked=1_000.0 + n) for n in range(300)]
    async with instances(text, clock, table=name, waiting_per_address=500) as (store,):
        await store.enqueue_unless_answered(many)
    async with instances(text, clock, table=name, waiting_per_address=10) as (store,):
        await store.enqueue_unless_answered([waiting("next", A, parked=1_000.5)])
        kept = [one.key for one in await store.waiting_for(A, 1_000)]
        assert kept == ["000", "next", *(f"{n:03}" for n in range(1, 9))]
        assert (await store.size()).dropped == {"displaced": 291}


async def test_large_bodies_are_spread(azurite: Azurite, clock: Clock) -> None:
    """A property holds 64 KiB, a transaction 4 MiB; neither is met."""
    large = [
        waiting(f"{n}", address, account="ö" * 100_000) for n, address in enumerate(ADDRESSES[:30])
    ]
    intel = Intel(references=tuple(f"{n:065536}" for n in range(8)))
    answer = msgspec.structs.replace(verdict(), intel=intel)
    async with instances(azurite.connection_string, clock) as (store,):
        await store.enqueue_unless_answered(large)
        found = await asyncio.gather(*(store.waiting_for(one.address, 5) for one in large))
        assert [one for (one,) in found] == large
        same: dict[str, Answer] = dict.fromkeys(ADDRESSES[30:50], answer)
        await store.put_verdicts(same)
        assert await store.get_verdicts(ADDRESSES) == same
