"""Letting sign-ins wait in the ledger: scored, within bounds, and the best of them asked about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from consumers.enrichment.ranking import score_breakdown, total_points
from consumers.ledger.rules import weight
from consumers.pipeline.evaluator import row_time
from schemas.events.ranking_signals import signals_of
from schemas.ledger_ports import PendingSignIn
from schemas.rows.findings import finding_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumers.enrichment.history import History
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.ranking_signals import Signals
    from schemas.intel.verdicts import Verdict
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

    _Read = dict[str, list[tuple[Sighting, Signals]]]

MAX_CAPACITY_ENTRIES = 50_000
"""Addresses of which we remember how many sign-ins wait; for others the ledger counts itself."""


@dataclass(slots=True)
class AddressCapacity:
    """What waits for one address, as far as this process knows: the weights, least first."""

    since: float
    weights: list[float]


class CapacityHint:
    """Turns sign-ins away for which there is no room, before they cost anything.

    The ledger keeps the bound itself, also over restarts and instances; this only spares it most
    of the sign-ins of addresses that thousands use.
    """

    def __init__(self, most: int, lasts: float) -> None:
        self._most = most
        self._lasts = lasts
        self._rooms: dict[str, AddressCapacity] = {}

    def has_room(self, address: str, weight: float, now: float) -> bool:
        """Tell whether a sign-in may matter more than those that wait already."""
        room = self._rooms.get(address)
        if room is None or not 0 <= now - room.since < self._lasts:
            if len(self._rooms) >= MAX_CAPACITY_ENTRIES:
                self._rooms.clear()
            room = self._rooms[address] = AddressCapacity(now, [])
        if len(room.weights) < self._most:
            heappush(room.weights, weight)
            return True
        if weight <= room.weights[0]:
            return False
        heapreplace(room.weights, weight)
        return True

    def is_full(self, address: str, now: float) -> bool:
        """Tell whether sign-ins wait for an address, as far as this process knows."""
        room = self._rooms.get(address)
        return room is not None and 0 <= now - room.since < self._lasts

    def clear(self, address: str) -> None:
        """Note that nothing waits for an address any more."""
        self._rooms.pop(address, None)


class PendingSignIns:
    """Scores sign-ins and parks them."""

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        clock: Clock,
        guard: RecordGuard,
        *,
        per_address: int,
        lasts: float,
    ) -> None:
        self._guard = guard
        self._ledger = ledger
        self._history = history
        self._clock = clock
        self.capacity = CapacityHint(per_address, lasts)

    async def enqueue(self, parked: Mapping[str, Sequence[Sighting]]) -> dict[str, Verdict]:
        """Park sign-ins by address; return the verdicts of those answered meanwhile."""
        read = self._read(parked)
        await self._history.fetch(_pairs(read))
        now = self._clock.now()
        fallback = row_time(now, datetime.now(UTC))
        waiting: list[PendingSignIn] = []
        crowded = 0
        for address, several in read.items():
            for (signin, enqueued, _), signals in several:
                with self._guard.around(signin):
                    parts = score_breakdown(signals, self._history.seen(address, signals))
                    self._history.learn(address, signals)
                    own, place = total_points(parts)
                    if not self.capacity.has_room(address, weight(signals.outcome, own), now):
                        crowded += 1
                        continue
                    details = signin.details(enqueued=enqueued, fallback_time=fallback)
                    key = finding_id(details.table, details.event_id, address)
                    waiting.append(
                        PendingSignIn(key, address, details, now, own, place, tuple(parts))
                    )
        await self._guard.flush()
        return await self._ledger.enqueue_unless_answered(waiting, crowded)

    async def learn_history(self, group: Mapping[str, Sequence[Sighting]]) -> dict[str, float]:
        """Learn from sign-ins that need not wait; return the scores of their addresses."""
        read = self._read(group)
        await self._history.fetch(_pairs(read))
        scores: dict[str, float] = {}
        for address, several in read.items():
            for (signin, _, _), signals in several:
                with self._guard.around(signin):
                    score = self._score(address, signals)
                    scores[address] = max(score, scores.get(address, score))
                    self._history.learn(address, signals)
        await self._guard.flush()
        return scores

    def _score(self, address: str, signals: Signals) -> float:
        return sum(total_points(score_breakdown(signals, self._history.seen(address, signals))))

    async def score(self, address: str, held: Sequence[Sighting]) -> float:
        """Return the score of an address by sign-ins that are held for it."""
        read = self._read({address: held})
        await self._history.fetch(_pairs(read))
        scores = []
        for (signin, _, _), signals in read[address]:
            with self._guard.around(signin):
                scores.append(self._score(address, signals))
        return max(scores, default=0.0)

    def _read(self, group: Mapping[str, Sequence[Sighting]]) -> _Read:
        """Read the signals of sign-ins; those that cannot be read are set aside."""
        read: _Read = {address: [] for address in group}
        for address, several in group.items():
            for held in several:
                with self._guard.around(held[0]):
                    read[address].append((held, signals_of(held[0])))
        return read


def _pairs(read: _Read) -> Iterator[tuple[str, Signals]]:
    for address, several in read.items():
        for _, signals in several:
            yield address, signals
