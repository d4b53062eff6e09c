"""The change feed of an indicator feed: publishes added and removed keys, once each.

The indicator store keeps the last published step. So no change is lost when a process is killed, or
when a command without retro-matching syncs the feed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.sources.feeds.indicator_store import ApplyResult, IndicatorStore
    from schemas.ledger_ports import Leases

MAX_UNPUBLISHED_KEYS = 200_000
"""Number of keys after which changes are published although the sync is still running."""
RECALL_BATCH = 20_000
"""Indicators loaded per batch."""
PUBLISH_LEASE_SECONDS = 3_600.0
"""How long no other instance runs the retro-match for the same pages."""


class FeedChanges:
    """Collects and publishes the changes of one feed."""

    def __init__(self, feed: str, store: IndicatorStore, leases: Leases | None) -> None:
        """With *leases*, only one of the instances that share a feed publishes a change."""
        self.on_added: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Called with the addresses and networks that may be new in the feed."""
        self.on_network_added: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Called instead of ``on_added`` if another instance publishes the same change."""
        self.on_removed: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Called with the addresses and networks that are no longer in any feed."""
        self._feed = feed
        self._store = store
        self._claims = leases
        self._keys: set[str] = set()
        self._gone: set[str] = set()
        self._recalled = False

    @property
    def many(self) -> bool:
        """True if so many changes are pending that they must be published now."""
        return len(self._keys) + len(self._gone) > MAX_UNPUBLISHED_KEYS

    def add(self, applied: ApplyResult) -> None:
        """Add the changes of a page."""
        self._keys |= applied.keys
        self._keys -= applied.gone
        self._gone |= applied.gone
        self._gone -= applied.keys

    async def load_unpublished(self) -> None:
        """Load, once, the changes that a previous process stored but did not publish."""
        if self.on_added is None or self._recalled:
            return
        self._recalled = True
        told = self._store.told(self._feed)
        while True:
            last, some = self._store.since(self._feed, told, RECALL_BATCH)
            if last == told:
                return
            told = last
            self._keys.update(key for one in some if not one.withdrawn for key in one.keys)
            await asyncio.sleep(0)

    async def publish(self) -> None:
        """Publish the pending changes. They are discarded only after that succeeds."""
        if self.on_removed is not None and self._gone:
            await self.on_removed(frozenset(self._gone))
        self._gone.clear()
        if self.on_added is None:
            self._keys.clear()  # a process with a listener loads them later
            return
        state = self._store.state(self._feed)
        ours = bool(self._keys)
        if self._claims is not None and ours:
            generation, number = state.place
            name = f"late {self._feed} {generation}-{number}"
            ours = await self._claims.take_lease(name, PUBLISH_LEASE_SECONDS)
        if ours:
            await self.on_added(frozenset(self._keys))
        elif self._keys and self.on_network_added is not None:
            await self.on_network_added(frozenset(self._keys))
        self._keys.clear()
        if self._store.told(self._feed) != state.steps:
            self._store.keep_told(self._feed, state.steps)
