"""Recent sign-ins in the state directory: a SQLite file next to the ledger's."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog
from typing_extensions import override

from consumers.ledger.sqlite.schema import edge
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentChunk, RecentCoverage, RecentStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from schemas.ports import Clock

log = structlog.get_logger()

RECENT_FILE = "recent.sqlite"
RECENT_SCHEMA_VERSION = 2
"""Increment it with every schema change. Files of other versions are discarded."""
_INDEX_PAGE = 50
"""Segments per page of the index, read without their bodies."""
_DATABASE_SUFFIXES = ("-wal", "-shm", "-journal", "")
"""The files of a database, all deleted together. Otherwise a process that still has the old
database open would share its log with a process that opens the new database."""

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS chunks (
    key TEXT PRIMARY KEY, first REAL NOT NULL, last REAL NOT NULL, signins INTEGER NOT NULL,
    size INTEGER NOT NULL, addresses BLOB NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS figures ON chunks (key, first, last, signins, size);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {RECENT_SCHEMA_VERSION};
COMMIT;
"""


class _DamagedFile(Exception):
    """The file is damaged, or belongs to another version or another kind of clock."""


class SqliteRecentStore(RecentStore):
    """Recent sign-ins of a single process. The ledger's lock keeps other processes out.

    A file that is damaged, of another version, or of another kind of clock is replaced by an empty
    one, with a warning. Calls are short and run on the event loop, like the ledger's.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Open or create the file in *folder*. Raises LedgerFailed if that is impossible."""
        self._path = folder / RECENT_FILE
        self._clock = clock
        try:
            self._database = _opened(self._path, clock.mode.clock)
        except _DamagedFile as error:
            self._recreate(str(error))

    @override
    async def append(self, chunk: RecentChunk) -> None:
        key = f"{int(chunk.first * 1_000):015}-{uuid4().hex}"  # sorts by first sign-in
        with self._recreate_if_damaged("storing recent sign-ins"):
            self._database.execute(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", (key, *_values(chunk))
            )

    @override
    async def segment_index(self, since: float) -> AsyncGenerator[list[RecentChunk]]:
        """Yield segments that end at or after *since*, oldest first, without their bodies.

        Each page is a query: segments stored or deleted in between may be included or missing.
        """
        key = ""
        while True:
            with self._recreate_if_damaged("reading recent sign-ins"):
                rows = self._database.execute(
                    "SELECT key, first, last, signins, addresses FROM chunks "
                    "WHERE key > ? AND last >= ? ORDER BY key LIMIT ?",
                    (key, since, _INDEX_PAGE),
                ).fetchall()
            if not rows:
                return
            key = rows[-1][0]
            yield [
                RecentChunk(first, last, signins, addresses, b"", name)
                for name, first, last, signins, addresses in rows
            ]

    @override
    async def body(self, key: str) -> bytes | None:
        with self._recreate_if_damaged("reading recent sign-ins"):
            row = self._database.execute("SELECT body FROM chunks WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    @override
    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Replace a segment, or delete it if *chunk* is None. Ignore a deleted segment.

        The old content is overwritten on disk as well.
        """
        with self._recreate_if_damaged("replacing recent sign-ins"):
            if chunk is None:
                self._database.execute("DELETE FROM chunks WHERE key = ?", (key,))
            else:
                self._database.execute(
                    "UPDATE chunks SET first = ?, last = ?, signins = ?, size = ?, "
                    "addresses = ?, body = ? WHERE key = ?",
                    (*_values(chunk), key),
                )
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @override
    async def enforce_limits(self, before: float, largest: int) -> None:
        with self._recreate_if_damaged("purging recent sign-ins"):
            self._database.execute("DELETE FROM chunks WHERE last < ?", (before,))
            self._database.execute(
                "DELETE FROM chunks WHERE key IN (SELECT key FROM "
                "(SELECT key, sum(size) OVER (ORDER BY key DESC) AS kept FROM chunks) "
                "WHERE kept > ?)",
                (largest,),
            )

    @override
    async def coverage(self) -> RecentCoverage:
        with self._recreate_if_damaged("counting recent sign-ins"):
            since, signins, size = self._database.execute(
                "SELECT min(first), coalesce(sum(signins), 0), coalesce(sum(size), 0) FROM chunks"
            ).fetchone()
        return RecentCoverage(since, signins, size)

    @override
    async def close(self) -> None:
        """Close the file."""
        with edge("closing"):
            self._database.close()

    @contextmanager
    def _recreate_if_damaged(self, operation: str) -> Iterator[None]:
        """Translate errors. Replace a damaged file, so that the next call finds an empty one."""
        try:
            with edge(operation):
                yield
        except LedgerFailed as failed:
            if _is_damage(failed.__cause__):
                self._database.close()
                self._recreate(str(failed.__cause__))
            raise

    def _recreate(self, reason: str) -> None:
        log.warning("recent sign-ins lost, file recreated", file=RECENT_FILE, reason=reason)
        try:
            for suffix in _DATABASE_SUFFIXES:
                self._path.with_name(RECENT_FILE + suffix).unlink(missing_ok=True)
            self._database = _opened(self._path, self._clock.mode.clock)
        except (OSError, _DamagedFile) as error:
            raise LedgerFailed(f"STATE__DIR: {self._path} cannot be created: {error}") from None


def _is_damage(error: BaseException | None) -> bool:
    """Return True if SQLite reports damage, False if the file is locked or unreachable."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _opened(path: Path, clock: str) -> sqlite3.Connection:
    """Open or create the file. Raises _DamagedFile if it cannot be used as it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # SQLite copies the permissions to its other files
    except OSError as error:
        raise LedgerFailed(f"STATE__DIR: {path}: {error.strerror}") from None
    try:
        with edge("opening recent sign-ins"):
            database = sqlite3.connect(path, isolation_level=None)
            try:
                _prepare(database, clock)
            except BaseException:
                database.close()
                raise
    except LedgerFailed as failed:
        if _is_damage(failed.__cause__):
            raise _DamagedFile(str(failed.__cause__)) from None
        raise
    return database


def _prepare(database: sqlite3.Connection, clock: str) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, RECENT_SCHEMA_VERSION):
        raise _DamagedFile(f"schema {version} is unknown, expected {RECENT_SCHEMA_VERSION}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA secure_delete = ON")
    database.executescript(_SCHEMA)
    database.execute("INSERT OR IGNORE INTO notes VALUES ('clock', ?)", (clock,))
    stored = database.execute("SELECT text FROM notes WHERE name = 'clock'").fetchone()[0]
    if stored != clock:
        raise _DamagedFile(f"written with the {stored} clock, expected the {clock} clock")


def _values(chunk: RecentChunk) -> tuple[float, float, int, int, bytes, bytes]:
    size = len(chunk.addresses) + len(chunk.body)
    return chunk.first, chunk.last, chunk.signins, size, chunk.addresses, chunk.body
