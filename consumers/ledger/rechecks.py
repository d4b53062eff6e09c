"""When an address with an unknown result is looked up again, and what that costs in rank."""

from __future__ import annotations

from schemas.durations import HOUR_SECONDS

RECHECKS: tuple[tuple[float, float], ...] = (
    (3 * HOUR_SECONDS, 50.0),
    (8 * HOUR_SECONDS, 35.0),
    (22.5 * HOUR_SECONDS, 12.0),
)
"""Delays in seconds from the first lookup of an address with an unknown result to each recheck,
and the score penalty against addresses that were never looked up. Intelligence lists learn of an
attack within hours, and sign-ins wait for a day: so the last recheck has the lowest penalty."""


def recheck_penalty(first_lookup_at: float | None, now: float) -> float:
    """Return the points to subtract at the time *now* if the address was looked up before."""
    if first_lookup_at is None:
        return 0.0
    penalties = [points for after, points in RECHECKS if now - first_lookup_at >= after]
    return penalties[-1] if penalties else RECHECKS[0][1]


def next_recheck(first_lookup_at: float, now: float) -> float | None:
    """Return the time of the next recheck of an address, None after the last."""
    return next(
        (first_lookup_at + after for after, _ in RECHECKS if first_lookup_at + after > now), None
    )
