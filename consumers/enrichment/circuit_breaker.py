"""Circuit breaker for a paid source.

After repeated failures, pause, then probe with one address at growing intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES_TO_OPEN = 3
"""Consecutive failed requests that open the circuit; one fewer if the source never worked."""
FIRST_PAUSE_SECONDS = 10.0
"""Seconds of wall time of the first pause."""
MAX_PAUSE_SECONDS = 900.0
"""Seconds of the longest pause. A probe of a failing source may cost a lookup, so keep it rare."""


class CircuitBreaker:
    """Limits concurrent requests to a source: none while open, one while probing."""

    def __init__(self, concurrency: int, monotonic: Callable[[], float]) -> None:
        self.failures = 0
        """Consecutive failed requests."""
        self.times_closed = 0
        """Times that the circuit closed, or was allowed to probe."""
        self._concurrency = concurrency
        self._monotonic = monotonic
        self._current_limit = 1  # until the first result proves the key, and batches, to work
        self._worked_once = False
        self._open_until = 0.0
        self._was_open = False

    @property
    def is_open(self) -> bool:
        """Whether requests are paused now."""
        return self._monotonic() < self._open_until

    @property
    def probing(self) -> bool:
        """Whether the next request only tests if the source has recovered."""
        return self.failures >= self._threshold

    @property
    def limit(self) -> int:
        """Maximum number of concurrent requests now."""
        return 1 if self.probing else self._current_limit

    @property
    def _threshold(self) -> int:
        return FAILURES_TO_OPEN if self._worked_once else FAILURES_TO_OPEN - 1

    def record_success(self) -> None:
        """Record a successful request."""
        self._current_limit = min(self._current_limit + 1, self._concurrency)
        if not self._worked_once:
            self._current_limit = self._concurrency
        self._worked_once = True
        self.times_closed += self._was_open
        self._was_open = False
        self.failures = 0

    def start_over(self) -> None:
        """Send one request at a time until the next result, as if the key had never worked."""
        self._current_limit = 1
        self._worked_once = False

    def slow_down(self) -> None:
        """Halve the concurrency: the source wants fewer requests."""
        self._current_limit = max(1, self._current_limit // 2)

    def record_failure(self, *, definite: bool = False) -> None:
        """Record a failed request. *definite*: there is no doubt that the source is down.

        Concurrent requests that fail after the circuit has opened count as one failure.
        """
        if self.is_open:
            return
        self.failures = max(self.failures + 1, self._threshold if definite else 0)
        excess = self.failures - self._threshold
        if excess >= 0:
            self.open(min(FIRST_PAUSE_SECONDS * 2 ** min(excess, 10), MAX_PAUSE_SECONDS))

    def open(self, seconds: float) -> None:
        """Pause requests for *seconds* of wall time."""
        self._open_until = self._monotonic() + seconds
        self._was_open = True

    def allow_probe(self) -> None:
        """End the pause to allow one probe; one failure opens the circuit again."""
        self._open_until = 0.0
        self.times_closed += 1
        self.failures = self._threshold if self.failures else 0
