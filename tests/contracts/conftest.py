"""What every contract's suite is run on: SQLite, and the table of a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from consumers.ledger.sqlite.ledger import SqliteLedger
from tests.contracts.support_ledger import LIMIT, Clock, table_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from schemas.ledger_ports import Ledger
    from tests.contracts.support_ledger import Open
    from tests.servers.azurite import Azurite


@pytest.fixture
def clock() -> Clock:
    """Return the ledger's clock."""
    return Clock()


@pytest.fixture(params=["sqlite", "table"])
def server(request: pytest.FixtureRequest) -> Azurite | None:
    """Return what serves the table; SQLite needs no server."""
    if request.param == "sqlite":
        return None
    started: Azurite = request.getfixturevalue("azurite")
    return started


@pytest.fixture
async def opened(server: Azurite | None, tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    """Return a function that opens the same state again."""
    ledgers: list[Ledger] = []
    name = f"t{uuid4().hex}"

    async def open_sqlite() -> Ledger:
        ledgers.append(SqliteLedger(tmp_path, clock, waiting_per_address=LIMIT))
        return ledgers[-1]

    async def open_table() -> Ledger:
        assert server is not None
        store = table_store(server.connection_string, name, clock)
        ledgers.append(store)
        await store.open()
        return store

    yield open_sqlite if server is None else open_table
    for ledger in ledgers:
        await ledger.close()
