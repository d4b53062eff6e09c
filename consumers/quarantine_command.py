"""``signinwatch quarantine retry``: what was kept aside, through the pipeline once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from consumers.replay import refuse_to_spend_unasked
from consumers.wiring import DirectoryQuarantine, StateFolder, make_decoder, open_chain
from schemas.columns import wrong_with
from schemas.ports import Message, Position, Quarantined

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.wiring import Chain
    from schemas.decode import Decoder
    from schemas.ports import Sink


@dataclass(slots=True)
class Retried:
    """What became of a retry."""

    tried: int = 0
    settled: int = 0
    findings: int = 0


async def retry(
    settings: Settings,
    folder: Path,
    ids: Collection[str] | None,
    new_sink: Callable[[], Sink],
    *,
    quota: int,
    spend: bool,
) -> Retried:
    """Read messages anew and send findings anew; remove what is settled by that.

    A message that is still unreadable stays, as does a finding that is still refused.
    """
    state = StateFolder(folder)
    refuse_to_spend_unasked(settings, state.clock_kind, quota, spend=spend)
    quarantine = DirectoryQuarantine(folder)
    items = [item for item in quarantine.items() if ids is None or item.id in ids]
    told = Retried(tried=len(items))
    decoder = make_decoder(settings)
    async with open_chain(
        settings,
        state,
        new_sink,
        clock_kind=state.clock_kind,
        quota=quota,
        origin="late",
    ) as chain:
        settled = {item.id for item in items if await _settled(item, chain, decoder)}
        await chain.pipeline.drain()
        told.findings = chain.outbox.accepted.total()
    quarantine.remove(settled)
    told.settled = len(settled)
    return told


async def _settled(item: Quarantined, chain: Chain, decoder: Decoder) -> bool:
    if item.kind == "finding":
        row = orjson.loads(item.body)
        if wrong_with(row) is not None:
            return False
        refused = chain.outbox.refused
        await chain.outbox.add([row])
        await chain.outbox.flush()
        return chain.outbox.refused == refused
    if decoder.decode(item.body).rejects:
        return False
    before = chain.pipeline.counts.unanswered
    await chain.pipeline.take([Message(item.body, Position(item.position, 0))])
    # Without a source to ask, an unanswered sign-in does not wait in the ledger, so it stays here.
    return chain.lookups is not None or chain.pipeline.counts.unanswered == before
