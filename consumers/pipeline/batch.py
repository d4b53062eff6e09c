"""Tracks when a batch is complete: none of its work is outstanding, in memory or in the outbox."""

from __future__ import annotations


class BatchTracker:
    """Counts the outstanding work of a batch of messages.

    Work is outstanding while the batch is processed, for each address that is looked up, and for
    each finding that the sink has not accepted. Only a completed batch may be checkpointed.
    """

    __slots__ = ("_outstanding",)

    def __init__(self) -> None:
        self._outstanding = 0

    @property
    def completed(self) -> bool:
        """Whether every sign-in is evaluated and accepted, or durably pending."""
        return self._outstanding == 0

    def add(self) -> None:
        """Register one unit of outstanding work."""
        self._outstanding += 1

    def done(self) -> None:
        """Complete one unit of outstanding work."""
        self._outstanding -= 1
