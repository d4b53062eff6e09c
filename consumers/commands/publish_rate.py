"""An even send rate, by a clock that is passed in."""

from __future__ import annotations

TICK = 0.1
"""Seconds of messages that a fast rate sends together. A slow rate sends single messages."""
SLACK = 0.2
"""Seconds of delay that are made up for. After a longer pause the rate stays the same."""


class SendRate:
    """Returns when the next messages are due. Times are seconds of any monotonic clock."""

    def __init__(self, rate: float) -> None:
        """*rate* is messages per second."""
        self.group_size = max(1, int(rate * TICK))
        """Messages that are sent together."""
        self._rate = rate
        self._due: float | None = None

    def delay(self, now: float) -> float:
        """Return the seconds until the next messages are due."""
        return 0.0 if self._due is None else max(0.0, self._due - now)

    def sent(self, messages: int, now: float) -> None:
        """Record that *messages* were sent; *now* is when sending them began."""
        due = now if self._due is None else max(self._due, now - SLACK)
        self._due = due + messages / self._rate
