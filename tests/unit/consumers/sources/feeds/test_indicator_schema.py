"""The file of indicators: failures, damage, and who may open it."""

from __future__ import annotations

import sqlite3
from typing import IO, TYPE_CHECKING, Any

import pytest

from consumers.ledger.sqlite.schema import locked
from consumers.sources.feeds import indicator_store as store_module
from consumers.sources.feeds.indicator_schema import FEEDS_FILE, FEEDS_SCHEMA_VERSION, exists
from consumers.sources.feeds.indicator_store import IndicatorStore
from schemas.errors import LedgerFailed, StateRefused
from tests.contracts.support_ledger import A, B, C
from tests.unit.consumers.sources.feeds.test_indicator_store import apply, naming, version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NET = "81.2.69.0/24"
NOW = 1_772_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndicatorStore]:
    """Return a store."""
    one = IndicatorStore(tmp_path)
    yield one
    one.close()


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[IO[bytes]]]:
    """Return the locks that stores take; they are let go at the end, whoever forgot to."""
    taken: list[IO[bytes]] = []

    def kept(*args: Any) -> IO[bytes]:
        taken.append(locked(*args))
        return taken[-1]

    monkeypatch.setattr(store_module, "locked", kept)
    yield taken
    for one in taken:
        one.close()


# --- failures ---


def test_a_page_is_taken_in_whole_or_not_at_all(
    store: IndicatorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in its midst; the next one is taken as ever."""
    apply(store, version())
    index_keys = store._index_keys

    def failing(number: int, *rest: Any) -> None:
        index_keys(number, *rest)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "_index_keys", failing)
    with pytest.raises(LedgerFailed, match="disk I/O error"):
        apply(store, version(2.0, B), step=2)
    monkeypatch.undo()
    assert (list(store.all_keys()), store.state("one").steps) == ([A], 1)
    assert apply(store, version(2.0, B), step=2).gone == {A}


def test_a_full_disk_is_told(store: IndicatorStore) -> None:
    """What was there stays."""
    apply(store, version())
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    many = [version(1.0, C, name=f"{n}" * 40) for n in range(2_000)]
    for _ in range(2):
        with pytest.raises(LedgerFailed, match="applying a page"):
            apply(store, *many, step=2)
    assert list(store.all_keys()) == [A]
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert apply(store, *many, step=2).new == 2_000


def test_a_full_disk_is_told_to_be_full(store: IndicatorStore) -> None:
    """SQLite may have rolled back by itself."""
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerFailed, match="full"):
        apply(store, *(version(1.0, C, name=f"{n}" * 40) for n in range(2_000)))


# --- who may open it ---


def test_one_process_at_a_time(store: IndicatorStore, tmp_path: Path) -> None:
    """The second one is refused; others may look, and see what comes."""
    apply(store, version())
    with pytest.raises(StateRefused, match="in use by another process"):
        IndicatorStore(tmp_path)
    looking = IndicatorStore(tmp_path, looking=True)
    assert naming(looking, A) == {("one", A, "i", 1.0)}
    apply(store, version(2.0))
    assert naming(looking, A) == {("one", A, "i", 2.0)}
    with pytest.raises(LedgerFailed, match="readonly"):
        apply(looking, version(3.0))
    looking.close()
    store.close()
    IndicatorStore(tmp_path).close()


def test_looking_needs_a_file(tmp_path: Path) -> None:
    """It makes none."""
    assert not exists(tmp_path)
    with pytest.raises(StateRefused, match="cannot be used"):
        IndicatorStore(tmp_path, looking=True)
    assert list(tmp_path.iterdir()) == []


def damage(folder: Path, sql: str) -> None:
    """Change a file that nobody has open."""
    IndicatorStore(folder).close()
    database = sqlite3.connect(folder / FEEDS_FILE)
    database.execute(sql)
    database.commit()
    database.close()


def test_a_newer_file_is_refused(tmp_path: Path, locks: list[IO[bytes]]) -> None:
    """And left as it is."""
    damage(tmp_path, f"PRAGMA user_version = {FEEDS_SCHEMA_VERSION + 1}")
    with pytest.raises(StateRefused, match="newer version"):
        IndicatorStore(tmp_path)
    assert locks


def test_a_newer_file_is_refused_for_looking_too(tmp_path: Path) -> None:
    """What stands in it cannot be known."""
    damage(tmp_path, f"PRAGMA user_version = {FEEDS_SCHEMA_VERSION + 1}")
    with pytest.raises(StateRefused, match="newer version"):
        IndicatorStore(tmp_path, looking=True).close()


def test_a_refused_file_is_let_go(tmp_path: Path, locks: list[IO[bytes]]) -> None:
    """Whoever mends it can go on at once."""
    damage(tmp_path, f"PRAGMA user_version = {FEEDS_SCHEMA_VERSION + 1}")
    with pytest.raises(StateRefused, match="newer version"):
        IndicatorStore(tmp_path)
    assert all(one.closed for one in locks)


@pytest.mark.parametrize("looking", [False, True])
def test_a_file_that_is_none_of_ours(tmp_path: Path, looking: bool, locks: list[IO[bytes]]) -> None:
    """It is refused."""
    (tmp_path / FEEDS_FILE).write_bytes(b"no database " * 500)
    with pytest.raises(StateRefused, match="cannot be used"):
        IndicatorStore(tmp_path, looking=looking)
    assert len(locks) == (not looking)


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """The folder is none."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateRefused, match="STATE__DIR"):
        IndicatorStore(tmp_path / "file")


def test_a_link_to_nowhere(tmp_path: Path, locks: list[IO[bytes]]) -> None:
    """Like any file that cannot be made, or belongs to somebody else."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FEEDS_FILE).symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(StateRefused, match="STATE__DIR"):
        IndicatorStore(tmp_path / "state")
    assert locks


def test_damage_inside_is_told(tmp_path: Path, locks: list[IO[bytes]]) -> None:
    """When it is met; no foreign error gets out."""
    store = IndicatorStore(tmp_path)
    apply(store, *(version(1.0, f"81.2.69.{n}", name=str(n)) for n in range(200)))
    store.close()
    path = tmp_path / FEEDS_FILE
    body = bytearray(path.read_bytes())
    body[8_192:] = b"\xff" * (len(body) - 8_192)
    path.write_bytes(bytes(body))
    with pytest.raises((LedgerFailed, StateRefused)):
        _all_is_read(tmp_path)
    assert locks


def _all_is_read(folder: Path) -> None:
    store = IndicatorStore(folder)
    try:
        list(store.all_keys())
        list(store.all_of("one"))
    finally:
        store.close()


def test_bodies_that_are_none_of_ours_are_told(tmp_path: Path) -> None:
    """Of an indicator, and of a feed."""
    store = IndicatorStore(tmp_path)
    apply(store, version())
    store.close()
    damage(tmp_path, "UPDATE indicators SET body = x'c1'")
    damage(tmp_path, "UPDATE feeds SET state = x'c1'")
    store = IndicatorStore(tmp_path)
    for ask in (
        lambda: store.state("one"),
        lambda: store.naming([A]),
        lambda: store.since("one", 0, 9),
        lambda: list(store.all_of("one")),
        lambda: apply(store, version(2.0)),
    ):
        with pytest.raises(LedgerFailed, match="feeds' file"):
            ask()
    store.close()
