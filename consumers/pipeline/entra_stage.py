"""Evaluates sign-ins of which Entra ID itself has detected something.

A detection about the address is stored as its answer for a day, so that it holds for others behind
it. A risk event comes later than its sign-in, and is matched with the recent ones; it is a finding
itself only if it is about the address, because Entra ID reports it as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from consumers.enrichment.entra import RISK_TABLES, entra_verdict, holds_for_others
from consumers.pipeline.evidence import Evidence
from consumers.pipeline.row_times import row_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.recent_sign_ins import RecentSignIns
    from consumers.pipeline.record_guard import RecordGuard
    from schemas.events.addresses import Networks
    from schemas.events.sign_in import Details, SignIn
    from schemas.intel.verdicts import Verdict
    from schemas.ports import Clock

_NO_RISK = frozenset(("none", "hidden", "", "None"))
"""Risk levels without a risk. Any other word is looked at."""
_FLAGGED_TABLES = RISK_TABLES | {"CloudAppEvents"}
_BLOCKED = ("50053", 50053)
_NOTHING = len('"none"')
"""Bytes of a value without detections, at most: an empty list, or a word."""


class EntraStage:
    """Passes sign-ins of which Entra ID says something to the evaluator."""

    def __init__(
        self,
        evaluator: Evaluator,
        cache: VerdictCache,
        recent: RecentSignIns,
        guard: RecordGuard,
        own_networks: Networks,
        clock: Clock,
    ) -> None:
        """Take a detection in *own_networks* as one about the user alone."""
        self._evaluator = evaluator
        self._cache = cache
        self._recent = recent
        self._guard = guard
        self._own = own_networks
        self._clock = clock
        self._events: list[tuple[str, Details, Verdict]] = []
        """Risk events that are not matched yet."""

    async def observe(self, group: Mapping[str, Sequence[Sighting]], tracker: BatchTracker) -> None:
        """Evaluate the sign-ins of a few messages of which Entra ID says something."""
        found = list(self._flagged(group))
        await self._guard.flush()
        if not found:
            return
        evidence = [
            Evidence(address, details, verdict)
            for address, details, verdict in found
            if details.table not in RISK_TABLES or holds_for_others(verdict)
        ]
        await self._evaluator.evaluate_evidence(evidence, [tracker])
        await self._store(found)
        self._events += [item for item in found if item[1].table in RISK_TABLES]

    async def match_recent(self) -> None:
        """Evaluate the recent sign-ins that risk events are about, those just seen included."""
        events, self._events = self._events, []
        for address, details, verdict in events:
            await self._match_recent(address, details, verdict)

    def _flagged(
        self, group: Mapping[str, Sequence[Sighting]]
    ) -> Iterator[tuple[str, Details, Verdict]]:
        fallback = row_time(self._clock.now(), datetime.now(UTC))
        for address, sightings in group.items():
            for signin, enqueued, _ in sightings:
                if (
                    (type(signin.risk) is not str or signin.risk in _NO_RISK)
                    and signin.table not in _FLAGGED_TABLES
                    and not (signin.late_columns and _may_be_flagged(signin))
                ):
                    continue
                with self._guard.around(signin):
                    details = signin.details(enqueued=enqueued, fallback_time=fallback)
                    verdict = entra_verdict(details)
                    if verdict is not None:
                        yield address, details, verdict

    async def _store(self, found: Sequence[tuple[str, Details, Verdict]]) -> None:
        """Store what holds for others, unless the address has an answer."""
        new = {
            address: verdict
            for address, _, verdict in found
            if holds_for_others(verdict) and address not in self._own
        }
        known = await self._cache.get_verdicts(list(new)) if new else {}
        answers = {address: verdict for address, verdict in new.items() if address not in known}
        if answers:
            await self._cache.put_unexpired(answers)
            await self._evaluator.evaluate_pending(answers)

    async def _match_recent(self, address: str, details: Details, verdict: Verdict) -> None:
        for_all = holds_for_others(verdict) and address not in self._own
        async for signins in self._recent.match([address]):
            evidence = [
                Evidence(place, earlier, verdict)
                for place, earlier in signins
                if place == address
                and earlier.table not in RISK_TABLES
                and (for_all or earlier.event_id == details.request_id)
            ]
            await self._evaluator.evaluate_evidence(evidence, ())


def _may_be_flagged(signin: SignIn) -> bool:
    """Return True if Entra ID may have detected something; decided without reading the record."""
    raw = signin.traits
    if raw is not None and signin.form.typed.detections_kept and len(bytes(raw[1][-1])) > _NOTHING:
        return True
    return signin.late_columns is not None and signin.late_columns[2] in _BLOCKED
