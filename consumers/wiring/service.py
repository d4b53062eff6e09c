"""Builds the service of ``run`` from settings."""

from __future__ import annotations

import math
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.inputs.checkpoint_container import CheckpointContainer
from consumers.inputs.eventhub_client import EventHub, hub_names, require_hub_settings
from consumers.inputs.receiver import Receiver
from consumers.inputs.unreadable_guard import UnreadableGuard
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.ledger.table.ledger import TableLedger
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.service.azure_monitor import exported
from consumers.service.clock_check import ClockCheck
from consumers.service.file_limit import ensure_open_files
from consumers.service.health import GRACE_SECONDS, Health
from consumers.service.http_endpoints import StatusPages, serve_endpoints
from consumers.service.key_reload import KeyReload
from consumers.service.log_lines import log_started, log_starting
from consumers.service.metrics import MetricsCollector
from consumers.service.reports import Reports
from consumers.service.service import Repeated, Service, ServiceWork
from consumers.service.source_changes import SourceChanges
from consumers.service.status import StatusReporter
from consumers.wiring.azure import transports
from consumers.wiring.credentials import Credentials, ingestion_token
from consumers.wiring.local_sources import wants_local_sources
from consumers.wiring.lookups import LookupOptions, looks_up_paid, make_lookup_queue, paid_key
from consumers.wiring.pipeline import (
    LocalIntelligence,
    Outputs,
    build_pipeline,
    make_own_egress,
    subscribe,
)
from consumers.wiring.replay import make_quarantine
from consumers.wiring.sentinel import SentinelExport, make_sharing
from consumers.wiring.service_sources import make_table, open_intelligence
from consumers.wiring.status import service_facts
from producers.findings_file import FileSink
from producers.logs_ingestion import LogsIngestionSink
from schemas.errors import ConfigurationError
from schemas.rows.columns import FINDINGS_TABLE, HEALTH_TABLE, VERDICTS_TABLE
from schemas.rows.policy import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.pipeline.pipeline import Pipeline
    from consumers.settings import Settings, SettingsReader
    from consumers.wiring.local_sources import SourceManager
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock, Sink

METRICS_INTERVAL_SECONDS = 30.0
MAINTENANCE_INTERVAL_SECONDS = 5.0
KEY_RELOAD_INTERVAL_SECONDS = 5.0
VERDICTS_INTERVAL_SECONDS = 10.0
PURGE_INTERVAL_SECONDS = 3_600.0
SOURCES_INTERVAL_SECONDS = 5.0
"""Seconds between checks whether feeds or the replica are due."""
EXPORT_INTERVAL_SECONDS = 10.0
"""Seconds between checks whether indicators are due for upload to Sentinel."""
REPORT_RETRY_SECONDS = 60.0
"""Seconds for which sending verdict and health rows is retried; findings are retried for ever."""


def service_quota(settings: Settings) -> int:
    """Return the lookups a month of the service; the rest is reserved for manual lookups."""
    crowdsec = settings.crowdsec
    return crowdsec.monthly_quota - math.floor(crowdsec.monthly_quota * crowdsec.manual_share)


def require_run_settings(settings: Settings) -> None:
    """Raise ConfigurationError for a missing setting that the service needs."""
    state = settings.state
    require_hub_settings(settings.eventhub)
    shared = state.connection_string is not None or state.account_url is not None
    if state.dir is None and not shared:
        raise ConfigurationError(
            "SIGNINWATCH_STATE__DIR is not set; set it for a single process on one machine, or "
            "STATE__CONNECTION_STRING or STATE__ACCOUNT_URL for a ledger in Azure Table Storage"
        )
    if state.dir is not None and shared:
        raise ConfigurationError(
            "SIGNINWATCH_STATE__DIR: set either it or STATE__CONNECTION_STRING/ACCOUNT_URL, "
            "not both"
        )
    if settings.crowdsec.monthly_quota == 0 and not wants_local_sources(settings):
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__MONTHLY_QUOTA: 0 allows no lookups; set a quota or a feed"
        )
    if settings.crowdsec.api_key is None and not wants_local_sources(settings):
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__API_KEY is not set; set it or configure a feed"
        )


def instance_name(settings: Settings) -> str:
    """Return the unique name of this process."""
    return settings.service.instance or f"{socket.gethostname()}-{os.getpid()}"


def make_hubs(settings: Settings, credentials: Credentials) -> list[EventHub]:
    """Return the event hubs to read."""
    hub = settings.eventhub
    credential = credentials.get() if hub.connection_string is None else None
    return [EventHub(name, hub, credential, settings.ca_bundle) for name in hub_names(hub)]


