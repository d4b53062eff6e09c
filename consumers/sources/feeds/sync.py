"""Syncs one feed page by page. Each page is durable before the next one is requested.

Of the instances that share a ledger, one at a time reads the feed and publishes a snapshot of it,
which the others follow. So a feed is read once, however many instances match it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import uuid4

import msgspec
import structlog
from msgspec.structs import replace

from consumers.sources.feeds.conversion import Skipped, SyncResult, converted
from consumers.sources.feeds.indicator_store import FeedState
from consumers.sources.feeds.snapshot import (
    FULL_PART_INDICATORS,
    FeedSnapshots,
    Overtaken,
    PartMissing,
    Snapshot,
)
from consumers.sources.feeds.sync_status import MAX_FEED_PAUSE_SECONDS, SyncStatus
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.errors import FeedFailed, LedgerFailed
from schemas.intel.indicators import Indicator, WhySkipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from consumers.sources.feeds.matcher import FeedMatcher
    from schemas.feed_ports import BlobStore
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Leases

log = structlog.get_logger()

MAX_FEED_INDICATORS = 3_000_000
"""Indicators per feed. Further indicators are skipped and counted."""
FEED_LEASE_SECONDS = 120.0
"""Lease of a feed by one instance, renewed with each page."""
FOLLOW_INTERVAL_SECONDS = 10.0
"""Interval between looks for a new snapshot, by which instances learn of each other's reads."""
MAX_FOLLOW_ATTEMPTS = 3
"""Times that a snapshot is fetched whose parts are replaced while they are read."""
MAX_REMOVED_KEYS = 200_000
"""Keys of removed indicators kept until they are taken."""


class FeedReader(Protocol):
    """Reads a feed: a TAXII client, or the reader of a list."""

    def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield the pages from the cursor to the end."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class SharedFeed:
    """The parts of a feed that instances share."""

    blobs: BlobStore
    """Where the snapshots are."""
    leases: Leases
    """The leases that decide which instance reads the feed."""


