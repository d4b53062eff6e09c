"""``signinwatch lookup``: show the verdicts on IP addresses, with a lookup where needed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console

from consumers.clock import WallClock
from consumers.commands import console as screens
from consumers.commands.options import forget_paid_option, state_option
from schemas.errors import ConfigurationError
from schemas.events.addresses import Unusable, usable_address
from schemas.events.times import iso
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Answer, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from consumers.enrichment.local_sources import LocalSources
    from consumers.ledger.cache import VerdictCache
    from consumers.settings import Settings
    from consumers.wiring.replay import StateFolder
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock


_MAX_PENDING_READ = 10_000
LookupRow = dict[str, Any]
_UNEXPLAINED: LookupRow = {
    "AgeSeconds": None,
    "Rank": None,
    "RankedAddresses": 0,
    "Waiting": 0,
    "RankScore": None,
    "RankParts": {},
    "NextAsking": None,
    "Cached": False,
    "Asked": False,
}
"""Columns of ``--explain`` for a text that is not a public IP address."""


@click.command("lookup")
@click.argument("addresses", nargs=-1, required=True, metavar="IP...")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
@click.option("--explain", is_flag=True, help="Show origin, age, rank, score and next lookup.")
@forget_paid_option
@click.option("--cached", is_flag=True, help="Make no lookups; show stored verdicts only.")
@state_option
@click.pass_obj
def lookup_command(
    config: Path | None,
    addresses: tuple[str, ...],
    as_json: bool,
    explain: bool,
    cached: bool,
    forget_paid: bool,
    state: Path | None,
) -> None:
    """Show the verdicts on IP addresses.

    Spends a lookup on each address without a valid verdict, unless --cached is given. What was paid
    for is kept, and not paid for again.
    """
    from consumers.ledger.sqlite.schema import clock_of
    from consumers.settings import load_settings
    from consumers.wiring.paid_answers import folder_to_keep
    from consumers.wiring.replay import StateFolder
    from consumers.wiring.shared_ledger import is_shared

    settings = load_settings(config)
    stored = place = state or settings.state.dir
    if cached and stored is not None and clock_of(stored) is None:
        stored = None  # reading must not create a ledger
    shown = partial(look_up, settings, texts=addresses, cached=cached, explain=explain)
    if place is None and is_shared(settings):
        rows = asyncio.run(shown(None, place=settings.state.scratch))
    else:
        with StateFolder(stored, folder_to_keep(settings, forget=forget_paid)) as folder:
            rows = asyncio.run(shown(folder, place=place or settings.state.scratch))
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
    else:
        Console().print(screens.verdicts_table(rows, explain))
    if not cached and any(row["Verdict"] == "unanswered" for row in rows):
        raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class _LocalSourcesRead:
    """Stored local sources; ``unread`` names the feeds that were never read."""

    sources: LocalSources
    unread: list[str]

    def verdicts(self, addresses: Sequence[str]) -> dict[str, list[Verdict]]:
        """Return the current verdicts by IP address, without IP addresses that have none."""
        now = WallClock().now()
        matches = self.sources.match(addresses)
        found = {
            address: self.sources.verdicts_of(address, match, now)
            for address, match in matches.items()
        }
        return {address: verdicts for address, verdicts in found.items() if verdicts}

    @property
    def reason_for_no_verdict(self) -> str:
        """Why there is no verdict on an IP address that is not looked up elsewhere."""
        if self.unread:
            return f"never read: {', '.join(self.unread)}; run `signinwatch feeds sync`"
        return self.sources.reason_not_looked_up.value


async def look_up(
    settings: Settings,
    folder: StateFolder | None,
    texts: Sequence[str],
    *,
    cached: bool,
    explain: bool,
    place: Path | None = None,
) -> list[LookupRow]:
    """Return one row for each text, in order, with the columns of the verdicts table.

    Without a *folder*, the ledger is the one that instances share. *place* is the directory of
    feeds and the replica. *explain* adds the origin of the verdict, the number of waiting
    sign-ins, the rank among waiting IP addresses with score breakdown, and the time of the next
    lookup. Raise ConfigurationError without a key, unless *cached*.
    """
    from consumers.ledger.cache import VerdictCache
    from consumers.wiring.local_sources import wants_local_sources
    from consumers.wiring.lookups import may_look_up_paid
    from consumers.wiring.replay import make_clock
    from schemas.rows.verdicts import verdict_row

    may_look_up = may_look_up_paid(settings)
    if may_look_up and not cached and settings.crowdsec.api_key is None and not settings.feeds:
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__API_KEY is not set; set it, or use --cached for no lookups"
        )
    kind = folder.clock_kind if folder is not None else "wall"
    if not cached and kind != "wall":
        raise ConfigurationError("--state was written by a replay; use --cached to read it")
    may_look_up = may_look_up and settings.crowdsec.api_key is not None
    resolved = {text: usable_address(text) for text in texts}
    addresses = list(dict.fromkeys(found for found in resolved.values() if isinstance(found, str)))
    clock = make_clock(kind)
    async with _opened(settings, folder, clock, place) as (ledger, local):
        cache = VerdictCache(ledger, clock)
        answers: dict[str, Answer] = await cache.get_verdicts(addresses)
        known = set(answers)
        local_verdicts = local.verdicts(addresses)
        looked_up: list[str] = []
        if may_look_up and not cached:
            looked_up = [
                address
                for address in addresses
                if address not in local_verdicts and not isinstance(answers.get(address), Verdict)
            ]
            answers |= await _look_up_paid(settings, ledger, cache, looked_up, folder)
        paid = may_look_up or not wants_local_sources(settings)
        no_verdict = "not in the ledger" if paid else local.reason_for_no_verdict
        rows = []
        for text, address in resolved.items():
            if isinstance(address, Unusable):
                row = {**verdict_row(text, None, address.value), "Evidence": {}}
                rows.append(row | _UNEXPLAINED if explain else row)
                continue
            answer, matched = answers.get(address), local_verdicts.get(address, [])
            row = verdict_row(address, answer, no_verdict, matched)
            row["Evidence"] = evidence(answer, matched)
            if explain:
                row |= await _explained(ledger, address, answer)
                row |= {"Cached": address in known, "Asked": address in looked_up}
                if not may_look_up or (matched and answer is None):
                    row["NextAsking"] = None
            rows.append(row)
        return rows


@asynccontextmanager
async def _opened(
    settings: Settings, folder: StateFolder | None, clock: Clock, place: Path | None
) -> AsyncIterator[tuple[Ledger, _LocalSourcesRead]]:
    """Open the ledger and the stored local sources.

    If instances share a ledger and *place* has no feeds, read what other instances published.
    """
    from consumers.sources.feeds.indicator_schema import exists
    from consumers.wiring.local_sources import StoredSources
    from consumers.wiring.replay import make_ledger
    from consumers.wiring.shared_ledger import open_shared_ledger

    ledger: Ledger
    async with AsyncExitStack() as stack:
        if folder is not None:
            ledger = make_ledger(settings, folder, clock)
            stack.push_async_callback(ledger.close)
        else:
            ledger = await open_shared_ledger(settings, stack)
            if settings.feeds and (place is None or not exists(place)):
                yield ledger, await _shared_sources(settings, ledger, clock, stack)
                return
        stored = StoredSources(settings, place)
        stack.callback(stored.close)
        yield ledger, _LocalSourcesRead(stored.sources, stored.unread)


async def _shared_sources(
    settings: Settings, ledger: Ledger, clock: Clock, stack: AsyncExitStack
) -> _LocalSourcesRead:
    from consumers.service.health import Health
    from consumers.wiring.credentials import Credentials
    from consumers.wiring.service_sources import open_intelligence

    credentials = Credentials(stack, settings)
    sources, _ = await stack.enter_async_context(
        open_intelligence(settings, ledger, clock, Health(), credentials)
    )
    for sync in sources.syncs:
        await sync.follow()
    unread = [sync.name for sync in sources.syncs if not sync.state.steps]
    return _LocalSourcesRead(sources.free, unread)


def evidence(answer: Answer | None, local: Sequence[Verdict]) -> LookupRow:
    """Return the evidence of each source on an IP address, by the source's name."""
    verdicts = [*([answer] if isinstance(answer, Verdict) else []), *local]
    return merge_verdicts(verdicts).evidence if verdicts else {}


