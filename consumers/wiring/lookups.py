"""Builds the lookups in the paid source."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.enrichment.budget import Budget
from consumers.enrichment.lookup_queue import LookupQueue
from consumers.enrichment.paid_lookup import AddressLease, Lifetimes, PaidLookup
from consumers.service.health import Health
from consumers.settings.urls import is_loopback
from consumers.sources.crowdsec.api import MAX_LOOKUP_RESPONSE_BYTES, CrowdSecApi
from consumers.sources.http import HttpClient, Trust
from consumers.wiring.paid_answers import keeping

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from consumers.ledger.cache import VerdictCache
    from consumers.settings import Settings
    from schemas.health import HealthReporter
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock, Source


@dataclass(frozen=True, slots=True)
class LookupOptions:
    """How a command or the service makes lookups."""

    quota: int
    """Lookups a month."""
    paced: bool = True
    shared: bool = False
    """Whether other instances share the ledger, so that lookups are leased."""
    health: HealthReporter | None = None
    """Receives a rejected key, which is raised without it."""
    source: Source | None = None
    """Replaces the paid API, and needs no key."""
    paid: Path | None = None
    """Where commands keep what was paid for."""


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


def paid_key(settings: Settings) -> SecretStr | None:
    """Return the key of the paid source."""
    return settings.crowdsec.api_key


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
        trust=Trust(settings.ca_bundle),
    )
    return CrowdSecApi(http, crowdsec.url, crowdsec.batch_size)


def make_lookup_queue(
    settings: Settings,
    ledger: Ledger,
    cache: VerdictCache,
    clock: Clock,
    options: LookupOptions,
) -> LookupQueue | None:
    """Return the lookup queue of the paid source, or None if lookups are not allowed."""
    key = paid_key(settings)
    source = options.source
    if source is None and options.quota > 0 and may_look_up_paid(settings):
        source = make_source(settings)
    if source is None:
        return None
    if options.paid is not None:
        source = keeping(source, settings, options.paid, options.quota, lifetimes(settings))
    budget = Budget(
        ledger,
        clock,
        key=key.get_secret_value() if key else source.name,
        quota=options.quota,
        reset_day=settings.crowdsec.reset_day,
        paced=options.paced,
    )
    lease = AddressLease(ledger, 2 * settings.crowdsec.timeout + 20) if options.shared else None
    paid_lookup = PaidLookup(
        source,
        budget,
        clock,
        lifetimes=lifetimes(settings),
        concurrency=settings.crowdsec.concurrency,
        health=options.health or Health(),
        lease=lease,
        degrade=options.health is not None,
    )
    return LookupQueue(paid_lookup, clock, cache)
