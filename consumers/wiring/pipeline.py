"""Builds the pipeline that service, replay and plan share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.enrichment.familiar import FamiliarAddresses
from consumers.enrichment.history import History
from consumers.enrichment.indicator_review import IndicatorReview, ReviewLimits
from consumers.enrichment.local_sources import LocalSources
from consumers.enrichment.scheduler import LookupScheduler
from consumers.enrichment.stories.memory import StoryMemory
from consumers.ledger.cursors import LedgerCursor
from consumers.pipeline.enqueuer import Enqueuer
from consumers.pipeline.entra_stage import EntraStage
from consumers.pipeline.evaluator import Evaluator
from consumers.pipeline.evidence import KnownBefore
from consumers.pipeline.in_flight import InFlight
from consumers.pipeline.judge import OwnEgress
from consumers.pipeline.lookup_stage import LookupStage
from consumers.pipeline.maintenance import Maintenance
from consumers.pipeline.pending import PendingSignIns
from consumers.pipeline.pipeline import Pipeline, SideStages
from consumers.pipeline.recent_sign_ins import RecentSignIns
from consumers.pipeline.rechecks import Rechecks
from consumers.pipeline.result_stage import ResultStage
from consumers.pipeline.retro_match import RetroMatch
from consumers.pipeline.second_opinion import OpinionStage
from consumers.pipeline.story_stage import StoryStage
from consumers.pipeline.tor_stage import TorStage
from consumers.pipeline.triage import Triage
from consumers.pipeline.verdict_publisher import VerdictPublisher
from consumers.service.health import Health
from consumers.sources.feeds.presets import feed_plans
from schemas.events.addresses import Networks
from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from schemas.intel.verdicts import CROWDSEC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.judge import Judge
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.record_guard import RecordGuard
    from consumers.pipeline.verdict_publisher import VerdictListener
    from consumers.settings import Settings
    from consumers.wiring.local_sources import SourceManager
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Ledger, RecentStore
    from schemas.ports import Clock


@dataclass(frozen=True, slots=True)
class Outputs:
    """What leaves the pipeline, and by what rules."""

    judge: Judge
    outbox: Outbox
    guard: RecordGuard
    listeners: Sequence[VerdictListener] = ()
    """Receivers of each verdict."""
    health: HealthReporter = field(default_factory=Health)
    """Receives indicators that are capped."""


@dataclass(frozen=True, slots=True)
class LocalIntelligence:
    """What is matched without a lookup."""

    sources: LocalSources
    recent: RecentStore | None = None
    """Stores recent sign-ins for retro-matching."""


NO_LOCAL_INTELLIGENCE = LocalIntelligence(LocalSources(None, None))


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """The pipeline, and its parts that others need."""

    pipeline: Pipeline
    retro_match: RetroMatch
    recent: RecentSignIns


def make_own_egress(settings: Settings) -> OwnEgress:
    """Return the company's own egress, and which feeds are believed about it."""
    feeds = feed_plans(settings.feeds)
    believed = {name.lower() for name, feed in settings.feeds.items() if feed.trusted_too}
    crowdsec = {plan.name: CROWDSEC for plan in feeds if plan.rules.from_created}
    return OwnEgress(settings.trusted_networks, believed=believed, vendors=crowdsec)


def make_decoder(
    settings: Settings, *, with_late_columns: bool = False, with_traits: bool = False
) -> Decoder:
    """Return a decoder of the configured tables; see :func:`schemas.events.tables.load_tables`."""
    return Decoder(
        load_tables(
            settings.tables,
            settings.own_tables,
            with_late_columns=with_late_columns,
            with_traits=with_traits,
        )
    )


def subscribe(
    retro_match: RetroMatch, sources: SourceManager, ledger: Ledger, *, shared: bool
) -> None:
    """Match the changes of all local sources with earlier sign-ins."""
    for source in sources.changing():
        cursor = LedgerCursor(ledger, f"retro-match {source.name}", shared=shared)
        retro_match.subscribe(source, cursor)


