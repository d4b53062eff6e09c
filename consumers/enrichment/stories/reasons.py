"""The reasons for and against a sign-in, as the ranking of lookups weighs them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.enrichment.history import NEVER_SEEN_DAYS, HistorySummary
from consumers.enrichment.ranking import WEIGHTS, score_breakdown
from consumers.enrichment.stories.spray_success import spraying
from consumers.enrichment.stories.subject import colleagues_with
from schemas.durations import DAY_SECONDS
from schemas.events.ranking_signals import Signals
from schemas.rows.context import Reason

if TYPE_CHECKING:
    from consumers.enrichment.stories.entries import Period
    from consumers.enrichment.stories.subject import Subject

MAX_REASONS = 8
_SAID_ELSEWHERE = frozenset(
    ("success", "password accepted", "interrupted", "failure", "outcome unknown")
)
"""Reasons that only repeat the outcome."""


def reasons_of(it: Subject) -> tuple[Reason, ...]:
    """Return the reasons, the weightiest first."""
    parts = score_breakdown(_signals(it), _summary(it))
    reasons = [
        Reason(name, round(points, 1), WEIGHTS[name].why)
        for name, points in parts
        if name not in _SAID_ELSEWHERE
    ]
    return tuple(sorted(reasons, key=lambda reason: -abs(reason.points))[:MAX_REASONS])


def _signals(it: Subject) -> Signals:
    details = it.details
    return Signals(
        account=details.account,
        outcome=details.outcome,
        person=it.person,
        interactive=details.is_interactive,
        risk_level=(details.risk_level or "").lower(),
        risk_state=(details.risk_state or "").lower(),
        device=(details.device_id or "").lower(),
        compliant=details.device_compliant,
        as_number=details.sign_in_as_number,
        country=(details.sign_in_country or "").lower(),
        client=(details.client_app_used or "").lower(),
        event=details.event_id,
        object_id=(details.account_object_id or "").lower(),
    )


def _summary(it: Subject) -> HistorySummary:
    account, day = it.account, it.day
    before = sum(known < day for known in account.days)
    network_days = _days(account.networks.get(it.network), day)
    prompts = sum(0 <= it.time - time <= DAY_SECONDS for time, _ in account.prompts.values())
    return HistorySummary(
        experience=min(1.0, 0.3 + 0.1 * before),
        place_days=network_days,
        network_days=network_days,
        country_days=_days(account.countries.get(it.details.sign_in_country or ""), day),
        device_days=0 if it.known_device else NEVER_SEEN_DAYS,
        devices=sum(first < day for first, _ in account.devices.values()),
        restless=0.0,
        travelled=False,
        own_failures=0,
        own_accepted=min(prompts, 3),
        failing_elsewhere=0,
        known_others=colleagues_with(it.place_crowd, it.who, it.time),
        spraying=spraying(it.place_crowd, it.who, it.time),
        network_accounts=len(it.network_crowd.right),
    )


def _days(period: Period | None, day: int) -> int:
    """Return for how many days a value has been known."""
    return NEVER_SEEN_DAYS if period is None or period[0] >= day else day - period[0]
