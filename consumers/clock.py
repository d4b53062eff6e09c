"""The two clocks: wall time, and the event time of a log export."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from typing_extensions import override

from schemas.durations import DAY_SECONDS
from schemas.ports import Clock
from schemas.run_mode import LIVE, RECORDED, RunMode

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LONE_LEAP_SECONDS = DAY_SECONDS
"""A timestamp further ahead than this counts as an error unless a neighbouring one confirms it."""
EARLIEST_TIME = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
LATEST_TIME = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
"""Seconds since the epoch. Services write the ends of the calendar, or zero, for "no time".
Timestamps outside this range therefore never move a clock."""


class WallClock(Clock):
    """The current wall time."""

    def __init__(self, mode: RunMode = LIVE) -> None:
        self._mode = mode

    @property
    @override
    def mode(self) -> RunMode:
        return self._mode

    @override
    def now(self) -> float:
        return time.time()


class EventClock(Clock):
    """The latest timestamp read from a log export so far. It never goes back once confirmed.

    A timestamp more than a day ahead counts only when the next one confirms it, so that a single
    record from the year 2099 does not expire everything. The first timestamp needs confirmation
    too. Until a neighbour confirms it, each new timestamp replaces it.
    """

    mode = RECORDED

    def __init__(self) -> None:
        self._now: float | None = None
        self._ahead: float | None = None

    @override
    def now(self) -> float:
        """Return seconds since the epoch; 0 before the first timestamp."""
        return self._now if self._now is not None else self._ahead or 0.0

    @property
    def confirmed(self) -> bool:
        """Whether two timestamps have confirmed each other."""
        return self._now is not None

    def mark(self) -> tuple[float | None, float | None]:
        """Return the current state, for :meth:`reset_to`."""
        return self._now, self._ahead

    def reset_to(self, mark: tuple[float | None, float | None]) -> None:
        """Restore the state *mark*, to finish earlier work before the clock advances."""
        self._now, self._ahead = mark

    def advance_within(self, timestamp: float) -> None:
        """Advance to *timestamp* through a gap without records."""
        self._now = max(self._now or 0.0, timestamp)

    def advance(self, times: Iterable[datetime | None]) -> None:
        """Advance by the times of the next records, in the order of the export."""
        for record_time in times:
            if record_time is not None:
                self._advance_to(record_time.timestamp())

    def advance_to_latest(self, latest: datetime) -> bool:
        """Advance to the *latest* time of a batch; return True if that was possible.

        Return False if it is too far ahead. The caller must then pass all times of the batch to
        :meth:`advance`, so that they can confirm each other.
        """
        timestamp = latest.timestamp()
        if self._now is None or timestamp > self._now + MAX_LONE_LEAP_SECONDS:
            return False
        self._now = max(self._now, timestamp)
        self._ahead = None
        return True

    def _advance_to(self, timestamp: float) -> None:
        if not EARLIEST_TIME <= timestamp < LATEST_TIME:
            return
        if self._now is not None and timestamp <= self._now + MAX_LONE_LEAP_SECONDS:
            self._now = max(self._now, timestamp)
            self._ahead = None
        elif self._ahead is not None and abs(timestamp - self._ahead) <= MAX_LONE_LEAP_SECONDS:
            self._now = max(timestamp, self._ahead)
            self._ahead = None
        else:
            self._ahead = timestamp