async def _look_up_paid(
    settings: Settings,
    ledger: Ledger,
    cache: VerdictCache,
    addresses: Sequence[str],
    folder: StateFolder | None,
) -> dict[str, Answer]:
    from consumers.wiring.lookups import LookupOptions, make_lookup_queue
    from consumers.wiring.replay import make_clock

    shared, paid = folder is None, folder.paid if folder is not None else None
    options = LookupOptions(settings.crowdsec.monthly_quota, paced=False, shared=shared, paid=paid)
    lookups = make_lookup_queue(settings, ledger, cache, make_clock("wall"), options)
    if lookups is None:
        return {address: Unanswered(why=WhyUnanswered.QUOTA, expires=0.0) for address in addresses}
    try:
        results = await lookups.look_up_all(addresses)
    finally:
        await lookups.close()
    return {result.request.address: result.answer for result in results}


async def _explained(ledger: Ledger, address: str, answer: Answer | None) -> LookupRow:
    due = await ledger.due(_MAX_PENDING_READ)
    ranks = (rank for rank, pending in enumerate(due, 1) if pending.address == address)
    rank = next(ranks, None)
    waiting = await ledger.waiting_for(address, _MAX_PENDING_READ)
    best = max(waiting, key=lambda pending: pending.own, default=None)
    return {
        "AgeSeconds": round(datetime.now(UTC).timestamp() - answer.time)
        if isinstance(answer, Verdict)
        else None,
        "Rank": rank,
        "RankedAddresses": len(due),
        "Waiting": len(waiting),
        "RankScore": round(best.own + waiting[-1].place, 1) if best else None,
        "RankParts": {name: round(points, 1) for name, points in best.parts} if best else {},
        "NextAsking": _next_lookup(answer),
    }


def _next_lookup(answer: Answer | None) -> str:
    if answer is None or not answer.expires:
        return "now"
    recheck_at = answer.recheck_at if isinstance(answer, Verdict) else 0.0
    return iso(datetime.fromtimestamp(recheck_at or answer.expires, UTC))
