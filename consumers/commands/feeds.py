"""``signinwatch feeds``: read feeds and fetch the replica now; show their status."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console

from consumers.clock import WallClock
from consumers.commands import console as screens
from consumers.commands.feeds_review import capped_rows, refuse_command, release_command
from consumers.commands.options import state_option
from schemas.errors import ConfigurationError, FeedFailed
from schemas.events.times import iso_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.sources.crowdsec.replica import Replica
    from consumers.sources.feeds.conversion import SyncResult
    from consumers.sources.feeds.indicator_store import IndicatorStore
    from consumers.sources.feeds.sync import FeedSync
    from consumers.wiring.local_sources import SourceManager

STDERR = Console(stderr=True)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON object per line."
)
_NOT_SET = (
    "SIGNINWATCH_STATE__DIR is not set; set it or --state, or STATE__CONNECTION_STRING or "
    "STATE__ACCOUNT_URL for feeds that instances share"
)


@click.group("feeds")
def feeds_group() -> None:
    """Read TAXII feeds and the CrowdSec replica; show their status."""


feeds_group.add_command(release_command)
feeds_group.add_command(refuse_command)


@feeds_group.command("sync")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@state_option
@json_option
@click.pass_obj
def sync_command(
    config: Path | None, names: tuple[str, ...], state: Path | None, as_json: bool
) -> None:
    """Read feeds and fetch the replica now.

    NAME is a feed or crowdsec-replica. Default: all. The service does this by itself. If instances
    share a ledger, the service uses what this command reads.
    """
    from consumers.settings import load_settings

    settings = load_settings(config)
    lowered = [name.lower() for name in names]
    require_local_sources(settings, lowered)
    with screens.progress_bar(STDERR, None) as advance:

        def progress(name: str, synced: SyncResult) -> None:
            advance(1, f"{name}: {synced.objects:,} objects, {synced.fresh:,} new")

        reports = asyncio.run(sync_feeds(settings, state, lowered, progress))
    _show(reports, as_json=as_json)
    if any(report.problem for report in reports):
        raise SystemExit(1)


@feeds_group.command("status")
@state_option
@json_option
@click.pass_obj
def status_command(config: Path | None, state: Path | None, as_json: bool) -> None:
    """Show age and size of the stored feeds and replica."""
    from consumers.settings import load_settings

    settings = load_settings(config)
    require_local_sources(settings, ())

    async def status() -> list[FeedReport]:
        reports = await feeds_status(settings, state)
        capped = await capped_rows(settings, state)
        return [replace(report, capped=capped.get(report.name, [])) for report in reports]

    _show(asyncio.run(status()), as_json=as_json)


def _show(reports: Sequence[FeedReport], *, as_json: bool) -> None:
    if as_json:
        for report in reports:
            click.echo(orjson.dumps(report.as_row()).decode())
    else:
        Console().print(screens.feeds_table([report.as_row() for report in reports]))


@dataclass(frozen=True, slots=True)
class FeedReport:
    """Status of a feed or the replica; ``problem`` is None if there is no problem."""

    name: str
    synced: float | None
    """Unix time of the last complete read; of the replica, when it was fetched."""
    indicators: int | None
    """Valid indicators; None for the replica, which does not count its IP addresses."""
    fresh: int | None
    """Indicators that are new, changed or withdrawn in this sync."""
    skipped: dict[str, int]
    problem: str | None
    detail: str
    samples: dict[str, str] = field(default_factory=dict)
    """One skipped object for each reason."""
    notes: list[str] = field(default_factory=list)
    """What is wrong with the server's paging."""
    capped: list[dict[str, Any]] = field(default_factory=list)
    """Indicators whose findings are capped, or were before a person decided."""

    def as_row(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "feed": self.name,
            "synced": iso_of(self.synced),
            "indicators": self.indicators,
            "fresh": self.fresh,
            "skipped": self.skipped,
            "ok": self.problem is None,
            "trouble": self.problem,
            "detail": self.detail,
            "samples": self.samples,
            "notes": self.notes,
            "capped": self.capped,
        }


def require_local_sources(settings: Settings, names: Sequence[str]) -> None:
    """Raise ConfigurationError if no feed is configured, or one of *names* is not."""
    from consumers.sources.crowdsec.lapi import LAPI
    from consumers.sources.feeds.presets import feed_plans
    from consumers.sources.lists.presets import list_plans
    from consumers.wiring.local_sources import wants_local_sources
    from schemas.intel.verdicts import REPLICA

    if not wants_local_sources(settings):
        raise ConfigurationError(
            "SIGNINWATCH_FEEDS__<NAME>__URL is not set; set it or CROWDSEC__REPLICA; "
            "see docs/feeds.md"
        )
    known = [plan.name for plan in feed_plans(settings.feeds)]
    known += [plan.name for plan in list_plans(settings.lists, settings.feeds)]
    known += [LAPI] if settings.crowdsec.lapi.url else []
    known += [REPLICA] if settings.crowdsec.replica else []
    for name in names:
        if name not in known:
            raise ConfigurationError(f"{name}: no such feed; configured: {', '.join(known)}")


