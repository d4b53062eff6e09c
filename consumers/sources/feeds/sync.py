"""Syncs one feed page by page. Each page is durable before the next one is requested.

Of the instances that share a ledger, one at a time reads the feed and writes its pages to a
journal, which the others follow. An entry is appended only directly after the last entry that its
writer knows, so concurrent writers cannot corrupt the feed's cursor.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog
from msgspec.structs import replace

from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.conversion import SyncResult, converted
from consumers.sources.feeds.indicator_store import FeedState
from consumers.sources.feeds.journal_codec import JournalPart, packed, unpacked
from consumers.sources.feeds.sync_status import MAX_FEED_PAUSE_SECONDS, SyncStatus
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.errors import FeedFailed, LedgerFailed
from schemas.feed_ports import JournalPosition
from schemas.intel.indicators import Indicator, WhySkipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence

    from consumers.sources.feeds.matcher import FeedMatcher
    from schemas.feed_ports import FeedJournal
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Leases

log = structlog.get_logger()

MAX_FEED_INDICATORS = 3_000_000
"""Indicators per feed. Further indicators are skipped and counted."""
FEED_LEASE_SECONDS = 120.0
"""Lease of a feed by one instance, renewed with each page."""
FOLLOW_INTERVAL_SECONDS = 10.0
"""Interval between reads of the journal."""
JOURNAL_BATCH = 10
"""Journal entries per write. Each has up to 60,000 bytes."""
MAX_JOURNAL_ENTRIES, MAX_JOURNAL_FACTOR = 5_000, 2
"""A journal is renewed at this number of entries, or at this multiple of the feed's size."""


class FeedReader(Protocol):
    """A TAXII client; see :class:`consumers.sources.taxii.client.TaxiiClient`."""

    def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield the pages from the cursor to the end."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class SharedFeed:
    """The parts of a feed that instances share."""

    journal: FeedJournal
    leases: Leases
    """The leases that decide which instance reads the feed."""


