"""An even send rate. The clock is passed in."""

from __future__ import annotations

TICK = 0.1
"""How many seconds of messages are sent as a group at a high rate."""
SLACK = 0.2
"""Longest delay that is caught up, in seconds. After a longer pause the rate just continues."""


class SendRate:
    """Computes when the next messages are due. Times are seconds of a monotonic clock."""

    def __init__(self, rate: float) -> None:
        """*rate* is messages per second."""
        self.group_size = max(1, int(rate * TICK))
        """Messages that are sent as a group."""
        self._rate = rate
        self._due: float | None = None

    def delay(self, now: float) -> float:
        """Return the seconds until the next messages are due."""
        return 0.0 if self._due is None else max(0.0, self._due - now)

    def sent(self, messages: int, now: float) -> None:
        """Record that messages were sent; *now* is when sending began."""
        due = now if self._due is None else max(self._due, now - SLACK)
        self._due = due + messages / self._rate
