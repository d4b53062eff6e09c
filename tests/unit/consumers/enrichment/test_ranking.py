"""The ranking: what a sign-in says for a question about its address, and why."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from consumers.enrichment.history import NEVER_SEEN_DAYS, HistorySummary
from consumers.enrichment.ranking import (
    POINTS,
    score_breakdown,
    total_points,
)
from consumers.ledger.rechecks import RECHECKS, next_recheck, recheck_penalty
from schemas.events.outcomes import Outcome
from schemas.events.ranking_signals import Signals
from schemas.intel.verdicts import AddressClass

PLAIN = Signals(
    account="ada@example.net",
    outcome=Outcome.SUCCESS,
    person=True,
    interactive=False,
    risk_level="none",
    risk_state="none",
    device="",
    compliant=None,
    as_number=3320,
    country="DE",
    client="browser",
    event="1",
)
AT_HOME = HistorySummary(
    experience=1.0,
    place_days=3,
    network_days=5,
    country_days=9,
    device_days=NEVER_SEEN_DAYS,
    devices=0,
    restless=0.0,
    travelled=False,
    own_failures=0,
    own_accepted=0,
    failing_elsewhere=0,
    known_others=0,
    spraying=0,
    network_accounts=31,
)
ABROAD = AT_HOME._replace(
    place_days=NEVER_SEEN_DAYS, network_days=NEVER_SEEN_DAYS, country_days=NEVER_SEEN_DAYS
)


def _score(one: Signals, seen: HistorySummary) -> float:
    return sum(total_points(score_breakdown(one, seen)))


def _signals(**changes: Any) -> Signals:
    return replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({}, ABROAD),
        ({}, AT_HOME._replace(place_days=0)),
        ({}, AT_HOME._replace(network_accounts=0)),
        ({}, AT_HOME._replace(devices=1)),
        ({}, AT_HOME._replace(spraying=3)),
        ({}, AT_HOME._replace(failing_elsewhere=2)),
        ({"risk_level": "low"}, AT_HOME),
        ({"risk_level": "medium"}, AT_HOME),
        ({"risk_level": "high"}, AT_HOME),
        ({"risk_state": "atrisk"}, AT_HOME),
        ({"risk_state": "confirmedcompromised"}, AT_HOME),
        ({"client": "imap4"}, AT_HOME),
        ({"as_number": 16276}, AT_HOME),
        ({}, AT_HOME._replace(place_days=0, own_failures=2)),
    ],
)
def test_what_speaks_for_a_question(changes: dict[str, Any], seen: HistorySummary) -> None:
    """Anything odd lets an address rank above the same sign-in from home."""
    assert _score(_signals(**changes), seen) > _score(PLAIN, AT_HOME)


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"outcome": Outcome.PASSWORD_ACCEPTED}, ABROAD),
        ({"compliant": True, "device": "d"}, ABROAD),
        ({"device": "d"}, ABROAD._replace(device_days=1)),
        ({}, ABROAD._replace(experience=0.3)),
        ({}, ABROAD._replace(known_others=3)),
        ({}, ABROAD._replace(restless=1.0)),
        ({"as_number": 20057}, ABROAD),
    ],
)
def test_what_speaks_against_it(changes: dict[str, Any], seen: HistorySummary) -> None:
    """Anything that soothes lets it rank below the same sign-in without it."""
    assert _score(_signals(**changes), seen) < _score(PLAIN, ABROAD)


def test_where_nobody_got_in_waits_until_somebody_does() -> None:
    """No failure, however odd, comes before a success from home."""
    worst = _signals(outcome=Outcome.FAILURE, risk_level="high", risk_state="atrisk")
    assert _score(worst, ABROAD) < _score(PLAIN, ABROAD)
    ordered = [Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED, Outcome.INTERRUPTED, Outcome.FAILURE]
    scores = [_score(_signals(outcome=one), ABROAD) for one in ordered]
    assert scores == sorted(scores, reverse=True)


def test_the_first_success_makes_no_place_known() -> None:
    """Three earlier days do; until then each soothes a little more."""
    days = [_score(PLAIN, AT_HOME._replace(place_days=days)) for days in (0, 1, 2, 3, 9)]
    assert days == sorted(days, reverse=True)
    assert days[3] == days[4] < days[0]


def test_every_reason_has_points_and_every_point_a_reason() -> None:
    """The table of points is what can be explained, no more and no less."""
    seen_all: set[str] = set()
    for outcome in Outcome:
        for level in ("low", "medium", "high"):
            for state in ("atrisk", "remediated"):
                for person in (True, False):
                    for number in (16276, 20057):
                        for seen in (AT_HOME, ABROAD, AT_HOME._replace(place_days=1)):
                            told = seen._replace(
                                restless=0.5,
                                travelled=True,
                                own_failures=3,
                                failing_elsewhere=1,
                                known_others=1,
                                spraying=1,
                                network_accounts=1,
                                devices=1,
                                device_days=2,
                            )
                            for device, compliant in (("", None), ("d", None), ("d", True)):
                                one = _signals(
                                    outcome=outcome,
                                    risk_level=level,
                                    risk_state=state,
                                    person=person,
                                    as_number=number,
                                    device=device,
                                    compliant=compliant,
                                    interactive=True,
                                    client="pop3",
                                )
                                seen_all |= {name for name, _ in score_breakdown(one, told)}
    assert seen_all == set(POINTS) - {"relay", "own cloud"}, "those are said by lists"


def test_asking_again_becomes_cheaper() -> None:
    """The later it is asked again, the less it lacks; and three times are enough."""
    costs = [recheck_penalty(0.0, after) for after, _ in RECHECKS]
    assert recheck_penalty(None, 9e9) == 0.0
    assert costs == sorted(costs, reverse=True)
    moments = [after for after, _ in RECHECKS]
    assert [next_recheck(0.0, one) for one in (0.0, *moments)] == [*moments, None]


def test_relays_and_the_tenant_s_own_clouds_are_looked_up_last() -> None:
    """A stranger's cloud is not: attackers rent there."""
    usual = _score(PLAIN, ABROAD)
    assert sum(total_points(score_breakdown(PLAIN, ABROAD, {AddressClass.RELAY}))) < usual - 50
    own = score_breakdown(PLAIN, ABROAD, {AddressClass.HOSTING})
    assert "own cloud" in dict(own)
    strange = score_breakdown(PLAIN, ABROAD._replace(network_accounts=2), {AddressClass.HOSTING})
    assert "own cloud" not in dict(strange)
