"""How much an address deserves a question: the points of its sign-ins, each with its reason. Pure.

:data:`POINTS` is the one place for the weights. Ten points are about one nat of evidence: 23 make
it ten times as likely that somebody bad has got in. What is new, rare or shared is told by the
history (:mod:`consumers.history`). The score of an address is the most that one of its sign-ins
says itself, and what is known last of its place.
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

from schemas.networks import HOSTING_NETWORKS, MOBILE_NETWORKS
from schemas.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from consumers.history import Seen
    from schemas.signals import Signals

Part = tuple[str, float]
"""One reason, and the points that it is worth."""

HOUR = 3_600.0
AGAIN: tuple[tuple[float, float], ...] = ((3 * HOUR, 50.0), (8 * HOUR, 35.0), (22.5 * HOUR, 12.0))
"""When an address of which nothing was known is asked about again, in seconds since it was first
asked, and the points that it then lacks against one that was never asked about. Lists learn of an
attack within hours, and its sign-ins wait for a day: so the last question is the cheapest."""
AGAIN_FROM = 50.0
"""The score from which an address is asked about again at all while lookups are scarce."""
AGAIN_AT_EASE = 125.0
"""The same while everything new is asked about at once."""
REOPENED_FROM = 90.0
"""The score of a sign-in for which an old answer that nothing is known is not good enough."""
REOPENED_AFTER = 12 * HOUR
"""How old such an answer is at least."""

POINTS: dict[str, float] = {
    # How far it got: nothing is lost while nobody got in, and it waits until somebody does.
    "success": 60,
    "password accepted": 30,
    "interrupted": -60,
    "outcome not told": -60,
    "failure": -110,
    # What Entra ID itself thinks, by its levels.
    "risk high": 35,
    "risk medium": 22,
    "risk low": 12,
    "at risk": 25,
    "remediated": 18,
    # Places: three earlier days make one known; a first success of an attacker does not.
    "known place": -16,
    "young place": -10,
    "new network": 20,
    "new country": 20,
    "settled network": -25,
    "restless account": -14,  # somebody who is always elsewhere: new places tell less
    "travel": 6,
    # Devices: a stolen password comes without one.
    "compliant device": -20,
    "known device": -16,
    "device missing": 15,
    # Others: an office is shared; a rented server or a rare network is not. That others use an
    # exit of a hosting network soothes nobody.
    "shared place": -10,
    "rare network": 18,
    "hosting": 10,
    "mobile": -12,  # carriers change a phone's address all day
    "spray": 6,  # for each account that fails there, beyond what an office would
    # How it was done.
    "interactive at a new place": 20,
    "legacy client": 8,  # knows no second factor
    "tried here before": 16,  # guessing, or tiring somebody out with prompts
    "fails elsewhere": 10,
    # Programs have few places, and keep them.
    "program": 10,
    "program in a new network": 6,
}
OF_PLACE = frozenset(("spray",))
"""Reasons that speak of the place, and change as others sign in from it."""
MOST_SPRAYED = 6
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


def parts_of(one: Signals, seen: Seen) -> list[Part]:
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


def _place(one: Signals, seen: Seen) -> Iterator[tuple[str, float]]:
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


def _device(one: Signals, seen: Seen) -> Iterator[tuple[str, float]]:
    if one.compliant:
        yield "compliant device", 1.0
    elif one.device:
        if seen.device_days >= 1:
            yield "known device", 1.0
    elif one.person and seen.devices:
        yield "device missing", 1.0


def _others(one: Signals, seen: Seen) -> Iterator[tuple[str, float]]:
    hosting = one.as_number in HOSTING_NETWORKS
    if not hosting:
        yield "shared place", min(seen.known_others, 3) / 3
    yield "spray", min(seen.spraying, MOST_SPRAYED)
    if one.as_number:
        yield "rare network", max(0.0, 5 - log2(1 + seen.network_accounts)) / 5
        if hosting and one.person:
            yield "hosting", 1.0
        elif one.as_number in MOBILE_NETWORKS:
            yield "mobile", 1.0


def _manner(one: Signals, seen: Seen) -> Iterator[tuple[str, float]]:
    got_in = one.outcome in (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)
    if got_in and seen.place_days <= 0 and max(seen.own_failures, seen.own_accepted) > 1:
        yield "tried here before", 1.0
    yield "fails elsewhere", min(seen.failing_elsewhere, 3) / 3
    if any(word in one.client for word in _LEGACY):
        yield "legacy client", 1.0
    if not one.person:
        yield "program", 1.0


def points_of(parts: Iterable[Part]) -> tuple[float, float]:
    """Return the sums of what speaks of the sign-in itself and of what speaks of the place."""
    own = place = 0.0
    for name, points in parts:
        if name in OF_PLACE:
            place += points
        else:
            own += points
    return own, place


def lacking(first_asked: float | None, now: float) -> float:
    """Return the points that an address lacks at the time *now* because it was asked before."""
    if first_asked is None:
        return 0.0
    passed = [points for after, points in AGAIN if now - first_asked >= after]
    return passed[-1] if passed else AGAIN[0][1]


def asked_again(first_asked: float, now: float) -> float | None:
    """Return when an address that was first asked about then is to be asked about again."""
    return next((first_asked + after for after, _ in AGAIN if first_asked + after > now), None)
