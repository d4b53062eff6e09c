"""What a feed names that it did not name before: told once, to who looks for late matches.

The feeds' file keeps how far was told, so that nothing is forgotten with a process that is killed,
or because a command read the feed that looks for nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from consumers.enrichment.paid_lookup import Leases
    from consumers.sources.feeds.indicator_store import ApplyResult, IndicatorStore

MAX_UNPUBLISHED_KEYS = 200_000
"""Keys after which they are told though the feed goes on."""
RECALL_BATCH = 20_000
"""Indicators that are recalled at once."""
PUBLISH_LEASE_SECONDS = 3_600.0
"""Seconds for which nobody else looks for late matches of the same pages."""


class FeedChanges:
    """The news of one feed."""

    def __init__(self, feed: str, store: IndicatorStore, leases: Leases | None) -> None:
        """By *leases*, of instances that have read the same one tells it."""
        self.on_added: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Is told of addresses and networks that are named now and perhaps were not before."""
        self.on_network_added: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Is told instead where another instance tells the same."""
        self.on_removed: Callable[[Collection[str]], Awaitable[None]] | None = None
        """Is told of addresses and networks that are not named any more."""
        self._feed = feed
        self._store = store
        self._claims = leases
        self._keys: set[str] = set()
        self._gone: set[str] = set()
        self._recalled = False

    @property
    def many(self) -> bool:
        """Whether it is time to tell what there is."""
        return len(self._keys) + len(self._gone) > MAX_UNPUBLISHED_KEYS

    def add(self, applied: ApplyResult) -> None:
        """Note what a page changed."""
        self._keys |= applied.keys
        self._keys -= applied.gone
        self._gone |= applied.gone
        self._gone -= applied.keys

    async def load_unpublished(self) -> None:
        """Note once what an earlier process has read and did not tell."""
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
        """Tell what is new. It is forgotten only when that has worked."""
        if self.on_removed is not None and self._gone:
            await self.on_removed(frozenset(self._gone))
        self._gone.clear()
        if self.on_added is None:
            self._keys.clear()  # it is recalled by who is to be told
            return
        state = self._store.state(self._feed)
        ours = bool(self._keys)
        if self._claims is not None and ours:
            generation, number = state.place
            name = f"late {self._feed} {generation}-{number}"
            ours = name in (await self._claims.acquire([name], PUBLISH_LEASE_SECONDS)).acquired
        if ours:
            await self.on_added(frozenset(self._keys))
        elif self._keys and self.on_network_added is not None:
            await self.on_network_added(frozenset(self._keys))
        self._keys.clear()
        if self._store.told(self._feed) != state.steps:
            self._store.keep_told(self._feed, state.steps)
