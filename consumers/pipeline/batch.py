"""When a batch is settled: nothing of it is open any more, in memory or on its way."""

from __future__ import annotations


class BatchTracker:
    """Counts what is still open of one batch of messages.

    It is held while the batch is being taken, for each address that is asked about, and for each
    finding that the sink has not accepted. Only a settled batch may be checkpointed.
    """

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open = 0

    @property
    def completed(self) -> bool:
        """Whether everything is judged and accepted, or durably waiting."""
        return self._open == 0

    def add(self) -> None:
        """Open one thing more."""
        self._open += 1

    def done(self) -> None:
        """Close one thing."""
        self._open -= 1
