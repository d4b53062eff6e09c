"""The indicator store's file: its tables, and opening it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from schemas.errors import StateRefused

if TYPE_CHECKING:
    from pathlib import Path

FEEDS_FILE = "feeds.sqlite"
FEEDS_LOCK_FILE = "feeds.lock"
FEEDS_SCHEMA_VERSION = 1

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS feeds (name TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indicators (
    number INTEGER PRIMARY KEY, feed TEXT NOT NULL, id TEXT NOT NULL, modified REAL NOT NULL,
    ends REAL, withdrawn INTEGER NOT NULL, step INTEGER NOT NULL, body BLOB NOT NULL,
    extended INTEGER NOT NULL,
    UNIQUE (feed, id)
);
CREATE INDEX IF NOT EXISTS indicators_by_end ON indicators (ends) WHERE ends IS NOT NULL;
CREATE INDEX IF NOT EXISTS indicators_by_life ON indicators (feed, withdrawn, ends);
CREATE INDEX IF NOT EXISTS indicators_by_step ON indicators (feed, step);
CREATE INDEX IF NOT EXISTS indicators_by_extension ON indicators (feed, extended);
CREATE TABLE IF NOT EXISTS keys (
    key TEXT, number INTEGER, PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_number ON keys (number);
PRAGMA user_version = {FEEDS_SCHEMA_VERSION};
COMMIT;
"""


def exists(folder: Path) -> bool:
    """Return True if a directory contains an indicator file."""
    return (folder / FEEDS_FILE).is_file()


def opened_read_only(path: Path) -> sqlite3.Connection:
    """Open a file for reading while another process owns it."""
    source = f"{path.resolve().as_uri()}?mode=ro"
    database = sqlite3.connect(source, uri=True, isolation_level=None)
    _require_version(path, database)
    database.execute("SELECT name FROM feeds").fetchone()
    return database


def opened(path: Path) -> sqlite3.Connection:
    """Open or create a file."""
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None)
    _require_version(path, database)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.executescript(_SCHEMA)
    return database


def _require_version(path: Path, database: sqlite3.Connection) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version > FEEDS_SCHEMA_VERSION:
        database.close()
        raise StateRefused(
            f"STATE__DIR: {path} was written by a newer version of signinwatch; update it"
        )
