"""How two versions of an indicator compare."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from schemas.intel.indicators import PastVersion

if TYPE_CHECKING:
    from schemas.intel.indicators import Indicator

MAX_PAST_VERSIONS = 3
"""Earlier versions that are kept with an indicator."""


def order(indicator: Indicator) -> tuple[float, bool]:
    """Return the sort key of a version. At the same time, a withdrawal is the later version."""
    return indicator.modified, indicator.withdrawn


def succeeding(old: Indicator | None, new: Indicator) -> Indicator:
    """Return a new version that leaves true what the old one said of the past.

    It begins when the earliest version began, because some feeds move the begin to when they saw
    the address last. If it says less, the old one is kept for events before. A withdrawal says
    that it never was true.
    """
    if old is None or old.withdrawn or new.withdrawn:
        return new
    past = dict.fromkeys((*old.past, *new.past))
    if old.modified < new.modified and _says_more(old, new):
        past[_past(old, new.modified)] = None
    kept = sorted(past, key=lambda version: version.replaced)[-MAX_PAST_VERSIONS:]
    return replace(new, valid_from=min(old.valid_from, new.valid_from), past=tuple(kept))


def _says_more(old: Indicator, new: Indicator) -> bool:
    """Return True if a version says something worse than the next, or for longer."""
    return (
        (old.types, old.labels) != (new.types, new.labels)
        or _or_most(old.confidence) > _or_most(new.confidence)
        or _or_most(old.valid_until) > _or_most(new.valid_until)
    )


def _or_most(value: float | None) -> float:
    return math.inf if value is None else value


def _past(version: Indicator, replaced: float) -> PastVersion:
    return PastVersion(
        modified=version.modified,
        replaced=replaced,
        valid_until=version.valid_until,
        confidence=version.confidence,
        types=version.types,
        labels=version.labels,
    )


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
