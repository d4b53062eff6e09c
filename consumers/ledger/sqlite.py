"""The ledger's store in a directory: one SQLite file for one process on one machine."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import LedgerFailed, StateRefused
from schemas.outcomes import Outcome
from schemas.ports import Claimed, LedgerSize, Waiting
from schemas.records import Details
from schemas.verdicts import Answer, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from schemas.ports import Clock

FILE = "ledger.sqlite"
LOCK = "ledger.lock"
VERSION = 1
"""Raise it with every change of the schema, and write the step that brings old files along."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    address TEXT PRIMARY KEY, expires REAL NOT NULL, answered INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (
    key TEXT PRIMARY KEY, address TEXT NOT NULL, weight INTEGER NOT NULL, parked REAL NOT NULL,
    details BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_address ON waiting (address, weight, parked);
CREATE INDEX IF NOT EXISTS waiting_by_age ON waiting (parked);
CREATE TABLE IF NOT EXISTS dropped (reason TEXT PRIMARY KEY, signins INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS budget (
    account TEXT, period TEXT, spent INTEGER NOT NULL, PRIMARY KEY (account, period)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""
_AT_ONCE = 500
"""Values in one statement; SQLite's own limit is higher in every version that Python ships."""

WEIGHT = {Outcome.SUCCESS: 3, Outcome.PASSWORD_ACCEPTED: 2}
"""What gives way last when too many sign-ins wait for one address."""

TOO_OLD = "waited too long"
CROWDED_OUT = "crowded out"

_answer = msgspec.msgpack.Decoder(Answer)
_details = msgspec.msgpack.Decoder(Details)
_encode = msgspec.msgpack.Encoder().encode


@contextmanager
def _edge(doing: str) -> Iterator[None]:
    """Translate SQLite's errors."""
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"the ledger failed while {doing}: {error}") from error


class SqliteStore:
    """See :class:`schemas.ports.Ledger`; this is the durable part, without a memory front.

    Calls are short and made from the event loop: handing them to a thread costs more than they do.
    """

    def __init__(
        self, folder: Path, clock: Clock, *, waiting_per_address: int, keep: bool = True
    ) -> None:
        """Open or make the state in *folder*; ``keep=False`` trades durability for speed.

        StateRefused when another process has it, it is of another clock, or of a newer version.
        """
        self._clock = clock
        self._waiting_per_address = waiting_per_address
        self._lock = _locked(folder)
        try:
            with _edge("opening"):
                self._database = _opened(folder / FILE, keep=keep)
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

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        with _edge(doing):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    async def answers(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired."""
        with _edge("looking up addresses"):
            return self._answers(addresses)

    def _answers(self, addresses: Sequence[str]) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        now = self._clock.now()
        for part in _parts(addresses):
            marks = ",".join("?" * len(part))
            query = f"SELECT address, body FROM answers WHERE expires > ? AND address IN ({marks})"  # noqa: S608
            rows = self._database.execute(query, (now, *part))
            found.update((address, _answer.decode(body)) for address, body in rows)
        return found

    async def answer(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, each until it expires."""
        distinct = {id(answer): answer for answer in answers.values()}
        encoded = {key: _encode(answer) for key, answer in distinct.items()}
        with self._transaction("keeping answers") as database:
            database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)",
                [
                    (address, answer.expires, isinstance(answer, Verdict), encoded[id(answer)])
                    for address, answer in answers.items()
                ],
            )

    async def claim(self, addresses: Sequence[str], seconds: float) -> Claimed:
        """Return the addresses that have no answer: there is no other instance to share with."""
        del seconds
        answers = await self.answers(addresses)
        return Claimed(set(addresses) - set(answers), answers)

    async def release(self, addresses: Sequence[str]) -> None:
        """Nothing is held for this process alone."""

    async def park_unless_answered(self, waiting: Sequence[Waiting]) -> dict[str, Verdict]:
        """Park sign-ins whose address is still unanswered; return the other verdicts."""
        addresses = list(dict.fromkeys(one.address for one in waiting))
        with self._transaction("parking sign-ins") as database:
            known = {
                address: answer
                for address, answer in self._answers(addresses).items()
                if isinstance(answer, Verdict)
            }
            database.executemany(
                "INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        one.key,
                        one.address,
                        WEIGHT.get(one.details.outcome, 1),
                        one.parked,
                        _encode(one.details),
                    )
                    for one in waiting
                    if one.address not in known
                ],
            )
            for address in addresses:
                self._make_room(address)
        return known

    def _make_room(self, address: str) -> None:
        (count,) = self._database.execute(
            "SELECT count(*) FROM waiting WHERE address = ?", (address,)
        ).fetchone()
        over = count - self._waiting_per_address
        if over > 0:
            self._database.execute(
                "DELETE FROM waiting WHERE key IN (SELECT key FROM waiting WHERE address = ? "
                "ORDER BY weight, parked DESC, key LIMIT ?)",
                (address, over),
            )
            self._count_dropped(CROWDED_OUT, over)

    def _count_dropped(self, reason: str, signins: int) -> None:
        self._database.execute(
            "INSERT INTO dropped VALUES (?, ?) "
            "ON CONFLICT (reason) DO UPDATE SET signins = signins + excluded.signins",
            (reason, signins),
        )

    async def waiting_among(self, addresses: Sequence[str]) -> set[str]:
        """Return those addresses that sign-ins wait for."""
        found: set[str] = set()
        with _edge("reading waiting sign-ins"):
            for part in _parts(addresses):
                marks = ",".join("?" * len(part))
                query = f"SELECT DISTINCT address FROM waiting WHERE address IN ({marks})"  # noqa: S608
                found.update(address for (address,) in self._database.execute(query, part))
        return found

    async def waiting_for(self, address: str, most: int) -> list[Waiting]:
        """Return up to *most* sign-ins that wait for *address*, oldest first."""
        with _edge("reading waiting sign-ins"):
            rows = self._database.execute(
                "SELECT key, parked, details FROM waiting WHERE address = ? "
                "ORDER BY parked, key LIMIT ?",
                (address, most),
            )
            return [
                Waiting(key, address, _details.decode(details), parked)
                for key, parked, details in rows
            ]

    async def settle(self, waiting: Sequence[Waiting]) -> None:
        """Delete waiting sign-ins."""
        with self._transaction("settling sign-ins") as database:
            database.executemany(
                "DELETE FROM waiting WHERE key = ?", [(one.key,) for one in waiting]
            )

    async def answered_waiting(self) -> list[str]:
        """Return answered addresses that still have waiting sign-ins."""
        with _edge("reading waiting sign-ins"):
            rows = self._database.execute(
                "SELECT DISTINCT address FROM waiting JOIN answers USING (address) "
                "WHERE answered AND expires > ?",
                (self._clock.now(),),
            )
            return [address for (address,) in rows]

    async def due(self, most: int) -> list[str]:
        """Return addresses that may be asked: successes first, then the longest waiting."""
        with _edge("ranking waiting addresses"):
            rows = self._database.execute(
                "SELECT address FROM waiting WHERE NOT EXISTS (SELECT 1 FROM answers "
                "WHERE answers.address = waiting.address AND expires > ?) "
                "GROUP BY address ORDER BY max(weight) DESC, min(parked), address LIMIT ?",
                (self._clock.now(), most),
            )
            return [address for (address,) in rows]

    async def give_up(self, parked_before: float) -> int:
        """Drop and count sign-ins that have waited too long."""
        with self._transaction("giving up waiting sign-ins") as database:
            gone = database.execute(
                "DELETE FROM waiting WHERE parked < ?", (parked_before,)
            ).rowcount
            if gone:
                self._count_dropped(TOO_OLD, gone)
        return gone

    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Take up to *wanted* lookups from the period's quota; return how many."""
        with self._transaction("reserving lookups") as database:
            granted = max(0, min(wanted, quota - self._spent(account, period)))
            database.execute(
                "INSERT INTO budget VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET spent = spent + excluded.spent",
                (account, period, granted),
            )
        return granted

    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Give lookups back that surely did not count."""
        with self._transaction("refunding lookups") as database:
            database.execute(
                "UPDATE budget SET spent = max(0, spent - ?) WHERE account = ? AND period = ?",
                (lookups, account, period),
            )

    async def spent(self, account: str, period: str) -> int:
        """Return the lookups taken in the period."""
        with _edge("reading the budget"):
            return self._spent(account, period)

    def _spent(self, account: str, period: str) -> int:
        row = self._database.execute(
            "SELECT spent FROM budget WHERE account = ? AND period = ?", (account, period)
        ).fetchone()
        return int(row[0]) if row else 0

    async def note(self, name: str) -> str | None:
        """Return a note."""
        with _edge("reading a note"):
            row = self._database.execute(
                "SELECT text FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return str(row[0]) if row else None

    async def leave_note(self, name: str, text: str) -> None:
        """Keep a small text under a name."""
        with self._transaction("leaving a note") as database:
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    async def sweep(self) -> None:
        """Delete what has expired, a part at a time, and budgets of periods long gone."""
        gone = _AT_ONCE
        while gone == _AT_ONCE:
            with self._transaction("sweeping") as database:
                gone = database.execute(
                    "DELETE FROM answers WHERE address IN "
                    "(SELECT address FROM answers WHERE expires <= ? LIMIT ?)",
                    (self._clock.now(), _AT_ONCE),
                ).rowcount

    async def size(self) -> LedgerSize:
        """Return what the ledger holds."""
        with _edge("measuring"):
            one = self._database.execute(
                "SELECT (SELECT count(*) FROM answers WHERE answered AND expires > ?), "
                "(SELECT count(*) FROM waiting), (SELECT count(DISTINCT address) FROM waiting)",
                (self._clock.now(),),
            ).fetchone()
            dropped = dict(self._database.execute("SELECT reason, signins FROM dropped"))
            return LedgerSize(one[0], one[1], one[2], dropped)

    async def close(self) -> None:
        """Close the file, then let the next process have it."""
        with _edge("closing"):
            self._database.close()
        self._lock.close()


def clock_of(folder: Path) -> str | None:
    """Return the kind of clock that the state in *folder* was kept by, or None for no state."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT text FROM notes WHERE name = 'clock'").fetchone()
    except sqlite3.Error:
        return None  # opening it for real tells what is wrong
    return str(row[0]) if row else None


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _locked(folder: Path) -> IO[bytes]:
    """Hold the directory for the life of this process."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise StateRefused(f"STATE__DIR: {folder}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StateRefused(
            f"STATE__DIR: {folder} is in use by another process; one directory serves one process"
        ) from None
    return lock


def _opened(path: Path, *, keep: bool) -> sqlite3.Connection:
    path.touch(mode=0o600)  # SQLite gives its other files the same permissions
    database = sqlite3.connect(path, isolation_level=None)
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StateRefused(
                f"STATE__DIR: {path} was written by a newer version of signinwatch "
                f"(schema {version}, this one knows {VERSION})"
            )
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'FULL' if keep else 'OFF'}")
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {VERSION}")
    except sqlite3.DatabaseError as error:
        database.close()
        raise StateRefused(f"STATE__DIR: {path} cannot be used: {error}") from None
    except StateRefused:
        database.close()
        raise
    return database
