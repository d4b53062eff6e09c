"""Two successes of a person that no airliner could connect.

Left out: a device that the account used before; carriers of a country that the account uses, which
route a phone abroad by its home; and positions of hosting networks, which are those of a VPN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.enrichment.stories.subject import kilometres
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.intel.address_class import HOSTING_NETWORKS, MOBILE_NETWORKS

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject

MIN_KILOMETRES, MIN_SPEED = 500.0, 800.0
_ELSEWHERE = frozenset(f"AS{number}" for number in HOSTING_NETWORKS | MOBILE_NETWORKS)


def impossible_travel(it: Subject) -> str | None:
    """Return what was seen, or None."""
    here = it.details.coordinates
    if here is None or not (it.person and it.succeeded and it.new_network):
        return None
    if it.calm or it.shared or (it.mobile and not it.new_country):
        return None
    for position in it.account.positions:
        hours = abs(it.time - position.time) / HOUR_SECONDS
        if position.network in _ELSEWHERE | {it.network} or hours * HOUR_SECONDS > DAY_SECONDS:
            continue
        distance = kilometres(here, (position.latitude, position.longitude))
        if distance >= MIN_KILOMETRES and distance / max(hours, 0.01) >= MIN_SPEED:
            there = position.country or position.network
            return (
                f"{distance:,.0f} km from {there} to {it.details.sign_in_country or it.network} "
                f"in {hours:.1f} hours"
            )
    return None
