"""What every ledger does with the history, and how it forgets, through one suite."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from consumers.enrichment.history import History
from consumers.enrichment.history_entries import (
    MAX_ACCOUNT_LOCATIONS,
    MAX_LOCATION_ACCOUNTS,
    pseudonym,
    without_account,
    without_address,
)
from consumers.ledger.rules import HISTORY_SECONDS
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Unanswered, WhyUnanswered
from schemas.ledger_ports import EntrySpace, ErasedCounts, Ledger
from tests.contracts.support_history import (
    ADA,
    BO,
    NOON,
    account_in,
    group_in,
    names,
    never,
    place_in,
    signals,
)
from tests.contracts.support_ledger import A, B, C, Clock, Open, verdict, waiting

if TYPE_CHECKING:
    from schemas.events.ranking_signals import Signals

ODD = (
    *("p|2a02:8108::5", "p|AS6167", "b|81.2.69.160", "n|0", "a|/#?|\\%+&'\"", "a|", "a|_", "a|_5f"),
    *(
        "a| spaced ",
        "a|ärger@bücher.example",
        "a|名前",
        "a|\U0001f600",
        "a|\x7f",
        "a|~}",
        "A|x",
        "a|x",
    ),
)


@pytest.fixture
def clock() -> Clock:
    """Return the ledger's clock, in the middle of a day."""
    clock = Clock()
    clock.time = NOON
    return clock


