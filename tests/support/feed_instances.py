"""Instances that read a feed from a server, alone or together, and may die anywhere."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from consumers.service.health import Health
from consumers.sources.feeds import sync as sync_module
from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.indicator_store import IndicatorStore
from consumers.sources.feeds.matcher import FeedMatcher, FeedRules
from consumers.sources.feeds.sync import FeedSync, SharedFeed
from consumers.sources.taxii.client import Cursor, FeedPage, TaxiiClient
from consumers.sources.taxii.stix_objects import indicator_of
from schemas.errors import FeedFailed, LedgerFailed
from schemas.events.times import iso_of
from schemas.feed_ports import ChangeCursor
from schemas.intel.indicators import Indicator
from tests.servers.taxii import CUT, LOST, RESET, TRUNCATE, TaxiiServer, indicator
from tests.servers.taxii_client import http
from tests.support.feeds import FEED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from schemas.feed_ports import Absent, Blob, BlobStore

WELL, EXPIRE, RESTART = "well", "expire", "restart"
STALL, WRITTEN = "stall", "written"
"""More time goes by than a claim lasts; an instance dies after it has written a blob."""


class Crash(Exception):
    """A process ends here."""


@dataclass
class World:
    """A server, what happens to it, and what its indicators are."""

    fake: TaxiiServer
    happenings: Iterator[str]
    url: str = ""
    versions: dict[int, dict[str, Any]] = field(default_factory=dict)
    claimed: dict[str, tuple[str, float]] = field(default_factory=dict)
    dying: str = ""
    added: int = 0
    seen: ChangeCursor = field(default_factory=ChangeCursor)
    """How far a subscriber has seen the changes, whichever instance showed them to it."""
    told: set[str] = field(default_factory=set)

    def change(self, number: int, how: str, apart: float = 0.0) -> None:
        """Add the next version of an indicator."""
        self.added += 1
        value = f"81.2.{number}.1"
        more: dict[str, Any] = {}
        if how == "moved":
            second = f"81.2.{number}.{self.added % 9 + 2}"
            more["pattern"] = f"[ipv4-addr:value IN ('81.2.69.160', '{second}', '81.2.{number}.4')]"
        elif how == "lapsed":
            more["pattern"] = "[domain-name:value = 'a.example']"
        elif how == "revoked":
            more["revoked"] = True
        elif how == "newer" and number % 3 == 0:
            more["pattern"] = f"[ipv4-addr:value = '81.2.{number}.0/24']"
        modified = iso_of(self.fake.clock + self.added)
        self.versions[number] = {**indicator(value), "modified": modified, **more}
        self.fake.add(self.versions[number], apart=apart)

    def fault(self, _: int) -> web.Response | str | None:
        """Say what happens at a request."""
        self.fake.clock += 0.01
        what = next(self.happenings, WELL)
        if what in (RESET, LOST, TRUNCATE, CUT):
            return what
        if what.isdigit():
            return web.Response(status=int(what))
        if what == EXPIRE:
            self.fake.forget_cursors()
        elif what == "add":
            self.change(self.added % 14 + 1, "new", 0.5)
        elif what == STALL:
            self.fake.clock += sync_module.FEED_LEASE_SECONDS + 1.0
        elif what in (RESTART, WRITTEN):
            self.dying = what
        return None

    def dies(self, what: str) -> bool:
        """Tell whether the process ends here."""
        dying = self.dying == what
        if dying:
            self.dying = ""
        return dying

    def alive(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        """Return version and keys of what the server says now, by id."""
        read = [indicator_of(one) for one in self.versions.values()]
        found = [one for one in read if isinstance(one, Indicator) and not one.withdrawn]
        return {one.id: (one.modified, one.keys) for one in found}


@dataclass
class Instance:
    """One process: its store, feeds and sync; with blobs where it shares."""

    name: str
    world: World
    folder: Path
    blobs: BlobStore | None = None
    identity: str = "it"
    dead: bool = False

    def begin(self) -> None:
        """Begin as a new process."""
        self.dead = False
        self.store = IndicatorStore(self.folder)
        self.feeds = FeedMatcher(self.store, {FEED: FeedRules()})
        self.feeds.load()
        fake = self.world.fake
        self.taxii = TaxiiClient(
            http(), self.world.url, fake.collection, page_size=5, now=lambda: fake.clock
        )
        self.sync = FeedSync(
            FEED,
            self,
            self.feeds,
            identity=self.identity,
            interval=1.0,
            health=Health(),
            now=lambda: fake.clock,
            shared=SharedFeed(self, self) if self.blobs is not None else None,
        )

    def see(self) -> None:
        """Be the subscriber, whose cursor all instances share."""
        changes = FeedChanges(FEED, self.store).changes_since(self.world.seen)
        self.world.seen = changes.cursor
        self.world.told |= changes.observables or frozenset()

    async def end(self) -> None:
        """End the process."""
        self.store.close()
        await self.taxii.close()

    async def run(self) -> bool:
        """Read the feed; tell whether the run came to its end. A new process after a crash."""
        try:
            await self.sync.sync(force=True)
        except FeedFailed as error:
            if error.refused:
                raise
            return False
        except LedgerFailed:
            return False  # a part was replaced while it was read
        except Crash:
            await self.end()
            self.begin()
            return False
        finally:
            self.see()
        return self.sync.last.pages > 0 and self.sync.problem is None

    # --- a source that may die ---

    async def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield pages; a process may end when an answer came and is not stored."""
        async with aclosing(self.taxii.pages(cursor)) as pages:
            async for page in pages:
                self._perhaps_die(RESTART)
                yield page

    async def close(self) -> None:
        """Do nothing: the client is closed with the process."""

    # --- blobs and claims that may see it die ---

    async def get(self, name: str, *, unless: str | None = None) -> Blob | Absent:
        """See the blobs."""
        assert self.blobs is not None
        self._check()
        return await self.blobs.get(name, unless=unless)

    async def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        """See the blobs; the process may end when one is written."""
        assert self.blobs is not None
        self._check()
        version = await self.blobs.put(name, body, replaces=replaces)
        self._perhaps_die(WRITTEN)
        return version

    async def names(self, prefix: str) -> list[str]:
        """See the blobs."""
        assert self.blobs is not None
        self._check()
        return await self.blobs.names(prefix)

    async def delete(self, names: Iterable[str]) -> None:
        """See the blobs."""
        assert self.blobs is not None
        self._check()
        await self.blobs.delete(names)

    async def take_lease(self, name: str, seconds: float) -> bool:
        """Claim what nobody else has."""
        self._check()
        now, claimed = self.world.fake.clock, self.world.claimed
        owner, until = claimed.get(name, ("", 0.0))
        if owner not in ("", self.name) and until > now:
            return False
        claimed[name] = (self.name, now + seconds)
        return True

    async def end_lease(self, name: str) -> None:
        """Let go of our claim."""
        self._check()
        if self.world.claimed.get(name, ("",))[0] == self.name:
            del self.world.claimed[name]

    def _perhaps_die(self, where: str) -> None:
        if self.world.dies(where):
            self.dead = True
            raise Crash

    def _check(self) -> None:
        if self.dead:
            raise Crash

    # --- what is here ---

    def all(self) -> list[tuple[int, Indicator]]:
        """Return all that is kept, with the steps."""
        return sorted(self.store.all_of(FEED), key=lambda one: one[1].id)

    def check(self) -> None:
        """See that store, keys and index agree with the server."""
        found = [one for _, one in self.all()]
        assert len({one.id for one in found}) == len(found)
        here = {one.id: (one.modified, one.keys) for one in found if not one.withdrawn}
        alive = self.world.alive()
        assert here == alive
        keys = {key for _, some in alive.values() for key in some}
        assert set(self.store.all_keys()) == keys
        index = self.feeds.index
        assert index.addresses == {key for key in keys if "/" not in key}
        assert len(index) == len(keys)
        for key in keys:
            ids = sorted(one.id for _, _, one in self.store.naming([key]))
            assert ids == sorted(name for name, (_, some) in alive.items() if key in some)
            address = key.partition("/")[0]
            assert self.feeds.verdicts_of(address, None), "what is named is spoken of"
        assert keys <= self.world.told, "what is named was told once"
