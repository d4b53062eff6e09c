"""Port of the feed journal, through which instances share the changes of a feed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """A position in a journal. Each renewal starts a generation; numbers in it start at 1."""

    generation: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry of a journal, with its position."""

    place: JournalPosition
    body: bytes


class FeedJournal(Protocol):
    """The change log of a feed: an ordered, durable list of entries shared by all instances.

    Many instances read, one writes at a time. A writer that lost the race reads the new entries
    and tries again.
    """

    def entries(self, feed: str, after: JournalPosition) -> AsyncIterator[list[JournalEntry]]:
        """Yield the entries after a position, in order, in batches.

        If the journal was renewed since, yields all entries of the new generation. The generation
        of the first entry shows the reader that it must discard its state.
        """

    async def extend(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Append entries at position *after*, all or none; return the new end.

        Returns None if *after* is no longer the end: another instance wrote first. Accepts at
        most 20 bodies of 60,000 bytes each.
        """

    async def renew(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Replace all entries atomically by a new generation; return the new end.

        Returns None if *after* is not the end. Readers never see a renewal that a crash has
        interrupted.
        """

    async def close(self) -> None:
        """Close the connections."""