class _Overtaken(Exception):
    """Another instance has appended to the journal, so it reads the feed."""


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
        self._shared = shared
        self._changes = FeedChanges(
            name, feeds.store, shared.leases if shared is not None else None
        )
        self._max_indicators = max_indicators
        self._retained: set[str] | None = None
        """Ids at the start of a new generation, while that start is being read."""
        self._size = 0
        self._followed = 0.0

    def listen(
        self,
        changed: Callable[[Collection[str]], Awaitable[None]],
        beside: Callable[[Collection[str]], Awaitable[None]] | None = None,
        on_removed: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """Register listeners for added and removed addresses and networks.

        The parameters are the listeners of :class:`FeedChanges`, in order.
        """
        self._changes.on_added = changed
        self._changes.on_network_added = beside
        self._changes.on_removed = on_removed

    @property
    def problem(self) -> str | None:
        """The error of the last sync; None if it succeeded."""
        return self._status.error

    @property
    def state(self) -> FeedState:
        """The stored state of the feed."""
        return self._store.state(self.name)

    async def sync_if_due(self) -> None:
        """Sync if it is due, and follow the shared journal if there is one. Never raises."""
        now = self._now()
        if now < self._followed or self._status.next_sync - now > max(
            self._interval, MAX_FEED_PAUSE_SECONDS
        ):
            self._followed = self._status.next_sync = 0.0  # the system clock was set back
        try:
            await self._changes.load_unpublished()
            if now - self._followed >= FOLLOW_INTERVAL_SECONDS:
                self._followed = now
                await self.follow()
            self._status.report_age(self.state.synced)
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
        await self._prepare()
        synced = self.state.synced
        age = self._now() - synced if synced is not None else -1.0  # negative with another clock
        if not force and synced is not None and 0 <= age < self._interval:
            self._status.succeeded(synced + self._interval)
            await self._changes.publish()
            return self.last
        if not await self._acquire():
            self._status.next_sync = self._now() + FOLLOW_INTERVAL_SECONDS
            return self.last
        try:
            await self._read()
        except FeedFailed as error:
            self._status.failed(error)
            raise
        except _Overtaken:
            await self._follow_writer()
            self._status.next_sync = self._now() + FOLLOW_INTERVAL_SECONDS
        else:
            self._status.succeeded(self._now() + self._interval)
        finally:
            try:
                await self._changes.publish()
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
        cursor = msgspec.convert(self.state.cursor, Cursor)
        async for page in self._source.pages(cursor):
            await self._apply_page(page)
            self.progress(self.last)
            if page.more:
                await self._acquire()
        await self._renew_if_long()

    async def _apply_page(self, page: FeedPage) -> None:
        """Write a page to the shared journal first, then to the store."""
        indicators, lapsed, skipped = converted(page.objects)
        if lapsed:
            known = self._store.known(self.name, [indicator.id for indicator in lapsed])
            known |= {indicator.id for indicator in indicators}
            indicators += [indicator for indicator in lapsed if indicator.id in known]
        fresh = self._within_limit(self._store.fresh(self.name, indicators), skipped)
        before, now = self.state, self._now()
        state = replace(
            before,
            identity=self._identity,
            cursor=msgspec.to_builtins(page.cursor),
            steps=before.steps + 1,
            synced=before.synced if page.more else now,
            changed=now if fresh else before.changed,
            appended=before.appended + len(fresh),
            skipped=dict(Counter(before.skipped) + skipped),
        )
        if self._shared is not None:
            place = await self._write(
                self._shared.journal, fresh, state, JournalPosition(*before.place)
            )
            state.place = (place.generation, place.number)
        self._apply([(state.steps, fresh)], state)
        self.last.pages += 1
        self.last.objects += len(page.objects)
        self.last.fresh += len(fresh)
        self.last.withdrawn += sum(indicator.withdrawn for indicator in fresh)
        self.last.skipped += skipped
        if self._changes.many:
            await self._changes.publish()

    def _within_limit(self, fresh: list[Indicator], skipped: Counter[str]) -> list[Indicator]:
        """Skip new indicators beyond the limit. New versions of known indicators always fit."""
        room = max(0, self._max_indicators - self._size)
        if len(fresh) <= room:
            return fresh
        known = self._store.known(self.name, [indicator.id for indicator in fresh])
        new = [indicator for indicator in fresh if indicator.id not in known]
        skipped[WhySkipped.BEYOND_LIMIT.value] += len(new[room:])
        return [*(indicator for indicator in fresh if indicator.id in known), *new[:room]]

    async def _write(
        self,
        journal: FeedJournal,
        fresh: Sequence[Indicator],
        state: FeedState,
        place: JournalPosition,
    ) -> JournalPosition:
        """Append a page to the journal directly after *place*; return the new end.

        A large page needs several writes. Only the last entry holds the state.
        """
        bodies = list(packed([(state.steps, indicator) for indicator in fresh], state))
        for start in range(0, len(bodies), JOURNAL_BATCH):
            end = await journal.extend(self.name, place, bodies[start : start + JOURNAL_BATCH])
            if end is None:
                raise _Overtaken
            place = end
        return place

    def _apply(self, steps: Iterable[tuple[int, Iterable[Indicator]]], state: FeedState) -> None:
        rules = self._feeds.rules.get(self.name)
        longest = rules.longest if rules is not None else None
        applied = self._store.apply(
            self.name, steps, state, now=self._now(), longest=longest or math.inf
        )
        self._feeds.applied(applied)
        self._size += applied.new
        self._changes.add(applied)

    # --- sharing ---

    async def _prepare(self) -> None:
        """Follow the journal. If the identity of the feed has changed, start from scratch."""
        await self._changes.load_unpublished()
        await self.follow()
        self._size = self._store.count(self.name)
        state = self.state
        if state.identity in ("", self._identity):
            return
        log.warning("feed settings changed, reading the feed from the start", feed=self.name)
        new = FeedState(identity=self._identity, steps=state.steps, renewed=1)
        if self._shared is not None:
            bodies = list(packed([], new))
            place = await self._shared.journal.renew(
                self.name, JournalPosition(*state.place), bodies
            )
            if place is None:
                return  # another instance was first; follow it next time
            new.place = (place.generation, place.number)
        self._reset()
        self._store.keep_state(self.name, new)

    def _reset(self) -> None:
        self._store.forget_feed(self.name)
        self._feeds.load()
        self._size = 0

    async def follow(self) -> None:
        """Apply the new entries of the shared journal."""
        if self._shared is None:
            return
        place = JournalPosition(*self.state.place)
        async for entries in self._shared.journal.entries(self.name, place):
            for entry in entries:
                self._apply_entry(entry.place, unpacked(entry.body))
        await self._changes.publish()

    def _apply_entry(self, place: JournalPosition, part: JournalPart) -> None:
        """Apply a journal entry. A new generation replaces all earlier entries.

        Stored indicators keep matching while the start of the new generation is read. Afterwards,
        indicators that it does not contain are deleted, provided that this process has read all of
        the start.
        """
        known = self.state
        if known.identity not in ("", part.identity):
            self._reset()
        if place.generation != known.place[0]:
            self._retained = set() if place.number == 1 else None
        state = part.state or self.state
        state.place = (place.generation, place.number)
        retained = self._retained
        if retained is not None:
            retained.update(
                indicator.id for _, indicators in part.steps for indicator in indicators
            )
            state.renewed = place.number
        self._apply(part.steps, state)
        if retained is not None and part.state is not None:  # the first state ends the start
            self._feeds.drop(self._store.retain(self.name, retained))
            self._retained = None

    async def _follow_writer(self) -> None:
        """Follow the instance that was first. Without one the journal is lost: recreate it."""
        before = self.state.place
        await self.follow()
        if self.state.place == before:
            log.warning("feed journal lost, recreating it", feed=self.name)
            await self._renew()

    async def _renew_if_long(self) -> None:
        """Renew the journal if it has become much longer than the feed."""
        state = self.state
        added = state.place[1] - state.renewed
        if (
            added >= MAX_JOURNAL_ENTRIES
            or state.appended >= MAX_JOURNAL_FACTOR * self._size + MAX_JOURNAL_ENTRIES
        ):
            await self._renew()

    async def _renew(self) -> None:
        """Replace the journal with the stored indicators of the feed."""
        if self._shared is None:
            return
        state = self.state
        new = replace(state, appended=self._store.count(self.name))
        bodies = []
        for body in packed(self._store.all_of(self.name), new):
            bodies.append(body)
            await asyncio.sleep(0)  # there may be thousands; let other tasks run
        place = await self._shared.journal.renew(self.name, JournalPosition(*state.place), bodies)
        if place is not None:
            new.place = (place.generation, place.number)
            new.renewed = place.number
            self._store.keep_state(self.name, new)

    async def _acquire(self) -> bool:
        """Acquire or renew the lease of the feed; return True if this instance may read it."""
        if self._shared is None:
            return True
        name = f"feed {self.name}"
        return await self._shared.leases.take_lease(name, FEED_LEASE_SECONDS)

    async def _release(self) -> None:
        if self._shared is not None:
            await self._shared.leases.end_lease(f"feed {self.name}")
