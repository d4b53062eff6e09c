"""Repeated interruptions, such as refused prompts, then a success from a new network.

A sign-in with a second factor has one interruption before its success; a device that the account
used before belongs to somebody who is fighting with a telephone in a hotel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.durations import DAY_SECONDS

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject

MIN_PROMPTS = 3


def mfa_fatigue(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if not (it.person and it.succeeded and it.new_network) or it.calm:
        return None
    prompts = prompts_before(it)
    if prompts < MIN_PROMPTS:
        return None
    return f"{prompts} right passwords were stopped by a later check before this success"


def prompts_before(it: Subject) -> int:
    """Return the right passwords from new networks, in the day before the first success."""
    start = min(_successes(it), default=it.time)
    return sum(
        0 <= start - time <= DAY_SECONDS and it.is_new_network(network)
        for time, network in it.account.prompts.values()
    )


def _successes(it: Subject) -> list[float]:
    """Return when the account succeeded from the same network on that day."""
    return [
        trace.time
        for trace in it.account.traces
        if trace.details.outcome.succeeded
        and trace.details.sign_in_as_number == it.details.sign_in_as_number
        and abs(trace.time - it.time) <= DAY_SECONDS
    ]
