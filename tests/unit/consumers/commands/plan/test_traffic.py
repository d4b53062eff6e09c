"""What a plan counts, and which own egress it suggests, on figures that are known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from consumers.commands.plan.egress import Egress
from consumers.commands.plan.traffic import (
    NO_WAIT_SECONDS,
    SIGN_IN_KINDS,
    Arrival,
    PlanCoverage,
    Traffic,
)
from schemas.durations import DAY_SECONDS, MINUTE_SECONDS
from schemas.events.addresses import Networks
from schemas.events.decode import Decoder
from schemas.events.ranking_signals import signals_of
from schemas.events.tables import load_tables
from schemas.intel.verdicts import Reputation, Unanswered, Verdict, WhyUnanswered
from tests.support.sign_ins import address, message, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.events.sign_in import SignIn

NOW = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
WEEK = 7 * DAY_SECONDS
HERE, THERE = address(1), address(2)
HOME = "2a02:a45f:91c3:1::77e1"
_DECODER = Decoder(load_tables(None))


def signins(*records: dict[str, Any]) -> Sequence[SignIn]:
    """Return records as sign-ins."""
    decoded = _DECODER.decode(message(*records))
    assert len(decoded.signins) == len(records)
    return decoded.signins


def came(where: str, moment: float, times: int = 1, *, risky: int = 0) -> Arrival:
    """Return successes that came from an address."""
    return Arrival(where, moment, (times, times, 0, risky, 0))


def knows(expires: float = NOW + WEEK) -> Verdict:
    """Return an answer."""
    return Verdict(reputation=Reputation.UNKNOWN, source="plan", time=NOW, expires=expires)


def coverage(quota: int = 120) -> PlanCoverage:
    """Return the coverage of a plan; sign-ins may wait for a day."""
    return PlanCoverage(quota, waiting_limit=DAY_SECONDS)


def figures(one: PlanCoverage, kind: str = "all") -> tuple[int, int, int]:
    """Return how many came, were answered, and still wait."""
    counted = one.kinds[SIGN_IN_KINDS.index(kind)]
    return counted.of, counted.answered, counted.waiting


# --- what is answered, and when ---


def test_an_answer_counts_for_who_waits_and_for_who_comes_while_it_lasts() -> None:
    """At once within minutes, late within a day; and not a second longer than the answer lasts."""
    one = coverage()
    one.arrive([came(HERE, NOW, 2), came(HERE, NOW + 3 * 3_600, 5, risky=1)], NOW)
    one.record_verdicts({HERE: knows()}, NOW + 3 * 3_600 + NO_WAIT_SECONDS)
    one.arrive([came(HERE, NOW + WEEK - MINUTE_SECONDS, 7), came(HERE, NOW + WEEK, 11)], NOW)
    waited = one.kinds[0].waited
    assert waited == {0: 12, 186: 2}
    assert figures(one) == (25, 14, 0)
    assert figures(one, "risky") == (1, 1, 0)
    one.end(NOW + WEEK + 60)
    assert figures(one) == (25, 14, 11)


def test_the_order_within_a_batch_does_not_matter() -> None:
    """All of a batch is counted before it is asked about: what is yet to come has not waited."""
    one = coverage()
    one.arrive([came(HERE, NOW), came(HERE, NOW + DAY_SECONDS), came(HERE, NOW + 2 * WEEK)], NOW)
    one.record_verdicts({HERE: knows()}, NOW)
    assert one.kinds[0].waited == {0: 2}
    one.record_verdicts({HERE: knows(NOW + 3 * WEEK)}, NOW + 2 * WEEK)
    assert one.kinds[0].waited == {0: 3}


def test_who_waited_for_longer_than_a_day_is_given_up() -> None:
    """Whether the address is answered in the end, or never; who still waits is told apart."""
    one = coverage()
    one.arrive([came(HERE, NOW), came(HERE, NOW + DAY_SECONDS)], NOW)
    one.record_verdicts({HERE: knows()}, NOW + DAY_SECONDS + 10 * MINUTE_SECONDS)
    one.arrive([came(THERE, NOW), came(THERE, NOW + DAY_SECONDS)], NOW)
    one.arrive([came(THERE, NOW + 3 * DAY_SECONDS)], NOW + 3 * DAY_SECONDS)
    one.end(NOW + 3 * DAY_SECONDS + MINUTE_SECONDS)
    assert figures(one) == (5, 1, 1)


def test_what_is_given_up_is_not_kept() -> None:
    """An address that everybody uses and that is never answered costs no memory for ever."""
    one = coverage()
    for minute in range(0, 3 * 24 * 60, 10):
        one.arrive([came(HERE, NOW + minute * MINUTE_SECONDS)], NOW + minute * MINUTE_SECONDS)
    assert len(one._waiting[HERE]) <= 24 * 6 + 1


def test_only_answers_answer() -> None:
    """A reason why there is none is none."""
    one = coverage()
    one.arrive([came(HERE, NOW), came(THERE, NOW)], NOW)
    quota = Unanswered(why=WhyUnanswered.QUOTA, expires=0)
    one.record_verdicts({HERE: quota, THERE: knows()}, NOW)
    assert (figures(one), one.addresses) == ((2, 1, 0), 1)


def test_waits_are_those_within_which_a_share_was_answered() -> None:
    """The median and the 95th percentile are waits that occurred."""
    one = coverage()
    for number, minutes in enumerate([0] * 50 + [10] * 44 + [60] * 5 + [600]):
        one.arrive([came(address(number), NOW)], NOW)
        one.record_verdicts({address(number): knows()}, NOW + minutes * MINUTE_SECONDS)
    assert [one.kinds[0].wait(share) for share in (0.5, 0.51, 0.94, 0.95, 1)] == [
        *(0, 10, 10, 60, 600)
    ]
    assert coverage().kinds[0].wait(0.5) is None


# --- the traffic ---


def test_the_traffic_is_counted_by_kind() -> None:
    """Risky by level or state; new when the account succeeds from a place for the first time."""
    traffic = Traffic(Networks([]), WEEK)
    compliant = {"DeviceDetail": {"isCompliant": True, "deviceId": "d"}}
    traffic.take(
        NOW,
        signins(
            row(HERE),
            row(HERE),
            row(HERE, "bob@example.net"),
            row(HERE, "cy@example.net", **compliant),
            row(THERE, RiskLevelDuringSignIn="low"),
            row(THERE, ResultType="50126", RiskState="atRisk"),
            row(THERE, ResultType="50126", RiskLevelDuringSignIn="none"),
            row(THERE, ResultType="50074", RiskState="confirmedCompromised"),
            row(HOME, "bob@example.net", RiskLevelDuringSignIn="hidden"),
        ),
    )
    assert dict(zip(SIGN_IN_KINDS, traffic.signins, strict=True)) == {
        "all": 9,
        "successful": 6,
        "new": 4,
        "risky": 3,
        "risky_let_in": 2,
    }
    assert (traffic.addresses, traffic.egress.accounts) == (3, 3)
    assert sum(one.signins[0] for one in traffic.arrivals()) == 9
    assert traffic.arrivals() == []


def test_lookups_are_wanted_as_often_as_answers_end() -> None:
    """Each address again after a week; and a month is extrapolated from the days that there are."""
    traffic = Traffic(Networks([]), WEEK)
    traffic.take(NOW, signins(row(HERE)))
    assert traffic.lookups_wanted_a_month is None
    for day in (1, 6.9, 7, 10):
        traffic.take(NOW + day * DAY_SECONDS, signins(row(HERE)))
    traffic.take(NOW + 10 * DAY_SECONDS, signins(row(THERE)))
    assert (traffic.lookups_wanted, traffic.days) == (3, 10)
    assert traffic.lookups_wanted_a_month == 9


def test_own_networks_need_no_answer() -> None:
    """They are counted apart, as no lookup is spent on them."""
    traffic = Traffic(Networks([f"{HERE}/32"]), WEEK)
    traffic.take(NOW, signins(row(HERE), row(THERE)))
    assert (traffic.own_network, traffic.signins[0], traffic.lookups_wanted) == (1, 1, 1)


# --- own egress ---


def office(where: str, *, accounts: int = 10, days: int = 5, **more: Any) -> Egress:
    """Return what is known when people work somewhere; the recording has ten days."""
    egress = Egress()
    work(egress, where, accounts, days, **more)
    for day in range(10):
        (signin,) = signins(row("9.9.9.9", "x@example.net"))
        egress.take("9.9.9.9", signals_of(signin), risky=False, day=day)
    return egress


def work(
    egress: Egress,
    where: str,
    accounts: int,
    days: int,
    *,
    failing: int = 0,
    compliant: bool = True,
    risky: bool = False,
    network: int = 3320,
    person: bool = True,
) -> None:
    """Let people sign in."""
    device = {"DeviceDetail": {"isCompliant": compliant}, "AutonomousSystemNumber": network}
    for day in range(days):
        for number in range(accounts + failing):
            result = "0" if number < accounts else "50126"
            account = f"p{number}@example.net"
            (signin,) = signins(row(where, account, ResultType=result, **device))
            signals = replace(signals_of(signin), person=person)
            egress.take(where, signals, risky=risky and number == 0, day=day)


def test_an_office_is_suggested() -> None:
    """With what it rests on."""
    (one,) = office(HERE).candidates()
    assert (one.network, one.accounts, one.days, one.signins) == (f"{HERE}/32", 10, 5, 50)
    assert one.why == (
        "10 accounts signed in from it on 5 days (AS3320); 0.0% of 50 sign-ins failed, and 100% "
        "of the successful ones came from compliant devices"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"accounts": 4},
        {"days": 3},
        {"failing": 2},
        {"compliant": False},
        {"risky": True},
        {"network": 16509},
        {"network": 12576},
        {"person": False},
    ],
    ids=str,
)
def test_what_does_not_look_like_an_office_in_every_respect_is_not(more: dict[str, Any]) -> None:
    """Few accounts, few days, failures, other devices, risk, a cloud, a carrier, programs."""
    assert office(HERE, **more).candidates() == []


def test_neighbours_are_joined_and_nothing_else_is_added() -> None:
    """A network holds no address that was not seen; IPv6 counts by /64."""
    egress = office(address(4))
    for where in (address(5), address(6), "2a02:a45f:91c3:1::77e1"):
        work(egress, where, 10, 5)
    work(egress, "2a02:a45f:91c3:1::77e2", 5, 5)
    assert sorted(one.network for one in egress.candidates()) == [
        "2a02:a45f:91c3:1::/64",
        f"{address(4)}/31",
        f"{address(6)}/32",
    ]
    assert next(one for one in egress.candidates() if "::" in one.network).signins == 75
