"""``replay --warm``: learn the history of accounts from a recording, and do nothing else.

The ranking of lookups depends on what is usual for an account. A new installation learns it in a
week; a recording of the weeks before teaches it at once.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from consumers.clock import EventClock
from consumers.commands import console as screens
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from consumers.enrichment.familiar import FamiliarAddresses
    from consumers.enrichment.history import History
    from consumers.enrichment.stories.memory import StoryMemory
    from consumers.pipeline.stats import PipelineCounts
    from consumers.settings import Settings
    from schemas.events.addresses import Networks
    from schemas.events.decode import Decoded
    from schemas.events.ranking_signals import Signals
    from schemas.events.traits import Traits
    from schemas.ledger_ports import Ledger


async def warm(
    settings: Settings,
    files: Sequence[str],
    table: str | None,
    state: tuple[Path | None, str],
    progress: Callable[[int, str], None],
) -> tuple[dict[str, Any], PipelineCounts]:
    """Learn from files into the ledger of the service, or of *state*; return summary and counts.

    *state* is a folder, and the kind of clock of a ledger that is made there. Raise
    ConfigurationError for invalid settings, or files that cannot be opened.
    """
    from consumers.enrichment.familiar import FamiliarAddresses
    from consumers.enrichment.history import History
    from consumers.enrichment.stories.memory import StoryMemory
    from consumers.event_time import advance
    from consumers.inputs.recording import read_recording, require_recording
    from consumers.pipeline.stats import PipelineCounts
    from consumers.wiring.pipeline import make_decoder
    from schemas.events.addresses import Networks

    for name in files:
        require_recording(name)
    began = time.monotonic()
    counts = PipelineCounts()
    decoder, own = make_decoder(settings), Networks(settings.trusted_networks)
    async with AsyncExitStack() as stack:
        ledger = await _opened(settings, *state, stack)
        clock = EventClock()
        pupils = _Pupils(
            History(ledger, clock),
            FamiliarAddresses(ledger, clock),
            StoryMemory(ledger, clock, own),
        )
        for name in files:
            for message in read_recording(name, lambda read: progress(read, ""), table):
                decoded = decoder.decode(message.body)
                advance(clock, decoded, message)
                counts.decoded(decoded)
                await _learn(pupils, decoded, own, counts)
                await pupils.history.flush_if_due()
                await pupils.stories.flush_if_due()
        await pupils.history.flush()
        await pupils.familiar.flush()
        await pupils.stories.flush()
    summary = {
        "messages": counts.messages,
        "records": counts.records,
        "rejected": counts.rejected,
        "skipped": counts.skipped.total(),
        "signins": counts.signins,
        "distinct_ips": len(counts.addresses),
        "lookups": 0,
        "findings": 0,
        "seconds": round(time.monotonic() - began, 3),
        "skipped_by_reason": dict(counts.skipped.most_common()),
    }
    return summary, counts


class _Pupils(NamedTuple):
    """What learns from a recording."""

    history: History
    familiar: FamiliarAddresses
    stories: StoryMemory


async def _learn(pupils: _Pupils, decoded: Decoded, own: Networks, counts: PipelineCounts) -> None:
    from schemas.events.outcomes import Outcome
    from schemas.events.ranking_signals import signals_of
    from schemas.events.traits import traits_of

    read: list[tuple[str, Signals]] = []
    traits: list[tuple[str, Traits]] = []
    for signin in decoded.signins:
        counts.seen(signin.addresses)
        try:
            signals = signals_of(signin)
            seen, _ = traits_of(signin, None, datetime.now(UTC))
        except ValueError:  # unreadable: a real replay quarantines it
            continue
        read += [(address, signals) for address in signin.addresses if address not in own]
        traits += [(address, seen) for address in signin.addresses if seen.account]
        time = signin.record_time()
        if signals.outcome is Outcome.SUCCESS and signals.account and time is not None:
            for address in signin.addresses:
                pupils.familiar.learn_success(address, signals.account, time.toordinal())
    await pupils.history.fetch(read)
    for address, signals in read:
        pupils.history.learn(address, signals)
    await pupils.stories.fetch(traits)
    for address, seen in traits:
        pupils.stories.learn(address, seen)


async def _opened(
    settings: Settings, state: Path | None, clock_kind: str, stack: AsyncExitStack
) -> Ledger:
    from consumers.ledger.sqlite.schema import clock_of
    from consumers.wiring.replay import StateFolder, make_clock, make_ledger
    from consumers.wiring.shared_ledger import is_shared, open_shared_ledger

    folder = state or settings.state.dir
    if folder is None and is_shared(settings):
        return await open_shared_ledger(settings, stack)
    if folder is None:
        raise ConfigurationError(
            "SIGNINWATCH_STATE__DIR is not set; set it, --state, STATE__CONNECTION_STRING or "
            "STATE__ACCOUNT_URL to name the ledger that --warm fills"
        )
    folder.mkdir(parents=True, exist_ok=True)
    kind = clock_of(folder) or (clock_kind if state else "wall")
    ledger = make_ledger(settings, StateFolder(folder), make_clock(kind))
    stack.push_async_callback(ledger.close)
    return ledger


def show(summary: dict[str, Any], notes: Sequence[str], console: Console) -> None:
    """Print what was learned, and what could not be."""
    text = (
        f"Learned from {summary['signins']:,} sign-ins of {summary['distinct_ips']:,} IP addresses "
        f"in {summary['seconds']:,.1f} s. Nothing was looked up or reported."
    )
    console.print(screens.plain(text, 1_000))
    for note in notes:
        console.print(screens.plain(f"! {note}", 1_000))
