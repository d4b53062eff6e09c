"""Builds the local sources: feeds and the CrowdSec replica."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from consumers.clock import WallClock
from consumers.enrichment.local_sources import LocalSources
from consumers.service.health import Health
from consumers.sources.crowdsec.lapi import LAPI, LapiReader
from consumers.sources.crowdsec.replica import Replica
from consumers.sources.crowdsec.replica_changes import ReplicaChanges
from consumers.sources.crowdsec.replica_refresh import ReplicaRefresh
from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.guard import FeedGuard
from consumers.sources.feeds.indicator_schema import exists
from consumers.sources.feeds.indicator_store import IndicatorStore
from consumers.sources.feeds.matcher import FeedMatcher, FeedRules
from consumers.sources.feeds.presets import feed_plans
from consumers.sources.feeds.sync import FeedSync, SharedFeed
from consumers.sources.lists.presets import list_plans
from consumers.sources.lists.reader import ListReader
from consumers.sources.mmdb import MmdbClasses
from consumers.wiring.source_clients import (
    lapi_client,
    lapi_plan,
    make_content,
    make_download,
    make_taxii,
    passwords_of,
    store_of,
)
from schemas import metrics as m
from schemas.errors import ConfigurationError, FeedFailed, LedgerFailed
from schemas.intel.address_index import EveryKey
from schemas.intel.verdicts import REPLICA

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.sources.crowdsec.lapi import LapiPlan
    from consumers.sources.feeds.presets import FeedPlan
    from consumers.sources.feeds.sync import FeedReader
    from consumers.sources.http import HttpClient
    from consumers.sources.lists.presets import ListPlan
    from schemas.feed_ports import ChangingSource
    from schemas.health import HealthReporter
    from schemas.metrics import Sample
    from schemas.ports import Clock

log = structlog.get_logger()

REPLICA_FOLDER = "replica"
LISTS_FOLDER = "lists"
PURGE_INTERVAL_SECONDS = 3_600.0
COUNT_INTERVAL_SECONDS = 600.0
"""Seconds for which a feed's indicator count is cached while the feed is unchanged."""


def wants_local_sources(settings: Settings) -> bool:
    """Return True if a feed, a list, an engine or the replica is configured."""
    crowdsec = settings.crowdsec
    named = settings.feeds or settings.lists or settings.mmdb or crowdsec.lapi.url
    return bool(named) or crowdsec.replica


def source_rules(settings: Settings) -> dict[str, FeedRules]:
    """Return how the indicators of feeds, and of lists with a reputation, are evaluated."""
    rules = {plan.name: plan.rules for plan in feed_plans(settings.feeds)}
    lists = list_plans(settings.lists, settings.feeds)
    names = [plan.name for plan in lists if plan.reputation]
    names += [LAPI] if lapi_plan(settings) is not None else []
    return rules | {name: FeedRules() for name in names}


