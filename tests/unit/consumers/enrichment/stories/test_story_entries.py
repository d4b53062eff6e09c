"""What stories remember: bounded, merged in any order, and forgotten."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import msgspec
import pytest

from consumers.enrichment.history_entries import (
    merged,
    pseudonym,
    without_account,
    without_address,
)
from consumers.enrichment.stories.entries import (
    MAX_CROWD,
    MAX_POSITIONS,
    MAX_SESSIONS,
    MAX_TRACES,
    AccountPosition,
    AccountTraces,
    Crowd,
    SessionStart,
    Trace,
    add_period,
)
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details

NOON = datetime(2026, 5, 6, 12, tzinfo=UTC).timestamp()
A, B = "81.2.69.160", "93.184.216.34"


def trace(number: int, address: str = A) -> Trace:
    """Return a sign-in in question, a minute after the one before."""
    details = Details(
        table="SigninLogs",
        event_id=str(number),
        event_time=datetime.fromtimestamp(NOON + 60 * number, UTC),
        addresses=((address, address),),
        account="ada@example.net",
        outcome=Outcome.SUCCESS,
    )
    return Trace(address, details)


def account(seed: int) -> AccountTraces:
    """Return what one instance might know of an account."""
    dice, entry = random.Random(seed), AccountTraces()
    for _ in range(40):
        time = NOON + dice.uniform(-3, 0) * DAY_SECONDS
        network, day = f"AS{dice.randrange(5)}", int(time // DAY_SECONDS)
        entry.add_day(day)
        add_period(entry.networks, network, (day, day))
        entry.add_session(f"s{dice.randrange(12)}", SessionStart(time, network, "GB", "edg"))
        entry.add_position(AccountPosition(time, network, 50.0, 6.0, "GB"))
        entry.add_trace(trace(dice.randrange(40)))
    return entry


def test_merging_is_the_same_in_any_order() -> None:
    """Three instances write one after the other, in every order."""
    bodies = [msgspec.msgpack.encode(account(seed)) for seed in range(3)]
    results = set()
    for first, second, third in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        both = merged("s|x", bodies[first], bodies[second])
        entry = msgspec.msgpack.decode(merged("s|x", bodies[third], both), type=AccountTraces)
        results.add(
            (
                tuple(entry.days),
                tuple(sorted(entry.networks.items())),
                tuple(sorted((name, start.time) for name, start in entry.sessions.items())),
                tuple(it.key for it in entry.traces),
            )
        )
    assert len(results) == 1


def test_entries_are_bounded() -> None:
    """Whatever comes."""
    entry = AccountTraces()
    for number in range(200):
        entry.add_trace(trace(number))
        entry.add_session(f"s{number}", SessionStart(NOON + number, "AS1", "", ""))
        time = NOON + number * HOUR_SECONDS
        entry.add_position(AccountPosition(time, f"AS{number}", 1.0, 1.0, ""))
    assert len(entry.traces) == MAX_TRACES
    assert len(entry.sessions) == MAX_SESSIONS
    assert len(entry.positions) == MAX_POSITIONS
    crowd = Crowd()
    for number in range(200):
        for kind in ("right", "wrong", "strange"):
            crowd.add(f"a{number}", NOON + number, kind)
    assert {len(crowd.right), len(crowd.wrong), len(crowd.strange)} == {MAX_CROWD}
    assert "a0" in crowd.right, "the first who were right"
    assert "a199" in crowd.wrong, "the last who failed"


def test_a_sign_in_is_kept_for_two_days() -> None:
    """By the time of the latest."""
    entry = AccountTraces()
    assert entry.add_trace(trace(0))
    assert not entry.add_trace(trace(0)), "the same"
    later = trace(int(2 * DAY_SECONDS / 60) + 1)
    assert entry.add_trace(later)
    assert entry.traces == [later]
    entry.drop_traces_before(later.time + 3 * DAY_SECONDS)
    assert entry.traces == []


@pytest.mark.parametrize("key", ["s|ada", "s|other"])
def test_an_account_is_forgotten(key: str) -> None:
    """Its own entry, also under another name of it; others stay."""
    ada = pseudonym("ada@example.net")
    entry = account(1)
    entry.names = [ada] if key == "s|ada" else []
    body = msgspec.msgpack.encode(entry)
    left = without_account(key, body, {ada})
    assert left == (None if key == "s|ada" else body)
    crowd = Crowd()
    crowd.add(ada, NOON, "wrong")
    crowd.add("bo", NOON, "right")
    rest = without_account("g|network AS1", msgspec.msgpack.encode(crowd), {ada})
    assert rest is not None
    decoded = msgspec.msgpack.decode(rest, type=Crowd)
    assert (decoded.wrong, set(decoded.right)) == ({}, {"bo"})


def test_an_address_is_forgotten() -> None:
    """The crowd of its place, and sign-ins in question from it."""
    entry = AccountTraces()
    entry.add_trace(trace(1, A))
    entry.add_trace(trace(2, B))
    rest = without_address("s|x", msgspec.msgpack.encode(entry), A)
    assert rest is not None
    assert [it.address for it in msgspec.msgpack.decode(rest, type=AccountTraces).traces] == [B]
    assert without_address(f"g|place {A}", msgspec.msgpack.encode(Crowd()), A) is None
