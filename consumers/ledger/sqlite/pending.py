"""Pending sign-ins of the SQLite ledger, and the ranked queue of their addresses.

``queue`` holds one row per address with pending sign-ins, ranked by an index. The addresses with
the highest rank are therefore found without a scan of all pending sign-ins.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import starmap
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override

from consumers.enrichment.ranking import recheck_penalty
from consumers.ledger.rules import EVICTED, EXPIRED, first_lookup, is_final, weight_of
from consumers.ledger.sqlite.schema import SqliteFile, edge, in_parts
from schemas.events.sign_in import Details
from schemas.intel.verdicts import Answer, Verdict
from schemas.ledger_ports import Ledger, PendingAddress, PendingSignIn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from schemas.ports import Clock

answer_of = msgspec.msgpack.Decoder(Answer).decode
details_of = msgspec.msgpack.Decoder(Details).decode
_parts = msgspec.msgpack.Decoder(tuple[tuple[str, float], ...]).decode
encode = msgspec.msgpack.Encoder().encode

_QUEUE = (
    "INSERT INTO queue VALUES (?1, ?2, ?3, ?4, ?5, ?2 + ?3) ON CONFLICT (address) DO UPDATE SET "
    "own = max(own, ?2), place = ?3, parked = min(parked, ?4), asked = ?5, "
    "rank = max(own, ?2) + ?3"
)
_MARK_LOOKED_UP = (
    "UPDATE queue SET (own, parked, rank) = (SELECT max(waiting.own), min(waiting.parked), "
    "max(waiting.own) + queue.place FROM waiting "
    "WHERE waiting.address = queue.address) WHERE parked < ?"
)
_DUE = (
    "SELECT address, rank, parked, asked FROM queue WHERE asked IS {looked_up} NULL AND NOT EXISTS "
    "(SELECT 1 FROM answers WHERE answers.address = queue.address AND expires > ?1 "
    "AND (again = 0 OR again > ?1)) ORDER BY rank DESC, parked, address {limit}"
)


class SqlitePending(SqliteFile, Ledger):
    """Enqueue, rank, acknowledge and expire pending sign-ins."""

    def __init__(
        self, folder: Path, clock: Clock, *, waiting_per_address: int, keep: bool = True
    ) -> None:
        """See :class:`SqliteFile`."""
        super().__init__(folder, clock, keep=keep)
        self._waiting_per_address = waiting_per_address

    @override
    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        with edge("looking up addresses"):
            return self._answers(addresses)

    def _answers(self, addresses: Sequence[str]) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        now = self._clock.now()
        for part in in_parts(addresses):
            marks = ",".join("?" * len(part))
            query = f"SELECT address, body FROM answers WHERE expires > ? AND address IN ({marks})"  # noqa: S608
            rows = self._database.execute(query, (now, *part))
            found.update((address, answer_of(body)) for address, body in rows)
        return found

    @override
    async def enqueue_unless_answered(
        self, waiting: Sequence[PendingSignIn], crowded: int = 0
    ) -> dict[str, Verdict]:
        by_address: defaultdict[str, list[PendingSignIn]] = defaultdict(list)
        for one in waiting:
            by_address[one.address].append(one)
        with self._transaction("parking sign-ins"):
            answers = self._answers(list(by_address))
            known = {
                one: answered for one, answer in answers.items() if (answered := is_final(answer))
            }
            for address in known:
                del by_address[address]
            queued = self._queued(list(by_address))
            queued |= {
                address
                for address, several in by_address.items()
                if len(several) > self._waiting_per_address
            }
            self._insert([one for several in by_address.values() for one in several])
            self._database.executemany(
                _QUEUE,
                [
                    (
                        address,
                        max(one.own for one in several),
                        several[-1].place,
                        several[0].enqueued_at,
                        first_lookup(answers.get(address)),
                    )
                    for address, several in by_address.items()
                ],
            )
            for address in by_address:
                if address in queued:
                    self._make_room(address)
            if crowded:
                self._count_dropped(EVICTED, crowded)
        return known

    def _insert(self, waiting: Iterable[PendingSignIn]) -> None:
        self._database.executemany(
            "INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.address,
                    one.key,
                    weight_of(one),
                    one.enqueued_at,
                    one.own,
                    one.place,
                    encode(one.parts),
                    encode(one.details),
                )
                for one in waiting
            ],
        )

    def _make_room(self, address: str) -> None:
        (count,) = self._database.execute(
            "SELECT count(*) FROM waiting WHERE address = ?", (address,)
        ).fetchone()
        over = count - self._waiting_per_address
        if over > 0:
            self._database.execute(
                "DELETE FROM waiting WHERE address = ?1 AND key IN (SELECT key FROM waiting "
                "WHERE address = ?1 ORDER BY weight, parked DESC, key LIMIT ?2)",
                (address, over),
            )
            self._count_dropped(EVICTED, over)

    def _count_dropped(self, reason: str, signins: int) -> None:
        self._database.execute(
            "INSERT INTO dropped VALUES (?, ?) "
            "ON CONFLICT (reason) DO UPDATE SET signins = signins + excluded.signins",
            (reason, signins),
        )

    def _mark_looked_up(self, answers: Mapping[str, Answer]) -> None:
        """Store when each address that awaits a recheck was first looked up."""
        self._database.executemany(
            "UPDATE queue SET asked = ? WHERE address = ?",
            [
                (first_lookup(answer), one)
                for one, answer in answers.items()
                if not is_final(answer)
            ],
        )

    @override
    async def waiting_among(self, addresses: Sequence[str]) -> set[str]:
        with edge("reading waiting sign-ins"):
            return self._queued(addresses)

    def _queued(self, addresses: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for part in in_parts(addresses):
            marks = ",".join("?" * len(part))
            query = f"SELECT address FROM queue WHERE address IN ({marks})"  # noqa: S608
            found.update(address for (address,) in self._database.execute(query, part))
        return found

    @override
    async def waiting_for(self, address: str, most: int) -> list[PendingSignIn]:
        with edge("reading waiting sign-ins"):
            rows = self._database.execute(
                "SELECT key, parked, details, own, place, parts FROM waiting WHERE address = ? "
                "ORDER BY parked, key LIMIT ?",
                (address, most),
            )
            return [
                PendingSignIn(key, address, details_of(details), pending, own, place, _parts(parts))
                for key, pending, details, own, place, parts in rows
            ]

    @override
    async def acknowledge(self, waiting: Sequence[PendingSignIn]) -> None:
        addresses = dict.fromkeys(one.address for one in waiting)
        with self._transaction("settling sign-ins") as database:
            database.executemany(
                "DELETE FROM waiting WHERE address = ? AND key = ?",
                [(one.address, one.key) for one in waiting],
            )
            self._tidy_queue(addresses)

    @override
    async def acknowledge_addresses(self, addresses: Sequence[str]) -> dict[str, int]:
        settled: dict[str, int] = {}
        with self._transaction("settling addresses") as database:
            for part in in_parts(addresses):
                marks = ",".join("?" * len(part))
                count = f"SELECT address, count(*) FROM waiting WHERE address IN ({marks})"  # noqa: S608
                settled.update(database.execute(f"{count} GROUP BY address", part).fetchall())
                for table in ("waiting", "queue"):
                    gone = f"DELETE FROM {table} WHERE address IN ({marks})"  # noqa: S608
                    database.execute(gone, part)
        return settled

    def _tidy_queue(self, addresses: Iterable[str]) -> None:
        """Remove addresses without pending sign-ins from the queue."""
        self._database.executemany(
            "DELETE FROM queue WHERE address = ?1 "
            "AND NOT EXISTS (SELECT 1 FROM waiting WHERE waiting.address = ?1)",
            [(address,) for address in addresses],
        )

    @override
    async def answered_waiting(self) -> list[str]:
        with edge("reading waiting sign-ins"):
            rows = self._database.execute(
                "SELECT address FROM queue JOIN answers USING (address) "
                "WHERE answered AND again = 0 AND expires > ?",
                (self._clock.now(),),
            )
            return [address for (address,) in rows]

    @override
    async def due(self, most: int) -> list[PendingAddress]:
        now = self._clock.now()
        with edge("ranking waiting addresses"):
            rows = self._database.execute(_DUE.format(looked_up="", limit="LIMIT ?2"), (now, most))
            due = list(starmap(PendingAddress, rows))
            again = self._database.execute(_DUE.format(looked_up="NOT", limit=""), (now,))
            due += starmap(PendingAddress, again)
        ranked = sorted(
            due,
            key=lambda one: (recheck_penalty(one.first_lookup, now) - one.score, one.enqueued_at),
        )
        return ranked[:most]

    @override
    async def expire_pending(self, enqueued_before: float) -> int:
        """Delete expired sign-ins. Count only those whose address was never looked up."""
        with self._transaction("giving up waiting sign-ins") as database:
            late = database.execute(
                "SELECT address, asked FROM queue WHERE parked < ?", (enqueued_before,)
            ).fetchall()
            dropped = 0
            for address, looked_up in late:
                gone = database.execute(
                    "DELETE FROM waiting WHERE address = ? AND parked < ?",
                    (address, enqueued_before),
                )
                dropped += gone.rowcount if looked_up is None else 0
            if dropped:
                self._count_dropped(EXPIRED, dropped)
            if late:
                database.execute(_MARK_LOOKED_UP, (enqueued_before,))
                database.execute("DELETE FROM queue WHERE parked IS NULL")
        return dropped
