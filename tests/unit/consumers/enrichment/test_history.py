"""What the history learns, and what it tells of the next sign-in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from consumers.enrichment.history import NEVER_SEEN_DAYS, History
from consumers.enrichment.history_entries import (
    MAX_BAD_ADDRESS_ACCOUNTS,
    AccountEntry,
    GroupEntry,
    LocationEntry,
    merged,
    place_of,
    pseudonym,
    without_account,
    without_address,
)
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.durations import DAY_SECONDS
from schemas.events.outcomes import Outcome
from schemas.intel.address_class import MOBILE_NETWORKS
from tests.contracts.support_history import NOON, failed, signals
from tests.contracts.support_ledger import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from consumers.enrichment.history_entries import Entry

A, B = "81.2.69.160", "93.184.216.34"
MOBILE = min(MOBILE_NETWORKS)


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


def encoded(entry: Entry) -> bytes:
    """Return an entry as the ledger keeps it."""
    return msgspec.msgpack.encode(entry)


# --- names ---


def test_pseudonyms_tell_names_apart_and_not_the_name() -> None:
    """Short, the same for the same, and other for any other."""
    names = [f"user{n}@example.net" for n in range(5_000)] + ["", "名前", "half \ud800"]
    found = [pseudonym(one) for one in names]
    assert len(set(found)) == len(names)
    assert {len(one) for one in found} == {12}
    assert not any("user" in one for one in found)
    assert all(one.isascii() and one.isalnum() for one in found)


def test_places() -> None:
    """An address, the /64 of IPv6, or all of a mobile carrier."""
    assert place_of(A, 3320) == place_of(A, None) == A
    near = {place_of(f"2a02:8108:9:7{tail}", 3320) for tail in ("::5", ":1:2:3:4", "::")}
    assert len(near) == 1
    assert near != {place_of("2a02:8108:9:8::5", 3320)}
    assert place_of("2a02:8108:9:7::5", None) in near
    carrier = {place_of(one, MOBILE) for one in (A, B, "2a02:8108:9:7::5")}
    assert carrier == {f"AS{MOBILE}"}
    assert len({place_of(A, one) for one in MOBILE_NETWORKS}) == len(MOBILE_NETWORKS)


# --- seeing and learning ---


async def test_nothing_is_known_before(ledger: SqliteLedger, clock: Clock) -> None:
    """Of an account never met."""
    history = History(ledger, clock)
    one = signals(device="d")
    await history.fetch([(A, one)])
    seen = history.seen(A, one)
    assert seen.experience == 0.3
    assert {seen.place_days, seen.network_days, seen.country_days, seen.device_days} == {
        NEVER_SEEN_DAYS
    }
    assert (seen.own_failures, seen.own_accepted, seen.failing_elsewhere) == (0, 0, 0)
    assert (seen.known_others, seen.spraying, seen.network_accounts) == (0, 0, 0)
    assert not seen.travelled
    assert history.seen(A, one) == seen, "looking is not learning"


async def test_a_success_makes_things_known(ledger: SqliteLedger, clock: Clock) -> None:
    """Today it counts for nothing yet; from tomorrow on by its days."""
    history = History(ledger, clock)
    one = signals(device="d")
    for day in range(3):
        seen = history.seen(A, one)
        known = {seen.place_days, seen.network_days, seen.country_days, seen.device_days}
        assert known == {day or NEVER_SEEN_DAYS}
        assert seen.experience == pytest.approx(0.3 + 0.1 * day)
        history.learn(A, one)
        history.learn(A, one)
        today = history.seen(A, one)
        assert {today.place_days, today.device_days} == {day}
        assert today.experience == seen.experience
        clock.time += DAY_SECONDS
    other = history.seen(B, signals(device="e", as_number=1, country="fr"))
    known = {other.place_days, other.network_days, other.country_days, other.device_days}
    assert known == {NEVER_SEEN_DAYS}
    assert other.experience == pytest.approx(0.6)


async def test_places_are_shared(ledger: SqliteLedger, clock: Clock) -> None:
    """Others count from the day after; a failure makes nobody known, an unknown end nothing."""
    history = History(ledger, clock)
    for number in range(3):
        history.learn(A, signals(f"user{number}"))
    history.learn(A, failed("eve"))
    history.learn(A, signals("who", outcome=Outcome.UNKNOWN))
    history.learn(A, signals("half", outcome=Outcome.INTERRUPTED))
    assert history.seen(A, signals()).known_others == 0
    clock.time += DAY_SECONDS
    assert history.seen(A, signals()).known_others == 3
    assert history.seen(A, signals("user0")).known_others == 2
    assert history.seen(A, signals()).network_accounts == 3
    assert history.seen(A, signals("user0")).network_accounts == 2
    assert history.seen(B, signals()).known_others == 0


async def test_failures_are_counted_once_for_an_event(ledger: SqliteLedger, clock: Clock) -> None:
    """Of the account here, of it elsewhere, and of all accounts here; for a day."""
    history = History(ledger, clock)
    for _ in range(2):
        for event in ("1", "2"):
            history.learn(A, failed(event=event))
        history.learn(A, signals(outcome=Outcome.PASSWORD_ACCEPTED, event="3"))
        history.learn(B, failed(event="4"))
    seen = history.seen(A, signals())
    assert (seen.own_failures, seen.own_accepted, seen.failing_elsewhere) == (2, 1, 1)
    for number in range(9):
        history.learn(A, failed(f"user{number}", event=f"e{number}"))
    assert history.seen(A, signals()).spraying == 10
    history.learn(A, signals("user1"))
    assert history.seen(A, signals()).spraying == 8
    clock.time += DAY_SECONDS
    seen = history.seen(A, signals())
    assert (seen.own_failures, seen.own_accepted, seen.failing_elsewhere) == (0, 0, 0)
    assert seen.spraying == 0


async def test_a_household_and_a_phone_are_one_place(ledger: SqliteLedger, clock: Clock) -> None:
    """Another address of the same place is no news."""
    history = History(ledger, clock)
    history.learn("2a02:8108:9:7::1", signals())
    history.learn(A, signals(as_number=MOBILE))
    clock.time += DAY_SECONDS
    assert history.seen("2a02:8108:9:7:8::2", signals()).place_days == 1
    assert history.seen(B, signals(as_number=MOBILE)).place_days == 1
    assert history.seen(B, signals()).place_days == NEVER_SEEN_DAYS


async def test_travel_is_seen_for_two_hours(ledger: SqliteLedger, clock: Clock) -> None:
    """From one country to another; a record without a country tells nothing."""
    history = History(ledger, clock)
    history.learn(A, signals(country="de"))
    assert history.seen(B, signals(country="fr")).travelled
    assert not history.seen(B, signals(country="de")).travelled
    assert not history.seen(B, signals(country="")).travelled
    clock.time += 7_200.0
    assert not history.seen(B, signals(country="fr")).travelled


# --- bad addresses ---


async def test_accounts_from_a_bad_address(ledger: SqliteLedger, clock: Clock) -> None:
    """Distinct, within 24 hours of the event's own time, whatever the clock says."""
    history = History(ledger, clock)
    await history.fetch_bad([A])
    moment = 1_000_000.0
    assert history.accounts_from(A, "ada", moment) == 1
    assert history.accounts_from(A, "ada", moment) == 1
    assert history.accounts_from(A, "bo", moment + DAY_SECONDS) == 2
    assert history.accounts_from(A, "eve", moment + DAY_SECONDS + 1) == 2
    assert history.accounts_from(A, "eve", moment + DAY_SECONDS + 1) == 2, "delivered again"
    assert history.accounts_from(B, "ada", moment) == 1
    await history.flush()
    again = History(ledger, clock)
    await again.fetch_bad([A])
    assert again.accounts_from(A, "eve", moment + DAY_SECONDS + 1) == 2