class SourceManager:
    """All local sources of one process: stored in a folder, refreshed and matched."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        *,
        health: HealthReporter | None = None,
        clock: Clock | None = None,
        shared: SharedFeed | None = None,
    ) -> None:
        """Open the sources stored in *folder*.

        With *shared*, instances share the reading of feeds. Raise ConfigurationError for invalid
        settings, StateRefused if another process has the folder open.
        """
        self.feeds: FeedMatcher | None = None
        self.syncs: list[FeedSync] = []
        self.synced = asyncio.Event()
        """Set whenever a source may have changed."""
        self.replica: Replica | None = None
        self.refresh: ReplicaRefresh | None = None
        self._settings = settings
        self._health = health or Health()
        self._now = (clock or WallClock()).now
        self._clients: dict[str, HttpClient] = {}
        self._counts: dict[str, tuple[int, float, int]] = {}
        self._plans = feed_plans(settings.feeds)
        self._lists = list_plans(settings.lists, settings.feeds)
        self.classes: FeedMatcher | None = None
        self._purged = self._now()
        if settings.crowdsec.replica:
            self._open_replica(folder / REPLICA_FOLDER)
        self._lapi = lapi_plan(settings)
        if self._plans or self._lapi or any(plan.reputation for plan in self._lists):
            self._open_feeds(folder, shared)
        if not all(plan.reputation for plan in self._lists):
            self._open_classes(folder / LISTS_FOLDER, shared)
        self._mmdb = self._open_mmdb()
        self.free = LocalSources(
            self.feeds,
            self.replica,
            ask_beyond=settings.crowdsec.look_up_beyond_replica,
            classes=[*self._mmdb, *([self.classes] if self.classes is not None else [])],
        )

    def _open_replica(self, folder: Path) -> None:
        download, self._clients[REPLICA] = make_download(self._settings, folder)
        self.replica = Replica(folder)
        self.replica.open()
        self.refresh = ReplicaRefresh(
            self.replica,
            download,
            health=self._health,
            now=self._now,
        )

    def _open_feeds(self, folder: Path, shared: SharedFeed | None) -> None:
        store = IndicatorStore(folder)
        self.feeds = FeedMatcher(
            store,
            source_rules(self._settings),
            guard=FeedGuard(self._settings.guard.never_named),
        )
        self.feeds.load()
        for plan in self._plans:
            client, self._clients[plan.name] = make_taxii(self._settings, plan)
            self._add_sync(plan, client, self.feeds, shared)
        if self._lapi is not None:
            http = self._clients[LAPI] = lapi_client(self._settings, self._lapi)
            reader = LapiReader(self._lapi, store, http, now=self._now)
            self._add_sync(self._lapi, reader, self.feeds, shared)
        for named in self._lists:
            if named.reputation:
                self._add_sync(named, self._list_reader(named, store), self.feeds, shared)

    def _open_classes(self, folder: Path, shared: SharedFeed | None) -> None:
        """Open the lists that only say what kind of network an address belongs to."""
        folder.mkdir(parents=True, exist_ok=True)
        store = IndicatorStore(folder)
        plans = [plan for plan in self._lists if not plan.reputation]
        self.classes = FeedMatcher(store, {plan.name: FeedRules() for plan in plans})
        self.classes.load()
        for plan in plans:
            self._add_sync(plan, self._list_reader(plan, store), self.classes, shared)

    def _open_mmdb(self) -> list[MmdbClasses]:
        return [
            MmdbClasses(
                name.lower(),
                named.file,
                named.class_fields,
                health=self._health,
                now=self._now,
            )
            for name, named in sorted(self._settings.mmdb.items())
        ]

    def _list_reader(self, plan: ListPlan, store: IndicatorStore) -> ListReader:
        content, http = make_content(self._settings, plan)
        if http is not None:
            self._clients[plan.name] = http
        return ListReader(plan, store, content, now=self._now)

    def _add_sync(
        self,
        plan: FeedPlan | ListPlan | LapiPlan,
        reader: FeedReader,
        matcher: FeedMatcher,
        shared: SharedFeed | None,
    ) -> None:
        self.syncs.append(
            FeedSync(
                plan.name,
                reader,
                matcher,
                identity=plan.identity,
                interval=plan.interval,
                health=self._health,
                now=self._now,
                shared=shared,
            )
        )

    def changing(self) -> list[ChangingSource]:
        """Return the sources whose changes are matched with earlier sign-ins."""
        found: list[ChangingSource] = []
        if self.feeds is not None:
            found += [
                FeedChanges(sync.name, self.feeds.store)
                for sync in self.syncs
                if sync.name in self.feeds.rules
            ]
        if self.replica is not None:
            found.append(ReplicaChanges(self.replica))
        return found

    def take_removed(self) -> set[str]:
        """Return the addresses and networks that no feed lists any more since the last call."""
        return set().union(*(sync.take_removed() for sync in self.syncs))

    async def bring_up_to_date(self) -> list[str]:
        """Refresh all sources that are due, one after the other; return the failures."""
        failed = []
        for sync in self.syncs:
            try:
                await sync.sync()
            except (FeedFailed, LedgerFailed) as error:
                failed.append(f"feed {sync.name}: {error}")
        if self.refresh is not None:
            await self.refresh.refresh_if_due()
            if self.refresh.problem is not None:
                failed.append(self.refresh.problem)
        return failed

    def actions(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the actions to run concurrently every few seconds."""
        refreshes: list[Callable[[], Awaitable[None]]] = [it.sync_if_due for it in self.syncs]
        refreshes += [it.refresh_if_due for it in self._mmdb]
        if self.refresh is not None:
            refreshes.append(self.refresh.refresh_if_due)
        return [*(partial(self._refreshed, refresh) for refresh in refreshes), self.purge_expired]

    async def _refreshed(self, refresh: Callable[[], Awaitable[None]]) -> None:
        await refresh()
        self.synced.set()

    async def wait_until_attempted(self, seconds: float) -> None:
        """Wait up to *seconds* until every feed was tried once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for sync in self.syncs:
                    await sync.attempted.wait()

    async def purge_expired(self) -> None:
        """Delete long-expired indicators, at most once per interval."""
        now = self._now()
        if now - self._purged < PURGE_INTERVAL_SECONDS:
            return
        self._purged = now
        try:
            for matcher in (self.feeds, self.classes):
                if matcher is not None:
                    matcher.drop(matcher.store.purge_expired(now))
        except LedgerFailed as error:
            log.warning("expired indicators could not be deleted", why=str(error))

    def samples(self) -> list[Sample]:
        """Return the metrics of feeds and replica that are available."""
        found: list[Sample] = []
        try:
            found.extend(self._samples())
        except LedgerFailed as error:
            log.warning("feed metrics are not available", why=str(error))
        return found

    def _samples(self) -> Iterator[Sample]:
        now = self._now()
        for sync in self.syncs:
            state, name = sync.state, sync.name
            yield m.Sample(m.FEED_INDICATORS, self._counted(name, state.steps), (name,))
            if state.synced is not None:
                yield m.Sample(m.FEED_AGE, now - state.synced, (name,))
            for reason, count in state.skipped.items():
                yield m.Sample(m.FEED_SKIPPED, count, (name, reason))
        if self.replica is not None and self.replica.built is not None:
            yield m.Sample(m.REPLICA_AGE, now - self.replica.built)

    def _counted(self, feed: str, step: int) -> int:
        """Return a feed's indicator count, cached because counting a million is slow."""
        now = self._now()
        known = self._counts.get(feed)
        if known is None or known[0] != step or not 0 <= now - known[1] < COUNT_INTERVAL_SECONDS:
            store = store_of(feed, self.feeds, self.classes)
            count = store.count_valid(feed, now) if store is not None else 0
            known = self._counts[feed] = (step, now, count)
        return known[2]

    def use_passwords(self, settings: Settings) -> list[str]:
        """Apply the passwords of *settings*; return the sources whose password changed."""
        changed = []
        with suppress(ConfigurationError):
            for name, headers in passwords_of(settings).items():
                http = self._clients.get(name)
                if http is not None and headers.items() - http.headers.items():
                    http.headers.update(headers)
                    changed.append(name)
        for sync in self.syncs:
            if sync.name in changed:
                sync.try_again()
        key = settings.crowdsec.api_key
        listing = self._clients.get(REPLICA)
        if listing is not None and key is not None:
            listing.headers["x-api-key"] = key.get_secret_value()
        return changed

    async def close(self) -> None:
        """Close files and connections."""
        for sync in self.syncs:
            await sync.close()
        for file in self._mmdb:
            file.close()
        for matcher in (self.feeds, self.classes):
            if matcher is not None:
                matcher.store.close()
        if self.refresh is not None:
            await self.refresh.close()


class StoredSources:
    """The local sources that another process stored in a folder, read-only."""

    def __init__(self, settings: Settings, folder: Path | None) -> None:
        """Open what is stored, if anything; the service may be using it."""
        self._replica: Replica | None = None
        self._store: IndicatorStore | None = None
        feeds: FeedMatcher | None = None
        if folder is not None and settings.crowdsec.replica:
            self._replica = Replica(folder / REPLICA_FOLDER)
            self._replica.open()
        rules = source_rules(settings)
        if folder is not None and rules and exists(folder):
            self._store = IndicatorStore(folder, looking=True)
            feeds = FeedMatcher(self._store, rules, EveryKey())
        self.sources = LocalSources(
            feeds, self._replica, ask_beyond=settings.crowdsec.look_up_beyond_replica
        )
        self.unread = [name for name in rules if not self._steps(name)]
        """The feeds that were never read."""

    def _steps(self, feed: str) -> int:
        return self._store.state(feed).steps if self._store is not None else 0

    def close(self) -> None:
        """Close the files."""
        if self._replica is not None:
            self._replica.close()
        if self._store is not None:
            self._store.close()
