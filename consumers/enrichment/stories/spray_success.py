"""A right password after a spray from the same place, network or program.

Counted are accounts that fail where they never succeeded before. People who mistype at the office
or at home, and expired passwords and sessions, are not among them; and a crowd in which many
succeed is no spray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.durations import DAY_SECONDS, HOUR_SECONDS

if TYPE_CHECKING:
    from consumers.enrichment.stories.entries import Crowd
    from consumers.enrichment.stories.subject import Subject

MIN_AT_PLACE, MIN_IN_NETWORK, MIN_WITH_AGENT = 4, 6, 8
"""Other accounts that fail within a day."""
MIN_FOR_NEW_ACCOUNT = 8
"""The same at a place, for an account whose habits are not known."""


def spray_success(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if it.calm or (it.established and not it.new_network):
        return None
    place = spraying(it.place_crowd, it.who, it.time)
    if place >= (MIN_AT_PLACE if it.established else MIN_FOR_NEW_ACCOUNT):
        return f"{place} other accounts failed at the same address within a day"
    if not it.established or not (it.hosting or it.new_agent):
        return None  # travellers share the networks of people far away, but not their programs
    network = spraying(it.network_crowd, it.who, it.time)
    if network >= MIN_IN_NETWORK:
        return f"{network} accounts that never succeeded in {it.network} failed there within a day"
    agent = spraying(it.agent_crowd, it.who, it.time)
    if agent >= MIN_WITH_AGENT and it.new_agent and not it.shared:
        return (
            f"{agent} accounts failed within a day with the same user agent on networks of others"
        )
    return None


def spraying(crowd: Crowd, who: str, time: float) -> int:
    """Return the accounts that fail around a time, unless many succeed among them."""
    failing = {
        other
        for other, (first, last) in crowd.wrong.items()
        if other != who and first <= time + HOUR_SECONDS and last >= time - DAY_SECONDS
    }
    good = sum(other not in failing for other in crowd.right if other != who)
    return len(failing) if len(failing) > 2 * good else 0
