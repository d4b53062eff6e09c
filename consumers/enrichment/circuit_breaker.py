"""Leaving a failing source alone, and probing it: one address at a time, ever more rarely."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES_TO_OPEN = 3
"""Requests that fail in a row before the source counts as down; one that never worked, one less."""
FIRST_PAUSE_SECONDS = 10.0
"""Seconds of wall time for which a source that is down is left alone, at first."""
MAX_PAUSE_SECONDS = 900.0
"""Seconds; a probe of a source that is down may cost a lookup, so they become rare."""


class CircuitBreaker:
    """How many requests a source may get at once: none while it rests, one to probe it."""

    def __init__(self, concurrency: int, monotonic: Callable[[], float]) -> None:
        self.failures = 0
        """Requests that failed in a row."""
        self.times_closed = 0
        """Times that the source was found well again, or may be."""
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._slots = 1  # until the first answer tells that the key works, and for batches
        self._worked_once = False
        self._resting_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the source is to be left alone now."""
        return self._monotonic() < self._resting_until

    @property
    def probing(self) -> bool:
        """Whether the next request only finds out if the source is up again."""
        return self.failures >= self._enough

    @property
    def limit(self) -> int:
        """Requests that may be under way at once."""
        return 1 if self.probing else self._slots

    @property
    def _enough(self) -> int:
        return FAILURES_TO_OPEN if self._worked_once else FAILURES_TO_OPEN - 1

    def record_success(self) -> None:
        """Note an answer."""
        self._slots = min(self._slots + 1, self._concurrency)
        if not self._worked_once:
            self._slots = self._concurrency
        self._worked_once = True
        self.times_closed += bool(self.failures)
        self.failures = 0

    def start_over(self) -> None:
        """Ask one request at a time until the next answer, as if the key had never worked."""
        self._slots = 1
        self._worked_once = False

    def slow_down(self) -> None:
        """Note that the source asks to slow down."""
        self._slots = max(1, self._slots // 2)

    def record_failure(self, *, surely: bool = False) -> None:
        """Note a failure; with *surely*, one that leaves no doubt that the source is down.

        Requests that were side by side and fail while the source rests already are one failure.
        """
        if self.is_open:
            return
        self.failures = max(self.failures + 1, self._enough if surely else 0)
        over = self.failures - self._enough
        if over >= 0:
            self.open(min(FIRST_PAUSE_SECONDS * 2 ** min(over, 10), MAX_PAUSE_SECONDS))

    def open(self, seconds: float) -> None:
        """Leave the source alone for a while."""
        self._resting_until = self._monotonic() + seconds

    def allow_probe(self) -> None:
        """Let a source that rests be tried once more; one failure sends it to rest again."""
        self._resting_until = 0.0
        self.times_closed += 1
        self.failures = self._enough if self.failures else 0
