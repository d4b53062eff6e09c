"""What the suites of feeds share: blobs in memory, pages, claims, and one feed's world."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.indicator_store import IndicatorStore
from consumers.sources.feeds.matcher import FeedMatcher, FeedRules
from consumers.sources.feeds.sync import MAX_FEED_INDICATORS, FeedSync, SharedFeed
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.events.times import iso_of
from schemas.feed_ports import Absent, Blob, ChangeCursor
from tests.servers.taxii import indicator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from schemas.health import Problem

NOW = 1_772_000_000.0
HOUR = 3_600.0
FEED = "sekoia"
A, B, C = "81.2.69.160", "81.2.69.161", "93.184.216.34"


@dataclass
class MemoryBlobs:
    """Blobs with the port's semantics; others come between any two calls."""

    kept: dict[str, Blob] = field(default_factory=dict)
    reads: int = 0
    writes: int = 0

    async def get(self, name: str, *, unless: str | None = None) -> Blob | Absent:
        """Return a blob, or why not."""
        await asyncio.sleep(0)
        self.reads += 1
        found = self.kept.get(name)
        if found is None:
            return Absent.MISSING
        return Absent.UNCHANGED if found.version == unless else found

    async def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        """Write a blob if its version is the expected one."""
        await asyncio.sleep(0)
        found = self.kept.get(name)
        if (found.version if found is not None else None) != replaces:
            return None
        self.writes += 1
        self.kept[name] = Blob(body, f"v{self.writes}")
        return self.kept[name].version

    async def names(self, prefix: str) -> list[str]:
        """Return names."""
        await asyncio.sleep(0)
        return [name for name in self.kept if name.startswith(prefix)]

    async def delete(self, names: Iterable[str]) -> None:
        """Delete blobs."""
        await asyncio.sleep(0)
        for name in names:
            self.kept.pop(name, None)

    async def close(self) -> None:
        """Do nothing."""

    @property
    def parts(self) -> int:
        """Return the number of parts, those that no index names included."""
        return len(self.kept) - (f"feeds/{FEED}/index" in self.kept)


class Source:
    """Pages that a test gives; then what it fails with."""

    def __init__(self) -> None:
        self.pages_left: list[list[object]] = []
        self.failure: Exception | None = None
        self.date = 4_000_000_000.0
        self.notes: tuple[str, ...] = ()
        self.runs = 0
        self.cursors: list[Cursor] = []
        self.closed = False

    async def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield what there is."""
        self.runs += 1
        self.cursors.append(cursor)
        while self.pages_left:
            objects = self.pages_left.pop(0)
            more = bool(self.pages_left) or self.failure is not None
            yield FeedPage(objects, Cursor(next=f"{self.runs}"), more, self.date, self.notes)
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Note it."""
        self.closed = True


class Watch:
    """Keeps what it is told now, and all that it was ever told."""

    def __init__(self) -> None:
        self.now: dict[Problem, str] = {}
        self.ever: list[Problem] = []

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Keep it."""
        assert part == FEED
        self.now[what] = detail
        self.ever.append(what)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Forget it."""
        assert part == FEED
        self.now.pop(what, None)


class Claims:
    """Claims of one instance among others."""

    def __init__(self, name: str, claimed: dict[str, str]) -> None:
        self._name = name
        self.claimed = claimed
        self.failure: Exception | None = None
        self.asked: list[str] = []

    async def take_lease(self, name: str, seconds: float) -> bool:
        """Give what nobody else has."""
        self.asked.append(name)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        assert seconds > 0
        return self.claimed.setdefault(name, self._name) == self._name

    async def end_lease(self, name: str) -> None:
        """Let go."""
        if self.claimed.get(name) == self._name:
            del self.claimed[name]


class World:
    """One instance, or one of several; its clock is set by the test."""

    def __init__(
        self,
        folder: Path,
        *,
        interval: float = HOUR,
        blobs: MemoryBlobs | None = None,
        claimed: dict[str, str] | None = None,
        rules: FeedRules | None = None,
        most: int = MAX_FEED_INDICATORS,
        identity: str = "it",
    ) -> None:
        self.time = NOW
        self.source = Source()
        self.health = Watch()
        self.told: list[set[str]] = []
        self.seen = ChangeCursor()
        self.claims = Claims(folder.name, {} if claimed is None else claimed)
        self.folder = folder
        self.store = IndicatorStore(folder)
        self.feeds = FeedMatcher(self.store, {FEED: rules or FeedRules()})
        self.feeds.load()
        self.options: dict[str, Any] = {
            "interval": interval,
            "health": self.health,
            "now": lambda: self.time,
            "shared": SharedFeed(blobs, self.claims) if blobs is not None else None,
            "max_indicators": most,
        }
        self.sync = self.new_sync(identity)

    def new_sync(self, identity: str) -> FeedSync:
        """Return a sync of the same parts."""
        self.sync = FeedSync(FEED, self.source, self.feeds, identity=identity, **self.options)
        return self.sync

    async def read(self, *pages: list[dict[str, Any]]) -> None:
        """Read pages now, and see what has changed."""
        self.source.pages_left = [list(one) for one in pages]
        try:
            await self.sync.sync(force=True)
        finally:
            self.see()

    def see(self) -> None:
        """Keep what a subscriber is told of."""
        changes = FeedChanges(FEED, self.store).changes_since(self.seen)
        self.seen = changes.cursor
        if changes.observables:
            self.told.append(set(changes.observables))

    @property
    def keys(self) -> set[str]:
        """Return the keys that match now; store and index agree."""
        keys = set(self.store.all_keys())
        assert self.feeds.index.addresses == {one for one in keys if "/" not in one}
        return keys

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()


class Worlds:
    """Worlds that are closed when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[World] = []

    def open(self, name: str = "one", **more: Any) -> World:
        """Open one; two of a name have one folder."""
        self.all.append(World(self.folder / name, **more))
        return self.all[-1]

    def two(self, **more: Any) -> tuple[World, World, MemoryBlobs]:
        """Open two that share."""
        blobs = MemoryBlobs()
        claimed: dict[str, str] = {}
        first, second = (
            self.open(name, blobs=blobs, claimed=claimed, **more) for name in ("one", "other")
        )
        return first, second, blobs


def named(value: str, after: float = 0.0, **more: Any) -> dict[str, Any]:
    """Return an indicator that was modified some seconds after the beginning."""
    return indicator(value, **{"modified": iso_of(NOW + after), **more})
