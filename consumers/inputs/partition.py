"""Progress of a partition while we own it. Pure.

A claim is one ownership of one partition. Batches complete in any order, but are checkpointed in
the order they arrived.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.pipeline.batch import BatchTracker

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class StreamOffset:
    """Position of a message in its partition; the content of a checkpoint."""

    sequence_number: int
    offset: str
    enqueued: datetime | None

    def at_or_before(self, other: StreamOffset) -> bool:
        """Return True if this is *other* or a message before it.

        A recreated hub restarts its numbers: a lower number with a later time is a new message.
        """
        if self.sequence_number > other.sequence_number:
            return False
        return self.enqueued is None or other.enqueued is None or self.enqueued <= other.enqueued


class OwnedPartition:
    """Offsets of an owned partition: received, completed and checkpointed."""

    def __init__(self, name: str, now: float, *, start: int = -1) -> None:
        """*start* is the sequence number of the checkpoint to resume from; -1 for none."""
        self.name = name
        """``hub/partition``."""
        self.start = start
        self.closed = False
        """Whether ownership was lost: nothing may be checkpointed any more."""
        self.handler_active = False
        """Whether a batch is being processed right now: the partition is busy, not silent."""
        self.handler_started = now
        self.last_heartbeat = now
        """Time of the last call by the SDK, with or without events."""
        self.last_events = now
        """Time of the last call with events."""
        self.received: StreamOffset | None = None
        """The last message received."""
        self.settled: StreamOffset | None = None
        """The last message up to which every batch is complete."""
        self.checkpointed: StreamOffset | None = None
        self.checkpointed_at = now
        self.stalled_sequence = -1
        """The sequence number at the last progress check, and since when it is unchanged."""
        self.stalled_since = now
        self._batches: deque[tuple[BatchTracker, StreamOffset]] = deque()

    def is_duplicate(self, offset: StreamOffset) -> bool:
        """Return True if a message was received and completed before: the client reconnected.

        Compares with the completed offset, not the received one: received messages may be lost.
        """
        return self.settled is not None and offset.at_or_before(self.settled)

    def accept(self, last: StreamOffset) -> BatchTracker:
        """Register a batch that ends at *last*; return its tracker."""
        tracker = BatchTracker()
        self._batches.append((tracker, last))
        self.received = last
        return tracker

    def due(self) -> StreamOffset | None:
        """Return the offset to checkpoint now, or None if there is nothing new."""
        self.advance()
        return None if self.closed or self.settled == self.checkpointed else self.settled

    def advance(self) -> None:
        """Advance the completed offset over completed batches, in their order."""
        while self._batches and self._batches[0][0].completed:
            _, last = self._batches.popleft()
            if self.settled is None or not last.at_or_before(self.settled):
                self.settled = last  # after a reconnect, old batches may arrive between new ones

    @property
    def last_sequence(self) -> int:
        """The sequence number up to which messages were received."""
        return self.received.sequence_number if self.received else self.start

    @property
    def unsettled(self) -> int:
        """Number of incomplete batches."""
        return len(self._batches)