class FeedSync:
    """The sync of one feed. Calls must not overlap."""

    def __init__(
        self,
        name: str,
        source: FeedReader,
        feeds: FeedMatcher,
        *,
        identity: str,
        interval: float,
        health: HealthReporter,
        now: Callable[[], float],
        shared: SharedFeed | None = None,
        max_indicators: int = MAX_FEED_INDICATORS,
    ) -> None:
        """*identity* identifies the feed's URL and collection; *now* returns wall time."""
        self.name = name
        self.last = SyncResult()
        self.attempted = asyncio.Event()
        """Set after the first attempt to sync."""
        self.progress: Callable[[SyncResult], None] = lambda _: None
        self._source = source
        self._feeds = feeds
        self._store = feeds.store
        self._identity = identity
        self._interval = interval
        self._now = now
        self._status = SyncStatus(name, interval, health, now)
        self._leases = shared.leases if shared is not None else None
        self._snapshots = FeedSnapshots(name, shared.blobs) if shared is not None else None
        self._max_indicators = max_indicators
        self._removed: set[str] = set()
        self._unpublished = 0
        self._size = 0
        self._followed = 0.0

    @property
    def problem(self) -> str | None:
        """The error of the last sync; None if it succeeded."""
        return self._status.error

    @property
    def state(self) -> FeedState:
        """The stored state of the feed."""
        return self._store.state(self.name)

    def take_removed(self) -> set[str]:
        """Return the addresses and networks that no feed lists any more since the last call."""
        removed, self._removed = self._removed, set()
        return removed

    async def sync_if_due(self) -> None:
        """Sync if it is due, and follow the snapshots of other instances. Never raises."""
        now = self._now()
        if now < self._followed or self._status.next_sync - now > max(
            self._interval, MAX_FEED_PAUSE_SECONDS
        ):
            self._followed = self._status.next_sync = 0.0  # the system clock was set back
        try:
            if now - self._followed >= FOLLOW_INTERVAL_SECONDS:
                self._followed = now
                await self.follow()
            self._status.report_age(self.state.synced)
            self._status.report_gap(self.state.notes)
            self._status.report_disbelieved(self._feeds.disbelieved.get(self.name))
            if now >= self._status.next_sync:
                await self.sync()
                self._status.report_age(self.state.synced)
        except FeedFailed:
            pass  # reported; retried later
        except LedgerFailed as error:
            self._status.failed(FeedFailed(str(error)))
        self.attempted.set()

    async def sync(self, *, force: bool = False) -> SyncResult:
        """Read the feed to its end if it is due or with *force*. Report and raise FeedFailed."""
        self.last = SyncResult()
        await self.follow()
        self._start_anew_if_changed()
        synced = self.state.synced
        age = self._now() - synced if synced is not None else -1.0  # negative with another clock
        if not force and synced is not None and 0 <= age < self._interval:
            self._status.succeeded(synced + self._interval)
            return self.last
        if not await self._acquire():
            self._status.next_sync = self._now() + FOLLOW_INTERVAL_SECONDS
            return self.last
        try:
            await self._read()
        except FeedFailed as error:
            self._status.failed(error)
            raise
        except Overtaken:
            log.info("another instance has read the feed meanwhile", feed=self.name)
            await self.follow()
            self._status.next_sync = self._now() + FOLLOW_INTERVAL_SECONDS
        else:
            self._status.succeeded(self._now() + self._interval)
        finally:
            await self._release()
        return self.last

    def try_again(self) -> None:
        """Retry a failed sync at the next call, because its cause may have been fixed."""
        if self._status.error is not None:
            self._status.next_sync = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._source.close()

    # --- reading ---

    async def _read(self) -> None:
        cursor, synced = msgspec.convert(self.state.cursor, Cursor), self.state.synced
        try:
            async for page in self._source.pages(cursor):
                self._apply_page(page)
                self.progress(self.last)
                if page.more:
                    await self._publish_if_due()
                    await self._acquire()
        except FeedFailed:
            await self._publish()
            raise
        if self.state.synced != synced:
            self._drop_unpublished()
        await self._publish()

    def _start_anew_if_changed(self) -> None:
        """Forget the feed if its URL or collection has changed."""
        self._size = self._store.count(self.name)
        state = self.state
        if state.identity not in ("", self._identity):
            log.warning("feed settings changed, reading the feed from the start", feed=self.name)
            self._reset()
            new = FeedState(identity=self._identity, steps=state.steps, generation=state.generation)
            self._store.keep_state(self.name, new)

    def _apply_page(self, page: FeedPage) -> None:
        rules = self._feeds.rules.get(self.name)
        indicators, lapsed, skipped = converted(
            page.objects,
            date=page.date,
            from_created=rules is not None and rules.from_created,
        )
        if lapsed:
            known = self._store.known(self.name, [indicator.id for indicator in lapsed])
            known |= {indicator.id for indicator in indicators}
            indicators += [indicator for indicator in lapsed if indicator.id in known]
        fresh = self._within_limit(self._store.fresh(self.name, indicators), skipped)
        self.last.notes |= dict.fromkeys(page.notes)
        before, now = self.state, self._now()
        state = replace(
            before,
            identity=self._identity,
            cursor=msgspec.to_builtins(page.cursor),
            steps=before.steps + 1,
            generation=before.generation or uuid4().hex,
            published=before.published if self._snapshots is not None else before.steps + 1,
            synced=before.synced if page.more else now,
            changed=now if fresh else before.changed,
            skipped=dict(Counter(before.skipped) + skipped.counts),
            samples=before.samples | skipped.samples,
            notes=list(self.last.notes),
        )
        self._apply([(state.steps, fresh)], state)
        self._unpublished += len(fresh)
        self.last.pages += 1
        self.last.objects += len(page.objects)
        self.last.fresh += len(fresh)
        self.last.withdrawn += sum(indicator.withdrawn for indicator in fresh)
        self.last.skipped.update(skipped)

    def _within_limit(self, fresh: list[Indicator], skipped: Skipped) -> list[Indicator]:
        """Skip new indicators beyond the limit. New versions of known indicators always fit."""
        room = max(0, self._max_indicators - self._size)
        if len(fresh) <= room:
            return fresh
        known = self._store.known(self.name, [indicator.id for indicator in fresh])
        new = [indicator for indicator in fresh if indicator.id not in known]
        skipped.counts[WhySkipped.BEYOND_LIMIT.value] += len(new[room:])
        return [*(indicator for indicator in fresh if indicator.id in known), *new[:room]]

    def _apply(self, steps: Iterable[tuple[int, Iterable[Indicator]]], state: FeedState) -> None:
        rules = self._feeds.rules.get(self.name)
        longest = rules.longest if rules is not None else None
        applied = self._store.apply(
            self.name, steps, state, now=self._now(), longest=longest or math.inf
        )
        self._feeds.applied(applied)
        self._size += applied.new
        self._removed -= applied.keys
        if len(self._removed) < MAX_REMOVED_KEYS:
            self._removed |= applied.gone

    def _reset(self) -> None:
        self._store.forget_feed(self.name)
        self._feeds.load()
        self._size = 0

    # --- sharing ---

    async def follow(self) -> None:
        """Apply the snapshot that another instance has published, if it is new."""
        if self._snapshots is None:
            return
        for attempt in range(1, MAX_FOLLOW_ATTEMPTS + 1):
            snapshot = await self._snapshots.fetch()
            if snapshot is None:
                return
            try:
                await self._apply_snapshot(self._snapshots, snapshot)
            except PartMissing:
                if attempt == MAX_FOLLOW_ATTEMPTS:
                    raise
            else:
                return

    async def _apply_snapshot(self, snapshots: FeedSnapshots, snapshot: Snapshot) -> None:
        known, new = self.state, snapshot.state
        if (known.identity, known.generation) == (new.identity, new.generation):
            if new.steps == known.published:
                return  # it is our own, perhaps of an earlier process
            self._store.unpublish(self.name, known.published)
        elif known.generation:
            self._reset()
            known = FeedState()
        try:
            async for steps in snapshots.parts_after(snapshot, known.published):
                self._apply(steps, self.state)
                await asyncio.sleep(0)  # there may be hundreds; let other tasks run
        except LedgerFailed:
            snapshots.forget()
            raise
        self._store.keep_state(self.name, new)
        if new.synced != known.synced:
            self._drop_unpublished()

    def _drop_unpublished(self) -> None:
        """Drop what only this instance has read, and what a complete read did not find again."""
        if gone := self._store.delete_unpublished(self.name):
            self._feeds.drop(gone)
            self._removed |= gone

    async def _publish_if_due(self) -> None:
        """Publish during a long read, so that not all of it is lost with this process."""
        if self._unpublished >= FULL_PART_INDICATORS:
            await self._publish()

    async def _publish(self) -> None:
        """Publish what was read. Raises Overtaken if another instance was first."""
        state = self.state
        if self._snapshots is None or state.published == state.steps:
            return
        published = replace(state, published=state.steps)
        await self._snapshots.publish(self._store, published)
        self._unpublished = 0
        self._store.keep_state(self.name, published)

    async def _acquire(self) -> bool:
        """Acquire or renew the lease of the feed; return True if this instance may read it."""
        name = f"feed {self.name}"
        return self._leases is None or await self._leases.take_lease(name, FEED_LEASE_SECONDS)

    async def _release(self) -> None:
        if self._leases is not None:
            await self._leases.end_lease(f"feed {self.name}")
