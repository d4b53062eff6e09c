"""The composition root of what is shared with Sentinel's threat intelligence; off by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.settings.urls import is_loopback
from consumers.sources.feeds.presets import feed_plans
from consumers.wiring.azure import transports
from producers.sentinel.feed_export import FeedExport
from producers.sentinel.judged_addresses import IndicatorExport
from producers.sentinel.upload import IndicatorUpload
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


def make_upload(settings: Settings, credentials: Credentials) -> IndicatorUpload | None:
    """Return the way to Sentinel, or None where no workspace is named.

    ConfigurationError for a feed that is to go there nevertheless.
    """
    sentinel = settings.sentinel
    if sentinel.workspace_id is None:
        for plan in feed_plans(settings.feeds):
            if plan.to_sentinel:
                raise ConfigurationError(
                    "SIGNINWATCH_SENTINEL__WORKSPACE_ID: the workspace's id (a GUID); "
                    f"FEEDS__{plan.name.upper()}__TO_SENTINEL needs it"
                )
        return None
    return IndicatorUpload(
        sentinel.url,
        sentinel.workspace_id,
        None if is_loopback(sentinel.url) else credentials.get(),
        source=sentinel.source,
        new_transport=transports(settings.ca_bundle),
    )


class SentinelExport:
    """Tells Sentinel of addresses judged malicious, and of chosen feeds."""

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
        self._passing: list[FeedExport] = []
        if sources.feeds is not None:
            self._passing = [
                FeedExport(
                    plan.name,
                    sources.feeds.store,
                    self.sharing,
                    ledger,
                    valid=settings.sentinel.valid_for,
                    now=clock.now,
                    shared=settings.state.dir is None,
                )
                for plan in feed_plans(settings.feeds)
                if plan.to_sentinel
            ]

    def record_verdicts(
        self, answers: Mapping[str, Answer], words: Mapping[str, Sequence[Verdict]]
    ) -> None:
        """Take note of verdicts. What feeds alone say is theirs to tell Sentinel."""
        for address in dict.fromkeys((*answers, *words)):
            answer = answers.get(address)
            said = [*([answer] if isinstance(answer, Verdict) else []), *words.get(address, ())]
            if not said or address in self._own:
                continue
            told = merge_verdicts(said)
            own = [one.reputation for one in said if not one.intel.indicator]
            if own:
                known = Reputation.MALICIOUS in own
                self.sharing.record_verdict(
                    address,
                    told.reputation if known else Reputation.UNKNOWN,
                    told.address_class,
                    told.false_positive,
                    told.intel,
                    told.expires,
                    self._clock.now(),
                    tlps=[
                        one.intel.indicator["tlp"] for one in said if "tlp" in one.intel.indicator
                    ],
                )

    def actions(self) -> list[Callable[[], Awaitable[None]]]:
        """Return what is to be done every few seconds, each beside the others."""
        return [self.sharing.flush, *(one.export_if_due for one in self._passing)]

    async def close(self) -> None:
        """Let go of connections."""
        await self._upload.close()


def make_sharing(
    settings: Settings,
    ledger: Ledger,
    clock: Clock,
    health: HealthReporter,
    credentials: Credentials,
    sources: SourceManager,
) -> SentinelExport | None:
    """Return what shares with Sentinel, or None where nothing is to be shared."""
    upload = make_upload(settings, credentials)
    if upload is None:
        return None
    return SentinelExport(upload, settings, ledger, clock, health, sources)