def mine(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Keep what is ours."""
    del key, theirs
    return mine


def nothing(key: str, body: bytes) -> bytes | None:
    """Change nothing."""
    del key
    return body


async def learned(
    ledger: Ledger, clock: Clock, *seen: tuple[str, Signals], bad: tuple[str, str] | None = None
) -> History:
    """Have a new process learn from sign-ins, and keep it."""
    history = History(ledger, clock)
    await history.fetch(seen)
    for address, one in seen:
        history.learn(address, one)
    if bad is not None:
        await history.fetch_bad([bad[0]])
        history.accounts_from(*bad, clock.now())
    await history.flush()
    return history


async def test_history_survives(opened: Open) -> None:
    """Byte for byte, over a restart; a key that was never kept is not told."""
    kept = {key: bytes(range(256)) * (number + 1) for number, key in enumerate(ODD)}
    ledger = await opened()
    assert await ledger.get_entries(EntrySpace.HISTORY, []) == {}
    await ledger.put_entries(EntrySpace.HISTORY, {}, never)
    await ledger.put_entries(EntrySpace.HISTORY, kept, never)
    await ledger.close()
    ledger = await opened()
    assert await ledger.get_entries(EntrySpace.HISTORY, [*ODD, "a|never"]) == kept
    await ledger.put_entries(EntrySpace.HISTORY, {ODD[0]: b"other"}, mine)
    assert await ledger.get_entries(EntrySpace.HISTORY, ODD[:2]) == {
        ODD[0]: b"other",
        ODD[1]: kept[ODD[1]],
    }


async def test_more_entries_than_one_statement_takes(opened: Open) -> None:
    """Any number at once."""
    ledger = await opened()
    many = {f"p|81.2.{n // 250}.{n % 250}": b"%d" % n for n in range(1_100)}
    await ledger.put_entries(EntrySpace.HISTORY, many, never)
    assert await ledger.get_entries(EntrySpace.HISTORY, list(many)) == many


async def test_learning_twice_changes_nothing(opened: Open, clock: Clock) -> None:
    """The same events, delivered again to the same or another process, in this order or not."""
    ledger = await opened()
    seen = [(A, signals()), (B, signals(BO, Outcome.FAILURE)), (A, signals(BO))]
    first = await learned(ledger, clock, *seen, bad=(A, ADA))
    people = [f"a|{one}" for one in names(ADA, BO)]
    keys = [f"p|{A}", f"b|{A}", "n|3320", "p|2a02810800000000", *people]
    before = await ledger.get_entries(EntrySpace.HISTORY, keys)
    assert sorted(before) == sorted(keys)
    for address, one in seen:
        first.learn(address, one)
    await first.flush()
    second = await learned(ledger, clock, *seen[::-1], *seen, bad=(A, ADA))
    assert await ledger.get_entries(EntrySpace.HISTORY, keys) == before
    assert second.seen(*seen[0]) == first.seen(*seen[0])


async def test_what_is_learned_is_known_after_a_restart(opened: Open, clock: Clock) -> None:
    """By a process that knew nothing."""
    ledger = await opened()
    eve = signals("eve", Outcome.FAILURE)
    first = await learned(ledger, clock, (A, signals()), (A, signals(BO)), (A, eve))
    await ledger.close()
    ledger = await opened()
    place, network = await place_in(ledger, A), await group_in(ledger, "n|3320")
    assert place is not None
    assert network is not None
    assert (set(place.good), set(place.bad)) == (names(ADA, BO), names("eve"))
    assert set(network.accounts) == names(ADA, BO)
    history = History(ledger, clock)
    await history.fetch([(A, signals()), (A, eve)])
    for one in (signals(), eve):
        assert history.seen(A, one) == first.seen(A, one)


async def test_sweeping_forgets_what_nobody_used(opened: Open, clock: Clock) -> None:
    """After HISTORY_SECONDS without a change, and not before."""
    ledger = await opened()
    await ledger.put_entries(EntrySpace.HISTORY, {"p|old": b"1", "p|used": b"2"}, never)
    await ledger.put_entries(EntrySpace.HISTORY, {f"n|{n}": b"" for n in range(700)}, never)
    clock.time += 1_000.0
    await ledger.put_entries(EntrySpace.HISTORY, {"p|used": b"3"}, mine)
    clock.time += HISTORY_SECONDS - 1_001.0
    await ledger.purge_expired()
    assert await ledger.get_entries(EntrySpace.HISTORY, ["p|old", "p|used", "n|1"]) == {
        "p|old": b"1",
        "p|used": b"3",
        "n|1": b"",
    }
    clock.time += 2.0
    await ledger.purge_expired()
    kept = await ledger.get_entries(
        EntrySpace.HISTORY, ["p|old", "p|used", *(f"n|{n}" for n in range(700))]
    )
    assert kept == {"p|used": b"3"}


async def plant(ledger: Ledger, clock: Clock) -> None:
    """Keep something of two accounts at two addresses, and at a third that both use."""
    again = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=NOON + 9_000.0)
    await ledger.put_verdicts({A: verdict(NOON + 9_000.0), B: verdict(NOON + 1.0), C: again})
    clock.time += 1.0  # the answer about B is too old by now, and still kept
    await ledger.enqueue_unless_answered(
        [
            waiting("1", B, account=ADA),
            waiting("2", B, account=BO),
            waiting("3", C, account=ADA),
            waiting("4", "93.184.216.35", account=ADA),
            waiting("5", "93.184.216.36", account=BO),
        ]
    )
    seen = [(one, signals(account)) for one in (A, B) for account in (ADA, BO)]
    await learned(ledger, clock, *seen, (C, signals()), bad=(A, ADA))


async def test_an_account_is_forgotten(opened: Open, clock: Clock) -> None:
    """Its sign-ins and history; what is known of addresses, and of others, stays."""
    ledger = await opened()
    await plant(ledger, clock)
    revise = partial(without_account, names={pseudonym(ADA)})
    told = await ledger.forget(revise, accounts={ADA})
    # Its own entry, it at three places, in the network, and at the bad address.
    assert told == ErasedCounts(0, 3, 6)
    assert [one.key for one in await ledger.waiting_for(B, 9)] == ["2"]
    assert await ledger.waiting_for(C, 9) == []
    assert await ledger.waiting_among([B, C, "93.184.216.35"]) == {B}
    assert {one.address for one in await ledger.due(9)} == {B, "93.184.216.36"}
    assert set(await ledger.get_verdicts([A, C])) == {A, C}
    assert await account_in(ledger, ADA) is None
    assert await account_in(ledger, BO) is not None
    places = [await place_in(ledger, one) for one in (A, "2a02810800000000", C)]
    assert [set(one.good) for one in places if one] == [names(BO), names(BO), set()]
    groups = [await group_in(ledger, one) for one in ("n|3320", f"b|{A}")]
    assert [set(one.accounts) for one in groups if one] == [names(BO), set()]
    assert await ledger.forget(revise, accounts={ADA}) == ErasedCounts()


async def test_an_address_is_forgotten(opened: Open, clock: Clock) -> None:
    """Its verdict, what waits for it, its turn, and that anybody was there."""
    ledger = await opened()
    await plant(ledger, clock)
    for address, expected in (
        (A, ErasedCounts(1, 0, 4)),
        (B, ErasedCounts(0, 2, 3)),  # what was known once ended when somebody came again
        (C, ErasedCounts(1, 1, 2)),
    ):
        revise = partial(without_address, address=address)
        assert await ledger.forget(revise, address=address) == expected
        assert await ledger.forget(revise, address=address) == ErasedCounts()
    assert await ledger.get_verdicts([A, B, C]) == {}
    assert (
        await ledger.get_entries(
            EntrySpace.HISTORY, [f"p|{A}", f"b|{A}", f"p|{C}", "p|2a02810800000000"]
        )
        == {}
    )
    assert {one.address for one in await ledger.due(9)} == {"93.184.216.35", "93.184.216.36"}
    for name in (ADA, BO):
        account = await account_in(ledger, name)
        assert account is not None
        assert account.places == {}
    network = await group_in(ledger, "n|3320")
    assert network is not None
    assert set(network.accounts) == names(ADA, BO)


async def test_what_was_forgotten_may_come_again(opened: Open, clock: Clock) -> None:
    """Nothing remembers that it was forgotten."""
    ledger = await opened()
    await plant(ledger, clock)
    await ledger.forget(nothing, address=B)
    await ledger.enqueue_unless_answered([waiting("1", B, account=ADA)])
    assert await ledger.waiting_for(B, 9) == [waiting("1", B, account=ADA)]
    assert B in {one.address for one in await ledger.due(9)}


async def test_of_an_address_one_sign_in_may_go(opened: Open) -> None:
    """The address stays in its turn for what is left, ranked by that alone."""
    ledger = await opened()
    await ledger.enqueue_unless_answered(
        [
            waiting("1", B, account=ADA, own=90.0),
            waiting("2", B, account=BO, own=10.0),
            waiting("3", C, account=BO, own=50.0),
        ]
    )
    await ledger.forget(nothing, accounts={ADA})
    assert {one.address for one in await ledger.due(9)} == {B, C}
    assert await ledger.waiting_for(B, 9) == [waiting("2", B, account=BO, own=10.0)]


@pytest.mark.parametrize("key", [one for one in ODD if one.isascii()])
async def test_every_key_reaches_who_revises(opened: Open, key: str) -> None:
    """As it was kept, whatever its characters; and what is left is found by it."""
    ledger = await opened()
    await revised(ledger, key)
    assert await ledger.get_entries(EntrySpace.HISTORY, [key]) == {}


async def revised(ledger: Ledger, key: str) -> None:
    """Have an entry revised, and hold what is told of it."""
    await ledger.put_entries(EntrySpace.HISTORY, {key: b"body"}, never)
    told: list[tuple[str, bytes]] = []

    def revise(key: str, body: bytes) -> bytes | None:
        told.append((key, body))
        return b"left"

    assert await ledger.forget(revise) == ErasedCounts(history=1)
    assert told == [(key, b"body")]
    assert await ledger.get_entries(EntrySpace.HISTORY, [key]) == {key: b"left"}
    assert await ledger.forget(lambda *_: None) == ErasedCounts(history=1)
    assert await ledger.get_entries(EntrySpace.HISTORY, [key]) == {}


async def test_the_bounds_hold(opened: Open, clock: Clock) -> None:
    """Neither an account of many places nor a place of many accounts grows without end."""
    ledger = await opened()
    many = [(f"81.2.{n}.1", signals(as_number=1_000 + n)) for n in range(MAX_ACCOUNT_LOCATIONS + 9)]
    crowd = [(A, signals(f"user{n}@example.net")) for n in range(MAX_LOCATION_ACCOUNTS + 9)]
    await learned(ledger, clock, *many, *crowd)
    place, network = await place_in(ledger, A), await group_in(ledger, "n|3320")
    account = await account_in(ledger, ADA)
    assert place is not None
    assert network is not None
    assert account is not None
    assert (len(place.good), len(network.accounts)) == (
        MAX_LOCATION_ACCOUNTS,
        MAX_LOCATION_ACCOUNTS,
    )
    assert len(account.places) == MAX_ACCOUNT_LOCATIONS


async def test_a_waiting_sign_in_is_forgotten_by_any_of_its_addresses(opened: Open) -> None:
    """A record may hold several; the one that it waits for is not all that it tells."""
    ledger = await opened()
    one = waiting("1", A)
    details = msgspec.structs.replace(one.details, addresses=((A, A), (C, f"{C}:443")))
    await ledger.enqueue_unless_answered([replace(one, details=details)])
    assert await ledger.forget(nothing, address=C) == ErasedCounts(0, 1, 0)
    assert await ledger.waiting_for(A, 9) == []
