"""The recommendation of a plan with its rule, assumptions and figures. Pure functions.

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
"""The share that a plan must answer to be recommended, by kind of sign-in. A kind that the
recording does not contain requires nothing."""
_LIFETIME_DAYS = 7


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan, as text and as shares to draw."""

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
    """Return the smallest plan that answers the required shares; None if no plan does."""
    if not planned.traffic.signins[0]:
        return None
    return next(filter(_enough, planned.coverages), None)


def _enough(one: PlanCoverage) -> bool:
    shares = {kind: _of(one, kind).share for kind in ENOUGH_SHARE}
    return all(share is None or share >= ENOUGH_SHARE[kind] for kind, share in shares.items())


def _of(one: PlanCoverage, kind: str) -> AnsweredCount:
    return one.kinds[SIGN_IN_KINDS.index(kind)]


def sentence(planned: TrafficPlan) -> str:
    """Return the recommendation in a sentence."""
    if not planned.traffic.signins[0]:
        return "The recording has no sign-ins to plan for."
    best = recommended(planned)
    if best is None:
        widest = planned.coverages[-1]
        wanted = ", ".join(f"{least:.0%} of {_NAMES[kind]}" for kind, least in ENOUGH_SHARE.items())
        return (
            f"No plan is enough for this traffic: even {widest.lookups_a_month:,} lookups per "
            f"month answer only {_reached(widest)} (required: {wanted})."
        )
    if best.lookups_a_month == FREE_PLAN:
        return (
            f"The free plan of {FREE_PLAN} lookups per month is enough for this traffic: it "
            f"answers {_reached(best)}."
        )
    return (
        f"Take the plan of {best.lookups_a_month:,} lookups per month. It is the smallest that is "
        f"enough for this traffic: it answers {_reached(best)}."
    )


_NAMES = {
    "risky_let_in": "the risky sign-ins with valid credentials",
    "new": "the successful sign-ins from new locations",
}


def _reached(one: PlanCoverage) -> str:
    told = [
        f"{percent(_of(one, kind).share)} of {name}"
        for kind, name in _NAMES.items()
        if _of(one, kind).of
    ]
    return " and ".join(told) or f"{percent(_of(one, 'all').share)} of all sign-ins"


def rows(planned: TrafficPlan) -> list[PlanRow]:
    """Return a row for each plan, the smallest first."""
    best = recommended(planned)
    total = planned.traffic.addresses
    found = []
    for one, narrower in needed(planned.coverages):
        share = one.addresses / total if total else None
        notes = ["recommended"] if one is best else []
        if narrower is not None:
            notes.append(f"same as {narrower:,}: no waits")
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
    """Return a share as text. Rounded down: 100% means all."""
    return "-" if share is None else f"{math.floor(share * 1_000 + 1e-9) / 10:.1f}%"


def waits(one: AnsweredCount) -> str:
    """Return how long answered sign-ins waited: median and 95th percentile."""
    median, most = one.wait(0.5), one.wait(0.95)
    return "-" if median is None or most is None else f"{duration(median)} / {duration(most)}"


def duration(minutes: int) -> str:
    """Return minutes as text."""
    if minutes < 1:
        return "0"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def overview(planned: TrafficPlan) -> list[tuple[str, str]]:
    """Return the figures of the traffic with their labels."""
    traffic = planned.traffic
    of = dict(zip(SIGN_IN_KINDS, traffic.signins, strict=True))
    month = traffic.lookups_wanted_a_month
    own = f"; {traffic.own_network:,} more from TRUSTED_NETWORKS" if traffic.own_network else ""
    return [
        ("Time", _span(planned)),
        ("Sign-ins", f"{of['all']:,} by {traffic.egress.accounts:,} users{own}"),
        ("successful", f"{of['successful']:,}, of which {of['new']:,} from a new location"),
        ("risky", f"{of['risky']:,}, of which {of['risky_let_in']:,} with valid credentials"),
        ("IP addresses", f"{traffic.addresses:,}"),
        ("Lookups needed", f"{traffic.lookups_wanted:,} without a limit"),
        ("per month", "needs a day of records" if month is None else f"about {month:,}"),
    ]


def _span(planned: TrafficPlan) -> str:
    traffic = planned.traffic
    if traffic.began is None:
        return "-"
    return f"{_minute(traffic.began)} to {_minute(traffic.ended)} UTC, {traffic.days:.1f} days"


def _minute(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M}"


def assumptions(planned: TrafficPlan) -> list[str]:
    """Return the assumptions behind the figures."""
    days = planned.traffic.days
    told = [
        "Each plan ran through the real pipeline by the recording's own clock, with a source that "
        "knows no address. No lookups were made.",
        "A quota covers 30 days and is paced: one day's share is available at once, the rest "
        "evenly. A shorter recording gets its part of the quota and one day's share more.",
        f"Lookups per month are those of {days:.1f} days, times {MONTH_DAYS} / {days:.1f}."
        if days >= 1
        else "Less than a day of records is not enough to estimate a month.",
        "At the start every address and location is new, so coverage in practice is better than "
        "shown here.",
        "Risky: Entra ID's risk level low, medium or high, or the state at risk or confirmed "
        "compromised. Let in: risky, with valid credentials. New location: successes from an "
        "address (for IPv6 the /64, for mobile carriers the network) that the account had not "
        "used before in the recording, by a device that is not known to be compliant.",
        f"A plan is enough if it answers {ENOUGH_SHARE['risky_let_in']:.0%} of the risky sign-ins "
        f"that were let in and {ENOUGH_SHARE['new']:.0%} of those from a new place, when they "
        "have waited for a day. Most of both are users at home or travelling, Entra ID reports "
        "its risk itself, and the more suspicious sign-ins are looked up first.",
        "Other successes come from where the account signs in every day; failed sign-ins have the "
        "lowest priority. Because of the ranking, a small plan catches far more attackers than "
        "its share of addresses or successes suggests. How many depends on the attackers; these "
        "figures do not promise it.",
        "Sign-ins count by their first address. Wait times are accurate to 10 minutes; under 6 "
        "minutes count as 0. Sign-ins that still wait at the end count as unanswered.",
    ]
    if 1 <= days < _LIFETIME_DAYS:
        told[2] += (
            " A verdict is valid for a week, so a shorter recording counts returning addresses too "
            "often: treat the figure as an upper bound."
        )
    if not planned.traffic.signins[SIGN_IN_KINDS.index("risky_let_in")]:
        told.append(
            "No sign-in of the recording was risky with valid credentials (needs Entra ID P2), "
            "so the recommendation is based on new locations only."
        )
    return told


def as_json(planned: TrafficPlan) -> dict[str, Any]:
    """Return the result as a JSON object."""
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
