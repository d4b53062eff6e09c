"""How much an address deserves a question: the points of its sign-ins, each with its reason. Pure.

:data:`WEIGHTS` is the one place for the weights. Ten points are about one nat of evidence: 23 make
it ten times as likely that somebody bad has got in. What is new, rare or shared is told by the
history (:mod:`consumers.enrichment.history`). The score of an address is the most that one of its
sign-ins says itself, and what is known last of its place.
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, NamedTuple

from schemas.durations import HOUR_SECONDS
from schemas.events.outcomes import Outcome
from schemas.intel.address_class import HOSTING_NETWORKS, MOBILE_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from consumers.enrichment.history import HistorySummary
    from schemas.events.ranking_signals import Signals

Part = tuple[str, float]
"""One reason, and the points that it is worth."""

RECHECKS: tuple[tuple[float, float], ...] = (
    (3 * HOUR_SECONDS, 50.0),
    (8 * HOUR_SECONDS, 35.0),
    (22.5 * HOUR_SECONDS, 12.0),
)
"""When an address of which nothing was known is asked about again, in seconds since it was first
asked, and the points that it then lacks against one that was never asked about. Lists learn of an
attack within hours, and its sign-ins wait for a day: so the last question is the cheapest."""
MIN_RECHECK_SCORE = 50.0
"""The score from which an address is asked about again at all while lookups are scarce."""
MIN_RECHECK_SCORE_UNCONSTRAINED = 125.0
"""The same while everything new is asked about at once."""
MIN_STALE_RECHECK_SCORE = 90.0
"""The score of a sign-in for which an old answer that nothing is known is not good enough."""
STALE_VERDICT_SECONDS = 12 * HOUR_SECONDS
"""How old such an answer is at least."""


class Weight(NamedTuple):
    """What a reason is worth, and why."""

    points: float
    why: str


WEIGHTS: dict[str, Weight] = {
    "success": Weight(60, "somebody got in"),
    "password accepted": Weight(30, "somebody has the password, and was stopped later"),
    "interrupted": Weight(-60, "nobody got in, and nothing tells of a password"),
    "outcome not told": Weight(-60, "the record does not tell whether anybody got in"),
    "failure": Weight(-110, "nothing is lost while nobody got in; it waits until somebody does"),
    "risk high": Weight(35, "Entra ID's own level for the sign-in"),
    "risk medium": Weight(22, "the same"),
    "risk low": Weight(12, "the same"),
    "at risk": Weight(25, "Entra ID holds the account for at risk, or knows that it is taken"),
    "remediated": Weight(18, "there was a risk, and the password was changed for it"),
    "known place": Weight(-16, "the account has succeeded here on three earlier days"),
    "young place": Weight(-10, "it has on fewer: a first success may be the attacker's own"),
    "new network": Weight(20, "the account never succeeded from this AS; less sure for a newcomer"),
    "new country": Weight(20, "nor from this country"),
    "settled network": Weight(-25, "it has used this AS on five earlier days"),
    "restless account": Weight(-14, "somebody who is elsewhere every day: new places tell less"),
    "travel": Weight(6, "a success from another country less than two hours ago"),
    "compliant device": Weight(-20, "a managed device: a stolen password comes without one"),
    "known device": Weight(-16, "a device that the account has used on an earlier day"),
    "device missing": Weight(15, "the account has devices, and this sign-in comes without"),
    "shared place": Weight(-10, "others have signed in here for days: an office, a campus"),
    "rare network": Weight(18, "hardly anybody of the tenant signs in from this AS"),
    "hosting": Weight(10, "people do not live in data centres"),
    "mobile": Weight(-12, "carriers change a phone's address all day"),
    "spray": Weight(6, "for each account that fails here, beyond what an office would"),
    "interactive at a new place": Weight(
        20, "somebody types there; tokens alone roam with devices"
    ),
    "legacy client": Weight(8, "a protocol that knows no second factor"),
    "tried here before": Weight(16, "guessed, or prompted until somebody gave in"),
    "fails elsewhere": Weight(10, "the account fails from other places on the same day"),
    "program": Weight(10, "programs have few places, and keep them"),
    "program in a new network": Weight(6, "so a new one tells more than for people"),
}
"""The one place for the weights."""
POINTS = {name: weight.points for name, weight in WEIGHTS.items()}
LOCATION_REASONS = frozenset(("spray",))
"""Reasons that speak of the place, and change as others sign in from it."""
MAX_SPRAY_POINTS = 6
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
    Outcome.UNKNOWN: "outcome not told",
    Outcome.FAILURE: "failure",
}
_AT_RISK = ("atrisk", "confirmedcompromised")


def score_breakdown(one: Signals, seen: HistorySummary) -> list[Part]:
    """Return the reasons for and against a question about the address of a sign-in."""
    reasons = [(_OUTCOMES[one.outcome], 1.0), *_risk(one), *_place(one, seen), *_device(one, seen)]
    reasons += [*_others(one, seen), *_manner(one, seen)]
    return [(name, POINTS[name] * times) for name, times in reasons if times]


def _risk(one: Signals) -> Iterator[tuple[str, float]]:
    if one.risk_level in ("high", "medium", "low"):
        yield f"risk {one.risk_level}", 1.0
    if one.risk_state in _AT_RISK:
        yield "at risk", 1.0
    elif one.risk_state == "remediated":
        yield "remediated", 1.0


def _place(one: Signals, seen: HistorySummary) -> Iterator[tuple[str, float]]:
    if seen.place_days < 0:
        if seen.network_days < 0:
            yield "new network", seen.experience
            if not one.person:
                yield "program in a new network", seen.experience
        if one.country and seen.country_days < 0:
            yield "new country", seen.experience
        yield "restless account", seen.restless
        if one.interactive:
            yield "interactive at a new place", 1.0
        if one.person and seen.travelled:
            yield "travel", 1.0
    else:
        sure = min(seen.place_days, 3) / 3
        yield "known place", sure
        yield "young place", 1 - sure
    if one.person:
        yield "settled network", min(max(seen.network_days, 0), 5) / 5


def _device(one: Signals, seen: HistorySummary) -> Iterator[tuple[str, float]]:
    if one.compliant:
        yield "compliant device", 1.0
    elif one.device:
        if seen.device_days >= 1:
            yield "known device", 1.0
    elif one.person and seen.devices:
        yield "device missing", 1.0


def _others(one: Signals, seen: HistorySummary) -> Iterator[tuple[str, float]]:
    hosting = one.as_number in HOSTING_NETWORKS
    if not hosting:
        yield "shared place", min(seen.known_others, 3) / 3
    yield "spray", min(seen.spraying, MAX_SPRAY_POINTS)
    if one.as_number:
        yield "rare network", max(0.0, 5 - log2(1 + seen.network_accounts)) / 5
        if hosting and one.person:
            yield "hosting", 1.0
        elif one.as_number in MOBILE_NETWORKS:
            yield "mobile", 1.0


def _manner(one: Signals, seen: HistorySummary) -> Iterator[tuple[str, float]]:
    got_in = one.outcome in (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)
    if got_in and seen.place_days <= 0 and max(seen.own_failures, seen.own_accepted) > 1:
        yield "tried here before", 1.0
    yield "fails elsewhere", min(seen.failing_elsewhere, 3) / 3
    if any(word in one.client for word in _LEGACY):
        yield "legacy client", 1.0
    if not one.person:
        yield "program", 1.0


def total_points(parts: Iterable[Part]) -> tuple[float, float]:
    """Return the sums of what speaks of the sign-in itself and of what speaks of the place."""
    own = place = 0.0
    for name, points in parts:
        if name in LOCATION_REASONS:
            place += points
        else:
            own += points
    return own, place


def recheck_penalty(first_asked: float | None, now: float) -> float:
    """Return the points that an address lacks at the time *now* because it was asked before."""
    if first_asked is None:
        return 0.0
    passed = [points for after, points in RECHECKS if now - first_asked >= after]
    return passed[-1] if passed else RECHECKS[0][1]


def next_recheck(first_asked: float, now: float) -> float | None:
    """Return when an address that was first asked about then is to be asked about again."""
    return next((first_asked + after for after, _ in RECHECKS if first_asked + after > now), None)
