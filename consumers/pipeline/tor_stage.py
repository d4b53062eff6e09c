"""Evaluates successes through Tor exits that a list names, whatever is known of the address."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.pipeline.evidence import Evidence
from consumers.pipeline.row_times import row_time
from schemas.events.outcomes import Outcome
from schemas.intel.verdicts import AddressClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.enrichment.local_sources import LocalSources
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.ports import Clock


class TorStage:
    """Passes successes through Tor to the evaluator."""

    def __init__(
        self, local_sources: LocalSources, evaluator: Evaluator, guard: RecordGuard, clock: Clock
    ) -> None:
        self._local_sources = local_sources
        self._evaluator = evaluator
        self._guard = guard
        self._clock = clock

    async def observe(self, group: Mapping[str, Sequence[Sighting]], tracker: BatchTracker) -> None:
        """Evaluate the successes of a few messages that come through Tor."""
        exits = self._local_sources.of_class(list(group), AddressClass.TOR)
        if not exits:
            return
        fallback = row_time(self._clock.now(), datetime.now(UTC))
        evidence: list[Evidence] = []
        for address, verdict in exits.items():
            for signin, enqueued, _ in group[address]:
                with self._guard.around(signin):
                    details = signin.details(enqueued=enqueued, fallback_time=fallback)
                    if details.outcome is Outcome.SUCCESS:
                        evidence.append(Evidence(address, details, verdict))
        await self._guard.flush()
        if evidence:
            await self._evaluator.evaluate_evidence(evidence, [tracker])
