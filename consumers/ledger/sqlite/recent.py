"""Sign-ins of lately in the state directory: a SQLite file of their own beside the ledger's."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from consumers.ledger.sqlite.schema import edge
from schemas.errors import LedgerFailed
from schemas.ledger_ports import RecentChunk, RecentCoverage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from schemas.ports import Clock

log = structlog.get_logger()

RECENT_FILE = "recent.sqlite"
RECENT_SCHEMA_VERSION = 2
"""Raise it with every change of the schema; files of other versions are not kept."""
_INDEX_PAGE = 50
"""Outlines that are read at once."""
_DATABASE_SUFFIXES = ("-wal", "-shm", "-journal", "")
"""The files of a database. All have to go: a process that still has the old ones open would
otherwise share the log with whoever opens the new one."""

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
    """The file is sound but cannot be gone on with."""


class SqliteRecentStore:
    """See :class:`schemas.ledger_ports.RecentStore`. The ledger's lock keeps other processes out.

    A file that is damaged, of another version, or of another kind of clock gives way to a new
    one, with a warning. Calls are short and made from the event loop, as the ledger's are.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Open or make the file in *folder*; LedgerFailed where that cannot be."""
        self._path = folder / RECENT_FILE
        self._clock = clock
        try:
            self._database = _opened(self._path, clock.kind)
        except _DamagedFile as unusable:
            self._begin_anew(str(unusable))

    async def append(self, chunk: RecentChunk) -> None:
        """Keep a chunk."""
        key = f"{int(chunk.first * 1_000):015}-{uuid4().hex}"  # sorts as the chunks begin
        with self._mended("keeping late sign-ins"):
            self._database.execute(
                "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)", (key, *_values(chunk))
            )

    async def segment_index(self, since: float) -> AsyncGenerator[list[RecentChunk]]:
        """Yield chunks that end at or after *since*, oldest first, without their bodies.

        Nothing is held open in between: what is kept or dropped meanwhile may be seen or not.
        """
        key = ""
        while True:
            with self._mended("reading late sign-ins"):
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

    async def body(self, key: str) -> bytes | None:
        """Return a chunk's body, None if it has gone."""
        with self._mended("reading late sign-ins"):
            row = self._database.execute("SELECT body FROM chunks WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Put another chunk in the place of one, or nothing. What has gone stays gone.

        What stood there is overwritten on the disk as well.
        """
        with self._mended("replacing late sign-ins"):
            if chunk is None:
                self._database.execute("DELETE FROM chunks WHERE key = ?", (key,))
            else:
                self._database.execute(
                    "UPDATE chunks SET first = ?, last = ?, signins = ?, size = ?, "
                    "addresses = ?, body = ? WHERE key = ?",
                    (*_values(chunk), key),
                )
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    async def enforce_limits(self, before: float, largest: int) -> None:
        """Drop what ended before a time, and the oldest while all takes more bytes than that."""
        with self._mended("trimming late sign-ins"):
            self._database.execute("DELETE FROM chunks WHERE last < ?", (before,))
            self._database.execute(
                "DELETE FROM chunks WHERE key IN (SELECT key FROM "
                "(SELECT key, sum(size) OVER (ORDER BY key DESC) AS kept FROM chunks) "
                "WHERE kept > ?)",
                (largest,),
            )

    async def coverage(self) -> RecentCoverage:
        """Return how much there is."""
        with self._mended("measuring late sign-ins"):
            since, signins, size = self._database.execute(
                "SELECT min(first), coalesce(sum(signins), 0), coalesce(sum(size), 0) FROM chunks"
            ).fetchone()
        return RecentCoverage(since, signins, size)

    async def close(self) -> None:
        """Close the file."""
        with edge("closing"):
            self._database.close()

    @contextmanager
    def _mended(self, doing: str) -> Iterator[None]:
        """Translate errors. The next call finds a new file if this one met damage."""
        try:
            with edge(doing):
                yield
        except LedgerFailed as failed:
            if _is_damage(failed.__cause__):
                self._database.close()
                self._begin_anew(str(failed.__cause__))
            raise

    def _begin_anew(self, reason: str) -> None:
        log.warning("late sign-ins are lost, and kept anew", file=RECENT_FILE, reason=reason)
        try:
            for ending in _DATABASE_SUFFIXES:
                self._path.with_name(RECENT_FILE + ending).unlink(missing_ok=True)
            self._database = _opened(self._path, self._clock.kind)
        except (OSError, _DamagedFile) as error:
            raise LedgerFailed(f"STATE__DIR: {self._path} cannot be made anew: {error}") from None


def _is_damage(error: BaseException | None) -> bool:
    """Tell damage from a file that is locked or out of reach: only damage is a loss already."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _opened(path: Path, clock: str) -> sqlite3.Connection:
    """Open or make the file; _Unusable when it is damaged or not of our kind."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # SQLite gives its other files the same permissions
    except OSError as error:
        raise LedgerFailed(f"STATE__DIR: {path}: {error.strerror}") from None
    try:
        with edge("opening late sign-ins"):
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
        raise _DamagedFile(f"schema {version} is not known, only {RECENT_SCHEMA_VERSION}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA secure_delete = ON")
    database.executescript(_SCHEMA)
    database.execute("INSERT OR IGNORE INTO notes VALUES ('clock', ?)", (clock,))
    kept = database.execute("SELECT text FROM notes WHERE name = 'clock'").fetchone()[0]
    if kept != clock:
        raise _DamagedFile(f"kept by the {kept} clock, not the {clock} clock")


def _values(chunk: RecentChunk) -> tuple[float, float, int, int, bytes, bytes]:
    size = len(chunk.addresses) + len(chunk.body)
    return chunk.first, chunk.last, chunk.signins, size, chunk.addresses, chunk.body
