"""Builds the local sources of the service: their folder, and what instances share."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from consumers.ledger.blob_container import BlobContainer
from consumers.ledger.sqlite.recent import SqliteRecentStore
from consumers.ledger.table.client import StateTable
from consumers.ledger.table.recent import TableRecentStore
from consumers.service.clock_check import ClockCheck
from consumers.sources.feeds.sync import SharedFeed
from consumers.wiring.azure import transports
from consumers.wiring.local_sources import SourceManager, wants_local_sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.settings import Settings
    from consumers.wiring.credentials import Credentials
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Ledger, RecentStore
    from schemas.ports import Clock

RECENT_SUFFIX = "recent"


def make_table(
    settings: Settings, health: HealthReporter, credentials: Credentials, suffix: str = ""
) -> StateTable:
    """Return the ledger's table, or a companion table whose name ends in *suffix*."""
    state = settings.state
    secret = state.connection_string
    return StateTable.at(
        state.table + suffix,
        health,
        connection_string=secret.get_secret_value() if secret else None,
        account_url=state.account_url,
        credential=credentials.get() if secret is None else None,
        ca_bundle=settings.ca_bundle,
        answered=ClockCheck(health).observe,
    )


def make_blobs(settings: Settings, credentials: Credentials) -> BlobContainer:
    """Return the container of the feeds' snapshots, which is that of the checkpoints."""
    keyless = settings.checkpoint.connection_string is None
    return BlobContainer(
        settings.checkpoint,
        credentials.get() if keyless else None,
        transport=transports(settings.ca_bundle)(connection_timeout=5, read_timeout=20),
    )


@asynccontextmanager
async def scratch_folder(settings: Settings) -> AsyncIterator[Path]:
    """Yield the folder for data that can be fetched again: the state's own, or a local one."""
    folder = settings.state.dir or settings.state.scratch
    if folder is not None:
        yield folder
        return
    temporary = Path(tempfile.mkdtemp(prefix="signinwatch-"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@asynccontextmanager
async def open_intelligence(
    settings: Settings,
    ledger: Ledger,
    clock: Clock,
    health: HealthReporter,
    credentials: Credentials,
) -> AsyncIterator[tuple[SourceManager, RecentStore | None]]:
    """Open the local sources of the service and the store of recent sign-ins for them.

    Instances with the same Table Storage ledger share the reading of feeds.
    """
    alone = settings.state.dir is not None
    async with scratch_folder(settings) as folder:
        blobs = recent = shared = None
        if wants_local_sources(settings):
            recent = (
                SqliteRecentStore(folder, clock)
                if alone
                else TableRecentStore(
                    make_table(settings, health, credentials, RECENT_SUFFIX), clock
                )
            )
        feeds = settings.feeds or settings.lists or settings.crowdsec.lapi.url
        if feeds and not alone:
            blobs = make_blobs(settings, credentials)
            shared = SharedFeed(blobs, ledger)
        sources = SourceManager(settings, folder, health=health, shared=shared)
        try:
            yield sources, recent
        finally:
            await sources.close()
            if blobs is not None:
                await blobs.close()
            if recent is not None:
                await recent.close()
