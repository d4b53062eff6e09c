"""History entries in memory, read from the ledger before use and written from time to time.

A crash loses what has changed since the last write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from consumers.enrichment.history_entries import ENTRY_KINDS, Entry, decoded, merged
from schemas.ledger_ports import EntrySpace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from schemas.ledger_ports import Entries

MAX_CACHED_ENTRIES = 40_000
"""Entries kept in memory; all entries are in the ledger."""


class EntryCache:
    """Entries by key. Fetch them before use, and mark those that change."""

    def __init__(self, ledger: Entries, *, max_entries: int = MAX_CACHED_ENTRIES) -> None:
        self._ledger = ledger
        self._half = max(1, max_entries // 2)
        self._young: dict[str, Entry] = {}
        self._old: dict[str, Entry] = {}
        self._changed: dict[str, Entry] = {}
        self._flushing: dict[str, Entry] = {}
        self._flush_lock = asyncio.Lock()

    @property
    def unwritten(self) -> int:
        """Return the number of entries that have changed."""
        return len(self._changed)

    async def fetch(self, keys: Iterable[str]) -> None:
        """Load entries that are not in memory. One that is not stored is empty."""
        if len(self._young) >= self._half:  # only here: no entry is evicted while in use
            self._old, self._young = self._young, {}
        missing = [key for key in keys if self.cached(key) is None]
        if not missing:
            return
        found = await self._ledger.get_entries(EntrySpace.HISTORY, missing)
        for key in missing:
            if self.cached(key) is None:  # another batch may have fetched and updated it
                body = found.get(key)
                entry = decoded(key, body) if body is not None else ENTRY_KINDS[key[0]]()
                self._young[key] = entry

    def cached(self, key: str) -> Entry | None:
        """Return an entry and keep it in memory for longer; None if it is not in memory."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key) or self._changed.get(key) or self._flushing.get(key)
            if entry is not None:
                self._young[key] = entry
        return entry

    def entry(self, key: str) -> Entry:
        """Return an entry, empty if it was not fetched."""
        entry = self.cached(key)
        if entry is None:
            entry = self._young[key] = ENTRY_KINDS[key[0]]()
        return entry

    def changed(self, key: str, entry: Entry) -> None:
        """Have an entry written at the next flush."""
        self._changed[key] = entry

    async def flush(self, only: Collection[str] | None = None) -> list[str]:
        """Write what has changed, or *only* some of it, and learn what other instances wrote.

        Return the keys of the entries that another instance had changed as well.
        """
        async with self._flush_lock:
            due = self._changed if only is None else self._changed.keys() & only
            self._flushing = {key: self._changed[key] for key in due}
            self._changed = {
                key: entry for key, entry in self._changed.items() if key not in self._flushing
            }
            entries = {key: msgspec.msgpack.encode(entry) for key, entry in self._flushing.items()}
            try:
                if not entries:
                    return []
                combined = await self._ledger.put_entries(EntrySpace.HISTORY, entries, merged)
                mine = {key: body for key, body in combined.items() if key not in self._changed}
                self._young |= {key: decoded(key, body) for key, body in mine.items()}
                return list(mine)
            except BaseException:
                self._changed = self._flushing | self._changed
                raise
            finally:
                self._flushing = {}
