"""Addresses in the shared ledger's table.

An address belongs to one of four partitions, with all its rows, because a transaction is limited
to one partition:

``a|ADDRESS``                 its state; ``t`` is when it can be deleted, negative while queued
``w|ADDRESS|INSTANCE``        the pending sign-ins that an instance holds; ``t`` is the oldest
``q|RANK|ENQUEUED|ADDRESS``   its place in the queue; keys sort by score, best first
``r|TIME|ADDRESS``            the same while it is postponed; keys sort by time
``s|ADDRESS``                 the same once it has its verdict
``c|INSTANCE``                what the instance has added and removed here

An instance writes its own ``w`` row without touching the state, unless the place in the queue
changes or the row is its first of the address. So it may not notice that another instance has
stored a verdict. That suffices: whoever stores a verdict judges all ``w`` rows, deletes them on
condition that they are unchanged, and learns of sign-ins that came meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import chain
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
from typing_extensions import override

from consumers.ledger.records import (
    EMPTY_MAPPING,
    STATE,
    AddressStore,
    Holders,
    Record,
    Saved,
    Totals,
)
from consumers.ledger.rules import (
    EMPTY,
    SCORE_STEP,
    AddressState,
    PackedSignIn,
    Place,
    QueuePosition,
    lasts_until,
    position,
)
from consumers.ledger.table.entities import (
    Entity,
    Value,
    Write,
    joined_body,
    safe,
    split_body,
    unsafe,
    within,
)
from consumers.ledger.table.transactions import Unit, apply, in_transactions
from schemas.errors import LedgerFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from consumers.ledger.records import Change
    from consumers.ledger.table.client import StateTable

PARTITIONS = tuple(f"{number:02x}" for number in range(4))
MAX_ROW_BYTES = 700_000
"""Bytes of a body. An entity holds 1 MiB and is sent in base64."""
_STATES, _HELD, _RANKED, _POSTPONED, _ANSWERED, _TOTALS = "a|", "w|", "q|", "r|", "s|", "c|"
_HIGHEST_RANK = 50_000
"""Ranks count down from here, so that the best key comes first. Scores are within some hundreds."""
_MILLISECONDS = 1_000
_POSITION = ("t", "score", "until", "first")
_AGED_PAGE = 500

_encode = msgspec.msgpack.Encoder().encode
_state = msgspec.msgpack.Decoder(AddressState).decode
_pending = msgspec.msgpack.Decoder(tuple[PackedSignIn, ...]).decode
_totals = msgspec.msgpack.Decoder(Totals).decode


class TableAddresses(AddressStore):
    """The rows of addresses in a table that instances share."""

    partitions = PARTITIONS
    exclusive = False

    def __init__(self, table: StateTable, *, instance: str) -> None:
        self._table = table
        self._instance = instance

    @override
    def partition_of(self, address: str) -> str:
        return PARTITIONS[crc32(address.encode()) % len(PARTITIONS)]

    @override
    async def load(
        self,
        addresses: Sequence[str],
        holders: Holders = Holders.NOBODY,
        known: Mapping[str, Record] = EMPTY_MAPPING,
    ) -> dict[str, Record]:
        found = await asyncio.gather(
            *(self._load(address, holders, known.get(address)) for address in addresses)
        )
        return dict(zip(addresses, found, strict=True))

    async def _load(self, address: str, holders: Holders, known: Record | None) -> Record:
        if known is not None and known.versions:
            return await self._with_pending(address, known, holders)
        entity = await self._table.get(self.partition_of(address), _STATES + address)
        if entity is None:
            return Record()
        return await self._with_pending(address, _record(address, entity), holders)

    async def _with_pending(self, address: str, record: Record, holders: Holders) -> Record:
        """Add the pending sign-ins of holders. The state names them."""
        entry = record.state.queue
        wanted = () if entry is None or holders is Holders.NOBODY else entry.holders
        if holders is Holders.THIS_INSTANCE:
            wanted = tuple(holder for holder in wanted if holder == self._instance)
        if not wanted:
            return record
        partition = self.partition_of(address)
        rows = await asyncio.gather(
            *(self._table.get(partition, _pending_row(address, holder)) for holder in wanted)
        )
        found = {holder: row for holder, row in zip(wanted, rows, strict=True) if row is not None}
        return Record(
            record.state,
            {holder: _pending_of(address, row) for holder, row in found.items()},
            {**record.versions, **{holder: row.etag for holder, row in found.items()}},
        )

    @override
    async def save(self, partition: str, changes: Sequence[Change], totals: Totals) -> Saved:
        saved = Saved(totals=totals)

        def totals_write(of: Sequence[Change]) -> list[Write]:
            body = _encode(saved.totals.after(of))
            return [Write("replace", _TOTALS + safe(self._instance), {"body0": body})]

        # apart, because instances compete for the state alone
        own = [change for change in changes if change.state == change.before.state]
        shared = [change for change in changes if change.state != change.before.state]
        parts = [*_transactions(own), *_transactions(shared)]
        for part in parts or [[]]:  # without changes, the totals alone
            applied = await apply(self._table, partition, part, totals_write)
            saved.totals = saved.totals.after(applied.keys)
            saved.conflicts += [change.address for change in applied.conflicts]
            for change in applied.keys:
                saved.records[change.address] = _saved(change, applied.etags)
        return saved

    @override
    async def ranked(self, most: int) -> list[tuple[str, QueuePosition]]:
        return await self._first(_RANKED, within(_RANKED)[1], most)

    @override
    async def postponed(self, before: float, most: int) -> list[tuple[str, QueuePosition]]:
        return await self._first(_POSTPONED, _time_key(before) + "}", most // len(PARTITIONS))

    async def _first(self, kind: str, end: str, most: int) -> list[tuple[str, QueuePosition]]:
        """Return the first *most* places of a kind in each partition."""

        async def read(partition: str) -> list[tuple[str, QueuePosition]]:
            found: list[tuple[str, QueuePosition]] = []
            pages = self._table.pages(partition, kind, end, _POSITION, page_size=min(most, 1_000))
            async with aclosing(pages):
                async for page in pages:
                    found += [_position_of(entity) for entity in page]
                    if len(found) >= most:
                        break
            return found

        return list(chain.from_iterable(await asyncio.gather(*map(read, PARTITIONS))))

    @override
    async def answered(self) -> list[str]:
        return await self._queued_as(_ANSWERED)

    @override
    async def queued(self, most: int) -> list[str]:
        found = await asyncio.gather(*map(self._queued_as, (_RANKED, _POSTPONED, _ANSWERED)))
        return list(chain.from_iterable(found))[: most if most >= 0 else None]

    async def _queued_as(self, kind: str) -> list[str]:
        rows = await asyncio.gather(
            *(self._table.rows(partition, *within(kind)) for partition in PARTITIONS)
        )
        return [_address_in(entity.row) for entity in chain.from_iterable(rows)]

    @override
    async def aged(self, enqueued_before: float) -> AsyncIterator[list[str]]:
        where = f"t lt {float(enqueued_before)!r}"
        for partition in PARTITIONS:
            for kind in (_RANKED, _POSTPONED, _ANSWERED):
                pages = self._table.pages(
                    partition, *within(kind), where=where, page_size=_AGED_PAGE
                )
                async with aclosing(pages):
                    async for page in pages:
                        yield [_address_in(entity.row) for entity in page]

    @override
    async def ended(self, now: float) -> AsyncIterator[dict[str, Record]]:
        where = f"t ge 0.0 and t lt {float(now)!r}"
        for partition in PARTITIONS:
            pages = self._table.pages(partition, *within(_STATES), None, where=where)
            async with aclosing(pages):
                async for page in pages:
                    addresses = [entity.row.removeprefix(_STATES) for entity in page]
                    yield {
                        address: _record(address, entity)
                        for address, entity in zip(addresses, page, strict=True)
                    }

    @override
    async def totals(self, partition: str) -> dict[str, Totals]:
        rows = await self._table.rows(partition, *within(_TOTALS), None)
        return {
            unsafe(row.row.removeprefix(_TOTALS)): _totals(joined_body(row.values)) for row in rows
        }

    @override
    async def close(self) -> None:
        await self._table.close()


# --- rows ---


def _pending_row(address: str, holder: str) -> str:
    return f"{_HELD}{address}|{safe(holder)}"


def _address_in(row: str) -> str:
    """Return the address at the end of the key of a place in the queue."""
    return row.rpartition("|")[2]


def _time_key(timestamp: float) -> str:
    return f"{_POSTPONED}{int(timestamp * _MILLISECONDS):015}"


def _position_row(address: str, queued: QueuePosition) -> str:
    """Return the key of a place in the queue, "" if there is none."""
    if queued.place is Place.RANKED:
        rank = min(max(_HIGHEST_RANK - int(queued.score / SCORE_STEP), 0), 99_999)
        return f"{_RANKED}{rank:05}|{int(queued.enqueued_at * _MILLISECONDS):015}|{address}"
    if queued.place is Place.POSTPONED:
        return f"{_time_key(queued.time)}|{address}"
    return _ANSWERED + address if queued.place is Place.ANSWERED else ""


def _position_of(entity: Entity) -> tuple[str, QueuePosition]:
    values = entity.values
    kind = Place.RANKED if entity.row.startswith(_RANKED) else Place.POSTPONED
    return _address_in(entity.row), QueuePosition(
        kind,
        float(values["until"]),
        float(values["score"]),
        float(values["t"]),
        float(values["first"]),
    )


def _record(address: str, entity: Entity) -> Record:
    try:
        return Record(_state(joined_body(entity.values)), {}, {STATE: entity.etag})
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger's row of {address} is unreadable: {error}") from None


def _pending_of(address: str, entity: Entity) -> tuple[PackedSignIn, ...]:
    try:
        return _pending(joined_body(entity.values))
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"pending sign-ins of {address} are unreadable: {error}") from None


def _packed_body(body: bytes) -> dict[str, Value]:
    if len(body) > MAX_ROW_BYTES:
        raise LedgerFailed(
            f"{len(body):,} bytes exceed the limit of {MAX_ROW_BYTES:,} bytes per ledger row"
        )
    return split_body(body)


# --- transactions ---


def _transactions(changes: Sequence[Change]) -> Iterator[list[Unit[Change]]]:
    """Group changes with their writes; one more write is needed for the totals."""
    return in_transactions((Unit(change, list(_writes(change))) for change in changes), reserved=1)


def _writes(change: Change) -> Iterator[Write]:
    """Yield the writes of a change, on condition that the rows are as they were read."""
    address, before, state = change.address, change.before, change.state
    if state != before.state:
        yield _row_write(
            _STATES + address,
            before.versions.get(STATE),
            None if state == EMPTY else _encode(state),
            lasts_until(state) if state.queue is None else -1.0,
        )
        yield from _position_writes(address, position(before.state), position(state))
    for holder in before.holdings.keys() | change.holdings.keys():
        pending = change.holdings.get(holder, ())
        if pending != before.holdings.get(holder, ()):
            yield _row_write(
                _pending_row(address, holder),
                before.versions.get(holder),
                _encode(pending) if pending else None,
                min((sign_in.enqueued_at for sign_in in pending), default=0.0),
            )


def _row_write(row: str, version: str | None, body: bytes | None, t: float) -> Write:
    if body is None:
        return Write("delete", row, etag=version)
    values: dict[str, Value] = {"t": float(t), **_packed_body(body)}
    return Write("create" if version is None else "replace", row, values, version)


def _position_writes(address: str, before: QueuePosition, after: QueuePosition) -> Iterator[Write]:
    """Move an address in the queue. Its rows change with its state alone, so need no condition."""
    old, new = _position_row(address, before), _position_row(address, after)
    if old and old != new:
        yield Write("delete", old)
    if new and (old != new or before != after):
        values = {
            "t": after.enqueued_at,
            "score": after.score,
            "until": after.time,
            "first": after.first_lookup,
        }
        yield Write("replace", new, values)


def _saved(change: Change, versions: Mapping[str, str]) -> Record:
    """Return the record that a change has left, with its new versions."""
    rows = {STATE: _STATES + change.address}
    rows |= {holder: _pending_row(change.address, holder) for holder in change.holdings}
    current = {**change.before.versions}
    for name, row in rows.items():
        if row in versions:
            current[name] = versions[row]
    holdings = {holder: pending for holder, pending in change.holdings.items() if pending}
    kept = {name: version for name, version in current.items() if version}
    if change.state == EMPTY:
        return Record()
    return Record(
        change.state, holdings, {n: v for n, v in kept.items() if n == STATE or n in holdings}
    )
