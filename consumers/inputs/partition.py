"""How far one partition is settled, for as long as it is ours. Pure.

A claim is one ownership of one partition. Batches are settled in any order, and checkpointed in
theirs.
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
    """Where in its partition a message stands; what a checkpoint holds."""

    sequence_number: int
    offset: str
    enqueued: datetime | None

    def at_or_before(self, other: StreamOffset) -> bool:
        """Tell whether this is *other*, or was there before it.

        A hub that was made anew starts its numbers again: a small number with a late time is new.
        """
        if self.sequence_number > other.sequence_number:
            return False
        return self.enqueued is None or other.enqueued is None or self.enqueued <= other.enqueued


class OwnedPartition:
    """What was received of a partition, what of it is settled, and what of that is checkpointed."""

    def __init__(self, name: str, now: float, *, start: int = -1) -> None:
        """*start* is the sequence number of the checkpoint that is gone on from; -1 for none."""
        self.name = name
        """``hub/partition``."""
        self.start = start
        self.closed = False
        """Whether the partition was taken away: nothing may be checkpointed any more."""
        self.handler_active = False
        """Whether a batch of it is being taken right now: it is held, not silent."""
        self.handler_started = now
        self.last_heartbeat = now
        """When the partition was last heard of, events or none."""
        self.last_events = now
        """When events came last."""
        self.received: StreamOffset | None = None
        """The last message that came."""
        self.settled: StreamOffset | None = None
        """The last message of which, and of all before it, every sign-in is settled."""
        self.checkpointed: StreamOffset | None = None
        self.checkpointed_at = now
        self.stalled_sequence = -1
        """The sequence number that was reached when somebody last looked, and since when."""
        self.stalled_since = now
        self._open: deque[tuple[BatchTracker, StreamOffset]] = deque()

    def is_duplicate(self, place: StreamOffset) -> bool:
        """Tell whether a message came before and was settled: the client reconnected.

        Compared with what is settled, not with what was received: that may have been lost.
        """
        return self.settled is not None and place.at_or_before(self.settled)

    def accept(self, last: StreamOffset) -> BatchTracker:
        """Take note of a batch that ends at *last*; return its ticket."""
        ticket = BatchTracker()
        self._open.append((ticket, last))
        self.received = last
        return ticket

    def due(self) -> StreamOffset | None:
        """Return how far a checkpoint may go now, or None when there is nothing new."""
        self.advance()
        return None if self.closed or self.settled == self.checkpointed else self.settled

    def advance(self) -> None:
        """Move the settled place over batches that are settled, in their order."""
        while self._open and self._open[0][0].completed:
            _, last = self._open.popleft()
            if self.settled is None or not last.at_or_before(self.settled):
                self.settled = last  # after a reconnect old batches may come between new ones

    @property
    def last_sequence(self) -> int:
        """The sequence number up to which messages were received."""
        return self.received.sequence_number if self.received else self.start

    @property
    def unsettled(self) -> int:
        """How many batches are not settled yet."""
        return len(self._open)
