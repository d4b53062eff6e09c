"""What is true of late sign-ins in the state directory alone."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from consumers.ledger.sqlite.recent import RECENT_FILE, SqliteRecentStore
from schemas.errors import LedgerFailed
from schemas.run_mode import RECORDED
from tests.contracts.support_ledger import Clock
from tests.contracts.support_recent import START, chunk, firsts, outlines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    """Return the ledger's clock."""
    return Clock()


async def test_the_file_is_for_its_owner(tmp_path: Path, clock: Clock) -> None:
    """So are the files that SQLite puts beside it."""
    recent = SqliteRecentStore(tmp_path, clock)
    await recent.append(chunk(START))
    files = list(tmp_path.glob(f"{RECENT_FILE}*"))
    assert len(files) == 3
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    await recent.close()


async def test_what_is_replaced_leaves_the_disk(tmp_path: Path, clock: Clock) -> None:
    """It may have been replaced because somebody wants to be forgotten."""
    recent = SqliteRecentStore(tmp_path, clock)
    for n in range(3):
        await recent.append(chunk(START + n, body=b"ada@example.net" * 1_000))
    one, two, three = await outlines(recent)
    await recent.replace(one.key, None)
    await recent.replace(two.key, chunk(START + 1))
    await recent.replace(three.key, chunk(START + 2, body=b"bob" * 6_000))
    assert not any(b"ada@" in path.read_bytes() for path in tmp_path.glob(f"{RECENT_FILE}*"))
    await recent.close()


async def _lost(folder: Path, clock: Clock) -> tuple[SqliteRecentStore, str]:
    """Open a file that cannot be gone on with; return the reason that is told."""
    with capture_logs() as logs:
        recent = SqliteRecentStore(folder, clock)
    assert [one["log_level"] for one in logs] == ["warning"]
    assert await outlines(recent) == []
    await recent.append(chunk(START))
    assert await firsts(recent) == [START]
    return recent, str(logs[0]["reason"])


async def test_a_damaged_file_gives_way(tmp_path: Path, clock: Clock) -> None:
    """With a warning, and whatever lies beside it."""
    recent = SqliteRecentStore(tmp_path, clock)
    for n in range(9):
        await recent.append(chunk(START + n))
    log = (tmp_path / f"{RECENT_FILE}-wal").read_bytes()
    await recent.close()
    (tmp_path / RECENT_FILE).write_bytes(b"no database" * 1_000)
    recent, reason = await _lost(tmp_path, clock)
    assert "not a database" in reason
    await recent.close()
    (tmp_path / RECENT_FILE).write_bytes(b"SQLite format 3\0" + b"\xff" * 8_000)
    (tmp_path / f"{RECENT_FILE}-wal").write_bytes(log[:20] + b"!" * 2_000)
    recent, _ = await _lost(tmp_path, clock)
    await recent.close()


async def test_damage_that_is_met_later_is_mended(tmp_path: Path, clock: Clock) -> None:
    """The call that meets it fails, the next one finds a new file."""
    recent = SqliteRecentStore(tmp_path, clock)
    for n in range(50):
        await recent.append(chunk(START + n, body=bytes(20_000)))
    await recent.close()
    content = bytearray((tmp_path / RECENT_FILE).read_bytes())
    with closing(sqlite3.connect(tmp_path / RECENT_FILE)) as database:
        page = database.execute("PRAGMA page_size").fetchone()[0]
        root = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'chunks'"
        ).fetchone()[0]
    content[(root - 1) * page : root * page] = b"\xee" * page
    (tmp_path / RECENT_FILE).write_bytes(content)
    recent = SqliteRecentStore(tmp_path, clock)
    with capture_logs() as logs, pytest.raises(LedgerFailed, match="malformed"):
        await recent.append(chunk(START))
    assert [one["log_level"] for one in logs] == ["warning"]
    await recent.append(chunk(START))
    assert await firsts(recent) == [START]
    await recent.close()


async def test_a_file_of_another_kind_gives_way(tmp_path: Path, clock: Clock) -> None:
    """One of a version that nobody knows, and one whose times are of another clock."""
    recent = SqliteRecentStore(tmp_path, clock)
    await recent.append(chunk(START))
    await recent.close()
    clock.mode = RECORDED
    recent, reason = await _lost(tmp_path, clock)
    assert "wall clock" in reason
    await recent.close()
    with closing(sqlite3.connect(tmp_path / RECENT_FILE)) as database:
        database.execute("PRAGMA user_version = 9")
    recent, reason = await _lost(tmp_path, clock)
    assert "schema 9" in reason
    await recent.close()


async def test_the_old_files_are_shared_with_nobody(tmp_path: Path, clock: Clock) -> None:
    """Another process has them open, and goes on writing to them."""
    recent = SqliteRecentStore(tmp_path, clock)
    await recent.append(chunk(START - 1))
    with closing(sqlite3.connect(tmp_path / RECENT_FILE)) as other:
        other.execute("PRAGMA user_version = 9")
        await recent.close()
        recent, _ = await _lost(tmp_path, clock)
        other.execute("PRAGMA user_version = 8")
        await recent.append(chunk(START + 1))
        assert await firsts(recent) == [START, START + 1]
        await recent.close()
    recent = SqliteRecentStore(tmp_path, clock)
    assert await firsts(recent) == [START, START + 1]
    await recent.close()


async def test_not_every_error_is_damage(tmp_path: Path, clock: Clock) -> None:
    """What could not be done this time costs nothing that was kept."""
    recent = SqliteRecentStore(tmp_path, clock)
    await recent.append(chunk(START))
    await recent.close()
    with pytest.raises(LedgerFailed):
        await recent.append(chunk(START))
    recent = SqliteRecentStore(tmp_path, clock)
    assert await firsts(recent) == [START]
    await recent.close()


async def test_what_cannot_be_opened_is_not_deleted(tmp_path: Path, clock: Clock) -> None:
    """A file that is locked or out of reach is not damaged."""
    (tmp_path / RECENT_FILE).mkdir()
    with pytest.raises(LedgerFailed):
        SqliteRecentStore(tmp_path, clock)
    assert (tmp_path / RECENT_FILE).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(LedgerFailed, match="STATE__DIR"):
        SqliteRecentStore(tmp_path / "file", clock)


PROCESS = """
import asyncio, sys
from pathlib import Path
from consumers.ledger.sqlite.recent import SqliteRecentStore
from schemas.ledger_ports import RecentChunk
from tests.contracts.support_ledger import Clock

async def main():
    recent = SqliteRecentStore(Path(sys.argv[1]), Clock())
    for n in range(100):
        await recent.append(RecentChunk(float(n), float(n), 1, bytes(100), bytes(20_000)))
    await recent.close()

asyncio.run(main())
"""


async def test_two_processes_damage_nothing(tmp_path: Path, clock: Clock) -> None:
    """The ledger's lock keeps a second one out; should it not, nothing is lost either."""
    recent = SqliteRecentStore(tmp_path, clock)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, str(tmp_path))
        for _ in range(2)
    ]
    assert [await one.wait() for one in processes] == [0, 0]
    assert await firsts(recent) == sorted([float(n) for n in range(100)] * 2)
    await recent.close()
    with closing(sqlite3.connect(tmp_path / RECENT_FILE)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
