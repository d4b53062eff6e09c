"""Lookup queue of a paid source: one lookup per address, full batches, bounded concurrency."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumers.enrichment.paid_lookup import LookupCounts, PaidLookup
    from consumers.ledger.cache import VerdictCache
    from schemas.intel.verdicts import Answer
    from schemas.ledger_ports import PendingAddress
    from schemas.ports import Clock

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """An address to look up."""

    address: str
    pending: PendingAddress | None = None
    """Its entry in the ledger's queue; None if its first sign-in has just arrived."""


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What became of a request."""

    request: LookupRequest
    answer: Answer
    """A verdict, or the reason for none."""
    stored: bool = False
    """Whether the ledger holds the answer already, from another instance or process."""


class LookupQueue:
    """Collects requests, looks them up in full batches, and keeps the results until taken.

    An address is in flight once, no matter how many batches need it, from its request until
    :meth:`release`.
    """

    def __init__(self, paid_lookup: PaidLookup, clock: Clock, cache: VerdictCache) -> None:
        self.paid_lookup = paid_lookup
        self._clock = clock
        self._cache = cache
        self._flushing = False
        self._queue: deque[tuple[str, float]] = deque()
        self._ready: deque[list[str]] = deque()
        """Batches of addresses whose request has failed before."""
        self._in_flight: dict[str, LookupRequest] = {}
        self._answered: set[str] = set()
        """Addresses in flight that have a result."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[list[LookupResult]] = []
        """Results by batch. A batch makes room for the next one when its results are taken."""
        self._failure: BaseException | None = None
        self._queued = asyncio.Event()
        self._ended = asyncio.Event()
        """Set when a request has ended."""

    @property
    def counts(self) -> LookupCounts:
        """Lookups and requests made so far."""
        return self.paid_lookup.counts

    @property
    def outstanding(self) -> int:
        """Number of addresses that are queued or being looked up."""
        return len(self._in_flight) - len(self._answered)

    @property
    def running(self) -> bool:
        """Whether requests are running, or have results to take. Not for a partial batch."""
        return bool(self._tasks or self._finished)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running, and all results are taken."""
        return not (self._queue or self._ready or self.running)

    def enqueue(self, requests: Iterable[LookupRequest]) -> None:
        """Look up addresses when a batch is full or has lingered long enough."""
        now = self._clock.now()
        new: list[str] = []
        for request in requests:
            earlier = self._in_flight.get(request.address)
            if earlier is None:
                new.append(request.address)
            if earlier is None or request.pending is not None:
                self._in_flight[request.address] = request
        failures = self.paid_lookup.failed
        failed = [address for address in new if address in failures]
        self._ready += failures.parts_of(failed, self.paid_lookup.source.batch_size)
        self._queue += [(address, now) for address in new if address not in failures]
        if self._queue:
            self._queued.set()
        self._start()

    async def flush_lingering(self) -> None:
        """Look up partial batches that have lingered long enough, until cancelled.

        Raises the error of a failed lookup task.
        """
        while True:
            await self._queued.wait()
            self._raise_failure()
            if not self._queue:
                self._queued.clear()
                continue
            left = self._linger_left()
            await asyncio.sleep(left if left > 0 else self._clock.mode.lookup_linger)
            self._start()

    def flush(self) -> None:
        """Look up all queued addresses, the last batch perhaps partial."""
        self._flushing = True
        self._start()

    async def wait_for_results(self) -> None:
        """Wait until a request has ended, perhaps without results to take.

        Raises the error of a failed lookup task.
        """
        if not self._finished and self._failure is None:
            self._ended.clear()
            await self._ended.wait()
        self._raise_failure()

    def take_results(self) -> list[LookupResult]:
        """Return the results since the last call. Raises the error of a failed lookup task."""
        self._raise_failure()
        finished, self._finished = self._finished, []
        self._start()
        return [result for batch in finished for result in batch]

    def release(self, addresses: Iterable[str]) -> None:
        """End the flight of addresses. A further request looks them up again."""
        for address in addresses:
            self._in_flight.pop(address, None)
            self._answered.discard(address)

    async def look_up_all(self, addresses: Iterable[str]) -> list[LookupResult]:
        """Look up addresses, store and return their results; for a command that does nothing else.

        Raises the error of a failed lookup task, such as KeyRefused.
        """
        self.enqueue(map(LookupRequest, addresses))
        results: list[LookupResult] = []
        while not self.idle:
            self.flush()
            await self.wait_for_results()
            results += self.take_results()
        answers = {result.request.address: result.answer for result in results if not result.stored}
        await self._cache.put_unexpired(answers)
        self.release([result.request.address for result in results])
        return results

    async def begin(self) -> None:
        """Start the budget's first period."""
        await self.paid_lookup.budget.begin()

    async def close(self) -> None:
        """Cancel all lookups."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.paid_lookup.source.close()

    async def may_look_up(self) -> bool:
        """Return True if a lookup is possible now: the source is up and lookups are left."""
        return await self.paid_lookup.may_look_up()

    def reopen(self) -> None:
        """Allow one probe of a source that is down; one failure opens the circuit again."""
        self.paid_lookup.breaker.allow_probe()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        self._raise_failure()
        limit = self.paid_lookup.breaker.limit
        while len(self._tasks) + len(self._finished) < limit and (batch := self._next_batch()):
            task = asyncio.create_task(self._look_up(batch))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        self._flushing = self._flushing and bool(self._queue)

    def _linger_left(self) -> float:
        """Return the seconds for which the first queued address may wait for a full batch."""
        return self._queue[0][1] + self._clock.mode.lookup_linger - self._clock.now()

    def _next_batch(self) -> list[str]:
        """Take the next batch; empty if none is to be looked up now."""
        size = self.paid_lookup.batch_size
        if self._ready:
            batch = self._ready.popleft()
            if len(batch) > size:
                self._ready.appendleft(batch[size:])
            return batch[:size]
        if not self._queue:
            return []
        if len(self._queue) < size and not self._flushing and self._linger_left() > 0:
            return []
        return [self._queue.popleft()[0] for _ in range(min(size, len(self._queue)))]

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._failure = self._failure or error
            self._queued.set()
        elif self._failure is None:
            self._start()
        self._ended.set()

    async def _look_up(self, addresses: list[str]) -> None:
        stored = self._cache.cached(addresses)
        missing = [address for address in addresses if address not in stored]
        answers: dict[str, Answer] = {}
        if missing:
            outcome = await self.paid_lookup.look_up(missing)
            self._retry_individually(outcome.retry_individually)
            answers = outcome.answers
            stored |= outcome.resolved
        results = [
            LookupResult(self._in_flight[address], answer, stored=address in stored)
            for address, answer in (answers | stored).items()
        ]
        if results:
            log.debug("lookup results", addresses=[*answers, *stored])
            self._finished.append(results)
            self._answered.update(result.request.address for result in results)

    def _retry_individually(self, addresses: Sequence[str]) -> None:
        if addresses:
            now = self._clock.now()
            self._queue.extendleft((address, now) for address in reversed(addresses))
            self._queued.set()
