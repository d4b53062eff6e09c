"""Pending sign-ins of the shared ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.enrichment.ranking import recheck_penalty
from consumers.ledger.rules import EVICTED, EXPIRED, is_final
from consumers.ledger.table import rows as layout
from consumers.ledger.table.client import MAX_CONCURRENT_REQUESTS
from consumers.ledger.table.eviction import EnqueuePlan, EnqueueTransaction
from consumers.ledger.table.rows import Write
from consumers.ledger.table.transactions import TableAccess
from schemas.ledger_ports import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.ledger.table.rows import Entity
    from schemas.intel.verdicts import Verdict
    from schemas.ledger_ports import PendingAddress, PendingSignIn

_ENQUEUE_BATCH = 45
"""Addresses per transaction. Each takes at least two writes."""


class TablePending(TableAccess, Ledger):
    """Enqueue, rank, acknowledge and expire pending sign-ins."""

    @override
    async def enqueue_unless_answered(
        self, waiting: Sequence[PendingSignIn], crowded: int = 0
    ) -> dict[str, Verdict]:
        if crowded:
            shard = layout.SHARDS[0]
            await self._without_conflict(
                shard, lambda: self._write_counted(shard, [], EVICTED, crowded)
            )
        pending: dict[str, dict[str, PendingSignIn]] = {}
        for one in waiting:
            pending.setdefault(one.address, {}).setdefault(one.key, one)

        async def park(shard: str, addresses: list[str]) -> dict[str, Verdict]:
            known: dict[str, Verdict] = {}
            left = {address: pending[address] for address in addresses}
            while left:
                known |= await self._without_conflict(shard, lambda: self._park_some(shard, left))
            return known

        found: dict[str, Verdict] = {}
        for known in await layout.in_shards(pending, park):
            found |= known
        return found

    async def _park_some(
        self, shard: str, pending: dict[str, dict[str, PendingSignIn]]
    ) -> dict[str, Verdict]:
        """Enqueue what fits one transaction; remove finished addresses from *pending*."""
        plans = await asyncio.gather(
            *(self._plan(*one) for one in islice(pending.items(), _ENQUEUE_BATCH))
        )
        now = self._clock.now()
        known: dict[str, Verdict] = {}
        done: list[str] = []
        bundle = EnqueueTransaction()
        for plan in plans:
            answer = is_final(plan.entry.answer()) if plan.entry.expires > now else None
            if answer is not None:
                known[plan.entry.address] = answer
            elif not bundle.take(plan):
                continue
            done.append(plan.entry.address)
        await self._write_counted(shard, bundle.writes, EVICTED, bundle.dropped)
        for address in done:
            del pending[address]
        return known

    async def _plan(self, address: str, wanted: Mapping[str, PendingSignIn]) -> EnqueuePlan:
        span = layout.within(layout.waiting_rows(address))
        entry, parked = await asyncio.gather(
            self._entry(address, None),
            self._table.rows(layout.shard_of(address), *span, layout.WAITING_RANK),
        )
        return EnqueuePlan.plan(entry, parked, wanted, self._waiting_per_address)

    @override
    async def waiting_among(self, addresses: Sequence[str]) -> set[str]:
        return set().union(*await layout.in_shards(addresses, self._waiting_among))

    async def _waiting_among(self, shard: str, addresses: list[str]) -> set[str]:
        """Skip from each pending sign-in to the next wanted address.

        Costs one read if no sign-in is pending.
        """
        found: set[str] = set()
        left = sorted(map(layout.waiting_rows, addresses))
        while left:
            row = await self._table.first(shard, left[0], layout.after(left[-1]))
            if row is None:
                break
            here = layout.waiting_rows(layout.address_of(row))
            if here in left:
                found.add(layout.address_of(row))
            left = [one for one in left if one > here]
        return found

    @override
    async def waiting_for(self, address: str, most: int) -> list[PendingSignIn]:
        span = layout.within(layout.waiting_rows(address))
        rows = await self._table.rows(layout.shard_of(address), *span, None)
        waiting = [layout.waiting_of(address, one) for one in rows]
        return sorted(waiting, key=lambda one: (one.enqueued_at, one.key))[:most]

    @override
    async def acknowledge(self, waiting: Sequence[PendingSignIn]) -> None:
        rows: dict[str, list[str]] = {}
        for one in waiting:
            rows.setdefault(one.address, []).append(layout.waiting_row(one))

        async def delete(shard: str, addresses: list[str]) -> None:
            distinct = dict.fromkeys(row for address in addresses for row in rows[address])
            await self._delete(shard, [Write("delete", row) for row in distinct])

        await layout.in_shards(rows, delete)

    @override
    async def acknowledge_addresses(self, addresses: Sequence[str]) -> dict[str, int]:
        settled: dict[str, int] = {}

        async def delete(shard: str, part: list[str]) -> None:
            spans = [layout.within(layout.waiting_rows(address)) for address in part]
            found = await asyncio.gather(*(self._table.rows(shard, *span) for span in spans))
            settled.update({address: len(rows) for address, rows in zip(part, found, strict=True)})
            await self._delete(shard, [Write("delete", one.row) for rows in found for one in rows])

        await layout.in_shards(addresses, delete)
        return settled

    @override
    async def answered_waiting(self) -> list[str]:
        addresses = dict.fromkeys(layout.address_of(one.row) for one in await self._all_waiting())
        now = self._clock.now()
        entries = await self._entries(addresses)
        return [
            one.address for one in entries if one.answered and not one.again and one.expires > now
        ]

    async def _all_waiting(self, columns: Sequence[str] = ()) -> list[Entity]:
        span = layout.within(layout.WAITING)
        read = (self._table.rows(shard, *span, columns) for shard in layout.SHARDS)
        return [one for rows in await asyncio.gather(*read) for one in rows]

    @override
    async def due(self, most: int) -> list[PendingAddress]:
        """Return addresses that may be looked up, highest score first.

        Addresses that another instance has leased are left out.
        """
        ranked = iter(layout.ranked(await self._all_waiting(layout.WAITING_RANK)))
        now = self._clock.now()
        found: list[tuple[float, PendingAddress]] = []
        least = 0.0
        while part := list(islice(ranked, max(most, MAX_CONCURRENT_REQUESTS))):
            if len(found) >= most and part[0].score < least:
                break  # whoever comes now is less deserving even if never asked about
            entries = await self._entries([one.address for one in part])
            for one, entry in zip(part, entries, strict=True):
                if entry.available(self._instance, now):
                    asked = entry.first_lookup or None
                    found.append(
                        (one.score - recheck_penalty(asked, now), replace(one, first_lookup=asked))
                    )
            found = sorted(found, key=lambda one: (-one[0], one[1].enqueued_at, one[1].address))[
                :most
            ]
            least = found[-1][0] if found else least
        return [one for _, one in found]

    @override
    async def expire_pending(self, enqueued_before: float) -> int:
        """Delete expired sign-ins. Count only those whose address was never looked up."""
        dropped: list[int] = []
        span, too_old = layout.within(layout.WAITING), f"parked lt {float(enqueued_before)!r}"

        async def drop_some(shard: str) -> int:
            rows = await self._table.rows(shard, *span, where=too_old)
            old = [one.row for one in rows[: layout.MAX_TRANSACTION_WRITES - 1]]
            addresses = list(dict.fromkeys(map(layout.address_of, old)))
            asked = {one.address for one in await self._entries(addresses) if one.again}
            lost = sum(layout.address_of(row) not in asked for row in old)
            some = [Write("delete", row) for row in old]
            await self._write_counted(shard, some, EXPIRED, lost)
            dropped.append(lost)
            return len(some)

        async def drop(shard: str) -> None:
            while await self._without_conflict(shard, lambda: drop_some(shard)):
                pass

        await asyncio.gather(*map(drop, layout.SHARDS))
        return sum(dropped)
