"""The report of ``plan``: recommendation, its rule, assumptions and figures. Pure.

The rule is :data:`ENOUGH_SHARE`. Two kinds of sign-in justify a lookup, because they include
account takeovers: risky sign-ins with valid credentials, and successful sign-ins from a location
that is new to the account with a device that is not known to be compliant. Other successes come
from familiar locations, and failed sign-ins have the lowest priority; both can wait, so they need
no larger quota. Not all of the first two kinds are required either: most new locations are homes
and travel, and most risk with valid credentials is a false positive at a familiar location, which
Entra ID reports by itself. The ranking looks up the most suspicious sign-ins first.
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
"""The minimum share, by kind of sign-in, that a plan must answer to be recommended. A kind without
sign-ins is ignored."""
_LIFETIME_DAYS = 7


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The texts and shares of one plan."""

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
    """Return the smallest plan that meets :data:`ENOUGH_SHARE`; None if no plan does."""
    if not planned.traffic.signins[0]:
        return None
    return next(filter(_enough, planned.coverages), None)


def _enough(coverage: PlanCoverage) -> bool:
    shares = {kind: _of(coverage, kind).share for kind in ENOUGH_SHARE}
    return all(share is None or share >= ENOUGH_SHARE[kind] for kind, share in shares.items())


def _of(coverage: PlanCoverage, kind: str) -> AnsweredCount:
    return coverage.kinds[SIGN_IN_KINDS.index(kind)]


def sentence(planned: TrafficPlan) -> str:
    """Return the recommendation as one sentence."""
    if not planned.traffic.signins[0]:
        return "There are no sign-ins to plan for."
    best = recommended(planned)
    if best is None:
        largest = planned.coverages[-1]
        targets = ", ".join(
            f"{share:.0%} of {_NAMES[kind]}" for kind, share in ENOUGH_SHARE.items()
        )
        return (
            f"No plan is enough for this traffic: even {largest.lookups_a_month:,} lookups per "
            f"month cover only {_reached(largest)} (target: {targets})."
        )
    if best.lookups_a_month == FREE_PLAN:
        return (
            f"The free plan of {FREE_PLAN} lookups per month is enough for this traffic: it covers "
            f"{_reached(best)}."
        )
    return (
        f"Use the plan of {best.lookups_a_month:,} lookups per month, the smallest that is enough "
        f"for this traffic: it covers {_reached(best)}."
    )


_NAMES = {
    "risky_let_in": "the risky sign-ins with valid credentials",
    "new": "the successful sign-ins from new locations",
}


def _reached(coverage: PlanCoverage) -> str:
    shares = [
        f"{percent(_of(coverage, kind).share)} of {name}"
        for kind, name in _NAMES.items()
        if _of(coverage, kind).of
    ]
    return " and ".join(shares) or f"{percent(_of(coverage, 'all').share)} of all sign-ins"


def rows(planned: TrafficPlan) -> list[PlanRow]:
    """Return one row for each plan, smallest first."""
    best = recommended(planned)
    total = planned.traffic.addresses
    found = []
    for coverage, smaller in needed(planned.coverages):
        share = coverage.addresses / total if total else None
        notes = ["recommended"] if coverage is best else []
        if smaller is not None:
            notes.append(f"no better than {smaller:,}: all without waiting")
        found.append(
            PlanRow(
                plan=f"{coverage.lookups_a_month:,}",
                lookups=f"{coverage.lookups:,}",
                addresses=f"{coverage.addresses:,} ({percent(share)})",
                shares={kind: _of(coverage, kind).share for kind in SIGN_IN_KINDS},
                percents={kind: percent(_of(coverage, kind).share) for kind in SIGN_IN_KINDS},
                waits={kind: waits(_of(coverage, kind)) for kind in SIGN_IN_KINDS},
                recommended=coverage is best,
                note="; ".join(notes),
            )
        )
    return found


def percent(share: float | None) -> str:
    """Return a share as a percentage, rounded down: 100% means all."""
    return "-" if share is None else f"{math.floor(share * 1_000 + 1e-9) / 10:.1f}%"


def waits(count: AnsweredCount) -> str:
    """Return the wait of answered sign-ins: median and 95th percentile."""
    median, p95 = count.wait(0.5), count.wait(0.95)
    return "-" if median is None or p95 is None else f"{duration(median)} / {duration(p95)}"