def make_checkpoints(
    settings: Settings, credentials: Credentials, health: HealthReporter
) -> CheckpointContainer:
    """Return the checkpoint container."""
    keyless = settings.checkpoint.connection_string is None
    return CheckpointContainer(
        settings.checkpoint,
        credentials.get() if keyless else None,
        health,
        transport=transports(settings.ca_bundle, ClockCheck(health).observe)(
            connection_timeout=5, read_timeout=20
        ),
    )


def make_run_ledger(
    settings: Settings, clock: Clock, health: HealthReporter, credentials: Credentials
) -> tuple[Ledger, Callable[[], Awaitable[None]]]:
    """Return the ledger, and a function that waits until it responds."""
    state = settings.state
    limit = settings.policy.waiting_per_address
    if state.dir is not None:

        async def opened() -> None:
            """Return at once: a directory is available immediately."""

        return SqliteLedger(state.dir, clock, waiting_per_address=limit), opened
    table = make_table(settings, health, credentials)
    store = TableLedger(table, clock, waiting_per_address=limit, instance=instance_name(settings))
    return store, store.open


def make_logs_sink(
    settings: Settings,
    table: str,
    credentials: Credentials,
    *,
    patience: float | None = None,
    health: HealthReporter | None = None,
) -> LogsIngestionSink:
    """Return the sink of *table*. Raise ConfigurationError if the ingestion is not configured."""
    logs = settings.logs
    if not logs.endpoint or not logs.rule_id:
        missing = "ENDPOINT" if not logs.endpoint else "RULE_ID"
        raise ConfigurationError(
            f"SIGNINWATCH_LOGS__{missing} is not set; set the destination of findings"
        )
    return LogsIngestionSink(
        logs.endpoint,
        logs.rule_id,
        ingestion_token(settings, logs.endpoint, credentials),
        patience=patience,
        table=table,
        health=health,
        new_transport=transports(settings.ca_bundle),
    )


def make_reports(
    settings: Settings, credentials: Credentials, metrics: MetricsCollector, health: Health
) -> Reports:
    """Return the sender of verdict and health rows."""
    return Reports(
        make_logs_sink(settings, VERDICTS_TABLE, credentials, patience=REPORT_RETRY_SECONDS),
        make_logs_sink(settings, HEALTH_TABLE, credentials, patience=REPORT_RETRY_SECONDS),
        metrics,
        health,
        instance=instance_name(settings),
        version=version("signinwatch"),
    )


def open_sink(
    settings: Settings,
    findings: str | None,
    stack: AsyncExitStack,
    credentials: Credentials,
    metrics: MetricsCollector,
    health: Health,
) -> tuple[Sink, Reports | None]:
    """Return the sink of findings and the reports, None for a file; the stack closes both."""
    if findings is not None:
        file = FileSink(findings, append=True)
        stack.push_async_callback(file.close)
        return file, None
    sink = make_logs_sink(settings, FINDINGS_TABLE, credentials, health=health)
    stack.push_async_callback(sink.close)
    reports = make_reports(settings, credentials, metrics, health)
    stack.push_async_callback(reports.close)
    metrics.sink_errors = lambda: sink.errors
    metrics.reports_dropped = lambda: reports.dropped
    return sink, reports


def make_lookups(
    settings: Settings, ledger: Ledger, clock: Clock, health: Health
) -> tuple[VerdictCache, LookupQueue | None]:
    """Return verdict cache and lookups; instances with the same ledger coordinate with leases."""
    shared = settings.state.dir is None
    cache = VerdictCache(ledger, clock, leases_return_verdicts=shared and looks_up_paid(settings))
    options = LookupOptions(service_quota(settings), shared=shared, health=health)
    return cache, make_lookup_queue(settings, ledger, cache, clock, options)


async def publish_status(
    settings: Settings,
    service: Service,
    metrics: MetricsCollector,
    reporter: StatusReporter,
    stack: AsyncExitStack,
) -> None:
    """Serve the HTTP endpoints and export telemetry if configured, until *stack* closes."""
    metrics.claims = service.claims
    metrics.lags = service.lags
    metrics.owners = service.owners
    if (telemetry := settings.service.telemetry) is not None:
        instance = instance_name(settings)
        stack.enter_context(exported(telemetry.get_secret_value(), instance, metrics))
    http, facts = settings.http, reporter.facts
    pages = StatusPages(reporter, service, http.details)
    endpoints = serve_endpoints(http.host, http.port, service, metrics, pages)
    facts.port = await stack.enter_async_context(endpoints)
    log_starting(facts)
    service.connected = lambda: log_started(
        facts, {owners.hub: len(owners.partitions) for owners in service.owners()}
    )


def make_judge(settings: Settings) -> Judge:
    """Return the service's judge."""
    policy = settings.policy
    return Judge(
        Policy(policy.lines),
        origin="live",
        most_per_hour=policy.findings_per_hour,
        own_egress=make_own_egress(settings),
    )


