"""Port of the feed journal, through which instances share the changes of a feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """A place in a journal. Each renewal begins a generation; numbers count within it from 1."""

    generation: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of a journal, and its place."""

    place: JournalPosition
    body: bytes


class FeedJournal(Protocol):
    """What instances tell each other of a feed: an ordered list of entries, durable and shared.

    Many read, one writes at a time: who finds that another one was first reads on and tries again.
    """

    def entries(self, feed: str, after: JournalPosition) -> AsyncIterator[list[JournalEntry]]:
        """Yield the entries after a place, in order, some at a time.

        If the journal was renewed since, all of the new generation: the reader sees by its first
        entry's generation that it has to forget what it knew.
        """

    async def extend(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Add entries right after a place, all or none; return the new end.

        None if *after* is not the end any more: another instance was first. At most 20 bodies of
        60,000 bytes each.
        """

    async def renew(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Replace all entries by these, as a new generation, in one step; return the new end.

        None if *after* is not the end. What is cut off by a crash is never seen by a reader.
        """

    async def close(self) -> None:
        """Let go."""