@asynccontextmanager
async def _opened(settings: Settings, folder: Path | None) -> AsyncIterator[SourceManager]:
    from consumers.service.health import Health
    from consumers.wiring.credentials import Credentials
    from consumers.wiring.local_sources import SourceManager
    from consumers.wiring.service_sources import open_intelligence
    from consumers.wiring.shared_ledger import open_shared_ledger

    health = Health()
    if folder is not None:
        sources = SourceManager(settings, folder, health=health)
        try:
            yield sources
        finally:
            await sources.close()
        return
    if settings.state.connection_string is None and settings.state.account_url is None:
        raise ConfigurationError(_NOT_SET)
    clock = WallClock()
    async with AsyncExitStack() as stack:
        credentials = Credentials(stack, settings)
        ledger = await open_shared_ledger(settings, stack)
        sources, _ = await stack.enter_async_context(
            open_intelligence(settings, ledger, clock, health, credentials)
        )
        yield sources


async def sync_feeds(
    settings: Settings,
    state: Path | None,
    names: Sequence[str],
    progress: Callable[[str, SyncResult], None],
) -> list[FeedReport]:
    """Read the feeds in *names*, or all, whether due or not. Return one report each."""
    from schemas.intel.verdicts import REPLICA

    reports = []
    async with _opened(settings, state or settings.state.dir) as sources:
        for sync in sources.syncs:
            if not names or sync.name in names:
                sync.progress = partial(progress, sync.name)
                reports.append(await _synced(sources, sync))
        refresh = sources.refresh
        wanted = refresh is not None and (not names or REPLICA in names)
        if wanted and (state or settings.state.dir or settings.state.scratch) is None:
            reports.append(_of_replica(None, None))
        elif wanted and refresh is not None:
            with suppress(FeedFailed):  # its text is in the report
                await refresh.refresh()
            reports.append(_of_replica(sources.replica, refresh.problem))
    return reports


async def _synced(sources: SourceManager, sync: FeedSync) -> FeedReport:
    try:
        done = await sync.sync(force=True)
    except FeedFailed:
        done = sync.last
    from consumers.wiring.source_clients import store_of

    store = store_of(sync.name, sources.feeds, sources.classes)
    return _of_feed(store, sync.name, sync.problem, done)


async def feeds_status(settings: Settings, state: Path | None) -> list[FeedReport]:
    """Return the status of the stored feeds and replica, without requests to their servers."""
    from consumers.sources.feeds.indicator_schema import exists
    from consumers.sources.feeds.indicator_store import IndicatorStore
    from consumers.wiring.local_sources import LISTS_FOLDER

    folder = state or settings.state.dir
    if folder is None:
        async with _opened(settings, None) as sources:
            for sync in sources.syncs:
                await sync.follow()
            stores = [
                matcher.store if matcher is not None else None
                for matcher in (sources.feeds, sources.classes)
            ]
            return _status(settings, stores, None)
    stores = [
        IndicatorStore(place, looking=True) if exists(place) else None
        for place in (folder, folder / LISTS_FOLDER)
    ]
    try:
        return _status(settings, stores, folder)
    finally:
        for stored in stores:
            if stored is not None:
                stored.close()


def _status(
    settings: Settings, stores: Sequence[IndicatorStore | None], folder: Path | None
) -> list[FeedReport]:
    """Return the reports; *stores* are that of feeds, and that of lists without a reputation."""
    from consumers.sources.crowdsec.lapi import LAPI
    from consumers.sources.crowdsec.replica import Replica
    from consumers.sources.feeds.presets import feed_plans
    from consumers.sources.lists.presets import list_plans
    from consumers.wiring.local_sources import REPLICA_FOLDER

    feeds, classes = stores
    reports = [_of_feed(feeds, plan.name, None, None) for plan in feed_plans(settings.feeds)]
    reports += [
        _of_feed(feeds if plan.reputation else classes, plan.name, None, None)
        for plan in list_plans(settings.lists, settings.feeds)
    ]
    if settings.crowdsec.lapi.url:
        reports.append(_of_feed(feeds, LAPI, None, None))
    if settings.crowdsec.replica:
        replica = Replica(folder / REPLICA_FOLDER) if folder else None
        if replica is not None:
            replica.open()
        reports.append(_of_replica(replica, None))
        if replica is not None:
            replica.close()
    return reports


def _of_feed(
    store: IndicatorStore | None, name: str, problem: str | None, done: SyncResult | None
) -> FeedReport:
    state = store.state(name) if store is not None else None
    if store is None or state is None or not state.steps:
        return FeedReport(name, None, 0, None, {}, problem or "never read", "")
    now = WallClock().now()
    if problem is None and state.synced is None:
        problem = "not completely read yet"
    detail = f"{done.objects:,} objects in {done.pages:,} pages" if done is not None else ""
    return FeedReport(
        name,
        state.synced,
        store.count_valid(name, now),
        done.fresh if done is not None else None,
        dict(done.skipped.counts) if done is not None else state.skipped,
        problem,
        detail,
        samples=done.skipped.samples if done is not None else state.samples,
        notes=list(done.notes) if done is not None else state.notes,
    )


def _of_replica(replica: Replica | None, problem: str | None) -> FeedReport:
    from schemas.intel.verdicts import REPLICA

    if replica is None:
        return FeedReport(REPLICA, None, None, None, {}, problem, "each instance has its own")
    if replica.built is None:
        why = problem or replica.problem or "never fetched"
        return FeedReport(REPLICA, None, None, None, {}, why, "")
    checked = "checksum verified" if replica.verified else "the server sent no checksum"
    detail = (
        f"{replica.dataset or 'dataset unknown'}, built {iso_of(replica.built)}, "
        f"{replica.size / 1e6:,.1f} MB, {checked}"
    )
    return FeedReport(REPLICA, replica.fetched, None, None, {}, problem, detail)
