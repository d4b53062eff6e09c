"""``signinwatch lookup``: what is known of an address, asking about it where that is wanted."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from consumers.ledger.memory import AnswerMemory
from consumers.shared_ledger import open_shared_ledger
from consumers.wiring import make_clock, make_ledger
from consumers.wiring_core import make_lookups, may_ask_paid
from consumers.wiring_feeds import KeptIntelligence
from schemas.addresses import Unusable, usable_address
from schemas.combined import combined
from schemas.errors import ConfigurationError
from schemas.times import iso
from schemas.verdict_rows import verdict_row
from schemas.verdicts import Answer, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from consumers.settings import Settings
    from consumers.wiring import StateFolder
    from schemas.ports import Clock, Ledger

_MOST_WAITING = 10_000
Row = dict[str, Any]


async def look_up(
    settings: Settings,
    folder: StateFolder | None,
    texts: Sequence[str],
    *,
    cached: bool,
    explain: bool,
) -> list[Row]:
    """Return one row for each text, in order, with the columns of the verdicts table.

    Without a *folder*, from the ledger that instances share. With *explain* also where the answer
    came from, how many sign-ins wait, its rank among the waiting addresses with score and reasons,
    and when it would be asked next. ConfigurationError without a key, unless *cached*.
    """
    asks = not cached and may_ask_paid(settings)
    if asks and settings.crowdsec.api_key is None and not settings.feeds:
        raise ConfigurationError("SIGNINWATCH_CROWDSEC__API_KEY: needed to ask; or say --cached")
    kind = folder.clock_kind if folder is not None else "wall"
    if not cached and kind != "wall":
        raise ConfigurationError("--state was kept by a replay; only --cached can look into it")
    resolved = {text: usable_address(text) for text in texts}
    addresses = list(dict.fromkeys(one for one in resolved.values() if isinstance(one, str)))
    clock = make_clock(kind)
    async with _opened(settings, folder, clock) as (ledger, kept):
        memory = AnswerMemory(ledger, clock)
        answers: dict[str, Answer] = await memory.answers(addresses)
        known = set(answers)
        words = kept.words(addresses, clock.now())
        if asks:
            wanted = [one for one in addresses if one not in words]
            missing = [one for one in wanted if not isinstance(answers.get(one), Verdict)]
            answers |= await _ask(settings, ledger, memory, missing, shared=folder is None)
        rows = []
        for text, address in resolved.items():
            if isinstance(address, Unusable):
                rows.append(verdict_row(text, None, address.value))
                continue
            answer, free = answers.get(address), words.get(address, [])
            row = verdict_row(address, answer, "not in the ledger", free)
            row["Evidence"] = evidence(answer, free)
            if explain:
                row |= await _explained(ledger, address, answer, address in known)
            rows.append(row)
        return rows


@asynccontextmanager
async def _opened(
    settings: Settings, folder: StateFolder | None, clock: Clock
) -> AsyncIterator[tuple[Ledger, KeptIntelligence]]:
    """Open the ledger, and what is kept of free sources beside it."""
    async with AsyncExitStack() as stack:
        if folder is None:
            ledger = await open_shared_ledger(settings, stack)
        else:
            ledger = make_ledger(settings, folder, clock)
            stack.push_async_callback(ledger.close)
        place = folder.path if folder is not None else settings.state.scratch
        kept = KeptIntelligence(settings, place)
        stack.callback(kept.close)
        yield ledger, kept


def evidence(answer: Answer | None, words: Sequence[Verdict]) -> Row:
    """Return what each source says of an address, by its name."""
    told = [*([answer] if isinstance(answer, Verdict) else []), *words]
    return combined(told).evidence if told else {}


async def _ask(
    settings: Settings,
    ledger: Ledger,
    memory: AnswerMemory,
    addresses: Sequence[str],
    *,
    shared: bool,
) -> dict[str, Answer]:
    told: dict[str, Answer] = {}

    async def deliver(answers: Mapping[str, Answer]) -> None:
        told.update(answers)

    clock = make_clock("wall")
    quota = settings.crowdsec.monthly_quota
    lookups = make_lookups(
        settings, ledger, clock, quota, memory, deliver, paced=False, shared=shared
    )
    if lookups is None:
        key = settings.crowdsec.api_key
        why = WhyUnanswered.NOT_NAMED if key is None else WhyUnanswered.QUOTA
        return {one: Unanswered(why=why, expires=0.0) for one in addresses}
    try:
        lookups.want(addresses)
        await lookups.finished()
    finally:
        await lookups.close()
    return told


async def _explained(ledger: Ledger, address: str, answer: Answer | None, known: bool) -> Row:
    due = await ledger.due(_MOST_WAITING)
    rank = next((number for number, one in enumerate(due, 1) if one.address == address), None)
    waiting = await ledger.waiting_for(address, _MOST_WAITING)
    best = max(waiting, key=lambda one: one.own, default=None)
    return {
        "Cached": known,
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
    again = answer.again if isinstance(answer, Verdict) else 0.0
    return _moment(again or answer.expires)


def _moment(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))
