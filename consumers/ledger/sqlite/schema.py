"""The file of the SQLite ledger: its tables, how it is opened, by whom, and its transactions."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import LedgerFailed, StateRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import IO

    from schemas.ports import Clock

LEDGER_FILE = "ledger.sqlite"
LEDGER_LOCK_FILE = "ledger.lock"
LEDGER_SCHEMA_VERSION = 1
"""Raise it with every change of the schema."""

STATEMENT_BATCH = 500
"""Values in one statement; SQLite's own limit is higher in every version that Python ships."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    address TEXT PRIMARY KEY, expires REAL NOT NULL, answered INTEGER NOT NULL, body BLOB NOT NULL,
    again REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    address TEXT, key TEXT, weight REAL NOT NULL, parked REAL NOT NULL, own REAL NOT NULL,
    place REAL NOT NULL, parts BLOB NOT NULL, details BLOB NOT NULL, PRIMARY KEY (address, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS queue (
    address TEXT PRIMARY KEY, own REAL, place REAL NOT NULL, parked REAL, asked REAL, rank REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS queue_by_rank ON queue (asked, rank DESC, parked);
CREATE TABLE IF NOT EXISTS history (
    key TEXT PRIMARY KEY, used REAL NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS history_by_age ON history (used);
CREATE TABLE IF NOT EXISTS dropped (reason TEXT PRIMARY KEY, signins INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS budget (
    account TEXT, period TEXT, spent INTEGER NOT NULL, PRIMARY KEY (account, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""


def clock_of(folder: Path) -> str | None:
    """Return the kind of clock that the state in *folder* was kept by, or None for no state."""
    path = folder / LEDGER_FILE
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT text FROM notes WHERE name = 'clock'").fetchone()
    except sqlite3.Error:
        return None  # opening it for real tells what is wrong
    return str(row[0]) if row else None


def locked(
    folder: Path, name: str = LEDGER_LOCK_FILE, mend: str = "one directory serves one process"
) -> IO[bytes]:
    """Hold a directory, or what *name* stands for in it, for the life of this process.

    StateRefused when another one has it; *mend* is what a person should know then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / name).open("ab")
    except OSError as error:
        raise StateRefused(f"STATE__DIR: {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StateRefused(f"STATE__DIR: {folder} is in use by another process; {mend}") from None
    return lock


def opened(path: Path, *, keep: bool) -> sqlite3.Connection:
    """Open or make the file; StateRefused when it is of another version, or none of ours."""
    path.touch(mode=0o600)  # SQLite gives its other files the same permissions
    database = sqlite3.connect(path, isolation_level=None)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, LEDGER_SCHEMA_VERSION):
            raise StateRefused(
                f"STATE__DIR: {path} was written by another version of signinwatch "
                f"(schema {version}, this one knows {LEDGER_SCHEMA_VERSION})"
            )
        database.execute(f"PRAGMA journal_mode = {'WAL' if keep else 'MEMORY'}")
        database.execute("PRAGMA wal_autocheckpoint = 20000")
        database.execute("PRAGMA cache_size = -65536")
        database.execute(f"PRAGMA synchronous = {'FULL' if keep else 'OFF'}")
        # In one piece: a process that is killed here leaves the file as it was.
        database.executescript(
            f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {LEDGER_SCHEMA_VERSION};COMMIT;"
        )
    except sqlite3.DatabaseError as error:
        database.close()
        raise StateRefused(f"STATE__DIR: {path} cannot be used: {error}") from None
    except StateRefused:
        database.close()
        raise
    return database


@contextmanager
def edge(doing: str, what: str = "the ledger") -> Iterator[None]:
    """Translate SQLite's errors."""
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"{what} failed while {doing}: {error}") from error


@contextmanager
def transaction(
    database: sqlite3.Connection, doing: str, what: str = "the ledger"
) -> Iterator[sqlite3.Connection]:
    """Do all of it or nothing."""
    with edge(doing, what):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


class SqliteFile:
    """An opened file, held for this process alone."""

    def __init__(self, folder: Path, clock: Clock, *, keep: bool = True) -> None:
        """Open or make the state in *folder*; ``keep=False`` trades durability for speed.

        StateRefused when another process has it, it is of another clock, or of another version.
        """
        self._clock = clock
        self._lock = locked(folder)
        try:
            with edge("opening"):
                self._database = opened(folder / LEDGER_FILE, keep=keep)
                self._bind_clock()
                self._forget()
        except BaseException:
            self._lock.close()
            raise

    def _forget(self) -> None:
        """Delete what has expired, and what the last process was not to ask again by itself.

        A new one may: a person has started it.
        """
        self._database.execute(
            "DELETE FROM answers WHERE NOT answered OR expires <= ?", (self._clock.now(),)
        )

    def _bind_clock(self) -> None:
        with self._transaction("binding the clock"):
            self._database.execute(
                "INSERT OR IGNORE INTO notes VALUES ('clock', ?)", (self._clock.kind,)
            )
        kind = self._database.execute("SELECT text FROM notes WHERE name = 'clock'").fetchone()[0]
        if kind != self._clock.kind:
            raise StateRefused(
                f"the state was kept by the {kind} clock and cannot go on with the "
                f"{self._clock.kind} clock; use --clock {kind} or another directory"
            )

    def _transaction(self, doing: str) -> AbstractContextManager[sqlite3.Connection]:
        return transaction(self._database, doing)

    async def close(self) -> None:
        """Close the file, then let the next process have it."""
        with edge("closing"):
            self._database.close()
        self._lock.close()


def in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut *values* into what one statement takes."""
    for start in range(0, len(values), STATEMENT_BATCH):
        yield values[start : start + STATEMENT_BATCH]
