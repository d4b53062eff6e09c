"""Retro-matching: apply new indicators to pending and recent sign-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from consumers.enrichment.local_sources import LocalSources
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.verdict_publisher import VerdictPublisher
    from schemas.ledger_ports import Ledger

MAX_EXACT_MATCHES = 200
"""Addresses that are looked for one by one; beyond, all pending addresses are read."""
MAX_PENDING_SCANNED = 100_000
"""Maximum number of pending addresses to scan for a new network indicator."""


class RetroMatch:
    """Applies changes of feeds and replica to earlier sign-ins."""

    def __init__(
        self,
        local_sources: LocalSources,
        evaluator: Evaluator,
        recent: RecentSignIns,
        ledger: Ledger,
        outbox: Outbox,
        publisher: VerdictPublisher,
    ) -> None:
        self._local_sources = local_sources
        self._evaluator = evaluator
        self._recent = recent
        self._ledger = ledger
        self._outbox = outbox
        self._publisher = publisher

    async def match_new_indicators(self, observables: Collection[str] | None) -> None:
        """Evaluate pending and recent sign-ins that local sources match only now.

        *observables* are the addresses and networks that may be new; None if any may be.
        """
        matches = self._local_sources.match(await self._pending_addresses(observables))
        self._publisher.publish_matches(matches)
        await self._evaluator.evaluate_matched(matches)
        async for signins in self._recent.match(observables):
            self._publisher.publish_matches(await self._evaluator.evaluate_late(signins))
        await self._outbox.flush()

    async def match_own_recent(self, observables: Collection[str]) -> None:
        """Match the sign-ins of this instance only; another instance searches the store."""
        signins = self._recent.match_own(observables)
        if signins:
            self._publisher.publish_matches(await self._evaluator.evaluate_late(signins))
            await self._outbox.flush()

    async def retract(self, addresses: Sequence[str]) -> None:
        """Report addresses again that a feed has removed."""
        self._publisher.publish_removed(await self._ledger.get_verdicts(addresses), addresses)

    async def _pending_addresses(self, observables: Collection[str] | None) -> list[str]:
        """Return the pending addresses that *observables* may match."""
        if observables is None or any("/" in observable for observable in observables):
            return await self._ledger.pending_addresses(MAX_PENDING_SCANNED)
        if len(observables) > MAX_EXACT_MATCHES:
            wanted = set(observables)
            pending = await self._ledger.pending_addresses(MAX_PENDING_SCANNED)
            return [address for address in pending if address in wanted]
        return list(await self._ledger.waiting_among(list(observables)))
