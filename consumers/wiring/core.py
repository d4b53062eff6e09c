"""Builds the part that every pipeline shares: lookups, pending sign-ins and evaluation."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.enrichment.budget import Budget
from consumers.enrichment.history import History
from consumers.enrichment.local_sources import LocalSources
from consumers.enrichment.lookup_queue import LookupQueue
from consumers.enrichment.paid_lookup import AddressLease, Lifetimes, PaidLookup
from consumers.enrichment.scheduler import LookupScheduler
from consumers.pipeline.in_flight import InFlight
from consumers.pipeline.pending import PendingSignIns
from consumers.pipeline.pipeline import Pipeline
from consumers.pipeline.recent_sign_ins import RecentSignIns
from consumers.service.health import Health
from consumers.settings.urls import is_loopback
from consumers.sources.crowdsec.api import MAX_LOOKUP_RESPONSE_BYTES, CrowdSecApi
from consumers.sources.http import HttpClient
from schemas.events.addresses import Networks
from schemas.events.decode import Decoder
from schemas.events.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.judge import Judge
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.record_guard import RecordGuard
    from consumers.pipeline.retro_match import VerdictListener
    from consumers.settings import Settings
    from schemas.health import HealthReporter
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import Ledger, RecentStore
    from schemas.ports import Clock, Source


def lifetimes(settings: Settings) -> Lifetimes:
    """Return the lifetimes of verdicts."""
    policy = settings.policy
    return Lifetimes(
        malicious=policy.malicious_lifetime,
        suspicious=policy.suspicious_lifetime,
        benign=policy.benign_lifetime,
        unknown=policy.unknown_lifetime,
    )


def may_look_up_paid(settings: Settings) -> bool:
    """Return True if paid lookups are allowed; with the replica, only if settings allow them."""
    crowdsec = settings.crowdsec
    return not crowdsec.replica or crowdsec.look_up_beyond_replica


def looks_up_paid(settings: Settings) -> bool:
    """Return True if paid lookups will be made: allowed, with a key and a quota."""
    crowdsec = settings.crowdsec
    return (
        may_look_up_paid(settings) and crowdsec.api_key is not None and crowdsec.monthly_quota > 0
    )


def make_source(settings: Settings) -> CrowdSecApi | None:
    """Return the paid source, or None without a key."""
    crowdsec = settings.crowdsec
    if crowdsec.api_key is None:
        return None
    http = HttpClient(
        headers={
            "x-api-key": crowdsec.api_key.get_secret_value(),
            "User-Agent": f"signinwatch/{version('signinwatch')}",
            "Accept": "application/json",
        },
        timeout=crowdsec.timeout,
        connections=crowdsec.concurrency,
        largest_body=MAX_LOOKUP_RESPONSE_BYTES,
        proxies=not is_loopback(crowdsec.url),
        now=WallClock(),
        ca_bundle=settings.ca_bundle,
    )
    return CrowdSecApi(http, crowdsec.url, crowdsec.batch_size)


def make_lookup_queue(
    settings: Settings,
    ledger: Ledger,
    clock: Clock,
    quota: int,
    cache: VerdictCache,
    deliver: Callable[[Mapping[str, Answer]], Awaitable[None]],
    *,
    revise: Callable[[Mapping[str, Answer]], Awaitable[dict[str, Answer]]] | None = None,
    health: HealthReporter | None = None,
    lease: bool = False,
    paced: bool = True,
    source: Source | None = None,
) -> LookupQueue | None:
    """Return the lookup queue of the paid source, or None if lookups are not allowed.

    With *health*, a rejected key is reported there instead of raised. Use *lease* if other
    instances share the ledger. A given *source* replaces the paid API and needs no key.
    """
    key = settings.crowdsec.api_key
    if source is None and quota > 0 and may_look_up_paid(settings):
        source = make_source(settings)
    if source is None:
        return None
    budget = Budget(
        ledger,
        clock,
        key=key.get_secret_value() if key else source.name,
        quota=quota,
        reset_day=settings.crowdsec.reset_day,
        paced=paced,
    )
    paid_lookup = PaidLookup(
        source,
        budget,
        clock,
        lifetimes=lifetimes(settings),
        concurrency=settings.crowdsec.concurrency,
        health=health or Health(),
        lease=AddressLease(ledger, 2 * settings.crowdsec.timeout + 20) if lease else None,
        degrade=health is not None,
    )
    return LookupQueue(
        paid_lookup,
        clock,
        cache=cache,
        deliver=deliver,
        revise=revise,
    )


def make_decoder(settings: Settings, *, noted: bool = False) -> Decoder:
    """Return a decoder of the configured tables; see :func:`schemas.events.tables.load_tables`."""
    return Decoder(load_tables(settings.tables, settings.own_tables, noted=noted))


class Core:
    """The shared part of every pipeline: lookup queue, scheduler and pending sign-ins."""

    _pipeline: Pipeline

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        clock: Clock,
        *,
        quota: int,
        memory: VerdictCache,
        guard: RecordGuard,
        health: HealthReporter | None = None,
        lease: bool = False,
        paced: bool = True,
        source: Source | None = None,
        local_sources: LocalSources | None = None,
        recent: RecentStore | None = None,
    ) -> None:
        """See :func:`make_lookup_queue` for *health*, *lease*, *paced* and *source*.

        *local_sources* are matched first; *recent* stores recent sign-ins for retro-matching.
        """
        policy = settings.policy
        self.memory = memory
        self._settings = settings
        self._guard = guard
        self._ledger = ledger
        self._clock = clock
        self.local_sources = local_sources or LocalSources(None, None)
        self.recent = RecentSignIns(recent, clock, policy.late_match)
        self.in_flight = InFlight()
        self.history = History(ledger, clock)
        self.pending = PendingSignIns(
            self.history,
            clock,
            guard,
            per_address=policy.waiting_per_address,
            lasts=policy.waiting_limit,
        )
        self.scheduler: LookupScheduler | None = None
        self.lookups = make_lookup_queue(
            settings,
            ledger,
            clock,
            quota,
            memory,
            self._deliver,
            revise=self._revise,
            health=health,
            lease=lease,
            paced=paced,
            source=source,
        )
        if self.lookups is not None:
            self.scheduler = LookupScheduler(
                ledger,
                self.lookups,
                self.pending,
                self.in_flight,
                clock,
                waiting_limit=policy.waiting_limit,
            )

    async def _deliver(self, answers: Mapping[str, Answer]) -> None:
        await self._pipeline.deliver(answers)

    async def _revise(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        return await self.scheduler.revise(answers) if self.scheduler is not None else dict(answers)

    def join(
        self,
        *,
        judge: Judge,
        outbox: Outbox,
        on_verdict: VerdictListener = lambda *_: None,
    ) -> Pipeline:
        """Return the pipeline; *on_verdict* is called with each verdict."""
        self._pipeline = Pipeline(
            decoder=make_decoder(self._settings, noted=self.recent.recording),
            cache=self.memory,
            ledger=self._ledger,
            lookups=self.lookups,
            scheduler=self.scheduler,
            pending=self.pending,
            history=self.history,
            in_flight=self.in_flight,
            local_sources=self.local_sources,
            recent=self.recent,
            judge=judge,
            outbox=outbox,
            guard=self._guard,
            clock=self._clock,
            own_networks=Networks(self._settings.trusted_networks),
            waiting_limit=self._settings.policy.waiting_limit,
            on_verdict=on_verdict,
        )
        return self._pipeline