async def test_an_older_event_takes_nothing_back(ledger: SqliteLedger, clock: Clock) -> None:
    """The last event of an account counts, also if an older one comes after it."""
    history = History(ledger, clock)
    history.accounts_from(A, "ada", 1_000.0 + 2 * DAY_SECONDS)
    history.accounts_from(A, "ada", 1_000.0)
    assert history.accounts_from(A, "bo", 1_000.0 + 2 * DAY_SECONDS) == 2


async def test_an_event_counts_its_own_account(ledger: SqliteLedger, clock: Clock) -> None:
    """Also where a later event of the same account came first."""
    history = History(ledger, clock)
    history.accounts_from(A, "ada", 1_000.0 + 2 * DAY_SECONDS)
    assert history.accounts_from(A, "ada", 1_000.0) == 1


async def test_later_events_do_not_count(ledger: SqliteLedger, clock: Clock) -> None:
    """The 24 hours are those before the event: delivered again, it tells the same."""
    history = History(ledger, clock)
    assert history.accounts_from(A, "ada", 1_000.0) == 1
    history.accounts_from(A, "bo", 1_060.0)
    assert history.accounts_from(A, "ada", 1_000.0) == 1


async def test_a_bad_address_keeps_so_many_accounts(ledger: SqliteLedger, clock: Clock) -> None:
    """The one longest unseen gives way."""
    history = History(ledger, clock)
    for number in range(MAX_BAD_ADDRESS_ACCOUNTS + 5):
        told = history.accounts_from(A, f"user{number}", 1_000.0 + number)
        assert told == min(number + 1, MAX_BAD_ADDRESS_ACCOUNTS)


