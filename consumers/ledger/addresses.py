"""Verdicts, leases and pending sign-ins of addresses, over a row store.

Every change is a rule applied to a record and saved on condition that the record is unchanged. If
another instance was faster, the record is read again and the rule applied again. A first write
assumes that there is no row, because most addresses are new. So of two instances one sees the
other: the one that enqueues meets the verdict, or the one that stores the verdict finds the
pending sign-ins.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger import rules
from consumers.ledger.conflicts import VersionConflict, until_current
from consumers.ledger.records import Change, Holders, KnownRecords, Record, Totals
from schemas.ledger_ports import LeaseResult, LedgerSize, PendingQueue, VerdictStore

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from consumers.ledger.records import AddressStore
    from consumers.ledger.rules import AddressState, PackedSignIn
    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Answer, Verdict
    from schemas.ledger_ports import PendingAddress, PendingSignIn
    from schemas.ports import Clock

    Rule = Callable[[str, Record], Change | None]
    """Returns the change of a record, None for none. It may be applied more than once."""


class StoredAddresses(VerdictStore, PendingQueue):
    """The addresses of a row store, seen by one instance.

    The clocks of the instances must agree to within seconds, because leases and verdicts expire by
    them.
    """

    def __init__(
        self, store: AddressStore, clock: Clock, *, instance: str, waiting_per_address: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance
        self._limit = waiting_per_address
        self._known = KnownRecords()
        self._totals: dict[str, Totals] = {}
        # Tasks of one process wait for each other instead of running into conflicts.
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # --- verdicts and leases ---

    @override
    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        now = self._clock.now()
        records = await self._store.load(list(dict.fromkeys(addresses)))
        return {
            address: record.state.answer
            for address, record in records.items()
            if record.state.answer is not None and record.state.answer.expires > now
        }

    @override
    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        await self._update(
            answers,
            _on_state(lambda address, state: rules.answered(state, answers[address])),
            assume_new=True,
        )

    @override
    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        now = self._clock.now()
        result = LeaseResult(set(), {})

        def lease(address: str, state: AddressState) -> AddressState:
            answer = rules.standing(state, now)
            if answer is not None:
                result.resolved[address] = answer
            else:
                result.resolved.pop(address, None)
            changed = rules.leased(state, self._instance, now, seconds)
            if answer is None and changed.owner == self._instance:
                result.acquired.add(address)
            else:
                result.acquired.discard(address)
            return changed

        self._known.drop([address for address in addresses if self._is_leased_elsewhere(address)])
        await self._update(addresses, _on_state(lease), assume_new=True)
        return result

    def _is_leased_elsewhere(self, address: str) -> bool:
        """Return True if a known record has the lease of another instance: it may have ended."""
        record = self._known.get(address)
        return record is not None and record.state.owner not in ("", self._instance)

    @override
    async def release(self, addresses: Sequence[str]) -> None:
        await self._update(
            addresses, _on_state(lambda _, state: rules.released(state, self._instance))
        )

    # --- pending sign-ins ---

    @override
    async def enqueue_unless_answered(
        self, waiting: Sequence[PendingSignIn], displaced: int = 0
    ) -> dict[str, Verdict]:
        by_address: defaultdict[str, list[PackedSignIn]] = defaultdict(list)
        for sign_in in waiting:
            by_address[sign_in.address].append(rules.packed(sign_in))
        now = self._clock.now()
        verdicts: dict[str, Verdict] = {}

        def enqueue(address: str, record: Record) -> Change:
            result = rules.enqueued(
                record.state,
                record.holdings.get(self._instance, ()),
                by_address[address],
                instance=self._instance,
                limit=self._limit,
                now=now,
            )
            if result.verdict is not None:
                verdicts[address] = result.verdict
                return Change(address, record, record.state, record.holdings)
            holdings = {**record.holdings, self._instance: result.pending}
            return Change(address, record, result.state, holdings, result.evicted)

        await self._update(by_address, enqueue, Holders.THIS_INSTANCE, assume_new=True)
        if displaced:
            await self._count(displaced)
        return verdicts

    async def _count(self, evicted: int) -> None:
        """Count sign-ins as evicted that were never stored."""
        partition = self._store.partitions[0]
        async with self._locks[partition]:
            totals = (await self._own_totals(partition)).plus(Totals(evicted=evicted))
            self._totals[partition] = (await self._store.save(partition, [], totals)).totals

    @override
    async def waiting_among(
        self, addresses: Sequence[str], *, just_answered: bool = False
    ) -> set[str]:
        unsure = [
            address for address in addresses if not (just_answered and self._is_settled(address))
        ]
        records = await self._records(list(dict.fromkeys(unsure)), fresh=True)
        return {address for address, found in records.items() if found.state.queue is not None}

    def _is_settled(self, address: str) -> bool:
        """Return True if an answered address has nothing pending, by what is known of it."""
        record = self._known.get(address)
        if record is None or record.state.queue is not None:
            return False
        verdict = rules.is_final(record.state.answer)
        return verdict is not None and verdict.expires > self._clock.now()

    @override
    async def waiting_for(self, address: str, most: int) -> list[PendingSignIn]:
        record = (await self._store.load([address], Holders.EVERYBODY))[address]
        return [
            rules.unpacked(address, sign_in) for sign_in in rules.joined(record.holdings)[:most]
        ]

    @override
    async def acknowledge(self, waiting: Sequence[PendingSignIn]) -> dict[str, int]:
        gone: defaultdict[str, set[str]] = defaultdict(set)
        for sign_in in waiting:
            gone[sign_in.address].add(sign_in.key)
        counts = await self._remove(gone, lambda address, sign_in: sign_in.key in gone[address])
        return {address: left for address, (_, left) in counts.items() if left}

    @override
    async def acknowledge_addresses(self, addresses: Sequence[str]) -> dict[str, int]:
        counts = await self._remove(addresses, lambda *_: True)
        return {address: removed for address, (removed, _) in counts.items()}

    async def _remove(
        self, addresses: Iterable[str], goes: Callable[[str, PackedSignIn], bool]
    ) -> dict[str, tuple[int, int]]:
        """Remove pending sign-ins; return how many by address, and how many are left."""
        counts: dict[str, tuple[int, int]] = {}

        def remove(address: str, record: Record) -> Change | None:
            state, holdings, gone = rules.without(
                record.state, dict(record.holdings), lambda sign_in: goes(address, sign_in)
            )
            counts[address] = gone, len(rules.joined(holdings))
            return Change(address, record, state, holdings)

        await self._update(addresses, remove, Holders.EVERYBODY, fresh=True)
        return counts

    @override
    async def answered_waiting(self) -> list[str]:
        found = await self._store.answered()
        now = self._clock.now()
        records = await self._store.load(found)
        return [
            address
            for address, record in records.items()
            if record.state.queue is not None
            and (verdict := rules.is_final(record.state.answer)) is not None
            and verdict.expires > now
        ]

    @override
    async def due(self, most: int) -> list[PendingAddress]:
        now = self._clock.now()
        ranked, postponed = await asyncio.gather(
            self._store.ranked(most), self._store.postponed(now, rules.MAX_DUE_RECHECKS)
        )
        return rules.due_addresses((*ranked, *postponed), most, now)

    @override
    async def pending_addresses(self, most: int) -> list[str]:
        return await self._store.queued(most)

    @override
    async def expire_pending(self, enqueued_before: float) -> int:
        dropped: dict[str, int] = {}

        def expire(address: str, record: Record) -> Change:
            state, holdings, gone = rules.expired(
                record.state, dict(record.holdings), enqueued_before
            )
            dropped[address] = gone
            return Change(address, record, state, holdings, expired=gone)

        async for addresses in self._store.aged(enqueued_before):
            await self._update(addresses, expire, Holders.EVERYBODY, fresh=True)
        return sum(dropped.values())

    # --- maintenance ---

    async def _purge_addresses(self) -> None:
        """Delete expired verdicts and leases; addresses with an expired verdict wait again."""
        now = self._clock.now()
        await self._update(
            await self._store.answered(),
            _on_state(lambda _, state: rules.reopened(state, now)),
            fresh=True,
        )

        def drop(address: str, record: Record) -> Change | None:
            if record.state.queue is not None or rules.lasts_until(record.state) > now:
                return None
            return Change(address, record, rules.EMPTY, {})

        async for records in self._store.ended(now):
            self._known.keep(records)
            await self._update(records, drop)

    async def size(self) -> LedgerSize:
        """Return the size of the ledger. Expired verdicts count until they are purged."""
        found = await asyncio.gather(*map(self._store.totals, self._store.partitions))
        total = Totals()
        for totals in found:
            for part in totals.values():
                total = total.plus(part)
        dropped = {rules.EXPIRED: total.expired, rules.EVICTED: total.evicted}
        return LedgerSize(
            total.verdicts,
            total.sign_ins,
            total.addresses,
            {reason: count for reason, count in dropped.items() if count},
        )

    async def _forget_addresses(
        self, *, address: str | None = None, accounts: Container[str | None] = ()
    ) -> tuple[int, int]:
        """Delete the verdict of an address, and sign-ins; return the number of each."""
        verdicts = 0
        if address is not None:
            record = (await self._store.load([address]))[address]
            verdicts = int(record.state.answer is not None)
            await self._update(
                [address], _on_state(lambda _, state: rules.AddressState(queue=state.queue))
            )

        def is_about(details: Details) -> bool:
            return rules.is_about(details, address, accounts)

        removed = await self._remove(
            await self._store.queued(-1),
            lambda of, sign_in: is_about(rules.unpacked(of, sign_in).details),
        )
        return verdicts, sum(count for count, _ in removed.values())

    async def close(self) -> None:
        """Close the connections. Leases expire by themselves."""
        await self._store.close()

    # --- records ---

    async def _records(
        self,
        addresses: Sequence[str],
        holders: Holders = Holders.NOBODY,
        *,
        fresh: bool = False,
        assume_new: bool = False,
    ) -> dict[str, Record]:
        """Return records as far as they are known, and load or assume the others."""
        records: dict[str, Record] = {}
        missing: list[str] = []
        known: dict[str, Record] = {}
        for address in addresses:
            record = None if fresh else self._known.get(address)
            if record is not None and (holders is Holders.NOBODY or record.holds(self._instance)):
                records[address] = record
            elif record is None and assume_new:
                records[address] = Record()
            else:
                missing.append(address)
                if record is not None:
                    known[address] = record
        if missing:
            loaded = await self._store.load(missing, holders, known)
            self._known.keep(loaded)
            records |= loaded
        return records

    async def _update(
        self,
        addresses: Iterable[str],
        rule: Rule,
        holders: Holders = Holders.NOBODY,
        *,
        fresh: bool = False,
        assume_new: bool = False,
    ) -> None:
        """Apply *rule* to each address, and save what it changes.

        With *fresh*, read first. With *assume_new*, assume that there is no row of an address that
        is not known; for rules that always change such a row, so that the write shows it.
        """
        if self._store.exclusive:
            fresh = assume_new = False
        partitions: defaultdict[str, list[str]] = defaultdict(list)
        for address in dict.fromkeys(addresses):
            partitions[self._store.partition_of(address)].append(address)

        async def update(partition: str, left: list[str]) -> None:
            first = True

            async def attempt() -> None:
                nonlocal left, first
                records = await self._records(
                    left, holders, fresh=fresh or not first, assume_new=first and assume_new
                )
                left, first = await self._save(partition, rule, records), False
                if left:
                    raise VersionConflict

            async with self._locks[partition]:
                await until_current(attempt)

        await asyncio.gather(*(update(*part) for part in partitions.items()))

    async def _save(self, partition: str, rule: Rule, records: Mapping[str, Record]) -> list[str]:
        """Apply *rule* to records and save the changes; return the addresses in conflict."""
        applied = (rule(address, record) for address, record in records.items())
        changes = [change for change in applied if change is not None and not change.is_empty]
        if not changes:
            return []
        saved = await self._store.save(partition, changes, await self._own_totals(partition))
        self._totals[partition] = saved.totals
        self._known.keep(saved.records)
        if saved.conflicts:
            self._known.drop(saved.conflicts)
            del self._totals[partition]  # a write of unknown outcome may have counted
        return saved.conflicts

    async def _own_totals(self, partition: str) -> Totals:
        if partition not in self._totals:
            stored = await self._store.totals(partition)
            self._totals[partition] = stored.get(self._instance, Totals())
        return self._totals[partition]


def _on_state(change: Callable[[str, AddressState], AddressState]) -> Rule:
    """Return a rule that changes the state and leaves pending sign-ins as they are."""

    def rule(address: str, record: Record) -> Change:
        return Change(address, record, change(address, record.state), record.holdings)

    return rule
