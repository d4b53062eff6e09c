"""Plans the writes that enqueue sign-ins, and fits them into transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.ledger.rules import weight_of
from consumers.ledger.table.rows import (
    MAX_TRANSACTION_BYTES,
    MAX_TRANSACTION_WRITES,
    Write,
    key_of,
    waiting_write,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumers.ledger.table.rows import Entity, VerdictEntry
    from schemas.ledger_ports import PendingSignIn


@dataclass(frozen=True, slots=True)
class EnqueuePlan:
    """The writes that enqueue sign-ins of one address, based on the entry as it was read."""

    entry: VerdictEntry
    writes: Sequence[Write]
    """New rows first, so that no sign-in is evicted before its replacement exists."""
    refused: int
    """New sign-ins that are evicted at once."""

    @classmethod
    def plan(
        cls,
        entry: VerdictEntry,
        parked: Iterable[Entity],
        wanted: Mapping[str, PendingSignIn],
        most: int,
    ) -> EnqueuePlan:
        """Rank pending and new sign-ins together, and evict the lowest ranks beyond *most*.

        Successful sign-ins are evicted last. At equal weight the latest sign-in is evicted first.
        """
        ranked = [
            (one.values["weight"], -float(one.values["parked"]), key_of(one.row), one.row)
            for one in parked
        ]
        there = {key for _, _, key, _ in ranked}
        fresh = {key: one for key, one in wanted.items() if key not in there}
        ranked += [(weight_of(one), -one.enqueued_at, key, "") for key, one in fresh.items()]
        over = sorted(ranked)[: max(0, len(ranked) - most)]
        losers = {key for _, _, key, _ in over}
        inserts = [waiting_write(one) for key, one in fresh.items() if key not in losers]
        deletes = [Write("delete", row) for *_, row in over if row]
        return cls(entry, inserts + deletes, len(over) - len(deletes))


@dataclass(slots=True)
class EnqueueTransaction:
    """A transaction under construction. One write is reserved for the count of evictions."""

    writes: list[Write] = field(default_factory=list)
    dropped: int = 0
    _size: int = 0

    def take(self, parking: EnqueuePlan) -> bool:
        """Add the writes that fit, with the entry's own write; return True if all of them fit."""
        if not parking.writes and not parking.refused:
            return True
        room = MAX_TRANSACTION_WRITES - 1 - len(self.writes)
        if room < 2:
            return False
        part: list[Write] = []
        for one in parking.writes[: room - 1]:
            if self._size + one.size > MAX_TRANSACTION_BYTES and (self.writes or part):
                break
            part.append(one)
            self._size += one.size
        whole = len(part) == len(parking.writes)
        if part or whole:
            self.writes += [parking.entry.touched(), *part]
            self.dropped += sum(one.kind == "delete" for one in part)
            self.dropped += parking.refused if whole else 0
        return whole
