"""``signinwatch lookup``: verdicts on addresses, from the ledger or by a lookup."""

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
from consumers.commands.options import state_option
from schemas.errors import ConfigurationError
from schemas.events.addresses import Unusable, usable_address
from schemas.events.times import iso
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Answer, Unanswered, Verdict, WhyUnanswered
from schemas.rows.verdicts import verdict_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
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
"""For a text that is not an address."""


@click.command("lookup")
@click.argument("addresses", nargs=-1, required=True, metavar="IP...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.option(
    "--explain", is_flag=True, help="Show source, age, rank with reasons, and the next lookup."
)
@click.option("--cached", is_flag=True, help="Make no lookups; show what the ledger holds.")
@state_option
@click.pass_obj
def lookup_command(
    config: Path | None,
    addresses: tuple[str, ...],
    as_json: bool,
    explain: bool,
    cached: bool,
    state: Path | None,
) -> None:
    """Show the verdicts on IP addresses."""
    from consumers.ledger.sqlite.schema import clock_of
    from consumers.settings import load_settings
    from consumers.wiring.replay import StateFolder
    from consumers.wiring.shared_ledger import is_shared

    settings = load_settings(config)
    kept = place = state or settings.state.dir
    if cached and kept is not None and clock_of(kept) is None:
        kept = None  # looking must not make a ledger
    shown = partial(look_up, settings, texts=addresses, cached=cached, explain=explain)
    if place is None and is_shared(settings):
        rows = asyncio.run(shown(None, place=settings.state.scratch))
    else:
        with StateFolder(kept) as folder:
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
    """The stored local sources; ``unread`` names the feeds that were never read."""

    sources: LocalSources
    unread: list[str]

    def words(self, addresses: Sequence[str]) -> dict[str, list[Verdict]]:
        """Return the current verdicts of addresses; addresses without a match are left out."""
        now = WallClock().now()
        known = self.sources.match(addresses)
        told = {one: self.sources.verdicts_of(one, what, now) for one, what in known.items()}
        return {address: words for address, words in told.items() if words}

    @property
    def silence(self) -> str:
        """Why an address has no verdict when no lookup is made."""
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

    Without a *folder*, from the ledger that instances share. *place* is where feeds and the replica
    lie. With *explain* also where the answer came from, how many sign-ins wait, its rank among the
    waiting addresses with score and reasons, and when it would be asked next. ConfigurationError
    without a key, unless *cached*.
    """
    from consumers.ledger.cache import VerdictCache
    from consumers.wiring.core import may_look_up_paid
    from consumers.wiring.local_sources import wants_local_sources
    from consumers.wiring.replay import make_clock

    may_ask = may_look_up_paid(settings)
    if may_ask and not cached and settings.crowdsec.api_key is None and not settings.feeds:
        raise ConfigurationError(
            "SIGNINWATCH_CROWDSEC__API_KEY is not set; set it, or use --cached"
        )
    kind = folder.clock_kind if folder is not None else "wall"
    if not cached and kind != "wall":
        raise ConfigurationError("--state was kept by a replay; only --cached can look into it")
    may_ask = may_ask and settings.crowdsec.api_key is not None
    resolved = {text: usable_address(text) for text in texts}
    addresses = list(dict.fromkeys(one for one in resolved.values() if isinstance(one, str)))
    clock = make_clock(kind)
    async with _opened(settings, folder, clock, place) as (ledger, free):
        memory = VerdictCache(ledger, clock)
        answers: dict[str, Answer] = await memory.get_verdicts(addresses)
        known = set(answers)
        words = free.words(addresses)
        asked: list[str] = []
        if may_ask and not cached:
            wanted = [one for one in addresses if one not in words]
            asked = [one for one in wanted if not isinstance(answers.get(one), Verdict)]
            answers |= await _ask(settings, ledger, memory, asked, shared=folder is None)
        paid = may_ask or not wants_local_sources(settings)
        silence = "not in the ledger" if paid else free.silence
        rows = []
        for text, address in resolved.items():
            if isinstance(address, Unusable):
                row = {**verdict_row(text, None, address.value), "Evidence": {}}
                rows.append(row | _UNEXPLAINED if explain else row)
                continue
            answer, said = answers.get(address), words.get(address, [])
            row = verdict_row(address, answer, silence, said)
            row["Evidence"] = evidence(answer, said)
            if explain:
                row |= await _explained(ledger, address, answer)
                row |= {"Cached": address in known, "Asked": address in asked}
                if not may_ask or (said and answer is None):
                    row["NextAsking"] = None
            rows.append(row)
        return rows


@asynccontextmanager
async def _opened(
    settings: Settings, folder: StateFolder | None, clock: Clock, place: Path | None
) -> AsyncIterator[tuple[Ledger, _LocalSourcesRead]]:
    """Open the ledger and the stored local sources.

    Where instances share and nothing lies here, feeds are followed by what the others have read.
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
                yield ledger, await _followed(settings, ledger, clock, stack)
                return
        kept = StoredSources(settings, place)
        stack.callback(kept.close)
        yield ledger, _LocalSourcesRead(kept.sources, kept.unread)


