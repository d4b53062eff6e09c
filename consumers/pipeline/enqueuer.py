"""Gathers sign-ins that must wait, and enqueues them in the ledger together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from consumers.pipeline.evidence import Answered
from consumers.pipeline.triage import firsts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.in_flight import Sighting
    from consumers.pipeline.pending import PendingSignIns
    from consumers.pipeline.stats import PipelineCounts
    from schemas.intel.verdicts import Verdict
    from schemas.ledger_ports import PendingQueue, PendingSignIn

MAX_GATHERED_SIGN_INS = 2_000
"""Sign-ins that are gathered at most. Beyond, the stream waits until they are stored."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    """Sign-ins of a few messages, by address, and the batches that wait for them."""

    sightings: Mapping[str, Sequence[Sighting]]
    trackers: Mapping[str, Sequence[BatchTracker]]
    evaluated: bool


class Enqueuer:
    """Scores sign-ins at once and stores them a little later. Batches wait until they are stored.

    Sign-ins whose address was answered in the meantime are evaluated instead.
    """

    def __init__(
        self,
        pending: PendingSignIns,
        ledger: PendingQueue,
        evaluator: Evaluator,
        cache: VerdictCache,
        counts: PipelineCounts,
        *,
        linger: float,
    ) -> None:
        """With *linger* 0, sign-ins are stored when :meth:`add` returns."""
        self._pending = pending
        self._ledger = ledger
        self._evaluator = evaluator
        self._cache = cache
        self._counts = counts
        self._linger = linger
        self._gathered: list[_Gathered] = []
        self._sign_ins: list[PendingSignIn] = []
        self._evicted = 0
        self._timer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._failure: BaseException | None = None

    async def add(
        self,
        sightings: Mapping[str, Sequence[Sighting]],
        trackers: Mapping[str, Sequence[BatchTracker]],
        *,
        evaluated: bool = False,
    ) -> None:
        """Enqueue sign-ins by address.

        With *evaluated*, they have been evaluated already, and wait for a recheck. Raises the
        error of an earlier write.
        """
        self.raise_failure()
        if not sightings:
            return
        for tracker in chain.from_iterable(trackers.values()):
            tracker.add()
        accepted, evicted = await self._pending.scored(sightings)
        self._gathered.append(_Gathered(sightings, trackers, evaluated))
        self._sign_ins += accepted
        self._evicted += evicted
        if not self._linger or len(self._sign_ins) >= MAX_GATHERED_SIGN_INS:
            await self.flush()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._flush_later())
            self._timer.add_done_callback(self._flushed)

    def raise_failure(self) -> None:
        """Raise the error of a write in the background."""
        if self._failure is not None:
            raise self._failure

    async def _flush_later(self) -> None:
        await asyncio.sleep(self._linger)
        self._timer = None
        await self.flush()

    def _flushed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error

    async def flush(self) -> None:
        """Store what was gathered."""
        async with self._lock:
            gathered, self._gathered = self._gathered, []
            sign_ins, self._sign_ins = self._sign_ins, []
            evicted, self._evicted = self._evicted, 0
            if not gathered:
                return
            answered = await self._ledger.enqueue_unless_answered(sign_ins, evicted)
            self._cache.remember(answered)
            for part in gathered:
                await self._complete(part, answered)

    async def _complete(self, part: _Gathered, answered: Mapping[str, Verdict]) -> None:
        resolved: list[Answered] = []
        for address, sightings in part.sightings.items():
            verdict = answered.get(address)
            if part.evaluated:
                continue
            if verdict is None:
                self._counts.enqueued(address, firsts(sightings))
                continue
            self._counts.cache_hits += firsts(sightings)
            resolved.append(Answered(address, sightings, verdict, part.trackers[address]))
        await self._evaluator.evaluate_answered(resolved)
        for tracker in chain.from_iterable(part.trackers.values()):
            tracker.done()
