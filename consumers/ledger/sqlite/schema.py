"""The file of the SQLite ledger: its tables, its lock, opening it, and transactions."""

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
LEDGER_SCHEMA_VERSION = 2
"""Increment it with every schema change."""

STATEMENT_BATCH = 500
"""Values in one statement. SQLite's own limit is higher in every version that Python ships."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS addresses (
    address TEXT PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL, pending BLOB,
    kept REAL, unanswered INTEGER NOT NULL, place TEXT, score REAL, postponed REAL, enqueued REAL,
    looked_up REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unanswered ON addresses (address) WHERE unanswered;
CREATE INDEX IF NOT EXISTS ranked ON addresses (score DESC, enqueued) WHERE place = 'ranked';
CREATE INDEX IF NOT EXISTS postponed ON addresses (postponed) WHERE place = 'postponed';
CREATE INDEX IF NOT EXISTS answered ON addresses (address) WHERE place = 'answered';
CREATE INDEX IF NOT EXISTS queued ON addresses (enqueued) WHERE enqueued IS NOT NULL;
CREATE TABLE IF NOT EXISTS totals (instance TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    space TEXT, key TEXT, used REAL NOT NULL, version INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
"""


def clock_of(folder: Path) -> str | None:
    """Return the kind of clock that the state in *folder* uses, or None without state."""
    path = folder / LEDGER_FILE
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(
                "SELECT body FROM entries WHERE space = 'notes' AND key = 'clock'"
            ).fetchone()
    except sqlite3.Error:
        return None  # opening the ledger reports the error
    return str(row[0], "ascii") if row else None


def locked(
    folder: Path, name: str = LEDGER_LOCK_FILE, remedy: str = "use one directory per process"
) -> IO[bytes]:
    """Lock a directory, or the part of it that *name* stands for, and return the lock.

    The lock ends with this process at the latest. Raises StateRefused with *remedy* if another
    process holds it.
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
        raise StateRefused(f"STATE__DIR: {folder} is in use by another process; {remedy}") from None
    return lock


def opened(path: Path, *, keep: bool) -> sqlite3.Connection:
    """Open or create the file. Raises StateRefused for another schema version or another format."""
    path.touch(mode=0o600)  # SQLite copies the permissions to its other files
    database = sqlite3.connect(path, isolation_level=None)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, LEDGER_SCHEMA_VERSION):
            raise StateRefused(
                f"STATE__DIR: {path} was written by another version of signinwatch "
                f"(schema {version}, expected {LEDGER_SCHEMA_VERSION}); "
                "use that version or a new directory"
            )
        database.execute(f"PRAGMA journal_mode = {'WAL' if keep else 'MEMORY'}")
        database.execute("PRAGMA wal_autocheckpoint = 20000")
        database.execute("PRAGMA cache_size = -65536")
        database.execute(f"PRAGMA synchronous = {'FULL' if keep else 'OFF'}")
        # One transaction: a process that is killed here leaves the file unchanged.
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
def edge(operation: str, component: str = "the ledger") -> Iterator[None]:
    """Translate errors of SQLite and of decoding to LedgerFailed."""
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"{component} failed while {operation}: {error}") from error


@contextmanager
def transaction(
    database: sqlite3.Connection, operation: str, component: str = "the ledger"
) -> Iterator[sqlite3.Connection]:
    """Run the body in one transaction; roll it back on any error."""
    with edge(operation, component):
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has already rolled back
                database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


class SqliteFile:
    """The ledger's open file, locked for this process.

    Calls are short and run on the event loop. Moving them to a thread would cost more than the
    calls themselves.
    """

    def __init__(self, folder: Path, clock: Clock, *, keep: bool = True) -> None:
        """Open or create the state in *folder*; ``keep=False`` trades durability for speed.

        Raises StateRefused if another process holds it, or if it was written with another kind of
        clock or another schema version.
        """
        self._lock = locked(folder)
        try:
            with edge("opening"):
                self.database = opened(folder / LEDGER_FILE, keep=keep)
                self._bind_clock(clock.mode.clock)
        except BaseException:
            self._lock.close()
            raise

    def _bind_clock(self, wanted: str) -> None:
        with self.transaction("binding the clock"):
            self.database.execute(
                "INSERT OR IGNORE INTO entries VALUES ('notes', 'clock', 0, 0, ?)",
                (wanted.encode(),),
            )
        query = "SELECT body FROM entries WHERE space = 'notes' AND key = 'clock'"
        kind = str(self.database.execute(query).fetchone()[0], "ascii")
        if kind != wanted:
            raise StateRefused(
                f"the state was written with the {kind} clock and cannot be used with the "
                f"{wanted} clock; use --clock {kind} or another directory"
            )

    def transaction(self, operation: str) -> AbstractContextManager[sqlite3.Connection]:
        """Run a block in one transaction."""
        return transaction(self.database, operation)

    def erase(self) -> None:
        """Overwrite what was deleted."""
        with edge("overwriting erased data"):
            self.database.execute("VACUUM")
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file, then release the lock."""
        with edge("closing"):
            self.database.close()
        self._lock.close()


def in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split *values* into batches for one statement each."""
    for start in range(0, len(values), STATEMENT_BATCH):
        yield values[start : start + STATEMENT_BATCH]
