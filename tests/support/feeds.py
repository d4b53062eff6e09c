"""What the suites of feeds share: a journal in memory, pages, claims, and one feed's world."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consumers.sources.feeds.indicator_store import IndicatorStore
from consumers.sources.feeds.matcher import FeedMatcher, FeedRules
from consumers.sources.feeds.sync import MAX_FEED_INDICATORS, FeedSync, SharedFeed
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.events.times import iso_of
from schemas.feed_ports import JournalEntry, JournalPosition
from tests.servers.taxii import indicator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
    from pathlib import Path

    from schemas.health import Problem

NOW = 1_772_000_000.0
HOUR = 3_600.0
FEED = "sekoia"
A, B, C = "81.2.69.160", "81.2.69.161", "93.184.216.34"
START = JournalPosition()


@dataclass
class MemoryJournal:
    """A journal with the port's semantics; a few entries at a time, so that others come between."""

    end: JournalPosition = START
    kept: list[JournalEntry] = field(default_factory=list)
    renewals: int = 0

    async def entries(
        self, feed: str, after: JournalPosition
    ) -> AsyncGenerator[list[JournalEntry]]:
        """Yield what is new; all of a new generation."""
        assert feed == FEED
        while after != self.end and self.end.number:
            known = after.generation == self.end.generation and after.number < self.end.number
            start = after.number if known else 0
            found = self.kept[start : start + 2]
            after = found[-1].place
            yield found
            await asyncio.sleep(0)

    async def extend(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Add entries if *after* is the end."""
        await asyncio.sleep(0)
        assert feed == FEED
        assert len(bodies) <= 20
        if after != self.end:
            return None
        self._add(bodies)
        return self.end

    async def renew(
        self, feed: str, after: JournalPosition, bodies: Sequence[bytes]
    ) -> JournalPosition | None:
        """Replace all entries if *after* is the end."""
        await asyncio.sleep(0)
        assert feed == FEED
        assert bodies
        if after != self.end and self.end.number:
            return None
        self.renewals += 1
        self.end, self.kept = JournalPosition(max(after.generation, self.end.generation) + 1), []
        self._add(bodies)
        return self.end

    def _add(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            self.end = JournalPosition(self.end.generation, self.end.number + 1)
            self.kept.append(JournalEntry(self.end, body))

    async def close(self) -> None:
        """Do nothing."""


class Source:
    """Pages that a test gives; then what it fails with."""

    def __init__(self) -> None:
        self.pages_left: list[list[object]] = []
        self.failure: Exception | None = None
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
            yield FeedPage(objects, Cursor(next=f"{self.runs}"), more)
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
        journal: MemoryJournal | None = None,
        claimed: dict[str, str] | None = None,
        rules: FeedRules | None = None,
        most: int = MAX_FEED_INDICATORS,
        identity: str = "it",
    ) -> None:
        self.time = NOW
        self.source = Source()
        self.health = Watch()
        self.told: list[set[str]] = []
        self.claims = Claims(folder.name, {} if claimed is None else claimed)
        self.folder = folder
        self.store = IndicatorStore(folder)
        self.feeds = FeedMatcher(self.store, {FEED: rules or FeedRules()})
        self.feeds.load()
        self.options: dict[str, Any] = {
            "interval": interval,
            "health": self.health,
            "now": lambda: self.time,
            "shared": SharedFeed(journal, self.claims) if journal is not None else None,
            "max_indicators": most,
        }
        self.sync = self.new_sync(identity)

    def new_sync(self, identity: str) -> FeedSync:
        """Return a sync of the same parts."""
        self.sync = FeedSync(FEED, self.source, self.feeds, identity=identity, **self.options)
        self.sync.listen(self.changed)
        return self.sync

    async def changed(self, keys: Collection[str]) -> None:
        """Keep what is told."""
        self.told.append(set(keys))

    async def read(self, *pages: list[dict[str, Any]]) -> None:
        """Read pages now."""
        self.source.pages_left = [list(one) for one in pages]
        await self.sync.sync(force=True)

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

    def two(self, **more: Any) -> tuple[World, World, MemoryJournal]:
        """Open two that share."""
        journal = MemoryJournal()
        claimed: dict[str, str] = {}
        first, second = (
            self.open(name, journal=journal, claimed=claimed, **more) for name in ("one", "other")
        )
        return first, second, journal


def named(value: str, after: float = 0.0, **more: Any) -> dict[str, Any]:
    """Return an indicator that was modified some seconds after the beginning."""
    return indicator(value, **{"modified": iso_of(NOW + after), **more})
