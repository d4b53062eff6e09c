"""The ledger in Azure Table Storage: one table for any number of instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger.ledger import StoredLedger
from consumers.ledger.table.addresses import TableAddresses
from consumers.ledger.table.entries import TableEntries

if TYPE_CHECKING:
    from consumers.ledger.table.client import StateTable
    from schemas.ports import Clock

PURGE_LEASE_SECONDS = 3_000.0
"""Seconds for which one instance has purged for all. Every instance tries once an hour."""


class TableLedger(StoredLedger):
    """The durable ledger, without the in-memory cache."""

    def __init__(
        self, table: StateTable, clock: Clock, *, waiting_per_address: int, instance: str
    ) -> None:
        super().__init__(
            TableAddresses(table, instance=instance),
            TableEntries(table),
            clock,
            instance=instance,
            waiting_per_address=waiting_per_address,
        )
        self._table = table

    async def open(self, *, create: bool = True) -> None:
        """Wait until the table responds. With *create*, create it if it does not exist.

        An empty ledger only costs repeated lookups.
        """
        await self._table.open(create=create)

    @override
    async def purge_expired(self) -> None:
        if await self.take_lease("purge", PURGE_LEASE_SECONDS):
            await super().purge_expired()
