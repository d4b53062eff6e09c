"""The ledger in a state directory: one SQLite file for one process on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger.ledger import StoredLedger
from consumers.ledger.sqlite.addresses import SqliteAddresses
from consumers.ledger.sqlite.entries import SqliteEntries
from consumers.ledger.sqlite.schema import SqliteFile

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from schemas.ledger_ports import ErasedCounts
    from schemas.ports import Clock

INSTANCE = "this"
"""The name of the only process that has the directory open."""


class SqliteLedger(StoredLedger):
    """The durable ledger, without the in-memory cache."""

    def __init__(
        self, folder: Path, clock: Clock, *, waiting_per_address: int, keep: bool = True
    ) -> None:
        """See :class:`SqliteFile`."""
        self._file = SqliteFile(folder, clock, keep=keep)
        addresses = SqliteAddresses(self._file, instance=INSTANCE)
        addresses.end_postponements()
        super().__init__(
            addresses,
            SqliteEntries(self._file),
            clock,
            instance=INSTANCE,
            waiting_per_address=waiting_per_address,
        )

    @override
    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        accounts: Container[str | None] = (),
    ) -> ErasedCounts:
        erased = await super().forget(revise, address=address, accounts=accounts)
        self._file.erase()
        return erased