async def _followed(
    settings: Settings, ledger: Ledger, clock: Clock, stack: AsyncExitStack
) -> _LocalSourcesRead:
    from consumers.service.health import Health
    from consumers.wiring.credentials import Credentials
    from consumers.wiring.service_sources import open_intelligence

    credentials = Credentials(stack, settings)
    intelligence, _ = await stack.enter_async_context(
        open_intelligence(settings, ledger, clock, Health(), credentials)
    )
    for sync in intelligence.syncs:
        await sync.follow()
    unread = [sync.name for sync in intelligence.syncs if not sync.state.steps]
    return _LocalSourcesRead(intelligence.free, unread)


def evidence(answer: Answer | None, words: Sequence[Verdict]) -> LookupRow:
    """Return the evidence of each source by its name."""
    told = [*([answer] if isinstance(answer, Verdict) else []), *words]
    return merge_verdicts(told).evidence if told else {}


async def _ask(
    settings: Settings,
    ledger: Ledger,
    memory: VerdictCache,
    addresses: Sequence[str],
    *,
    shared: bool,
) -> dict[str, Answer]:
    from consumers.wiring.core import make_lookup_queue
    from consumers.wiring.replay import make_clock

    told: dict[str, Answer] = {}

    async def deliver(answers: Mapping[str, Answer]) -> None:
        told.update(answers)

    clock = make_clock("wall")
    quota = settings.crowdsec.monthly_quota
    lookups = make_lookup_queue(
        settings, ledger, clock, quota, memory, deliver, paced=False, lease=shared
    )
    if lookups is None:
        return {one: Unanswered(why=WhyUnanswered.QUOTA, expires=0.0) for one in addresses}
    try:
        lookups.enqueue(addresses)
        await lookups.wait_until_idle()
    finally:
        await lookups.close()
    return told


async def _explained(ledger: Ledger, address: str, answer: Answer | None) -> LookupRow:
    due = await ledger.due(_MAX_PENDING_READ)
    rank = next((number for number, one in enumerate(due, 1) if one.address == address), None)
    waiting = await ledger.waiting_for(address, _MAX_PENDING_READ)
    best = max(waiting, key=lambda one: one.own, default=None)
    return {
        "AgeSeconds": round(datetime.now(UTC).timestamp() - answer.time)
        if isinstance(answer, Verdict)
        else None,
        "Rank": rank,
        "RankedAddresses": len(due),
        "Waiting": len(waiting),
        "RankScore": round(best.own + waiting[-1].place, 1) if best else None,
        "RankParts": {name: round(points, 1) for name, points in best.parts} if best else {},
        "NextAsking": _next_asking(answer),
    }


def _next_asking(answer: Answer | None) -> str:
    if answer is None or not answer.expires:
        return "now"
    again = answer.recheck_at if isinstance(answer, Verdict) else 0.0
    return _moment(again or answer.expires)


def _moment(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))