def duration(minutes: int) -> str:
    """Return minutes as text with a unit."""
    if minutes < 1:
        return "0"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def overview(planned: TrafficPlan) -> list[tuple[str, str]]:
    """Return the figures of the traffic as (name, text)."""
    traffic = planned.traffic
    of = dict(zip(SIGN_IN_KINDS, traffic.signins, strict=True))
    month = traffic.lookups_wanted_a_month
    own = f"; {traffic.own_network:,} more from TRUSTED_NETWORKS" if traffic.own_network else ""
    return [
        ("Period", _span(planned)),
        ("Sign-ins", f"{of['all']:,} by {traffic.egress.accounts:,} users{own}"),
        ("- successful", f"{of['successful']:,}, of which {of['new']:,} from a new location"),
        ("- risky", f"{of['risky']:,}, of which {of['risky_let_in']:,} with valid credentials"),
        ("IP addresses", f"{traffic.addresses:,}"),
        ("Lookups needed without a limit", f"{traffic.lookups_wanted:,}"),
        ("- a month", "needs a day of sign-ins" if month is None else f"about {month:,}"),
    ]


def _span(planned: TrafficPlan) -> str:
    traffic = planned.traffic
    if traffic.began is None:
        return "-"
    return f"{_minute(traffic.began)} to {_minute(traffic.ended)} UTC, {traffic.days:.1f} days"


def _minute(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M}"


def assumptions(planned: TrafficPlan) -> list[str]:
    """Return the assumptions behind the figures."""
    days = planned.traffic.days
    lines = [
        "Each plan ran through the real pipeline with the time of the events, and a mock source "
        "that returns unknown for every IP address. No lookups were made or spent.",
        "A quota covers 30 days and is rate-limited: one day's share is available at once, the "
        "rest accrues evenly. Fewer days of sign-ins get their part of the quota plus one share.",
        f"Lookups needed a month: those of {days:.1f} days, times {MONTH_DAYS} / {days:.1f}."
        if days >= 1
        else "Less than a day of sign-ins is too short to estimate a month.",
        "At the start every IP address and location is new, so plans look smaller than they are.",
        "Risky: Entra ID risk level low, medium or high, or risk state at risk or confirmed "
        "compromised. Valid credentials: risky, with a valid password. New location: successful "
        "sign-ins from an IP address (IPv6: /64, mobile carriers: network) that the account had "
        "not used before in these files, with a device not known to be compliant.",
        f"A plan is enough if it answers {ENOUGH_SHARE['risky_let_in']:.0%} of the risky sign-ins "
        f"with valid credentials and {ENOUGH_SHARE['new']:.0%} of those from a new location "
        "within a day. Most of both are users at home or travelling, Entra ID reports its own "
        "risk, and the most suspicious IP addresses are looked up first.",
        "Other successes come from familiar locations, and failed sign-ins have the lowest "
        "priority. Because of this ranking a small plan catches far more attackers than its share "
        "of IP addresses or successes suggests. How many depends on the attackers.",
        "Sign-ins count by their first IP address. Wait times: +-10 min; under 6 min shown as 0. "
        "Sign-ins still waiting at the end count as unanswered.",
    ]
    if 1 <= days < _LIFETIME_DAYS:
        lines[2] += (
            " A verdict is valid for a week, so fewer days count returning IP addresses too "
            "often: this is an upper bound."
        )
    if not planned.traffic.signins[SIGN_IN_KINDS.index("risky_let_in")]:
        lines.append(
            "No risky sign-in had valid credentials (risk needs Entra ID P2), so the "
            "recommendation uses new locations only."
        )
    return lines


def as_json(planned: TrafficPlan) -> dict[str, Any]:
    """Return the report as a JSON object."""
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
                "network": candidate.network,
                "accounts": candidate.accounts,
                "days": candidate.days,
                "signins": candidate.signins,
                "failed_share": round(candidate.failed, 4),
                "compliant_share": round(candidate.compliant, 4),
                "as_number": candidate.as_number,
                "why": candidate.why,
            }
            for candidate in traffic.egress.candidates()
        ],
        "plans": [
            _plan(coverage, smaller, best) for coverage, smaller in needed(planned.coverages)
        ],
        "recommended": best.lookups_a_month if best else None,
        "recommendation": sentence(planned),
        "assumptions": assumptions(planned),
        "notes": planned.notes,
    }


def _plan(coverage: PlanCoverage, smaller: int | None, best: PlanCoverage | None) -> dict[str, Any]:
    return {
        "lookups_a_month": coverage.lookups_a_month,
        "lookups": coverage.lookups,
        "addresses": coverage.addresses,
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
            for kind, counted in zip(SIGN_IN_KINDS, coverage.kinds, strict=True)
        },
        "no_better_than": smaller,
        "recommended": coverage is best,
    }


def _iso(timestamp: float | None) -> str | None:
    return None if timestamp is None else iso(datetime.fromtimestamp(timestamp, UTC))
