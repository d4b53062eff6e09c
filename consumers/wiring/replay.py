"""Builds the pipeline of a replay from settings, with its sinks and stores."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from consumers.clock import EventClock, WallClock
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.ledger.sqlite.recent import SqliteRecentStore
from consumers.ledger.sqlite.schema import clock_of
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.settings.urls import is_loopback
from consumers.wiring.azure import transports
from consumers.wiring.credentials import ingestion_token, make_credential
from consumers.wiring.local_sources import SourceManager, wants_local_sources
from consumers.wiring.lookups import LookupOptions, make_lookup_queue
from consumers.wiring.pipeline import (
    LocalIntelligence,
    Outputs,
    build_pipeline,
    make_own_egress,
    subscribe,
)
from producers.findings_file import FileSink
from producers.quarantine.directory import DirectoryQuarantine
from schemas.errors import ConfigurationError
from schemas.rows.policy import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.pipeline.pipeline import Pipeline
    from consumers.settings import Settings
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock, Quarantine, Sink


@dataclass(slots=True)
class ReplayPipeline:
    """A pipeline and its parts, ready to process messages."""

    pipeline: Pipeline
    lookups: LookupQueue | None
    outbox: Outbox
    ledger: Ledger
    clock: Clock
    notes: list[str]
    """Problems while it was built, one line each."""


class StateFolder:
    """The state directory: the user's own, or a temporary one that is deleted after use."""

    def __init__(self, folder: Path | None, paid: Path | None = None) -> None:
        """*paid* is where a command keeps what was paid for, whatever happens to the state."""
        self.paid = paid
        self.temporary = folder is None
        self.path = folder or Path(tempfile.mkdtemp(prefix="signinwatch-"))
        self.kept = not self.temporary

    @property
    def clock_kind(self) -> str:
        """Return the kind of clock of the stored state; wall for new state."""
        return clock_of(self.path) or "wall"

    def __enter__(self) -> StateFolder:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.kept:
            shutil.rmtree(self.path, ignore_errors=True)


def make_sink(settings: Settings, findings: str) -> Sink:
    """Return the sink of ``--findings``: ``azure``, ``-`` or a file."""
    if findings != "azure":
        return FileSink(findings)
    logs = settings.logs
    if not logs.endpoint or not logs.rule_id:
        missing = "ENDPOINT" if not logs.endpoint else "RULE_ID"
        raise ConfigurationError(
            f"SIGNINWATCH_LOGS__{missing} is not set; set it for --findings azure"
        )
    from producers.logs_ingestion import LogsIngestionSink

    return LogsIngestionSink(
        logs.endpoint,
        logs.rule_id,
        ingestion_token(settings, logs.endpoint),
        patience=logs.retry_limit,
        new_transport=transports(settings.ca_bundle),
    )


def make_quarantine(
    settings: Settings,
    folder: Path | None,
    *,
    instance: str = "command",
    patient: bool = False,
    health: HealthReporter | None = None,
) -> Quarantine:
    """Return the quarantine of a state folder, or without one of the checkpoint container.

    See BlobQuarantine for *patient* and *health*. *instance* names the writer of each item.
    """
    if folder is not None:
        return DirectoryQuarantine(folder)
    checkpoint = settings.checkpoint
    by_key = checkpoint.connection_string is not None
    if not by_key and checkpoint.account_url is None:
        raise ConfigurationError(
            "SIGNINWATCH_STATE__DIR is not set; set it or --state, or "
            "CHECKPOINT__CONNECTION_STRING or CHECKPOINT__ACCOUNT_URL for the service's quarantine"
        )
    if not checkpoint.container:
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__CONTAINER is not set; set the container of the quarantine"
        )
    from consumers.ledger.blob_container import container_client
    from producers.quarantine.blob import CONTAINER_OPTIONS, BlobQuarantine

    credential = None if by_key else make_credential(settings)
    transport = transports(settings.ca_bundle)(connection_timeout=5, read_timeout=60)
    container = container_client(
        checkpoint, credential, CONTAINER_OPTIONS | {"transport": transport}
    )
    quarantine = BlobQuarantine(
        container, credential=credential, instance=instance, patient=patient, health=health
    )
    if quarantine.endpoint.startswith("http://") and not is_loopback(quarantine.endpoint):
        raise ConfigurationError(
            "SIGNINWATCH_CHECKPOINT__CONNECTION_STRING: http:// is allowed on loopback only; "
            "use https://"
        )
    return quarantine


def make_clock(kind: str) -> EventClock | WallClock:
    """Return the clock of a kind: ``event`` or ``wall``."""
    return EventClock() if kind == "event" else WallClock()


def make_ledger(settings: Settings, folder: StateFolder, clock: Clock) -> SqliteLedger:
    """Open the ledger in a folder."""
    return SqliteLedger(
        folder.path,
        clock,
        waiting_per_address=settings.policy.waiting_per_address,
        keep=not folder.temporary,
    )


def make_recent(settings: Settings, folder: StateFolder, clock: Clock) -> SqliteRecentStore | None:
    """Return the store of recent sign-ins, or None if nothing can be retro-matched later."""
    if folder.temporary or not wants_local_sources(settings):
        return None
    return SqliteRecentStore(folder.path, clock)


@asynccontextmanager
async def open_chain(
    settings: Settings,
    folder: StateFolder,
    new_sink: Callable[[], Sink],
    *,
    clock_kind: str,
    quota: int,
    origin: str,
    quarantine: Quarantine | None = None,
    paced: bool = True,
    late_origin: str = "late",
) -> AsyncIterator[ReplayPipeline]:
    """Build the pipeline on a state folder, recover pending sign-ins, and close it at the end.

    A given *quarantine* stays open; the default is the folder's own. Feeds and replica are
    refreshed first if they are due.
    """
    clock = make_clock(clock_kind)
    policy = settings.policy
    async with AsyncExitStack() as stack:
        judge = Judge(
            Policy(policy.lines),
            origin=origin,
            most_per_hour=policy.findings_per_hour,
            late_origin=late_origin,
            own_egress=make_own_egress(settings),
        )
        ledger = make_ledger(settings, folder, clock)
        stack.push_async_callback(ledger.close)
        quarantine = quarantine or DirectoryQuarantine(folder.path)
        sink = new_sink()
        stack.push_async_callback(sink.close)
        outbox = Outbox(sink, quarantine)
        sources = SourceManager(settings, folder.path)
        stack.push_async_callback(sources.close)
        recent = make_recent(settings, folder, clock)
        if recent is not None:
            stack.push_async_callback(recent.close)
        cache = VerdictCache(ledger, clock)
        lookups = make_lookup_queue(
            settings, ledger, cache, clock, LookupOptions(quota, paced=paced, paid=folder.paid)
        )
        if lookups is not None:
            stack.push_async_callback(lookups.close)
        parts = build_pipeline(
            settings,
            ledger,
            cache,
            clock,
            lookups,
            Outputs(judge, outbox, RecordGuard(PipelineCounts(), quarantine)),
            LocalIntelligence(sources.free, recent),
        )
        await parts.pipeline.recover()
        subscribe(parts.retro_match, sources, ledger, shared=False)
        notes = [f"{failure}." for failure in await sources.bring_up_to_date()]
        await parts.retro_match.catch_up()
        yield ReplayPipeline(parts.pipeline, lookups, outbox, ledger, clock, notes)
