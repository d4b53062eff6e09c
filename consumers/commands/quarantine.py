"""What ``signinwatch quarantine`` does. A *folder* of None means the one beside the checkpoints."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from consumers.commands.replay import refuse_to_spend_unasked
from consumers.pipeline.record_guard import PENDING
from consumers.wiring.core import make_decoder
from consumers.wiring.replay import StateFolder, make_quarantine, open_chain
from schemas.ports import Message, Position
from schemas.rows.columns import wrong_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.wiring.replay import Chain
    from schemas.events.decode import Decoder
    from schemas.ports import Quarantine, Quarantined, Sink


@dataclass(slots=True)
class Retried:
    """What became of a retry."""

    tried: int = 0
    settled: int = 0
    findings: int = 0


@asynccontextmanager
async def _opened(settings: Settings, folder: Path | None) -> AsyncIterator[Quarantine]:
    quarantine = make_quarantine(settings, folder)
    try:
        yield quarantine
    finally:
        await quarantine.close()


async def items_of(settings: Settings, folder: Path | None) -> list[Quarantined]:
    """Return what is kept, oldest first."""
    async with _opened(settings, folder) as quarantine:
        return [item async for item in quarantine.items()]


async def purge(
    settings: Settings,
    folder: Path | None,
    ids: Collection[str] | None,
    before: datetime | None,
) -> int:
    """Delete items by id, or all; only those older than *before* if given. Return how many."""
    async with _opened(settings, folder) as quarantine:
        return await quarantine.remove(ids, before)


async def retry(
    settings: Settings,
    folder: Path | None,
    items: Sequence[Quarantined],
    new_sink: Callable[[], Sink],
    *,
    quota: int,
    spend: bool,
) -> Retried:
    """Read messages anew and send findings anew; remove what is settled by that.

    A message that is still unreadable, or of which a record is set aside again, stays, as does a
    finding that is still refused. Without a
    folder the ledger is a temporary one: a message of which anything is unanswered stays as well.
    """
    decoder = make_decoder(settings)
    with StateFolder(folder) as state:
        kind = state.clock_kind
        refuse_to_spend_unasked(settings, kind, quota, spend=spend)
        async with (
            _opened(settings, folder) as quarantine,
            open_chain(
                settings,
                state,
                new_sink,
                clock_kind=kind,
                quota=quota,
                origin="late",
                quarantine=quarantine,
                paced=False,  # a person asks
            ) as chain,
        ):
            taken = [item for item in items if await _taken(item, chain, decoder)]
            await chain.pipeline.drain()
            settled = {
                item.id
                for item in taken
                if not any(raw in item.body for raw in chain.pipeline.guard.caught)
                and not (state.temporary and await _waits(item, chain, decoder))
            }
            await quarantine.remove(settled)
            return Retried(len(items), len(settled), chain.outbox.accepted.total())


async def _taken(item: Quarantined, chain: Chain, decoder: Decoder) -> bool:
    """Offer an item to the pipeline; tell whether it may go, once all is drained."""
    if item.kind == "finding":
        return await _sent(item, chain)
    if item.kind == PENDING:
        return False  # for a person: there is no message to be read again
    if decoder.decode(item.body).rejects:
        return False
    before = chain.pipeline.counts.unanswered
    await chain.pipeline.take([Message(item.body, Position(item.position, 0))])
    # Without a source to ask, an unanswered sign-in does not wait in the ledger, so it stays here.
    return chain.lookups is not None or chain.pipeline.counts.unanswered == before


async def _sent(item: Quarantined, chain: Chain) -> bool:
    try:
        row = orjson.loads(item.body)
    except orjson.JSONDecodeError:  # cut, for it was too large
        return False
    if wrong_with(row) is not None:
        return False
    refused = chain.outbox.refused
    await chain.outbox.add([row])
    await chain.outbox.flush()
    return chain.outbox.refused == refused


async def _waits(item: Quarantined, chain: Chain, decoder: Decoder) -> bool:
    """Tell whether a sign-in of the message waits in the ledger, which goes away."""
    if item.kind == "finding":
        return False
    signins = decoder.decode(item.body).signins
    addresses = list(dict.fromkeys(one for signin in signins for one in signin.addresses))
    return bool(await chain.ledger.waiting_among(addresses))
