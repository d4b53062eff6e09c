"""History, upload records, notes, lookup counts and leases, over a store of keyed rows.

Versions of rows that were read or written are remembered, so that the next write needs no read. A
write that meets the change of another instance is repeated on what that instance has stored.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import uuid4

import msgspec

from consumers.ledger.conflicts import VersionConflict, until_current
from consumers.ledger.rules import HISTORY_SECONDS
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.ledger_ports import EntrySpace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from schemas.ports import Clock

Result = TypeVar("Result")

MAX_KNOWN_VERSIONS = 50_000
MAX_KNOWN_KEYS = 100_000
"""History keys in memory that tell which entries exist. Beyond, every entry is looked for."""
RETENTION_SECONDS = {
    EntrySpace.HISTORY: HISTORY_SECONDS,
    EntrySpace.UPLOADS: 400 * DAY_SECONDS,
    EntrySpace.BUDGETS: 400 * DAY_SECONDS,
    EntrySpace.LEASES: DAY_SECONDS,
}
"""Age at which an unchanged entry is deleted. Notes are kept."""
_ENTRY_BATCH = 2_000
"""Entries that are merged together."""


class StoredEntry(msgspec.Struct, frozen=True):
    """A row: its content, when it was last written, and its version."""

    body: bytes
    used: float
    version: str


@dataclass(frozen=True, slots=True)
class EntryWrite:
    """A write of a row, on condition that its version is unchanged; None if there is no row."""

    key: str
    body: bytes | None
    """None deletes the row."""
    used: float = 0.0
    version: str | None = None


@dataclass(slots=True)
class Written:
    """The result of writes: new versions by key, and keys whose version was another.

    The version of a deleted row means nothing.
    """

    versions: dict[str, str] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    doubtful: bool = False
    """Whether an earlier attempt of a write in conflict got no response, and may have been
    applied."""


class EntryStore(Protocol):
    """Rows by key, in spaces."""

    lists_keys: bool
    """Whether one scan of the keys is cheaper than looking for entries one by one."""

    async def read(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, StoredEntry]:
        """Return the rows that exist."""

    async def write(self, space: EntrySpace, writes: Sequence[EntryWrite]) -> Written:
        """Apply writes of distinct keys, each on its condition."""

    def scan(
        self, space: EntrySpace, used_before: float | None = None, *, bodies: bool = True
    ) -> AsyncIterator[dict[str, StoredEntry]]:
        """Yield all rows, or those last written before a time; the bodies only if wanted."""


class _BudgetRow(msgspec.Struct, array_like=True):
    """Lookups of a period. ``mark`` shows whether a write of unknown outcome was applied."""

    spent: int = 0
    mark: str = ""


class _LeaseRow(msgspec.Struct, array_like=True):
    """A lease by name."""

    owner: str
    until: float


_demand = msgspec.msgpack.Decoder(dict[int, int])
_encode = msgspec.msgpack.Encoder().encode


class StoredEntries:
    """The keyed rows of a ledger, seen by one instance."""

    def __init__(self, store: EntryStore, clock: Clock, *, instance: str) -> None:
        self._entries = store
        self._clock = clock
        self._instance = instance
        self._versions: dict[tuple[EntrySpace, str], str | None] = {}
        self._history_keys: set[str] | None = None
        self._history_listed = not store.lists_keys
        self._listing = asyncio.Lock()

    # --- entries ---

    async def get_entries(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the stored entries among *keys*."""
        wanted = await self._existing(space, keys)
        found = await self._entries.read(space, wanted) if wanted else {}
        self._remember(space, {key: found[key].version if key in found else None for key in keys})
        return {key: entry.body for key, entry in found.items()}

    async def _existing(self, space: EntrySpace, keys: Sequence[str]) -> Sequence[str]:
        """Leave out keys without an entry, as far as that is known.

        The keys of the history are listed once. An entry that another instance has created since
        is met when this instance writes its own; until then it only makes scores less precise.
        """
        if space is not EntrySpace.HISTORY:
            return keys
        async with self._listing:
            if not self._history_listed:
                known: set[str] = set()
                async for entries in self._entries.scan(space, bodies=False):
                    known.update(entries)
                self._history_keys = known if len(known) <= MAX_KNOWN_KEYS else None
                self._history_listed = True
        if self._history_keys is None:
            return keys
        return [key for key in keys if key in self._history_keys]

    async def put_entries(
        self,
        space: EntrySpace,
        entries: Mapping[str, bytes],
        merge: Callable[[str, bytes, bytes], bytes],
    ) -> dict[str, bytes]:
        """Store entries; return those that *merge* has combined with another instance's."""
        names = list(entries)
        combined: dict[str, bytes] = {}
        for start in range(0, len(names), _ENTRY_BATCH):
            combined |= await self._put(
                space, {key: entries[key] for key in names[start : start + _ENTRY_BATCH]}, merge
            )
        return combined

    async def _put(
        self,
        space: EntrySpace,
        entries: Mapping[str, bytes],
        merge: Callable[[str, bytes, bytes], bytes],
    ) -> dict[str, bytes]:
        left = dict(entries)
        combined: dict[str, bytes] = {}

        async def attempt() -> None:
            now = self._clock.now()
            writes = [
                EntryWrite(key, body, now, self._versions.get((space, key)))
                for key, body in left.items()
            ]
            written = await self._entries.write(space, writes)
            self._remember(space, written.versions)
            for key in written.versions:
                del left[key]
            if written.conflicts:
                stored = await self._entries.read(space, list(written.conflicts))
                for key in written.conflicts:
                    found = stored.get(key)
                    self._remember(space, {key: found.version if found else None})
                    if found is not None:
                        left[key] = combined[key] = merge(key, entries[key], found.body)
            if left:
                raise VersionConflict

        await until_current(attempt)
        if space is EntrySpace.HISTORY and self._history_keys is not None:
            self._history_keys.update(entries)
            if len(self._history_keys) > MAX_KNOWN_KEYS:
                self._history_keys = None
        return combined

    def _remember(self, space: EntrySpace, versions: Mapping[str, str | None]) -> None:
        if len(self._versions) > MAX_KNOWN_VERSIONS:
            self._versions.clear()
        self._versions.update({(space, key): version or None for key, version in versions.items()})

    async def _change(
        self,
        space: EntrySpace,
        key: str,
        change: Callable[[bytes | None], tuple[bytes | None, Result]],
        *,
        deletes: bool = False,
        once: bool = False,
    ) -> Result:
        """Apply *change* to an entry; it returns the new body, None for no write, and a result.

        With *deletes*, None deletes the entry. With *once*, a write that may have been applied is
        not repeated.
        """

        async def attempt() -> Result:
            found = (await self._entries.read(space, [key])).get(key)
            body, result = change(found.body if found else None)
            if body is None and not (deletes and found):
                return result
            version = found.version if found else None
            write = EntryWrite(key, body, self._clock.now(), version)
            written = await self._entries.write(space, [write])
            if written.conflicts and not (once and written.doubtful):
                raise VersionConflict
            return result

        return await until_current(attempt)

    # --- notes ---

    async def get_value(self, name: str) -> str | None:
        """Return the text stored under a name, or None."""
        found = await self._entries.read(EntrySpace.NOTES, [name])
        return found[name].body.decode() if name in found else None

    async def put_value(self, name: str, text: str) -> None:
        """Store a small text under a name."""
        await self._change(EntrySpace.NOTES, name, lambda _: (text.encode(), None))

    # --- lookups ---

    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Reserve up to *wanted* lookups of the period's quota; return how many.

        After a write of unknown outcome lookups may be reserved twice, never beyond the quota.
        """
        mark, granted = uuid4().hex, 0

        def take(body: bytes | None) -> tuple[bytes | None, int]:
            nonlocal granted
            row = _budget(body)
            if row.mark == mark:
                return None, granted  # the previous attempt was applied
            granted = max(0, min(wanted, quota - row.spent))
            if not granted:
                return None, 0
            return _encode(_BudgetRow(row.spent + granted, mark)), granted

        return await self._change(EntrySpace.BUDGETS, f"{account}|{period}", take)

    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Return lookups that did not count for certain. Uncertain writes leave them spent."""

        def give_back(body: bytes | None) -> tuple[bytes | None, None]:
            row = _budget(body)
            if body is None:
                return None, None
            return _encode(_BudgetRow(max(0, row.spent - lookups))), None

        await self._change(EntrySpace.BUDGETS, f"{account}|{period}", give_back, once=True)

    async def spent(self, account: str, period: str) -> int:
        """Return the number of lookups reserved in the period."""
        key = f"{account}|{period}"
        found = (await self._entries.read(EntrySpace.BUDGETS, [key])).get(key)
        return _budget(found.body if found else None).spent

    async def count_demand(self, account: str, new: Mapping[int, int]) -> int:
        """Add numbers of new addresses by hour since the epoch; return those of the last 24 hours.

        All instances add to the same numbers.
        """
        first = int(self._clock.now() // HOUR_SECONDS) - 23

        def add(body: bytes | None) -> tuple[bytes | None, int]:
            hours = _demand.decode(body) if body else {}
            hours = {hour: count for hour, count in hours.items() if hour >= first}
            for hour, count in new.items():
                hours[hour] = hours.get(hour, 0) + count
            total = sum(count for hour, count in hours.items() if hour >= first)
            return (_encode(hours) if new else None), total

        return await self._change(EntrySpace.BUDGETS, f"{account}|demand", add)

    # --- leases ---

    async def take_lease(self, name: str, seconds: float) -> bool:
        """Take or renew a lease; return False if another instance holds it."""

        def take(body: bytes | None) -> tuple[bytes | None, bool]:
            now = self._clock.now()
            lease = msgspec.msgpack.decode(body, type=_LeaseRow) if body else _LeaseRow("", 0.0)
            if lease.owner not in ("", self._instance) and lease.until > now:
                return None, False
            return _encode(_LeaseRow(self._instance, now + seconds)), True

        return await self._change(EntrySpace.LEASES, name, take)

    async def end_lease(self, name: str) -> None:
        """End this instance's lease."""

        def end(body: bytes | None) -> tuple[bytes | None, None]:
            ours = body and msgspec.msgpack.decode(body, type=_LeaseRow).owner == self._instance
            return (None if ours else body), None

        await self._change(EntrySpace.LEASES, name, end, deletes=True)

    # --- maintenance ---

    async def _purge_entries(self) -> None:
        """Delete entries that nobody has written for long."""
        now = self._clock.now()
        for space, seconds in RETENTION_SECONDS.items():
            async for entries in self._entries.scan(space, now - seconds, bodies=False):
                await self._delete(space, entries)

    async def _delete(self, space: EntrySpace, entries: Mapping[str, StoredEntry]) -> None:
        """Delete entries, except those that have changed since."""
        writes = [EntryWrite(key, None, version=entry.version) for key, entry in entries.items()]
        await self._entries.write(space, writes)
        self._remember(space, dict.fromkeys(entries))

    async def _revise_history(self, revise: Callable[[str, bytes], bytes | None]) -> int:
        """Revise all history entries; return the number of changed entries."""
        revised = 0
        async for entries in self._entries.scan(EntrySpace.HISTORY):
            while entries:
                writes = [
                    EntryWrite(key, left, entry.used, entry.version)
                    for key, entry in entries.items()
                    if (left := revise(key, entry.body)) != entry.body
                ]
                written = await self._entries.write(EntrySpace.HISTORY, writes)
                self._remember(EntrySpace.HISTORY, written.versions)
                revised += len(written.versions)
                entries = await self._entries.read(EntrySpace.HISTORY, written.conflicts)
        return revised

    async def _forget_upload(self, address: str) -> int:
        return await self._change(
            EntrySpace.UPLOADS, address, lambda body: (None, int(body is not None)), deletes=True
        )


def _budget(body: bytes | None) -> _BudgetRow:
    return msgspec.msgpack.decode(body, type=_BudgetRow) if body else _BudgetRow()
