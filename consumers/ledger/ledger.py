"""The ledger over two stores: rows of addresses, and rows by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger.addresses import StoredAddresses
from consumers.ledger.entries import StoredEntries
from schemas.ledger_ports import ErasedCounts, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from consumers.ledger.entries import EntryStore
    from consumers.ledger.records import AddressStore
    from schemas.ports import Clock


class StoredLedger(StoredAddresses, StoredEntries, Ledger):
    """What survives a restart, seen by one instance."""

    def __init__(
        self,
        addresses: AddressStore,
        entries: EntryStore,
        clock: Clock,
        *,
        instance: str,
        waiting_per_address: int,
    ) -> None:
        StoredAddresses.__init__(
            self, addresses, clock, instance=instance, waiting_per_address=waiting_per_address
        )
        StoredEntries.__init__(self, entries, clock, instance=instance)

    @override
    async def purge_expired(self) -> None:
        await self._purge_addresses()
        await self._purge_entries()

    @override
    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        accounts: Container[str | None] = (),
    ) -> ErasedCounts:
        verdicts, waiting = await self._forget_addresses(address=address, accounts=accounts)
        history = await self._revise_history(revise)
        if address is not None:
            history += await self._forget_upload(address)
        return ErasedCounts(verdicts, waiting, history)
