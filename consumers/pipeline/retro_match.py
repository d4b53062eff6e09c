"""Retro-matching: apply changes of local sources to pending and recent sign-ins.

Of the instances that share a ledger, one at a time searches the sign-ins of all, and moves the
cursor that they share. Each one searches those that it has not stored yet.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.feed_ports import ChangeCursor, Changes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from consumers.enrichment.local_sources import LocalSources
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.verdict_publisher import VerdictPublisher
    from schemas.feed_ports import ChangingSource, StoredCursor
    from schemas.ledger_ports import Ledger

MAX_CHANGES = 200_000
"""Addresses and networks that are searched for together."""
MAX_EXACT_MATCHES = 200
"""Addresses that are looked for one by one; beyond, all pending addresses are read."""
MAX_PENDING_SCANNED = 100_000
"""Maximum number of pending addresses to scan for a new network indicator."""


@dataclass(slots=True)
class Subscription:
    """A source whose changes are matched, and how far that is done."""

    source: ChangingSource
    cursor: StoredCursor
    searched: ChangeCursor | None = None
    """How far this instance has searched its own recent sign-ins."""
    done: ChangeCursor | None = None
    """How far the sign-ins of all are known to be searched."""


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
        self._subscriptions: list[Subscription] = []
        self._local_sources = local_sources
        self._evaluator = evaluator
        self._recent = recent
        self._ledger = ledger
        self._outbox = outbox
        self._publisher = publisher

    def subscribe(self, source: ChangingSource, cursor: StoredCursor) -> None:
        """Match the changes of *source* from now on, beginning at the stored *cursor*."""
        self._subscriptions.append(Subscription(source, cursor))

    async def catch_up(self) -> bool:
        """Match all changes; return False if another instance is still at it."""
        done = [await self._catch_up(subscription) for subscription in self._subscriptions]
        return all(done)

    async def _catch_up(self, subscription: Subscription) -> bool:
        position = subscription.source.position
        if subscription.done == position:
            return True
        if subscription.searched is None:
            subscription.searched = position  # at the start nothing is recorded
        if not await subscription.cursor.acquire():
            await self._search_own(subscription)
            return False
        try:
            started = cursor = await subscription.cursor.read()
            while (changes := await self._changes_since(subscription, cursor)).cursor != cursor:
                if changes.observables != frozenset():
                    await self.match_new_indicators(changes.observables)
                cursor = changes.cursor
                if not await subscription.cursor.advance(cursor):
                    return False
        finally:
            await subscription.cursor.release()
        searched = subscription.searched
        covered = started.generation == searched.generation and started.step <= searched.step
        if started == cursor or not covered:
            await self._search_own(subscription)
        subscription.searched = subscription.done = position
        return True

    async def _search_own(self, subscription: Subscription) -> None:
        """Search the recent sign-ins of this instance that the others may not see yet."""
        cursor = subscription.searched or ChangeCursor()
        while (changes := await self._changes_since(subscription, cursor)).cursor != cursor:
            cursor = changes.cursor
            if changes.observables:
                await self.match_own_recent(changes.observables)
        subscription.searched = cursor

    @staticmethod
    async def _changes_since(subscription: Subscription, cursor: ChangeCursor) -> Changes:
        """Return the next changes, many of them together: each search reads all sign-ins."""
        changes = subscription.source.changes_since(cursor)
        while changes.observables is not None and len(changes.observables) < MAX_CHANGES:
            await asyncio.sleep(0)
            following = subscription.source.changes_since(changes.cursor)
            if following.cursor == changes.cursor or following.observables is None:
                break
            changes = Changes(following.cursor, changes.observables | following.observables)
        return changes

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
