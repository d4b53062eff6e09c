"""Addresses in the SQLite ledger: one row each, with indexes for the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from consumers.ledger.records import (
    EMPTY_MAPPING,
    STATE,
    AddressStore,
    Change,
    Holders,
    Record,
    Saved,
    Totals,
)
from consumers.ledger.rules import (
    EMPTY,
    AddressState,
    Holdings,
    Place,
    QueuePosition,
    lasts_until,
    position,
)
from consumers.ledger.sqlite.schema import STATEMENT_BATCH, edge, in_parts
from schemas.intel.verdicts import Unanswered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from consumers.ledger.sqlite.schema import SqliteFile

_encode = msgspec.msgpack.Encoder().encode
_state = msgspec.msgpack.Decoder(AddressState).decode
_pending = msgspec.msgpack.Decoder(Holdings).decode
_totals = msgspec.msgpack.Decoder(Totals).decode
_COLUMNS = "version, state, kept, unanswered, place, score, postponed, enqueued, looked_up"
_UPDATE = f"UPDATE addresses SET ({_COLUMNS}) = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE address = ?"  # noqa: S608
_REPLACE = (
    f"INSERT OR REPLACE INTO addresses ({_COLUMNS}, address, pending) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_POSITION = "address, place, postponed, score, enqueued, looked_up"


class SqliteAddresses(AddressStore):
    """The rows of addresses. One process has the file open, so nothing waits."""

    partitions = ("",)

    def __init__(self, file: SqliteFile, *, instance: str, exclusive: bool = True) -> None:
        """*instance* is the name under which totals are counted."""
        self.exclusive = exclusive
        self._file = file
        self._database = file.database
        self._instance = instance

    def end_postponements(self) -> None:
        """Forget the reasons why addresses must not be looked up.

        The last process must not try again by itself, but an operator has started a new one.
        """
        rows = self._database.execute(
            "SELECT address, version, state FROM addresses WHERE unanswered"
        )
        changes = []
        for address, version, body in rows.fetchall():
            before = Record(_state(body), {}, {STATE: str(version)})
            state = msgspec.structs.replace(before.state, answer=None)
            changes.append((Change(address, before, state, {}), version + 1))
        with self._file.transaction("opening"):
            self._write(changes)

    @override
    def partition_of(self, address: str) -> str:
        return ""

    @override
    async def load(
        self,
        addresses: Sequence[str],
        holders: Holders = Holders.NOBODY,
        known: Mapping[str, Record] = EMPTY_MAPPING,
    ) -> dict[str, Record]:
        del known
        columns = "address, version, state" + ("" if holders is Holders.NOBODY else ", pending")
        records: dict[str, Record] = dict.fromkeys(addresses, Record())
        with edge("reading addresses"):
            for part in in_parts(addresses):
                marks = ",".join("?" * len(part))
                query = f"SELECT {columns} FROM addresses WHERE address IN ({marks})"  # noqa: S608
                for address, version, state, *pending in self._database.execute(query, part):
                    holdings = _pending(pending[0]) if pending and pending[0] else {}
                    records[address] = Record(_state(state), holdings, {STATE: str(version)})
        return records

    @override
    async def save(self, partition: str, changes: Sequence[Change], totals: Totals) -> Saved:
        with self._file.transaction("storing addresses") as database:
            current = list(changes if self.exclusive else self._unchanged(changes))
            saved = Saved(totals=totals.after(current))
            written = []
            for change in current:
                version = int(change.before.versions.get(STATE, 0)) + 1
                saved.records[change.address] = (
                    Record()
                    if change.state == EMPTY
                    else Record(change.state, change.holdings, {STATE: str(version)})
                )
                written.append((change, version))
            self._write(written)
            database.execute(
                "INSERT OR REPLACE INTO totals VALUES (?, ?)",
                (self._instance, _encode(saved.totals)),
            )
        saved.conflicts = [
            change.address for change in changes if change.address not in saved.records
        ]
        return saved

    def _write(self, changes: Sequence[tuple[Change, int]]) -> None:
        """Write changes with their new version. Sign-ins that were not loaded stay as they are."""
        gone = [(change.address,) for change, _ in changes if change.state == EMPTY]
        self._database.executemany("DELETE FROM addresses WHERE address = ?", gone)
        rows = [
            (change, (version, *_columns(change.state), change.address))
            for change, version in changes
            if change.state != EMPTY
        ]
        self._database.executemany(
            _UPDATE, [row for change, row in rows if _keeps_sign_ins(change)]
        )
        self._database.executemany(
            _REPLACE,
            [
                (*row, _encode(pending) if (pending := self._all_pending(change)) else None)
                for change, row in rows
                if not _keeps_sign_ins(change)
            ],
        )

    def _all_pending(self, change: Change) -> Holdings:
        """Return the sign-ins of all holders, also of those that were not loaded."""
        entry = change.state.queue
        others = set(entry.holders) - change.holdings.keys() if entry is not None else set()
        stored: Holdings = {}
        if others:
            query = "SELECT pending FROM addresses WHERE address = ?"
            (body,) = self._database.execute(query, (change.address,)).fetchone()
            stored = {
                holder: pending for holder, pending in _pending(body).items() if holder in others
            }
        return {
            **stored,
            **{holder: pending for holder, pending in change.holdings.items() if pending},
        }

    def _unchanged(self, changes: Sequence[Change]) -> Iterator[Change]:
        """Yield the changes whose row is as it was read."""
        versions = self._versions([change.address for change in changes])
        for change in changes:
            if versions.get(change.address) == change.before.versions.get(STATE):
                yield change

    def _versions(self, addresses: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in in_parts(addresses):
            marks = ",".join("?" * len(part))
            query = f"SELECT address, version FROM addresses WHERE address IN ({marks})"  # noqa: S608
            found.update((address, str(v)) for address, v in self._database.execute(query, part))
        return found

    @override
    async def ranked(self, most: int) -> list[tuple[str, QueuePosition]]:
        return self._positions(
            "place = 'ranked' ORDER BY score DESC, enqueued, address LIMIT ?", most
        )

    @override
    async def postponed(self, before: float, most: int) -> list[tuple[str, QueuePosition]]:
        return self._positions(
            "place = 'postponed' AND postponed <= ? ORDER BY postponed, address LIMIT ?",
            before,
            most,
        )

    def _positions(self, where: str, *values: float) -> list[tuple[str, QueuePosition]]:
        with edge("ranking waiting addresses"):
            rows = self._database.execute(
                f"SELECT {_POSITION} FROM addresses WHERE {where}",  # noqa: S608
                values,
            )
            return [(address, QueuePosition(Place(place), *rest)) for address, place, *rest in rows]

    @override
    async def answered(self) -> list[str]:
        return self._addresses("place = 'answered'")

    @override
    async def queued(self, most: int) -> list[str]:
        return self._addresses("enqueued IS NOT NULL LIMIT ?", most)

    def _addresses(self, where: str, *values: float) -> list[str]:
        with edge("reading waiting addresses"):
            rows = self._database.execute(f"SELECT address FROM addresses WHERE {where}", values)  # noqa: S608
            return [address for (address,) in rows]

    @override
    async def aged(self, enqueued_before: float) -> AsyncIterator[list[str]]:
        addresses = self._addresses("enqueued < ? ORDER BY enqueued", enqueued_before)
        for part in in_parts(addresses):
            yield list(part)

    @override
    async def ended(self, now: float) -> AsyncIterator[dict[str, Record]]:
        found = [""]
        while found:
            found = self._addresses(
                "kept <= ? AND address > ? ORDER BY address LIMIT ?",
                now,
                found[-1],  # type: ignore[arg-type]
                STATEMENT_BATCH,
            )
            if found:
                yield await self.load(found)

    @override
    async def totals(self, partition: str) -> dict[str, Totals]:
        with edge("measuring"):
            rows = self._database.execute("SELECT instance, body FROM totals")
            return {instance: _totals(body) for instance, body in rows}

    @override
    async def close(self) -> None:
        self._file.close()


def _keeps_sign_ins(change: Change) -> bool:
    return bool(change.before.versions) and change.holdings == change.before.holdings


def _columns(state: AddressState) -> tuple[object, ...]:
    """Return a state and what the indexes need of it."""
    queued = position(state)
    unanswered = isinstance(state.answer, Unanswered)
    if queued.place is Place.NONE:
        return _encode(state), lasts_until(state), unanswered, None, None, None, None, None
    return (
        _encode(state),
        None,
        unanswered,
        queued.place.value,
        queued.score,
        queued.time,
        queued.enqueued_at,
        queued.first_lookup,
    )
