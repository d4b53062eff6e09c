"""Builds the upload of indicators to Sentinel threat intelligence; off by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from consumers.ledger.cursors import LedgerCursor
from consumers.settings import cloud_of
from consumers.settings.urls import is_loopback
from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.presets import feed_plans
from consumers.wiring.azure import transports
from producers.logs_ingestion import TokenSource
from producers.sentinel.feed_export import FeedExport
from producers.sentinel.judged_addresses import IndicatorExport
from producers.sentinel.upload import UPLOAD_PATIENCE_SECONDS, IndicatorUpload
from schemas.errors import ConfigurationError
from schemas.events.addresses import Networks
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Reputation, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from consumers.settings import Settings
    from consumers.wiring.credentials import Credentials
    from consumers.wiring.local_sources import SourceManager
    from schemas.health import HealthReporter
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock


def make_upload(
    settings: Settings, credentials: Credentials, *, patience: float = UPLOAD_PATIENCE_SECONDS
) -> IndicatorUpload | None:
    """Return the upload, None without a workspace; ConfigurationError if a feed needs one."""
    sentinel = settings.sentinel
    if sentinel.workspace_id is None:
        for plan in feed_plans(settings.feeds):
            if plan.to_sentinel:
                raise ConfigurationError(
                    "SIGNINWATCH_SENTINEL__WORKSPACE_ID is not set; set it to the workspace ID (a "
                    f"GUID) for FEEDS__{plan.name.upper()}__TO_SENTINEL"
                )
        return None
    cloud = cloud_of(settings)
    url = sentinel.url or cloud.upload_url
    return IndicatorUpload(
        url,
        sentinel.workspace_id,
        None if is_loopback(url) else TokenSource(credentials.get(), cloud.upload_scope),
        source=sentinel.source,
        patience=patience,
        new_transport=transports(settings.ca_bundle),
    )


class SentinelExport:
    """Uploads malicious IP addresses and selected feeds to Sentinel."""

    def __init__(
        self,
        upload: IndicatorUpload,
        settings: Settings,
        ledger: Ledger,
        clock: Clock,
        health: HealthReporter,
        sources: SourceManager,
    ) -> None:
        self.sharing = IndicatorExport(upload, ledger, clock, settings.sentinel, health=health)
        self._upload = upload
        self._clock = clock
        self._own = Networks(settings.trusted_networks)
        self._feed_exports: list[FeedExport] = []
        if sources.feeds is not None:
            shared = settings.state.dir is None
            self._feed_exports = [
                FeedExport(
                    FeedChanges(plan.name, sources.feeds.store),
                    self.sharing,
                    LedgerCursor(ledger, f"sentinel {plan.name}", shared=shared),
                    LedgerCursor(ledger, f"sentinel-renewal {plan.name}", shared=False),
                    ledger,
                    valid=settings.sentinel.valid_for,
                    now=clock.now,
                )
                for plan in feed_plans(settings.feeds)
                if plan.to_sentinel
            ]

    def record_verdicts(
        self, answers: Mapping[str, Answer], local: Mapping[str, Sequence[Verdict]]
    ) -> None:
        """Record verdicts for upload. Verdicts of feeds alone are left to the feed export."""
        for address in dict.fromkeys((*answers, *local)):
            answer = answers.get(address)
            verdicts = [*([answer] if isinstance(answer, Verdict) else []), *local.get(address, ())]
            if not verdicts or address in self._own:
                continue
            merged = merge_verdicts(verdicts)
            own = [verdict.reputation for verdict in verdicts if not verdict.listed]
            if own:
                if Reputation.MALICIOUS not in own:
                    merged = replace(merged, reputation=Reputation.UNKNOWN)
                indicators = [verdict.intel.indicator for verdict in verdicts]
                tlps = [indicator["tlp"] for indicator in indicators if "tlp" in indicator]
                self.sharing.record_verdict(address, merged, self._clock.now(), tlps=tlps)

    def actions(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the actions to run concurrently every few seconds."""
        return [self.sharing.flush, *(export.export_if_due for export in self._feed_exports)]

    async def close(self) -> None:
        """Close connections."""
        await self._upload.close()


def make_sharing(
    settings: Settings,
    ledger: Ledger,
    clock: Clock,
    health: HealthReporter,
    credentials: Credentials,
    sources: SourceManager,
) -> SentinelExport | None:
    """Return the export to Sentinel, or None if it is off."""
    upload = make_upload(settings, credentials)
    if upload is None:
        return None
    return SentinelExport(upload, settings, ledger, clock, health, sources)
