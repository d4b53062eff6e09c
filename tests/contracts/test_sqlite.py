"""What is true of the ledger in a directory alone."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from consumers.ledger.sqlite.ledger import SqliteStore
from schemas.errors import StateRefused
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import Unanswered, Verdict, WhyUnanswered
from tests.contracts.support_ledger import LIMIT, A, B, C, Clock, verdict, waiting

if TYPE_CHECKING:
    from pathlib import Path

Open = Callable[[], SqliteStore]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Return a function that opens the same state again."""
    clock = Clock()
    ledgers: list[SqliteStore] = []

    def open_again() -> SqliteStore:
        ledgers.append(SqliteStore(tmp_path, clock, waiting_per_address=LIMIT))
        return ledgers[-1]

    yield open_again
    for ledger in ledgers:
        await ledger.close()


async def test_what_one_process_must_not_ask_again_the_next_one_may(opened: Open) -> None:
    """A postponement ends with its time, or with the process: a person starts the next one."""
    ledger = opened()
    down = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_500.0)
    await ledger.answer({A: down})
    assert await ledger.answers([A]) == {A: down}
    await ledger.close()
    assert await opened().answers([A]) == {}


async def test_a_directory_serves_one_process(opened: Open) -> None:
    """A second one is refused while the first lives, and welcome after."""
    ledger = opened()
    with pytest.raises(StateRefused, match="in use"):
        opened()
    await ledger.close()
    assert await opened().answers([A]) == {}


VERSION_1 = """
CREATE TABLE answers (
    address TEXT PRIMARY KEY, expires REAL NOT NULL, answered INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE waiting (
    key TEXT PRIMARY KEY, address TEXT NOT NULL, weight INTEGER NOT NULL, parked REAL NOT NULL,
    details BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX waiting_by_address ON waiting (address, weight, parked);
CREATE INDEX waiting_by_age ON waiting (parked);
CREATE TABLE dropped (reason TEXT PRIMARY KEY, signins INTEGER NOT NULL);
CREATE TABLE budget (
    account TEXT, period TEXT, spent INTEGER NOT NULL, PRIMARY KEY (account, period)
) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO notes VALUES ('clock', 'wall');
INSERT INTO budget VALUES ('key', 'march', 7);
PRAGMA user_version = 1;
"""
"""The schema as it was before addresses were ranked."""


async def test_a_file_of_version_1_is_brought_along(tmp_path: Path, opened: Open) -> None:
    """Verdicts, what waits and what was spent are as they were; successes rank first."""
    old, other = waiting("1", A, Outcome.SUCCESS), waiting("2", B)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        database.executescript(VERSION_1)
        database.execute(
            "INSERT INTO answers VALUES (?, ?, 1, ?)", (C, 2_000.0, _old_body(verdict()))
        )
        database.executemany(
            "INSERT INTO waiting VALUES (?, ?, ?, ?, ?)",
            [
                (one.key, one.address, weight, one.parked, msgspec.msgpack.encode(one.details))
                for one, weight in ((old, 3), (other, 1))
            ],
        )
        database.commit()
    ledger = opened()
    assert await ledger.answers([C]) == {C: verdict()}
    assert await ledger.spent("key", "march") == 7
    assert [one.address for one in await ledger.due(9)] == [A, B]
    (found,) = await ledger.waiting_for(A, 9)
    assert (found.key, found.details, found.parked) == (old.key, old.details, old.parked)
    await ledger.close()
    assert [one.address for one in await opened().due(9)] == [A, B]


def _old_body(verdict: Verdict) -> bytes:
    """Return a verdict as version 1 wrote it: without the last two values."""
    values = msgspec.msgpack.decode(msgspec.msgpack.encode(verdict))
    return msgspec.msgpack.encode(values[:-2])
