"""What a plan tells: the recommendation and its rule, what it rests on, and its figures. Pure.

The rule is :data:`ENOUGH_SHARE`. Sign-ins that deserve a lookup are those that Entra ID suspects
and whose password was right, and successes from a location that is new to the account by a device
that is not known to be compliant: an account takeover is among them. Other successes come from
where the account signs in every day, and a failure does no harm yet. The ranking lets both wait,
and no quota should be bought for them. Even of the former not all are required: most new locations
are homes and journeys, and most risk of users who are let in is a false alarm at a known location,
which Entra ID shows by itself. The ranking looks up the more striking ones first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consumers.commands.plan.traffic import MONTH_DAYS, PLANS, SIGN_IN_KINDS, needed
from schemas.events.times import iso

if TYPE_CHECKING:
    from consumers.commands.plan.traffic import AnsweredCount, PlanCoverage, TrafficPlan

FREE_PLAN = PLANS[0]
ENOUGH_SHARE = {"risky_let_in": 0.80, "new": 0.50}
"""The least share, by kind of sign-in, that a plan must answer to be recommended. A kind that the
recording has none of asks for nothing."""
_LIFETIME_DAYS = 7


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One plan, in words and as shares to draw."""

    plan: str
    lookups: str
    addresses: str
    shares: dict[str, float | None]
    percents: dict[str, str]
    waits: dict[str, str]
    """Median and 95th percentile by kind of sign-in."""
    recommended: bool
    note: str


def recommended(planned: TrafficPlan) -> PlanCoverage | None:
    """Return the smallest plan that answers what deserves it; None where none does."""
    if not planned.traffic.signins[0]:
        return None
    return next(filter(_enough, planned.coverages), None)


def _enough(one: PlanCoverage) -> bool:
    shares = {kind: _of(one, kind).share for kind in ENOUGH_SHARE}
    return all(share is None or share >= ENOUGH_SHARE[kind] for kind, share in shares.items())


def _of(one: PlanCoverage, kind: str) -> AnsweredCount:
    return one.kinds[SIGN_IN_KINDS.index(kind)]


def sentence(planned: TrafficPlan) -> str:
    """Recommend a plan, in one sentence."""
    if not planned.traffic.signins[0]:
        return "There is no sign-in to plan for."
    best = recommended(planned)
    if best is None:
        widest = planned.coverages[-1]
        wanted = ", ".join(f"{least:.0%} of {_NAMES[kind]}" for kind, least in ENOUGH_SHARE.items())
        return (
            f"No plan is enough for this traffic, as even {widest.lookups_a_month:,} lookups a "
            f"month answer {_reached(widest)} (wanted: {wanted})."
        )
    if best.lookups_a_month == FREE_PLAN:
        return (
            f"The free plan of {FREE_PLAN} lookups a month is enough for this traffic: it answers "
            f"{_reached(best)}."
        )
    return (
        f"Take the plan of {best.lookups_a_month:,} lookups a month, the smallest that is enough "
        f"for this traffic: it answers {_reached(best)}."
    )


_NAMES = {
    "risky_let_in": "the risky sign-ins with the right password",
    "new": "the successful ones from new places",
}


def _reached(one: PlanCoverage) -> str:
    told = [
        f"{percent(_of(one, kind).share)} of {name}"
        for kind, name in _NAMES.items()
        if _of(one, kind).of
    ]
    return " and ".join(told) or f"{percent(_of(one, 'all').share)} of all sign-ins"


def rows(planned: TrafficPlan) -> list[PlanRow]:
    """Return one row for each plan, narrow ones first."""
    best = recommended(planned)
    total = planned.traffic.addresses
    found = []
    for one, narrower in needed(planned.coverages):
        share = one.addresses / total if total else None
        notes = ["recommended"] if one is best else []
        if narrower is not None:
            notes.append(f"no better than {narrower:,}: all at once")
        found.append(
            PlanRow(
                plan=f"{one.lookups_a_month:,}",
                lookups=f"{one.lookups:,}",
                addresses=f"{one.addresses:,} ({percent(share)})",
                shares={kind: _of(one, kind).share for kind in SIGN_IN_KINDS},
                percents={kind: percent(_of(one, kind).share) for kind in SIGN_IN_KINDS},
                waits={kind: waits(_of(one, kind)) for kind in SIGN_IN_KINDS},
                recommended=one is best,
                note="; ".join(notes),
            )
        )
    return found


def percent(share: float | None) -> str:
    """Return a share in words. Rounded down: 100% means all."""
    return "-" if share is None else f"{math.floor(share * 1_000 + 1e-9) / 10:.1f}%"


def waits(one: AnsweredCount) -> str:
    """Return how long the answered ones waited: the median and the 95th percentile."""
    median, most = one.wait(0.5), one.wait(0.95)
    return "-" if median is None or most is None else f"{duration(median)} / {duration(most)}"


