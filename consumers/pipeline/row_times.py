"""The times of a sign-in: when it began, and what stands in where its record does not say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.events.times import is_plausible, parse_time

if TYPE_CHECKING:
    from schemas.events.sign_in import SignIn


def event_time_of(signin: SignIn, enqueued: datetime | None, fallback: datetime) -> float:
    """Return the start of a sign-in in seconds since the epoch, as :meth:`SignIn.details` does."""
    started = parse_time(signin.late_columns[-1]) if signin.late_columns is not None else None
    if started is None or not is_plausible(started):
        started = signin.details(enqueued=enqueued, fallback_time=fallback).event_time
    return started.timestamp()


def row_time(now: float, wall: datetime) -> datetime:
    """Return the clock's time; wall time until a recording has provided the first timestamp."""
    return datetime.fromtimestamp(now, UTC) if now > 0 else wall
