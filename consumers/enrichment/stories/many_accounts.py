"""One address that enters the right passwords of several accounts, for all of which it is new.

Colleagues at a conference or in a hotel have devices that they used before, and are not counted;
an office was used on earlier days; and phones of one carrier have the programs that they had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.durations import DAY_SECONDS

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject

MIN_ACCOUNTS = 3


def many_accounts(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if not it.new_network or it.calm or it.shared or (it.mobile and not it.new_agent):
        return None
    others = {
        who
        for who, (first, _) in it.place_crowd.strange.items()
        if who != it.who and abs(first - it.time) <= DAY_SECONDS
    }
    if len(others) + 1 < MIN_ACCOUNTS:
        return None
    return f"the address entered the right passwords of {len(others) + 1} accounts within a day"
