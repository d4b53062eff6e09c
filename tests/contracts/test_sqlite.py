"""What is true of the ledger in a directory alone."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.ledger.sqlite.schema import LEDGER_SCHEMA_VERSION
from schemas.errors import StateRefused
from schemas.intel.verdicts import Unanswered, WhyUnanswered
from tests.contracts.support_ledger import LIMIT, A, Clock

if TYPE_CHECKING:
    from pathlib import Path

Open = Callable[[], SqliteLedger]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Return a function that opens the same state again."""
    clock = Clock()
    ledgers: list[SqliteLedger] = []

    def open_again() -> SqliteLedger:
        ledgers.append(SqliteLedger(tmp_path, clock, waiting_per_address=LIMIT))
        return ledgers[-1]

    yield open_again
    for ledger in ledgers:
        await ledger.close()


async def test_what_one_process_must_not_ask_again_the_next_one_may(opened: Open) -> None:
    """A postponement ends with its time, or with the process: a person starts the next one."""
    ledger = opened()
    down = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_500.0)
    await ledger.put_verdicts({A: down})
    assert await ledger.get_verdicts([A]) == {A: down}
    await ledger.close()
    assert await opened().get_verdicts([A]) == {}


async def test_a_directory_serves_one_process(opened: Open) -> None:
    """A second one is refused while the first lives, and welcome after."""
    ledger = opened()
    with pytest.raises(StateRefused, match="in use"):
        opened()
    await ledger.close()
    assert await opened().get_verdicts([A]) == {}


async def test_a_file_of_another_version_is_refused(tmp_path: Path, opened: Open) -> None:
    """It says what it knows, and leaves the file as it is."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {LEDGER_SCHEMA_VERSION + 1}")
    with pytest.raises(StateRefused, match="another version"):
        opened()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        assert database.execute("SELECT * FROM sqlite_schema").fetchall() == []
