"""What several instances learn and forget on one table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consumers.enrichment.history import NEVER_SEEN_DAYS, History
from consumers.enrichment.history_entries import (
    MAX_ACCOUNT_LOCATIONS,
    MAX_BAD_ADDRESS_ACCOUNTS,
    MAX_LOCATION_ACCOUNTS,
)
from schemas.ledger_ports import EntrySpace
from tests.contracts.support_history import (
    ADA,
    BO,
    NOON,
    account_in,
    failed,
    group_in,
    names,
    never,
    place_in,
    signals,
)
from tests.contracts.support_ledger import A, B, C, Clock, instances
from tests.contracts.test_ledger_history import ODD, revised

if TYPE_CHECKING:
    from tests.servers.azurite import Azurite


@pytest.fixture
def clock() -> Clock:
    """Return the clock of all instances, in the middle of a day."""
    clock = Clock()
    clock.time = NOON
    return clock


async def test_two_instances_join_what_they_learn(azurite: Azurite, clock: Clock) -> None:
    """At the same place, neither knowing of the other's accounts."""
    async with instances(azurite.connection_string, clock, 2) as (one, other):
        ours, theirs = History(one, clock), History(other, clock)
        for history in (ours, theirs):
            await history.fetch([(A, signals(ADA)), (A, signals(BO))])
        ours.learn(A, signals(ADA))
        ours.learn(A, failed("eve"))
        theirs.learn(A, signals(BO))
        await ours.flush()
        await theirs.flush()
        place, network = await place_in(one, A), await group_in(one, "n|3320")
        assert place is not None
        assert network is not None
        assert (set(place.good), set(place.bad)) == (names(ADA, BO), names("eve"))
        assert set(network.accounts) == names(ADA, BO)


async def test_two_instances_join_what_they_know_of_an_account(
    azurite: Azurite, clock: Clock
) -> None:
    """Places and networks of both; the days are not added up."""
    async with instances(azurite.connection_string, clock, 2) as (one, other):
        ours, theirs = History(one, clock), History(other, clock)
        at = [(A, signals(as_number=1)), (C, signals(as_number=2))]
        for history in (ours, theirs):
            await history.fetch(at)
        ours.learn(*at[0])
        theirs.learn(*at[1])
        await theirs.flush()
        await ours.flush()
        account = await account_in(other, ADA)
        assert account is not None
        assert (set(account.places), set(account.networks), account.days) == ({A, C}, {1, 2}, 1)


async def test_two_instances_join_what_failed(azurite: Azurite, clock: Clock) -> None:
    """Of one account at one place: each saw another event, and both count."""
    async with instances(azurite.connection_string, clock, 2) as (one, other):
        for store, event in ((one, "1"), (other, "2")):
            history = History(store, clock)
            history.learn(A, failed(event=event))
            await history.flush()
        fresh = History(one, clock)
        await fresh.fetch([(A, signals())])
        assert fresh.seen(A, signals()).own_failures == 2


async def test_many_writers_lose_nothing(azurite: Azurite, clock: Clock) -> None:
    """All at once at one entry, over and over: everybody's word is in it."""
    async with instances(azurite.connection_string, clock, 4) as stores:
        histories = [History(store, clock) for store in stores]
        for turn in range(4):
            for number, history in enumerate(histories):
                one = signals(f"user{turn}-{number}")
                await history.fetch([(A, one)])
                history.learn(A, one)
            await asyncio.gather(*(history.flush() for history in histories))
        place = await place_in(stores[0], A)
        assert place is not None
        assert set(place.good) == names(*(f"user{n // 4}-{n % 4}" for n in range(16)))


async def test_the_bounds_hold_over_instances(azurite: Azurite, clock: Clock) -> None:
    """What is joined is no more than what one may keep."""
    async with instances(azurite.connection_string, clock, 2) as stores:
        for number, store in enumerate(stores):
            history = History(store, clock)
            for n in range(MAX_ACCOUNT_LOCATIONS):
                history.learn(f"81.{number}.{n}.1", signals(as_number=1))
            for n in range(MAX_LOCATION_ACCOUNTS):
                history.learn(A, signals(f"u{number}-{n}"))
                history.learn(A, failed(f"f{number}-{n}"))
            for n in range(MAX_BAD_ADDRESS_ACCOUNTS):
                history.accounts_from(A, f"b{number}-{n}", NOON)
            await history.flush()
        place, account = await place_in(stores[0], A), await account_in(stores[0], ADA)
        network, bad = await group_in(stores[0], "n|3320"), await group_in(stores[0], f"b|{A}")
        assert place is not None
        assert account is not None
        assert network is not None
        assert bad is not None
        assert (len(place.good), len(place.bad)) == (MAX_LOCATION_ACCOUNTS, MAX_LOCATION_ACCOUNTS)
        assert (len(account.places), len(network.accounts)) == (
            MAX_ACCOUNT_LOCATIONS,
            MAX_LOCATION_ACCOUNTS,
        )
        assert len(bad.accounts) == MAX_BAD_ADDRESS_ACCOUNTS


async def test_an_instance_learns_what_another_has_learned(azurite: Azurite, clock: Clock) -> None:
    """With its own next write of the entry, also when it had looked for it before."""
    async with instances(azurite.connection_string, clock, 2) as stores:
        one, two = (History(store, clock) for store in stores)
        for history in (one, two):
            await history.fetch([(A, signals())])
        one.learn(A, signals())
        await one.flush()
        assert two.seen(A, signals()).place_days == NEVER_SEEN_DAYS
        two.learn(B, signals())
        await two.flush()
        assert two.seen(A, signals()).place_days == 0


async def test_forgetting_what_is_gone_by_then(azurite: Azurite, clock: Clock) -> None:
    """An entry that another instance deletes between reading and writing is forgotten as well."""
    async with instances(azurite.connection_string, clock, 2) as (one, other):
        await one.put_entries(EntrySpace.HISTORY, {"p|x": b"1"}, never)
        read = one._entries.scan

        async def scan(*arguments: Any, **more: Any) -> Any:
            async for found in read(*arguments, **more):
                await other.forget(lambda *_: None)
                yield found

        one._entries.scan = scan  # type: ignore[method-assign]
        await one.forget(lambda *_: b"2")
        assert await one.get_entries(EntrySpace.HISTORY, ["p|x"]) == {}


async def test_keys_beyond_ascii_reach_who_revises(azurite: Azurite, clock: Clock) -> None:
    """In a table as well."""
    async with instances(azurite.connection_string, clock) as (store,):
        for key in ODD:
            await revised(store, key)
