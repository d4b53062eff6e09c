"""Keyed rows of the SQLite ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger.entries import EntryStore, StoredEntry, Written
from consumers.ledger.sqlite.schema import STATEMENT_BATCH, edge, in_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from consumers.ledger.entries import EntryWrite
    from consumers.ledger.sqlite.schema import SqliteFile
    from schemas.ledger_ports import EntrySpace


class SqliteEntries(EntryStore):
    """Rows by space and key."""

    lists_keys = False

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._database = file.database

    @override
    async def read(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, StoredEntry]:
        found: dict[str, StoredEntry] = {}
        with edge("reading entries"):
            for part in in_parts(keys):
                marks = ",".join("?" * len(part))
                rows = self._database.execute(
                    "SELECT key, body, used, version FROM entries "  # noqa: S608
                    f"WHERE space = ? AND key IN ({marks})",
                    (space.value, *part),
                )
                for key, body, used, version in rows:
                    found[key] = StoredEntry(body, used, str(version))
        return found

    @override
    async def write(self, space: EntrySpace, writes: Sequence[EntryWrite]) -> Written:
        with self._file.transaction("storing entries") as database:
            versions = self._versions(space, [write.key for write in writes])
            current = [write for write in writes if versions.get(write.key) == write.version]
            stored = {write.key: int(write.version or 0) + 1 for write in current}
            database.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
                [
                    (space.value, write.key, write.used, stored[write.key], write.body)
                    for write in current
                    if write.body is not None
                ],
            )
            database.executemany(
                "DELETE FROM entries WHERE space = ? AND key = ?",
                [(space.value, write.key) for write in current if write.body is None],
            )
        conflicts = [write.key for write in writes if write.key not in stored]
        return Written({key: str(version) for key, version in stored.items()}, conflicts)

    def _versions(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in in_parts(keys):
            marks = ",".join("?" * len(part))
            rows = self._database.execute(
                f"SELECT key, version FROM entries WHERE space = ? AND key IN ({marks})",  # noqa: S608
                (space.value, *part),
            )
            found.update((key, str(version)) for key, version in rows)
        return found

    @override
    async def scan(
        self, space: EntrySpace, used_before: float | None = None, *, bodies: bool = True
    ) -> AsyncIterator[dict[str, StoredEntry]]:
        last = ""
        while True:
            with edge("reading entries"):
                rows = self._database.execute(
                    f"SELECT key, {'body' if bodies else 'NULL'}, used, version FROM entries "  # noqa: S608
                    "WHERE space = ? AND key > ? AND used < ? ORDER BY key LIMIT ?",
                    (
                        space.value,
                        last,
                        float("inf") if used_before is None else used_before,
                        STATEMENT_BATCH,
                    ),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield {
                key: StoredEntry(body or b"", used, str(version))
                for key, body, used, version in rows
            }
