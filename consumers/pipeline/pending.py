"""Scores of sign-ins that wait for a lookup, and the room for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappush, heapreplace
from typing import TYPE_CHECKING

from consumers.enrichment.ranking import score_breakdown, total_points
from consumers.ledger.rules import weight_of
from consumers.pipeline.row_times import row_time
from schemas.events.ranking_signals import signals_of
from schemas.ledger_ports import PendingSignIn
from schemas.rows.findings import finding_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumers.enrichment.history import History
    from consumers.enrichment.local_sources import LocalSources
    from consumers.enrichment.ranking import Part
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.ranking_signals import Signals
    from schemas.ports import Clock

    _Read = dict[str, list[tuple[Sighting, Signals]]]

MAX_CAPACITY_ENTRIES = 50_000
"""Addresses whose pending sign-ins are counted in memory; the ledger counts the rest."""


@dataclass(slots=True)
class AddressCapacity:
    """Scores of the pending sign-ins of an address known to this process, lowest first."""

    since: float
    weights: list[float]


class CapacityHint:
    """Rejects sign-ins early when an address already has its maximum of pending ones.

    The ledger enforces the limit, across restarts and instances. This hint only spares it most
    sign-ins of addresses that thousands share.
    """

    def __init__(self, max_pending: int, ttl: float) -> None:
        self._max_pending = max_pending
        self._ttl = ttl
        self._capacities: dict[str, AddressCapacity] = {}

    def has_room(self, address: str, weight: float, now: float) -> bool:
        """Return True if a sign-in may outrank one that is pending already."""
        capacity = self._capacities.get(address)
        if capacity is None or not 0 <= now - capacity.since < self._ttl:
            if len(self._capacities) >= MAX_CAPACITY_ENTRIES:
                self._capacities.clear()
            capacity = self._capacities[address] = AddressCapacity(now, [])
        if len(capacity.weights) < self._max_pending:
            heappush(capacity.weights, weight)
            return True
        if weight <= capacity.weights[0]:
            return False
        heapreplace(capacity.weights, weight)
        return True

    def has_pending(self, address: str, now: float) -> bool:
        """Return True if sign-ins are pending for an address, as far as this process knows."""
        capacity = self._capacities.get(address)
        return capacity is not None and 0 <= now - capacity.since < self._ttl

    def clear(self, address: str) -> None:
        """Forget an address: nothing is pending for it any more."""
        self._capacities.pop(address, None)


class PendingSignIns:
    """Scores sign-ins that may have to wait."""

    def __init__(
        self,
        history: History,
        sources: LocalSources,
        clock: Clock,
        guard: RecordGuard,
        *,
        per_address: int,
        lasts: float,
    ) -> None:
        self._guard = guard
        self._history = history
        self._sources = sources
        self._clock = clock
        self.capacity = CapacityHint(per_address, lasts)

    async def scored(
        self, waiting: Mapping[str, Sequence[Sighting]]
    ) -> tuple[list[PendingSignIn], int]:
        """Score sign-ins by address; return those to enqueue, and how many find no room."""
        read = self._read(waiting)
        await self._history.fetch(_pairs(read))
        now = self._clock.now()
        fallback = row_time(now, datetime.now(UTC))
        accepted: list[PendingSignIn] = []
        evicted = 0
        for address, sightings in read.items():
            for (signin, enqueued, _), signals in sightings:
                with self._guard.around(signin):
                    parts = self._parts(address, signals)
                    self._history.learn(address, signals)
                    event_score, location_score = total_points(parts)
                    if not self.capacity.has_room(
                        address, weight_of(signals.outcome, event_score), now
                    ):
                        evicted += 1
                        continue
                    details = signin.details(enqueued=enqueued, fallback_time=fallback)
                    finding = finding_id(details.table, details.event_id, address)
                    key = f"{finding}{details.outcome.rank}"
                    accepted.append(
                        PendingSignIn(
                            key, address, details, now, event_score, location_score, tuple(parts)
                        )
                    )
        await self._guard.flush()
        return accepted, evicted

    async def learn_history(self, group: Mapping[str, Sequence[Sighting]]) -> dict[str, float]:
        """Learn from sign-ins that do not wait; return the scores of their addresses."""
        read = self._read(group)
        await self._history.fetch(_pairs(read))
        scores: dict[str, float] = {}
        for address, sightings in read.items():
            for (signin, _, _), signals in sightings:
                with self._guard.around(signin):
                    score = self._score(address, signals)
                    scores[address] = max(score, scores.get(address, score))
                    self._history.learn(address, signals)
        await self._guard.flush()
        return scores

    def _parts(self, address: str, signals: Signals) -> list[Part]:
        classes = self._sources.classes_of(address)
        return score_breakdown(signals, self._history.seen(address, signals), classes)

    def _score(self, address: str, signals: Signals) -> float:
        return sum(total_points(self._parts(address, signals)))

    async def score(self, address: str, sightings: Sequence[Sighting]) -> float:
        """Return the score of an address by its in-flight sign-ins."""
        read = self._read({address: sightings})
        await self._history.fetch(_pairs(read))
        scores = []
        for (signin, _, _), signals in read[address]:
            with self._guard.around(signin):
                scores.append(self._score(address, signals))
        return max(scores, default=0.0)

    def _read(self, group: Mapping[str, Sequence[Sighting]]) -> _Read:
        """Read the signals of sign-ins; quarantine those that cannot be read."""
        read: _Read = {address: [] for address in group}
        for address, sightings in group.items():
            for sighting in sightings:
                with self._guard.around(sighting[0]):
                    read[address].append((sighting, signals_of(sighting[0])))
        return read


def _pairs(read: _Read) -> Iterator[tuple[str, Signals]]:
    for address, sightings in read.items():
        for _, signals in sightings:
            yield address, signals