# --- joining and forgetting ---


def test_joining_is_the_same_either_way() -> None:
    """Accounts by what is later, days not added up; joined with itself, an entry stays."""
    pairs: list[tuple[str, Entry, Entry]] = [
        (
            "p|x",
            LocationEntry({"a": 5.0}, {"e": 1.0}),
            LocationEntry({"a": 3.0, "b": 4.0}, {"e": 2.0}),
        ),
        ("n|1", GroupEntry({"a": 1.0, "b": 7.0}), GroupEntry({"a": 2.0, "c": 3.0})),
        (
            "a|x",
            AccountEntry(days=3, last=9, found=2, places={"p": (9, 3)}, networks={1: (8, 1)}),
            AccountEntry(days=2, last=8, found=4, places={"p": (8, 4), "q": (7, 1)}),
        ),
    ]
    for key, one, other in pairs:
        there, back = (
            msgspec.msgpack.decode(merged(key, encoded(mine), encoded(theirs)), type=type(one))
            for mine, theirs in ((one, other), (other, one))
        )
        assert there == back
        assert merged(key, encoded(one), encoded(one)) == encoded(one)
    joined = msgspec.msgpack.decode(merged("p|x", *map(encoded, pairs[0][1:])), type=LocationEntry)
    assert joined == LocationEntry({"a": 3.0, "b": 4.0}, {"e": 2.0})
    account = msgspec.msgpack.decode(merged("a|x", *map(encoded, pairs[2][1:])), type=AccountEntry)
    assert (account.days, account.last, account.places) == (3, 9, {"p": (9, 4), "q": (7, 1)})


def test_without_an_account() -> None:
    """Its own entry goes; in others it is left out; what does not hold it is left as it is."""
    ada, bo = pseudonym("ada"), pseudonym("bo")
    revise = partial(without_account, names={ada})
    assert revise(f"a|{ada}", b"whatever") is None
    other = encoded(AccountEntry(days=1))
    assert revise(f"a|{bo}", other) is other
    for good, bad in (({ada: 1.0, bo: 2.0}, {}), ({bo: 2.0}, {ada: 1.0}), ({bo: 2.0}, {ada: 0.0})):
        assert revise(f"p|{A}", encoded(LocationEntry(good, bad))) == encoded(
            LocationEntry({bo: 2.0}, {})
        )
    assert revise("n|1", encoded(GroupEntry({ada: 0.0, bo: 1.0}))) == encoded(GroupEntry({bo: 1.0}))
    untouched = encoded(LocationEntry({bo: 2.0}, {}))
    assert revise(f"p|{A}", untouched) is untouched


def test_without_an_account_of_several_names() -> None:
    """Whichever name is given, the entries of the others go too."""
    ada, object_id, bo = pseudonym("ada"), pseudonym("0a0a"), pseudonym("bo")
    own, other = AccountEntry(names=[ada]), AccountEntry(same_as=object_id)
    for given in (ada, object_id):
        names = {given}
        revise = partial(without_account, names=names)
        for key, entry in ((f"a|{object_id}", own), (f"a|{ada}", other)):
            assert revise(key, encoded(entry)) is None
        assert names == {ada, object_id}
        assert revise("n|1", encoded(GroupEntry({object_id: 0.0, bo: 1.0}))) == encoded(
            GroupEntry({bo: 1.0})
        )


def test_without_an_address() -> None:
    """Its place and what was bad of it go, and accounts no longer tell that they were there."""
    revise = partial(without_address, address=A)
    assert revise(f"p|{A}", b"whatever") is None
    assert revise(f"b|{A}", b"whatever") is None
    there, left = AccountEntry(places={A: (1, 1), B: (2, 1)}), AccountEntry(places={B: (2, 1)})
    assert revise("a|x", encoded(there)) == encoded(left)
    untouched = encoded(left)
    assert revise("a|x", untouched) is untouched
    for key in (f"p|{B}", f"b|{A}1", "n|1"):
        body = encoded(LocationEntry() if key[0] == "p" else GroupEntry())
        assert revise(key, body) is body
    home = place_of("2a02:8108:9:7::5", None)
    of_six = partial(without_address, address="2a02:8108:9:7::5")
    assert of_six(f"p|{home}", b"whatever") is None
    assert of_six("a|x", encoded(AccountEntry(places={home: (1, 1)}))) == encoded(AccountEntry())