def duration(minutes: int) -> str:
    """Return minutes in words."""
    if minutes < 1:
        return "0"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def overview(planned: TrafficPlan) -> list[tuple[str, str]]:
    """Return the figures of the traffic, each with its name."""
    traffic = planned.traffic
    of = dict(zip(SIGN_IN_KINDS, traffic.signins, strict=True))
    month = traffic.lookups_wanted_a_month
    own = f"; {traffic.own_network:,} more from TRUSTED_NETWORKS" if traffic.own_network else ""
    return [
        ("Time", _span(planned)),
        ("Sign-ins", f"{of['all']:,} of {traffic.egress.accounts:,} people{own}"),
        ("successful", f"{of['successful']:,}, of these {of['new']:,} from a new place"),
        ("risky", f"{of['risky']:,}, of these {of['risky_let_in']:,} with the right password"),
        ("Addresses", f"{traffic.addresses:,}"),
        ("Lookups wanted", f"{traffic.lookups_wanted:,} if every address were asked about"),
        ("a month", "needs a day of records" if month is None else f"about {month:,}"),
    ]


def _span(planned: TrafficPlan) -> str:
    traffic = planned.traffic
    if traffic.began is None:
        return "-"
    return f"{_minute(traffic.began)} to {_minute(traffic.ended)} UTC, {traffic.days:.1f} days"


def _minute(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"


def assumptions(planned: TrafficPlan) -> list[str]:
    """Say on what the figures rest."""
    days = planned.traffic.days
    told = [
        "Each plan ran through the real pipeline by the recording's own clock, with a source that "
        "says of every address that nothing is known. Nobody was asked and nothing was spent.",
        "A quota lasts 30 days and is paced: one day's share is there at once, the rest comes "
        "evenly. So a recording of fewer days meets its part of the quota, and one share more.",
        f"Lookups wanted a month are those of {days:.1f} days, times {MONTH_DAYS} / {days:.1f}."
        if days >= 1
        else "Less than a day tells nothing of a month.",
        "At the start every address and every place is new and nothing is known of anybody, which "
        "makes plans look smaller than they are.",
        "Risky: Entra ID's risk level low, medium or high, or the state at risk or confirmed "
        "compromised. Let in: risky, and the password was right. New place: successes from an "
        "address (for IPv6 the /64, for mobile carriers the network) that the account had not "
        "used in the recording, by a device not known to be compliant.",
        f"A plan is enough if it answers {ENOUGH_SHARE['risky_let_in']:.0%} of the risky sign-ins "
        f"that were let in and {ENOUGH_SHARE['new']:.0%} of those from a new place, when they "
        "have waited for a day. Most of both are people at home and on journeys, Entra ID shows "
        "its risk by itself, and the more striking ones are asked about first.",
        "Other successes come from where the account signs in every day, and failures harm nobody "
        "yet. They are answered last: ranking lets a small plan catch far more attackers than its "
        "share of addresses or of successes suggests. How many depends on the attackers; no "
        "figure here promises it.",
        "Sign-ins count by their first address. Waits are told to within ten minutes; up to six "
        "minutes count as none. What still waits at the end counts as unanswered.",
    ]
    if 1 <= days < _LIFETIME_DAYS:
        told[2] += (
            " An answer lasts for a week, so a recording that is shorter counts addresses that "
            "come back too often: take it as an upper bound."
        )
    if not planned.traffic.signins[SIGN_IN_KINDS.index("risky_let_in")]:
        told.append(
            "No sign-in of the recording was risky and let in (risk needs Entra ID P2), so the "
            "recommendation rests on new places alone."
        )
    return told


def as_json(planned: TrafficPlan) -> dict[str, Any]:
    """Return everything as one JSON object."""
    traffic = planned.traffic
    best = recommended(planned)
    began = traffic.began
    return {
        "from": _iso(began),
        "to": _iso(None if began is None else traffic.ended),
        "days": round(traffic.days, 3),
        "records": planned.records,
        "skipped": planned.skipped,
        "rejected": planned.rejected,
        "signins": dict(zip(SIGN_IN_KINDS, traffic.signins, strict=True)),
        "own_network": traffic.own_network,
        "people": traffic.egress.accounts,
        "addresses": traffic.addresses,
        "lookups_wanted": traffic.lookups_wanted,
        "lookups_wanted_a_month": traffic.lookups_wanted_a_month,
        "egress": [
            {
                "network": one.network,
                "accounts": one.accounts,
                "days": one.days,
                "signins": one.signins,
                "failed_share": round(one.failed, 4),
                "compliant_share": round(one.compliant, 4),
                "as_number": one.as_number,
                "why": one.why,
            }
            for one in traffic.egress.candidates()
        ],
        "plans": [_plan(one, narrower, best) for one, narrower in needed(planned.coverages)],
        "recommended": best.lookups_a_month if best else None,
        "recommendation": sentence(planned),
        "assumptions": assumptions(planned),
        "notes": planned.notes,
    }


def _plan(one: PlanCoverage, narrower: int | None, best: PlanCoverage | None) -> dict[str, Any]:
    return {
        "lookups_a_month": one.lookups_a_month,
        "lookups": one.lookups,
        "addresses": one.addresses,
        "signins": {
            kind: {
                "of": counted.of,
                "answered": counted.answered,
                "at_once": counted.waited[0],
                "still_waiting": counted.waiting,
                "share": None if counted.share is None else round(counted.share, 6),
                "wait_median_minutes": counted.wait(0.5),
                "wait_95_minutes": counted.wait(0.95),
            }
            for kind, counted in zip(SIGN_IN_KINDS, one.kinds, strict=True)
        },
        "no_better_than": narrower,
        "recommended": one is best,
    }


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso(datetime.fromtimestamp(moment, UTC))
