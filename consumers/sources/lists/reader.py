"""Reads a list like a feed: what is new becomes an indicator, what is gone ends.

So lists have what feeds have: one instance reads, the last good copy stays, changes are matched
with earlier sign-ins, and the guard holds.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from consumers.sources.feeds.listed_indicator import listed_indicator
from consumers.sources.lists.parsing import read_list
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.errors import FeedFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

    from consumers.sources.feeds.indicator_store import IndicatorStore
    from consumers.sources.lists.content import ListContent
    from consumers.sources.lists.presets import ListPlan

PAGE_OBJECTS = 2_000
MIN_KEPT_SHARE, MIN_COMPARED = 0.1, 100
"""A list of some size that shrinks to less than this share at once is not believed."""
_NAMESPACE = UUID("6d7a5f0a-6f7e-4a54-93b5-2f6d0f6a9d11")
_LABELS = {
    "tor": "proxy:tor",
    "vpn": "proxy:vpn",
    "proxy": "proxy:other",
    "relay": "corporate-proxy:list",
    "hosting": "range:data_center",
    "residential": "connection-type:residential",
    "mobile": "connection-type:mobile",
}
"""The classification by which an address class is known; see ``address_class``."""


class ListReader:
    """Reads one list. Owns and closes its content."""

    def __init__(
        self,
        plan: ListPlan,
        store: IndicatorStore,
        content: ListContent,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._store = store
        self._content = content
        self._now = now

    async def pages(self, cursor: Cursor) -> AsyncGenerator[FeedPage]:
        """Yield what has changed since the stored copy. FeedFailed keeps that copy."""
        body = await self._content.read()
        now = self._now()
        if body is None:
            yield FeedPage([], cursor, False, now)
            return
        try:
            keys = await asyncio.to_thread(read_list, body)
            known = self._known()
            if len(known) >= MIN_COMPARED and len(keys) < MIN_KEPT_SHARE * len(known):
                text = f"shrank from {len(known):,} to {len(keys):,} addresses"
                raise FeedFailed(text, refused=True)
        except FeedFailed:
            self._content.forget()
            raise
        objects = [*self._added(keys, known, now), *self._ended(keys, known, now)]
        for start in range(0, max(1, len(objects)), PAGE_OBJECTS):
            more = start + PAGE_OBJECTS < len(objects)
            yield FeedPage(objects[start : start + PAGE_OBJECTS], cursor, more, now)
            await asyncio.sleep(0)

    def _known(self) -> dict[str, str]:
        """Return the keys of the stored copy by the ids of their indicators."""
        stored = self._store.all_of(self._plan.name)
        return {
            indicator.id: key
            for _, indicator in stored
            for key in indicator.keys
            if not indicator.withdrawn and indicator.valid_until is None
        }

    def _added(self, keys: Iterable[str], known: dict[str, str], now: float) -> Iterator[object]:
        for key in keys:
            identity = self._identity(key)
            if identity not in known:
                yield self._object(identity, key, now, None)

    def _ended(self, keys: Iterable[str], known: dict[str, str], now: float) -> Iterator[object]:
        current = set(map(self._identity, keys))
        for identity, key in known.items():
            if identity not in current:
                yield self._object(identity, key, now, now)

    def _identity(self, key: str) -> str:
        return f"indicator--{uuid5(_NAMESPACE, f'{self._plan.name} {key}')}"

    def _object(self, identity: str, key: str, now: float, end: float | None) -> object:
        plan = self._plan
        labels = [plan.reputation or "known"]
        labels += [_LABELS[plan.address_class]] if plan.address_class else []
        return listed_indicator(identity, key, now, end, labels)

    async def close(self) -> None:
        """Close the connections."""
        await self._content.close()
