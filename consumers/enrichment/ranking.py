"""Ranking of addresses for paid lookups: points of their sign-ins, each with a reason. Pure.

All weights are in :data:`WEIGHTS`. Ten points multiply the odds of a successful attack by e;
23 points multiply them by ten. The history (:mod:`consumers.enrichment.history`) knows what is new,
rare or shared. The score of an address is the highest event score of its sign-ins plus its latest
location score.
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, NamedTuple

from schemas.durations import HOUR_SECONDS
from schemas.events.outcomes import Outcome
from schemas.intel.address_class import HOSTING_NETWORKS, MOBILE_NETWORKS
from schemas.intel.verdicts import AddressClass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from consumers.enrichment.history import HistorySummary
    from schemas.events.ranking_signals import Signals

Part = tuple[str, float]
"""A reason and its points."""

MIN_RECHECK_SCORE = 50.0
"""Minimum score of an address for a recheck while lookups are constrained."""
MIN_RECHECK_SCORE_UNCONSTRAINED = 125.0
"""Minimum score for a recheck while all new addresses are looked up at once."""
MIN_STALE_RECHECK_SCORE = 90.0
"""Minimum score of a sign-in to recheck an old verdict of no known threat."""
STALE_VERDICT_SECONDS = 12 * HOUR_SECONDS
"""Minimum age of such a verdict."""


class Weight(NamedTuple):
    """Points of a reason, and why."""

    points: float
    why: str


WEIGHTS: dict[str, Weight] = {
    "success": Weight(60, "successful sign-in"),
    "password accepted": Weight(30, "valid password, blocked by a later check"),
    "interrupted": Weight(-60, "not signed in, and no sign of a valid password"),
    "outcome unknown": Weight(-60, "the record does not show the result of the sign-in"),
    "failure": Weight(-110, "no damage while sign-ins fail; it waits until one succeeds"),
    "risk high": Weight(35, "Entra ID rates the sign-in as high risk"),
    "risk medium": Weight(22, "Entra ID rates the sign-in as medium risk"),
    "risk low": Weight(12, "Entra ID rates the sign-in as low risk"),
    "at risk": Weight(25, "Entra ID rates the account as at risk or confirmed compromised"),
    "remediated": Weight(18, "a risk was remediated by a password change"),
    "known place": Weight(-16, "familiar location: the account succeeded here on 3 earlier days"),
    "young place": Weight(-10, "recent location: fewer days; the first may be the attacker's"),
    "new network": Weight(20, "new ASN for the account; weighs less for a new account"),
    "new country": Weight(20, "new country for the account; weighs less for a new account"),
    "settled network": Weight(-25, "established ASN: the account used it on 5 earlier days"),
    "restless account": Weight(-14, "frequent traveller: new locations mean less"),
    "travel": Weight(6, "a success from another country less than two hours ago"),
    "compliant device": Weight(-20, "managed device: a stolen password comes without it"),
    "known device": Weight(-16, "the account used this device on an earlier day"),
    "device missing": Weight(15, "the account has devices, but this sign-in shows none"),
    "shared place": Weight(-10, "shared location, such as an office: others used it for days"),
    "rare network": Weight(18, "few accounts of the tenant sign in from this ASN"),
    "hosting": Weight(10, "users rarely sign in from data centres"),
    "relay": Weight(-60, "a list counts the address to a relay that people use without choosing"),
    "own cloud": Weight(-50, "a list counts the address to a cloud that colleagues sign in from"),
    "mobile": Weight(-12, "mobile carriers change a phone's address all day"),
    "spray": Weight(6, "per account that fails here, beyond the usual number of an office"),
    "interactive at a new place": Weight(20, "a user is typing; only tokens roam with devices"),
    "legacy client": Weight(8, "a protocol without multifactor authentication"),
    "tried here before": Weight(16, "repeated attempts: guessed password or MFA fatigue"),
    "fails elsewhere": Weight(10, "the account fails at other locations on the same day"),
    "program": Weight(10, "workload identities have few, stable locations"),
    "program in a new network": Weight(6, "a new ASN means more for a workload identity"),
}
"""Points and explanation by reason; the single source of the weights."""
POINTS = {name: weight.points for name, weight in WEIGHTS.items()}
LOCATION_REASONS = frozenset(("spray",))
"""Reasons about the location; their points change as other accounts sign in from it."""
MAX_SPRAYED_ACCOUNTS = 6
MIN_COLLEAGUES_IN_CLOUD = 3
"""Other accounts that succeeded from a cloud, from which on it is the tenant's own."""
_LEGACY = (
    "imap",
    "pop",
    "smtp",
    "other clients",
    "exchange activesync",
    "mapi",
    "autodiscover",
)
_OUTCOMES = {
    Outcome.SUCCESS: "success",
    Outcome.PASSWORD_ACCEPTED: "password accepted",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.UNKNOWN: "outcome unknown",
    Outcome.FAILURE: "failure",
}
_AT_RISK = ("atrisk", "confirmedcompromised")