def build_pipeline(
    settings: Settings,
    ledger: Ledger,
    cache: VerdictCache,
    clock: Clock,
    lookups: LookupQueue | None,
    outputs: Outputs,
    local: LocalIntelligence = NO_LOCAL_INTELLIGENCE,
) -> PipelineParts:
    """Return the pipeline around *lookups*, or one of local sources only."""
    builder = _Builder(settings, ledger, cache, clock, outputs, local)
    stage = builder.lookup_stage(lookups) if lookups is not None else None
    pipeline = Pipeline(
        make_decoder(
            settings,
            with_late_columns=builder.recent.recording,
            with_traits=settings.policy.stories,
        ),
        outputs.guard,
        builder.triage(looks_up=stage is not None),
        stage,
        builder.evaluator,
        builder.enqueuer,
        builder.maintenance(stage),
        SideStages(builder.opinions(stage), builder.stories(), builder.entra(), builder.tor()),
        clock,
    )
    return PipelineParts(pipeline, builder.retro_match(), builder.recent)


class _Builder:
    """Holds what several stages share, while they are built."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        cache: VerdictCache,
        clock: Clock,
        outputs: Outputs,
        local: LocalIntelligence,
    ) -> None:
        policy = settings.policy
        self._settings = settings
        self._ledger = ledger
        self._cache = cache
        self._clock = clock
        self._outputs = outputs
        self._sources = local.sources
        self._counts = outputs.guard.counts
        self._waiting_limit = policy.waiting_limit
        self._in_flight = InFlight()
        self._history = History(ledger, clock)
        self._publisher = VerdictPublisher(local.sources, clock, outputs.listeners)
        self._pending = PendingSignIns(
            self._history,
            local.sources,
            clock,
            outputs.guard,
            per_address=policy.waiting_per_address,
            lasts=policy.waiting_limit,
        )
        familiar = FamiliarAddresses(ledger, clock)
        self.recent = RecentSignIns(local.recent, clock, policy.late_match, familiar)
        self._memory = StoryMemory(ledger, clock, Networks(settings.trusted_networks))
        known = settings.guard
        review = IndicatorReview(
            familiar,
            ledger,
            clock,
            outputs.health,
            ReviewLimits(known.known_accounts, known.known_days),
        )
        self.evaluator = Evaluator(
            outputs.judge,
            self._history,
            outputs.outbox,
            ledger,
            clock,
            local.sources,
            outputs.guard,
            self._pending.capacity,
            KnownBefore(review, self._memory),
        )
        self.enqueuer = Enqueuer(
            self._pending,
            ledger,
            self.evaluator,
            cache,
            self._counts,
            linger=clock.mode.enqueue_linger,
        )

    def triage(self, *, looks_up: bool) -> Triage:
        return Triage(
            self._cache,
            self._sources,
            self._in_flight,
            self.evaluator,
            self._publisher,
            self.recent,
            self._counts,
            Networks(self._settings.trusted_networks),
            looks_up=looks_up,
        )

    def lookup_stage(self, lookups: LookupQueue) -> LookupStage:
        scheduler = LookupScheduler(self._ledger, lookups, self._clock)
        rechecks = Rechecks(
            scheduler,
            self._pending,
            self._in_flight,
            self._cache,
            self.enqueuer,
            self._clock,
            waiting_limit=self._waiting_limit,
        )
        results = ResultStage(
            lookups,
            rechecks,
            self._cache,
            self._in_flight,
            self.evaluator,
            self.enqueuer,
            self._publisher,
            self._counts,
        )
        return LookupStage(
            lookups,
            scheduler,
            rechecks,
            results,
            self._in_flight,
            self._pending,
            self._counts,
            self._clock,
        )

    def maintenance(self, lookups: LookupStage | None) -> Maintenance:
        return Maintenance(
            self._ledger,
            lookups,
            self.enqueuer,
            self.evaluator,
            self._outputs.outbox,
            self._history,
            self.recent,
            self._clock,
            waiting_limit=self._waiting_limit,
        )

    def opinions(self, lookups: LookupStage | None) -> OpinionStage:
        return OpinionStage(
            self._outputs.judge.second_opinions,
            lookups,
            self._cache,
            self.evaluator,
            self._clock,
        )

    def stories(self) -> StoryStage:
        return StoryStage(
            self._memory,
            self.evaluator,
            self._outputs.guard,
            self._clock,
            enabled=self._settings.policy.stories,
        )

    def tor(self) -> TorStage:
        return TorStage(self._sources, self.evaluator, self._outputs.guard, self._clock)

    def entra(self) -> EntraStage:
        return EntraStage(
            self.evaluator,
            self._cache,
            self.recent,
            self._outputs.guard,
            Networks(self._settings.trusted_networks),
            self._clock,
        )

    def retro_match(self) -> RetroMatch:
        return RetroMatch(
            self._sources,
            self.evaluator,
            self.recent,
            self._ledger,
            self._outputs.outbox,
            self._publisher,
        )
