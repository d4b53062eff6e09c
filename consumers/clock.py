"""The two clocks: wall time, and a recording's own time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from schemas.durations import DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LONE_LEAP_SECONDS = DAY_SECONDS
"""A time further ahead than this, with no neighbour that agrees, is a mistake of the recording."""
EARLIEST_TIME = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
LATEST_TIME = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch. Services write the ends of the calendar, or zero, for no time; neither
is when anything happened, so times outside this span move no clock."""


class WallClock:
    """The time it is."""

    kind = "wall"

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()


class EventClock:
    """The latest time that a recording has told so far. It never goes back once it is confirmed.

    A time more than a day ahead counts only when the next one confirms it, so that one record of
    the year 2099 does not expire everything. The first time needs a neighbour as well: until one
    agrees with it, each next time takes its place.
    """

    kind = "event"

    def __init__(self) -> None:
        self._now: float | None = None
        self._ahead: float | None = None

    def now(self) -> float:
        """Return seconds since the epoch; 0 before the first time."""
        return self._now if self._now is not None else self._ahead or 0.0

    @property
    def confirmed(self) -> bool:
        """Whether two times of the recording have agreed."""
        return self._now is not None

    def mark(self) -> tuple[float | None, float | None]:
        """Return what :meth:`turn_back` takes."""
        return self._now, self._ahead

    def reset_to(self, mark: tuple[float | None, float | None]) -> None:
        """Undo what came since *mark*: something has to be done before the clock moves on."""
        self._now, self._ahead = mark

    def advance_within(self, moment: float) -> None:
        """Let time pass up to *moment*, in which the recording tells nothing."""
        self._now = max(self._now or 0.0, moment)

    def advance(self, times: Iterable[datetime | None]) -> None:
        """Take the times of the next records, in the order of the recording."""
        for moment in times:
            if moment is not None:
                self._take(moment.timestamp())

    def advance_to_latest(self, latest: datetime) -> bool:
        """Take the latest of some times; return True if that is all that the clock needs.

        It is not when the time is too far ahead: then its neighbours must speak for it.
        """
        moment = latest.timestamp()
        if self._now is None or moment > self._now + MAX_LONE_LEAP_SECONDS:
            return False
        self._now = max(self._now, moment)
        self._ahead = None
        return True

    def _take(self, moment: float) -> None:
        if not EARLIEST_TIME <= moment < LATEST_TIME:
            return
        if self._now is not None and moment <= self._now + MAX_LONE_LEAP_SECONDS:
            self._now = max(self._now, moment)
            self._ahead = None
        elif self._ahead is not None and abs(moment - self._ahead) <= MAX_LONE_LEAP_SECONDS:
            self._now = max(moment, self._ahead)
            self._ahead = None
        else:
            self._ahead = moment
