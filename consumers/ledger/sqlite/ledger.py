"""The ledger's store in a directory: one SQLite file for one process on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.ledger.rules import HISTORY_SECONDS, is_about
from consumers.ledger.sqlite.pending import SqlitePending, details_of, encode
from consumers.ledger.sqlite.schema import STATEMENT_BATCH, edge, in_parts
from schemas.intel.verdicts import Verdict
from schemas.ledger_ports import ErasedCounts, LeaseResult, LedgerSize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.intel.verdicts import Answer


class SqliteLedger(SqlitePending):
    """See :class:`schemas.ledger_ports.Ledger`; this is the durable part, without a memory front.

    Calls are short and made from the event loop: handing them to a thread costs more than they do.
    """

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, each until it expires."""
        distinct = {id(answer): answer for answer in answers.values()}
        encoded = {
            key: (isinstance(answer, Verdict), encode(answer), getattr(answer, "recheck_at", 0.0))
            for key, answer in distinct.items()
        }
        with self._transaction("keeping answers") as database:
            database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                [
                    (address, answer.expires, *encoded[id(answer)])
                    for address, answer in answers.items()
                ],
            )
            self._mark_asked(answers)

    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """Return the addresses that have no answer: there is no other instance to share with."""
        del seconds
        now = self._clock.now()
        found = await self.get_verdicts(addresses)
        answers = {one: answer for one, answer in found.items() if answer.stands(now)}
        return LeaseResult(set(addresses) - set(answers), answers)

    async def release(self, addresses: Sequence[str]) -> None:
        """Nothing is held for this process alone."""

    # --- the budget ---

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
        with edge("reading the budget"):
            return self._spent(account, period)

    def _spent(self, account: str, period: str) -> int:
        row = self._database.execute(
            "SELECT spent FROM budget WHERE account = ? AND period = ?", (account, period)
        ).fetchone()
        return int(row[0]) if row else 0

    # --- history and notes ---

    async def get_history(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what was kept."""
        found: dict[str, bytes] = {}
        with edge("reading the history"):
            for part in in_parts(keys):
                marks = ",".join("?" * len(part))
                query = f"SELECT key, body FROM history WHERE key IN ({marks})"  # noqa: S608
                found.update(self._database.execute(query, part))
        return found

    async def put_history(
        self, entries: Mapping[str, bytes], merge: Callable[[str, bytes, bytes], bytes]
    ) -> None:
        """Keep entries; there is no other instance to merge with."""
        del merge
        now = self._clock.now()
        with self._transaction("keeping the history") as database:
            database.executemany(
                "INSERT OR REPLACE INTO history VALUES (?, ?, ?)",
                [(key, now, body) for key, body in entries.items()],
            )

    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        account: str | None = None,
    ) -> ErasedCounts:
        """Delete what is kept of an address, and the sign-ins of an account or an address."""
        told = ErasedCounts()
        with self._transaction("forgetting") as database:
            told.verdicts = database.execute(
                "DELETE FROM answers WHERE address = ?", (address,)
            ).rowcount
            waiting = database.execute("SELECT key, address, details FROM waiting").fetchall()
            gone = [
                (key, there)
                for key, there, details in waiting
                if is_about(details_of(details), address, account)
            ]
            database.executemany("DELETE FROM waiting WHERE key = ? AND address = ?", gone)
            self._tidy_queue(there for _, there in gone)
            told.waiting = len(gone)
            for key, body in database.execute("SELECT key, body FROM history").fetchall():
                left = revise(key, body)
                told.history += left != body
                if left is None:
                    database.execute("DELETE FROM history WHERE key = ?", (key,))
                elif left != body:
                    database.execute("UPDATE history SET body = ? WHERE key = ?", (left, key))
        with edge("overwriting what was deleted"):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return told

    async def get_value(self, name: str) -> str | None:
        """Return a note."""
        with edge("reading a note"):
            row = self._database.execute(
                "SELECT text FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return str(row[0]) if row else None

    async def put_value(self, name: str, text: str) -> None:
        """Keep a small text under a name."""
        with self._transaction("leaving a note") as database:
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    # --- house ---

    async def purge_expired(self) -> None:
        """Delete what has expired or nobody used for long, a part at a time."""
        now = self._clock.now()
        for table, key, column, before in (
            ("answers", "address", "expires", now),
            ("history", "key", "used", now - HISTORY_SECONDS),
        ):
            gone = STATEMENT_BATCH
            while gone == STATEMENT_BATCH:
                with self._transaction("sweeping") as database:
                    gone = database.execute(
                        f"DELETE FROM {table} WHERE {key} IN "  # noqa: S608
                        f"(SELECT {key} FROM {table} WHERE {column} <= ? LIMIT ?)",
                        (before, STATEMENT_BATCH),
                    ).rowcount

    async def size(self) -> LedgerSize:
        """Return what the ledger holds."""
        with edge("measuring"):
            one = self._database.execute(
                "SELECT (SELECT count(*) FROM answers WHERE answered AND expires > ?), "
                "(SELECT count(*) FROM waiting), (SELECT count(*) FROM queue)",
                (self._clock.now(),),
            ).fetchone()
            dropped = dict(self._database.execute("SELECT reason, signins FROM dropped"))
            return LedgerSize(one[0], one[1], one[2], dropped)
