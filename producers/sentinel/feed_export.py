"""Uploads selected feeds to Sentinel in pages, and resumes where an earlier process ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.durations import DAY_SECONDS
from schemas.errors import SinkHeldBack
from schemas.feed_ports import ChangeCursor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.feed_ports import IndicatorChanges, StoredCursor
    from schemas.intel.indicators import Indicator
    from schemas.ledger_ports import Notes

EXPORT_BATCH = 1_000
"""Indicators between two updates of the stored cursor."""


class FeedUploader(Protocol):
    """See :class:`producers.sentinel.judged_addresses.IndicatorExport`."""

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Mapping[str, Indicator] | None = None
    ) -> None:
        """Upload changes; SinkHeldBack if they were not accepted."""


class FeedExport:
    """Exports one feed. The cursors are stored in the ledger, which instances share."""

    def __init__(
        self,
        changes: IndicatorChanges,
        uploader: FeedUploader,
        cursor: StoredCursor,
        renewal: StoredCursor,
        notes: Notes,
        *,
        valid: float,
        now: Callable[[], float],
    ) -> None:
        """*cursor* follows the changes, *renewal* each renewal of indicators without an end.

        An indicator without an end gets a validity of *valid* seconds.
        """
        self._feed = changes.name
        self._changes = changes
        self._uploader = uploader
        self._cursor = cursor
        self._renewal = renewal
        self._notes = notes
        self._valid = valid
        self._now = now

    async def export_if_due(self) -> None:
        """Upload changes, and periodically renew indicators without an end.

        Never raises an error of Sentinel; the next call retries.
        """
        if not await self._cursor.acquire():
            return
        try:
            await self._upload_since(self._cursor, endless=False)
            if await self._due():
                await self._upload_since(self._renewal, endless=True)
                await self._renewal.advance(ChangeCursor())
                await self._notes.put_value(f"renewed {self._feed}", repr(self._now()))
        except SinkHeldBack:
            return  # already reported as a health problem
        finally:
            await self._cursor.release()

    async def _due(self) -> bool:
        """Return True if indicators without an end need renewal before Sentinel expires them."""
        note = await self._notes.get_value(f"renewed {self._feed}")
        if note is None:
            await self._notes.put_value(f"renewed {self._feed}", repr(self._now()))
            return False
        return self._now() - float(note) > min(self._valid / 3, 7 * DAY_SECONDS)

    async def _upload_since(self, position: StoredCursor, *, endless: bool) -> None:
        """Upload the changes after a stored cursor, and advance it."""
        cursor = await position.read()
        while True:
            following, found = self._changes.indicators_since(cursor, EXPORT_BATCH)
            if following == cursor:
                return
            wanted = [
                indicator
                for indicator in found
                if not endless or (indicator.valid_until is None and not indicator.withdrawn)
            ]
            if wanted:
                await self._uploader.feed_changes(self._feed, wanted)
            cursor = following
            await position.advance(cursor)
            if not await self._cursor.acquire():
                return
