"""Brings one feed up to date: page by page, each durable before the next is asked for.

Where instances share a ledger, one of them reads the feed at a time and writes its pages into a
journal, from which the others follow. An entry is written only right after the last one that its
writer knows, so that two of them can never mix up the feed's cursor.
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
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.errors import FeedFailed, LedgerFailed
from schemas.feed_ports import JournalPosition
from schemas.health import Problem
from schemas.intel.indicators import Indicator, WhySkipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence

    from consumers.enrichment.paid_lookup import Leases
    from consumers.sources.feeds.matcher import FeedMatcher
    from schemas.feed_ports import FeedJournal
    from schemas.health import HealthReporter

log = structlog.get_logger()

MAX_FEED_INDICATORS = 3_000_000
"""Indicators of one feed; more are left out and counted."""
FEED_LEASE_SECONDS = 120.0
"""Seconds for which one instance has a feed to itself, renewed with each page."""
FIRST_FEED_PAUSE_SECONDS, MAX_FEED_PAUSE_SECONDS = 60.0, 900.0
"""Seconds before a feed is tried again that failed; twice as long each time."""
FOLLOW_INTERVAL_SECONDS = 10.0
"""Seconds between two looks into the journal."""
STALE_INTERVALS = 3
"""Intervals after which a feed that could not be read is told to be stale."""
JOURNAL_BATCH = 10
"""Entries of the journal that are written together; each has up to 60,000 bytes."""
MAX_JOURNAL_ENTRIES, MAX_JOURNAL_FACTOR = 5_000, 2
"""When a journal is renewed: it has so many entries, or so many times what the feed holds."""


class FeedReader(Protocol):
    """A TAXII client; see :class:`consumers.sources.taxii.client.TaxiiClient`."""

    def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield pages from where the cursor says to the end."""

    async def close(self) -> None:
        """Let go of connections."""


@dataclass(frozen=True, slots=True)
class SharedFeed:
    """What instances share of a feed."""

    journal: FeedJournal
    claims: Leases
    """How they agree on who reads it."""


class _Overtaken(Exception):
    """Another instance has written into the journal: it reads the feed."""


