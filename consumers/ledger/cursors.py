"""Cursors of the subscribers to a source's changes, kept in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from schemas.feed_ports import ChangeCursor, StoredCursor

if TYPE_CHECKING:
    from schemas.ledger_ports import Ledger

CURSOR_LEASE_SECONDS = 900.0
"""Longer than a subscriber needs for one batch of changes."""


class LedgerCursor(StoredCursor):
    """A named cursor. If instances share the ledger, whoever has its lease moves it."""

    def __init__(self, ledger: Ledger, name: str, *, shared: bool) -> None:
        self._ledger = ledger
        self._name = f"cursor {name}"
        self._shared = shared

    @override
    async def acquire(self) -> bool:
        return not self._shared or await self._ledger.take_lease(self._name, CURSOR_LEASE_SECONDS)

    @override
    async def read(self) -> ChangeCursor:
        generation, _, step = (await self._ledger.get_value(self._name) or "").rpartition(" ")
        return ChangeCursor(generation, int(step)) if step else ChangeCursor()

    @override
    async def advance(self, cursor: ChangeCursor) -> bool:
        await self._ledger.put_value(self._name, f"{cursor.generation} {cursor.step}")
        return await self.acquire()

    @override
    async def release(self) -> None:
        if self._shared:
            await self._ledger.end_lease(self._name)