def score_breakdown(
    signals: Signals, history: HistorySummary, classes: Collection[AddressClass] = ()
) -> list[Part]:
    """Return the reasons for and against looking up the address of a sign-in, with points.

    *classes* are what lists say of the kind of network.
    """
    reasons = [
        (_OUTCOMES[signals.outcome], 1.0),
        *_risk(signals),
        *_location(signals, history),
        *_device(signals, history),
    ]
    reasons += [*_tenant(signals, history), *_authentication(signals, history)]
    reasons += _listed(history, classes)
    return [(name, POINTS[name] * factor) for name, factor in reasons if factor]


def _risk(signals: Signals) -> Iterator[tuple[str, float]]:
    if signals.risk_level in ("high", "medium", "low"):
        yield f"risk {signals.risk_level}", 1.0
    if signals.risk_state in _AT_RISK:
        yield "at risk", 1.0
    elif signals.risk_state == "remediated":
        yield "remediated", 1.0


def _location(signals: Signals, history: HistorySummary) -> Iterator[tuple[str, float]]:
    if history.place_days < 0:
        if history.network_days < 0:
            yield "new network", history.experience
            if not signals.person:
                yield "program in a new network", history.experience
        if signals.country and history.country_days < 0:
            yield "new country", history.experience
        yield "restless account", history.restless
        if signals.interactive:
            yield "interactive at a new place", 1.0
        if signals.person and history.travelled:
            yield "travel", 1.0
    else:
        confidence = min(history.place_days, 3) / 3
        yield "known place", confidence
        yield "young place", 1 - confidence
    if signals.person:
        yield "settled network", min(max(history.network_days, 0), 5) / 5


def _device(signals: Signals, history: HistorySummary) -> Iterator[tuple[str, float]]:
    if signals.compliant:
        yield "compliant device", 1.0
    elif signals.device:
        if history.device_days >= 1:
            yield "known device", 1.0
    elif signals.person and history.devices:
        yield "device missing", 1.0


def _tenant(signals: Signals, history: HistorySummary) -> Iterator[tuple[str, float]]:
    hosting = signals.as_number in HOSTING_NETWORKS
    if not hosting:
        yield "shared place", min(history.known_others, 3) / 3
    yield "spray", min(history.spraying, MAX_SPRAYED_ACCOUNTS)
    if signals.as_number:
        yield "rare network", max(0.0, 5 - log2(1 + history.network_accounts)) / 5
        if hosting and signals.person:
            yield "hosting", 1.0
        elif signals.as_number in MOBILE_NETWORKS:
            yield "mobile", 1.0


def _listed(
    history: HistorySummary, classes: Collection[AddressClass]
) -> Iterator[tuple[str, float]]:
    if AddressClass.RELAY in classes:
        yield "relay", 1.0
    elif AddressClass.HOSTING in classes and history.network_accounts >= MIN_COLLEAGUES_IN_CLOUD:
        yield "own cloud", 1.0


def _authentication(signals: Signals, history: HistorySummary) -> Iterator[tuple[str, float]]:
    authenticated = signals.outcome in (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)
    if (
        authenticated
        and history.place_days <= 0
        and max(history.own_failures, history.own_accepted) > 1
    ):
        yield "tried here before", 1.0
    yield "fails elsewhere", min(history.failing_elsewhere, 3) / 3
    if any(protocol in signals.client for protocol in _LEGACY):
        yield "legacy client", 1.0
    if not signals.person:
        yield "program", 1.0


def total_points(parts: Iterable[Part]) -> tuple[float, float]:
    """Return the event score and the location score."""
    event_score = location_score = 0.0
    for name, points in parts:
        if name in LOCATION_REASONS:
            location_score += points
        else:
            event_score += points
    return event_score, location_score
