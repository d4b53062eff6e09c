"""The changes of one feed, for subscribers such as retro-matching and the export to Sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from schemas.feed_ports import ChangeCursor, Changes, IndicatorChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.sources.feeds.indicator_store import IndicatorStore
    from schemas.intel.indicators import Indicator

CHANGES_BATCH = 20_000
"""Indicators read at once."""


class FeedChanges(IndicatorChanges):
    """The published changes of a feed in this instance's store."""

    def __init__(self, feed: str, store: IndicatorStore) -> None:
        self._feed = feed
        self._store = store

    @property
    @override
    def name(self) -> str:
        return self._feed

    @property
    @override
    def position(self) -> ChangeCursor:
        state = self._store.state(self._feed)
        return ChangeCursor(state.generation, state.published)

    @override
    def changes_since(self, cursor: ChangeCursor) -> Changes:
        """See the port. Versions that match no more than before, and withdrawals, are none."""
        following, found = self._since(cursor, self._store.extended_since, CHANGES_BATCH)
        keys = (key for indicator in found if not indicator.withdrawn for key in indicator.keys)
        return Changes(following, frozenset(keys))

    @override
    def indicators_since(
        self, cursor: ChangeCursor, most: int
    ) -> tuple[ChangeCursor, list[Indicator]]:
        return self._since(cursor, self._store.since, most)

    def _since(
        self,
        cursor: ChangeCursor,
        read: Callable[[str, int, int], tuple[int, list[Indicator]]],
        most: int,
    ) -> tuple[ChangeCursor, list[Indicator]]:
        generation = self.position.generation
        if not generation:
            return cursor, []  # nothing was read yet, perhaps only by this instance
        start = cursor.step if cursor.generation == generation else 0
        last, found = read(self._feed, start, most)
        return ChangeCursor(generation, last), found
