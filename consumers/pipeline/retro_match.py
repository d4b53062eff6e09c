"""What free sources speak of only now: judged for what waits, and for what went by lately."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from consumers.enrichment.local_sources import LocalMatch, LocalSources
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.pending import PendingSignIns
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.stats import PipelineCounts
    from schemas.intel.verdicts import Answer, Verdict
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

    Told = Callable[[Mapping[str, Answer], Mapping[str, Sequence[Verdict]]], None]
    """Hears of new answers, and of what free sources say besides or instead."""

MATCH_BATCH = 500
"""Addresses that the ledger is asked about at once."""
MAX_PENDING_SCANNED = 100_000
"""Waiting addresses that are looked through when a network is named that was not before."""


class RetroMatch:
    """Follows what feeds and replica learn."""

    def __init__(
        self,
        *,
        local_sources: LocalSources,
        evaluator: Evaluator,
        recent: RecentSignIns,
        ledger: Ledger,
        pending: PendingSignIns,
        outbox: Outbox,
        counts: PipelineCounts,
        clock: Clock,
        on_verdict: Told,
    ) -> None:
        self._local_sources = local_sources
        self._evaluator = evaluator
        self._recent = recent
        self._ledger = ledger
        self._pending = pending
        self._outbox = outbox
        self._counts = counts
        self._clock = clock
        self._told = on_verdict

    async def match_new_indicators(self, keys: Collection[str] | None) -> None:
        """Judge what waits, and what went by lately, of which free sources speak only now.

        *keys* are the addresses and networks that they may not have named before; None for any.
        """
        known = self._local_sources.match(await self._waiting_of(keys))
        self._told({}, self.verdicts_of(known))
        for address, settled in (await self._evaluator.split_by_feed_validity(known)).items():
            self._counts.resolved_late(address, settled)
            self._pending.capacity.clear(address)
        async for signins in self._recent.match(keys):
            self._told({}, self.verdicts_of(await self._evaluator.evaluate_late(signins)))
        await self._outbox.flush()

    async def match_recent(self, keys: Collection[str]) -> None:
        """Judge what this instance took just now, where another one looks through the rest."""
        signins = self._recent.match_own(keys)
        if signins:
            self._told({}, self.verdicts_of(await self._evaluator.evaluate_late(signins)))
            await self._outbox.flush()

    async def retract(self, addresses: Sequence[str]) -> None:
        """Tell anew of addresses that a feed does not name any more."""
        words = self.verdicts_of(self._local_sources.match(addresses))
        answers = await self._ledger.get_verdicts(addresses)
        self._told(answers, {one: words.get(one, ()) for one in addresses})

    def verdicts_of(self, known: Mapping[str, LocalMatch]) -> dict[str, Sequence[Verdict]]:
        """Return what free sources say of addresses now."""
        now = self._clock.now()
        words = {
            one: self._local_sources.verdicts_of(one, told, now) for one, told in known.items()
        }
        return {address: told for address, told in words.items() if told}

    async def _waiting_of(self, keys: Collection[str] | None) -> list[str]:
        """Return addresses that sign-ins wait for, among those that *keys* may name."""
        if keys is None or any("/" in key for key in keys):
            return [one.address for one in await self._ledger.due(MAX_PENDING_SCANNED)]
        found: set[str] = set()
        exact = list(keys)
        for start in range(0, len(exact), MATCH_BATCH):
            found |= await self._ledger.waiting_among(exact[start : start + MATCH_BATCH])
        return list(found)
