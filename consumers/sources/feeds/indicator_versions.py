"""How two versions of an indicator compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.intel.indicators import Indicator


def order(indicator: Indicator) -> tuple[float, bool]:
    """Return the sort key of a version. At the same time, a withdrawal is the later version."""
    return indicator.modified, indicator.withdrawn


def live_keys(indicator: Indicator | None) -> set[str]:
    """Return the keys that match sign-ins."""
    return set() if indicator is None or indicator.withdrawn else set(indicator.keys)


def extending_keys(
    old: Indicator | None, new: Indicator, *, now: float, longest: float
) -> set[str]:
    """Return the keys that may match past sign-ins which the old version did not match.

    *now* is when the new version was read; an indicator without an end is valid for *longest*
    seconds.
    """
    keys = live_keys(new)
    if old is None or _matches_more(old, new, now, longest):
        return keys
    return keys - live_keys(old)


def _matches_more(old: Indicator, new: Indicator, now: float, longest: float) -> bool:
    """Return True if a version may match past sign-ins that the old version did not match.

    Feeds repeat an address while it remains malicious. Such a repetition matches nothing more.
    """
    ends = old.valid_until
    if ends is None:
        ends = max(old.modified, old.valid_from) + longest
    still_valid = ends >= now
    same = (old.types, old.labels, old.confidence) == (new.types, new.labels, new.confidence)
    return not (same and still_valid and old.valid_from <= new.valid_from)