def report_work(reports: Reports | None, health_interval: float) -> list[Repeated]:
    """Return the sending of verdict and health rows, none without reports."""
    if reports is None:
        return []
    return [
        Repeated(VERDICTS_INTERVAL_SECONDS, reports.send_verdicts),
        Repeated(health_interval, reports.send_health),
    ]


def service_work(
    settings: Settings,
    pipeline: Pipeline,
    ledger: Ledger,
    observing: Sequence[Callable[[], Awaitable[None]]],
    sources: SourceManager,
    changes: SourceChanges,
    sharing: SentinelExport | None,
    keys: KeyReload,
    reports: Reports | None,
) -> ServiceWork:
    """Return what the service repeats beside its receivers; *observing* starts at once."""
    exports = sharing.actions() if sharing is not None else []
    return ServiceWork(
        at_once=[Repeated(METRICS_INTERVAL_SECONDS, action) for action in observing],
        after_recovery=[
            *(Repeated(SOURCES_INTERVAL_SECONDS, action) for action in sources.actions()),
            Repeated(0.0, changes.follow),
            *(Repeated(EXPORT_INTERVAL_SECONDS, action) for action in exports),
        ],
        with_the_stream=[
            *(Repeated(0.0, loop) for loop in pipeline.loops()),
            Repeated(MAINTENANCE_INTERVAL_SECONDS, pipeline.maintenance.run),
            Repeated(KEY_RELOAD_INTERVAL_SECONDS, keys.reload_if_changed),
            Repeated(PURGE_INTERVAL_SECONDS, ledger.purge_expired),
            *report_work(reports, settings.service.report_interval),
        ],
    )


def make_receivers(
    hubs: Sequence[EventHub], checkpoints: CheckpointContainer, pipeline: Pipeline, service: Service
) -> list[Receiver]:
    """Return a receiver for each hub; a receiver that fails stops the service."""
    health, share = service.health, service.settings.unreadable_share
    guard = UnreadableGuard(pipeline.counts, health, share=share)
    return [
        Receiver(hub, checkpoints, pipeline, guard, health, failed=service.failed) for hub in hubs
    ]


@asynccontextmanager
async def open_service(
    settings: Settings, reader: SettingsReader, findings: str | None
) -> AsyncIterator[Service]:
    """Build the service. Raise ConfigurationError for invalid settings.

    *reader* has read the settings, and reads changed keys. *findings* is a file that replaces the
    ingestion service, which then gets no reports either.
    """
    require_run_settings(settings)
    async with AsyncExitStack() as stack:
        credentials = Credentials(stack, settings)
        clock = WallClock()
        health = Health(grace=GRACE_SECONDS)
        ensure_open_files(health)
        hubs = make_hubs(settings, credentials)
        checkpoints = make_checkpoints(settings, credentials, health)
        stack.push_async_callback(checkpoints.close)
        ledger, opened = make_run_ledger(settings, clock, health, credentials)
        stack.push_async_callback(ledger.close)
        metrics = MetricsCollector(health=health, ledger=ledger)
        instance = instance_name(settings)
        reporter = StatusReporter(service_facts(settings, instance, findings), metrics, health)
        quarantine = make_quarantine(settings, None, instance=instance, patient=True, health=health)
        stack.push_async_callback(quarantine.close)
        sink, reports = open_sink(settings, findings, stack, credentials, metrics, health)
        outbox = Outbox(sink, quarantine, delivered=metrics.record_delay, health=health)
        sources, recent = await stack.enter_async_context(
            open_intelligence(settings, ledger, clock, health, credentials)
        )
        sharing = make_sharing(settings, ledger, clock, health, credentials, sources)
        if sharing is not None:
            stack.push_async_callback(sharing.close)
        cache, lookups = make_lookups(settings, ledger, clock, health)
        if lookups is not None:
            stack.push_async_callback(lookups.close)
        parts = build_pipeline(
            settings,
            ledger,
            cache,
            clock,
            lookups,
            Outputs(
                make_judge(settings),
                outbox,
                RecordGuard(PipelineCounts(exact=False), quarantine),
                [part.record_verdicts for part in (reports, sharing) if part is not None],
                health,
            ),
            LocalIntelligence(sources.free, recent),
        )
        pipeline = parts.pipeline
        subscribe(parts.retro_match, sources, ledger, shared=settings.state.dir is None)
        metrics.attach(pipeline, outbox, lookups, sources, parts.recent)
        keys = KeyReload(settings, reader, lookups, paid_key, sources.use_passwords)
        changes = SourceChanges(sources, parts.retro_match, reports)
        observing = [metrics.refresh, reporter.tick]
        work = service_work(
            settings, pipeline, ledger, observing, sources, changes, sharing, keys, reports
        )
        service = Service(settings.service, pipeline, sources, reports, health, opened, work)
        service.receivers = make_receivers(hubs, checkpoints, pipeline, service)
        await publish_status(settings, service, metrics, reporter, stack)
        yield service