class FeedSync:
    """One feed. Only one call at a time."""

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
        most: int = MAX_FEED_INDICATORS,
    ) -> None:
        """*identity* tells the feed's URL and collection from others; *now* is wall time."""
        self.name = name
        self.last = SyncResult()
        self.trouble: str | None = None
        self.attempted = asyncio.Event()
        """Set after the first look."""
        self.progress: Callable[[SyncResult], None] = lambda _: None
        self._source = source
        self._feeds = feeds
        self._store = feeds.store
        self._identity = identity
        self._interval = interval
        self._health = health
        self._now = now
        self._shared = shared
        self._news = FeedChanges(name, feeds.store, shared.claims if shared is not None else None)
        self._most = most
        self._retained: set[str] | None = None
        """Ids in the beginning of a new generation, while it is read."""
        self._held = 0
        self._failures = 0
        self._next = 0.0
        self._followed = 0.0
        self._begun: float | None = None
        """When it was looked at first."""

    def listen(
        self,
        changed: Callable[[Collection[str]], Awaitable[None]],
        beside: Callable[[Collection[str]], Awaitable[None]] | None = None,
        unsaid: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """Have them told of addresses and networks that are named now, or not any more.

        See :class:`FeedChanges`.
        """
        self._news.on_added = changed
        self._news.on_network_added = beside
        self._news.on_removed = unsaid

    @property
    def state(self) -> FeedState:
        """What is kept of the feed."""
        return self._store.state(self.name)

    async def sync_if_due(self) -> None:
        """Sync if it is time; where instances share, follow what others have read. Never raises."""
        now = self._now()
        if now < self._followed or self._next - now > max(self._interval, MAX_FEED_PAUSE_SECONDS):
            self._followed = self._next = 0.0  # the machine's clock was put back
        try:
            await self._news.load_unpublished()
            if now - self._followed >= FOLLOW_INTERVAL_SECONDS:
                self._followed = now
                await self.follow()
            self._tell_age()
            if now >= self._next:
                await self.sync()
                self._tell_age()
        except FeedFailed:
            pass  # told, and tried again later
        except LedgerFailed as error:
            self._failed(FeedFailed(str(error)))
        self.attempted.set()

    async def sync(self, *, force: bool = False) -> SyncResult:
        """Read the feed to its end, if it is time or *force*. FeedFailed after telling of it."""
        self.last = SyncResult()
        await self._begin()
        synced = self.state.synced
        age = self._now() - synced if synced is not None else -1.0  # it may be of another clock
        if not force and synced is not None and 0 <= age < self._interval:
            self._worked(synced + self._interval)
            await self._news.publish()
            return self.last
        if not await self._mine():
            self._next = self._now() + FOLLOW_INTERVAL_SECONDS
            return self.last
        try:
            await self._read()
        except FeedFailed as error:
            self._failed(error)
            raise
        except _Overtaken:
            await self._after_another()
            self._next = self._now() + FOLLOW_INTERVAL_SECONDS
        else:
            self._worked(self._now() + self._interval)
        finally:
            try:
                await self._news.publish()
            finally:
                await self._release()
        return self.last

    def try_again(self) -> None:
        """Read at the next look: what was wrong may have been mended."""
        if self._failures:
            self._next = 0.0

    async def close(self) -> None:
        """Let go of connections."""
        await self._source.close()

    # --- reading ---

    async def _read(self) -> None:
        cursor = msgspec.convert(self.state.cursor, Cursor)
        async for page in self._source.pages(cursor):
            await self._take(page)
            self.progress(self.last)
            if page.more:
                await self._mine()
        await self._renew_if_long()

    async def _take(self, page: FeedPage) -> None:
        """Make a page durable, for all instances first, then follow it."""
        indicators, lapsed, skipped = converted(page.objects)
        if lapsed:
            known = self._store.known(self.name, [one.id for one in lapsed])
            known |= {one.id for one in indicators}
            indicators += [one for one in lapsed if one.id in known]
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
        self.last.withdrawn += sum(one.withdrawn for one in fresh)
        self.last.skipped += skipped
        if self._news.many:
            await self._news.publish()

    def _within_limit(self, fresh: list[Indicator], skipped: Counter[str]) -> list[Indicator]:
        """Leave out new indicators for which there is no room; versions of known ones have it."""
        room = max(0, self._most - self._held)
        if len(fresh) <= room:
            return fresh
        known = self._store.known(self.name, [one.id for one in fresh])
        new = [one for one in fresh if one.id not in known]
        skipped[WhySkipped.BEYOND_LIMIT.value] += len(new[room:])
        return [*(one for one in fresh if one.id in known), *new[:room]]

    async def _write(
        self,
        journal: FeedJournal,
        fresh: Sequence[Indicator],
        state: FeedState,
        place: JournalPosition,
    ) -> JournalPosition:
        """Write a page into the journal right after *place*; return the new end.

        A page of many parts goes there in several pieces; only the last one holds the state.
        """
        bodies = list(packed([(state.steps, one) for one in fresh], state))
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
        self._held += applied.new
        self._news.add(applied)

    # --- beginning anew, and sharing ---

    async def _begin(self) -> None:
        """Follow what others have read; begin anew if the feed is another one than before."""
        await self._news.load_unpublished()
        await self.follow()
        self._held = self._store.count(self.name)
        state = self.state
        if state.identity in ("", self._identity):
            return
        log.warning("the feed is another one than before and begins anew", feed=self.name)
        new = FeedState(identity=self._identity, steps=state.steps, renewed=1)
        if self._shared is not None:
            bodies = list(packed([], new))
            place = await self._shared.journal.renew(
                self.name, JournalPosition(*state.place), bodies
            )
            if place is None:
                return  # another instance was first; it is followed the next time
            new.place = (place.generation, place.number)
        self._forget()
        self._store.keep_state(self.name, new)

    def _forget(self) -> None:
        self._store.forget_feed(self.name)
        self._feeds.load()
        self._held = 0

    async def follow(self) -> None:
        """Take in what is new in the journal."""
        if self._shared is None:
            return
        place = JournalPosition(*self.state.place)
        async for entries in self._shared.journal.entries(self.name, place):
            for entry in entries:
                self._take_in(entry.place, unpacked(entry.body))
        await self._news.publish()

    def _take_in(self, place: JournalPosition, part: JournalPart) -> None:
        """Take in an entry. A new generation takes the place of all that was before it.

        What is known goes on to match meanwhile; what the new generation does not begin with is
        forgotten when its beginning is read, as far as this process has read all of it.
        """
        known = self.state
        if known.identity not in ("", part.identity):
            self._forget()
        if place.generation != known.place[0]:
            self._retained = set() if place.number == 1 else None
        state = part.state or self.state
        state.place = (place.generation, place.number)
        retained = self._retained
        if retained is not None:
            retained.update(one.id for _, some in part.steps for one in some)
            state.renewed = place.number
        self._apply(part.steps, state)
        if retained is not None and part.state is not None:  # the first state ends the beginning
            self._feeds.drop(self._store.retain(self.name, retained))
            self._retained = None

    async def _after_another(self) -> None:
        """Follow who was first; if nobody was, the journal is lost, and is made anew."""
        before = self.state.place
        await self.follow()
        if self.state.place == before:
            log.warning("the feed's journal was lost and is made anew", feed=self.name)
            await self._renew()

    async def _renew_if_long(self) -> None:
        """Replace a journal by what the feed holds, when it has become much longer than that."""
        state = self.state
        added = state.place[1] - state.renewed
        if (
            added >= MAX_JOURNAL_ENTRIES
            or state.appended >= MAX_JOURNAL_FACTOR * self._held + MAX_JOURNAL_ENTRIES
        ):
            await self._renew()

    async def _renew(self) -> None:
        """Replace the journal by what the feed holds."""
        if self._shared is None:
            return
        state = self.state
        new = replace(state, appended=self._store.count(self.name))
        bodies = []
        for body in packed(self._store.all_of(self.name), new):
            bodies.append(body)
            await asyncio.sleep(0)  # there may be thousands, and others have their turn
        place = await self._shared.journal.renew(self.name, JournalPosition(*state.place), bodies)
        if place is not None:
            new.place = (place.generation, place.number)
            new.renewed = place.number
            self._store.keep_state(self.name, new)

    async def _mine(self) -> bool:
        """Claim the feed, or renew the claim; tell whether it is ours to read."""
        if self._shared is None:
            return True
        name = f"feed {self.name}"
        return name in (await self._shared.claims.acquire([name], FEED_LEASE_SECONDS)).acquired

    async def _release(self) -> None:
        if self._shared is not None:
            await self._shared.claims.release([f"feed {self.name}"])

    # --- telling ---

    def _worked(self, following: float) -> None:
        """Note that the feed was read, by this instance or another one, and when it is due."""
        self._failures = 0
        self.trouble = None
        self._next = following
        for trouble in (Problem.FEED_DOWN, Problem.FEED_REFUSED):
            self._health.resolve(trouble, part=self.name)

    def _failed(self, error: FeedFailed) -> None:
        self._failures += 1
        doubled = min(self._failures - 1, 10)
        pause = min(FIRST_FEED_PAUSE_SECONDS * 2**doubled, MAX_FEED_PAUSE_SECONDS, self._interval)
        self._next = self._now() + max(pause, error.retry_after or 0.0)
        self.trouble = str(error)
        kinds = (Problem.FEED_DOWN, Problem.FEED_REFUSED)
        self._health.resolve(kinds[not error.refused], part=self.name)
        self._health.report(kinds[error.refused], str(error), part=self.name)

    def _tell_age(self) -> None:
        if self._begun is None:
            self._begun = self._now()
        synced = self.state.synced
        read = self._begun if synced is None else synced  # one that never worked is stale as well
        if self._now() - read > STALE_INTERVALS * self._interval + MAX_FEED_PAUSE_SECONDS:
            text = f"not read since {STALE_INTERVALS} intervals; what it said before is still used"
            self._health.report(Problem.FEED_STALE, text, part=self.name)
        else:
            self._health.resolve(Problem.FEED_STALE, part=self.name)
