"""The ledger in a state directory: one SQLite file for one process on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from consumers.ledger.rules import HISTORY_SECONDS, is_about
from consumers.ledger.sqlite.pending import SqlitePending, details_of, encode
from consumers.ledger.sqlite.schema import STATEMENT_BATCH, edge, in_parts
from schemas.intel.verdicts import Verdict
from schemas.ledger_ports import ErasedCounts, LeaseResult, LedgerSize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.intel.verdicts import Answer


class SqliteLedger(SqlitePending):
    """The durable ledger, without the in-memory cache.

    Calls are short and run on the event loop. Moving them to a thread would cost more than the
    calls themselves.
    """

    @override
    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        distinct = {id(answer): answer for answer in answers.values()}
        encoded = {
            key: (isinstance(answer, Verdict), encode(answer), getattr(answer, "recheck_at", 0.0))
            for key, answer in distinct.items()
        }
        with self._transaction("storing verdicts") as database:
            database.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                [
                    (address, answer.expires, *encoded[id(answer)])
                    for address, answer in answers.items()
                ],
            )
            self._mark_looked_up(answers)

    @override
    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """Lease every address without a verdict. No other instance shares the directory."""
        del seconds
        now = self._clock.now()
        found = await self.get_verdicts(addresses)
        answers = {address: answer for address, answer in found.items() if answer.stands(now)}
        return LeaseResult(set(addresses) - set(answers), answers)

    @override
    async def release(self, addresses: Sequence[str]) -> None:
        """Do nothing: a single process stores no leases."""

    # --- the budget ---

    @override
    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        with self._transaction("reserving lookups") as database:
            granted = max(0, min(wanted, quota - self._spent(account, period)))
            database.execute(
                "INSERT INTO budget VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET spent = spent + excluded.spent",
                (account, period, granted),
            )
        return granted

    @override
    async def refund(self, account: str, period: str, lookups: int) -> None:
        with self._transaction("refunding lookups") as database:
            database.execute(
                "UPDATE budget SET spent = max(0, spent - ?) WHERE account = ? AND period = ?",
                (lookups, account, period),
            )

    @override
    async def spent(self, account: str, period: str) -> int:
        with edge("reading the budget"):
            return self._spent(account, period)

    def _spent(self, account: str, period: str) -> int:
        row = self._database.execute(
            "SELECT spent FROM budget WHERE account = ? AND period = ?", (account, period)
        ).fetchone()
        return int(row[0]) if row else 0

    # --- history and values ---

    @override
    async def get_history(self, keys: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        with edge("reading the history"):
            for part in in_parts(keys):
                marks = ",".join("?" * len(part))
                query = f"SELECT key, body FROM history WHERE key IN ({marks})"  # noqa: S608
                found.update(self._database.execute(query, part))
        return found

    @override
    async def put_history(
        self, entries: Mapping[str, bytes], merge: Callable[[str, bytes, bytes], bytes]
    ) -> None:
        """Store entries. No other instance writes, so nothing is merged."""
        del merge
        now = self._clock.now()
        with self._transaction("storing the history") as database:
            database.executemany(
                "INSERT OR REPLACE INTO history VALUES (?, ?, ?)",
                [(key, now, body) for key, body in entries.items()],
            )

    @override
    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        account: str | None = None,
    ) -> ErasedCounts:
        erased = ErasedCounts()
        with self._transaction("erasing data") as database:
            erased.verdicts = database.execute(
                "DELETE FROM answers WHERE address = ?", (address,)
            ).rowcount
            waiting = database.execute("SELECT key, address, details FROM waiting").fetchall()
            gone = [
                (key, pending_address)
                for key, pending_address, details in waiting
                if is_about(details_of(details), address, account)
            ]
            database.executemany("DELETE FROM waiting WHERE key = ? AND address = ?", gone)
            self._tidy_queue(pending_address for _, pending_address in gone)
            erased.waiting = len(gone)
            for key, body in database.execute("SELECT key, body FROM history").fetchall():
                left = revise(key, body)
                erased.history += left != body
                if left is None:
                    database.execute("DELETE FROM history WHERE key = ?", (key,))
                elif left != body:
                    database.execute("UPDATE history SET body = ? WHERE key = ?", (left, key))
        with edge("overwriting erased data"):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return erased

    @override
    async def get_value(self, name: str) -> str | None:
        with edge("reading a value"):
            row = self._database.execute(
                "SELECT text FROM notes WHERE name = ?", (name,)
            ).fetchone()
        return str(row[0]) if row else None

    @override
    async def put_value(self, name: str, text: str) -> None:
        with self._transaction("storing a value") as database:
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, text))

    # --- maintenance ---

    @override
    async def purge_expired(self) -> None:
        """Delete expired verdicts and unused history entries, one batch per transaction."""
        now = self._clock.now()
        for table, key, column, before in (
            ("answers", "address", "expires", now),
            ("history", "key", "used", now - HISTORY_SECONDS),
        ):
            gone = STATEMENT_BATCH
            while gone == STATEMENT_BATCH:
                with self._transaction("purging expired entries") as database:
                    gone = database.execute(
                        f"DELETE FROM {table} WHERE {key} IN "  # noqa: S608
                        f"(SELECT {key} FROM {table} WHERE {column} <= ? LIMIT ?)",
                        (before, STATEMENT_BATCH),
                    ).rowcount

    @override
    async def size(self) -> LedgerSize:
        with edge("measuring"):
            verdicts, waiting, addresses = self._database.execute(
                "SELECT (SELECT count(*) FROM answers WHERE answered AND expires > ?), "
                "(SELECT count(*) FROM waiting), (SELECT count(*) FROM queue)",
                (self._clock.now(),),
            ).fetchone()
            dropped = dict(self._database.execute("SELECT reason, signins FROM dropped"))
            return LedgerSize(verdicts, waiting, addresses, dropped)
