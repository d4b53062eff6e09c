"""Lookup queue of a paid source: one lookup per address, full batches, bounded concurrency."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import structlog

from consumers.coalesce import Coalescer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from consumers.enrichment.paid_lookup import LookupCounts, PaidLookup
    from consumers.ledger.cache import VerdictCache
    from schemas.intel.verdicts import Answer
    from schemas.ports import Clock

log = structlog.get_logger()


class LookupQueue:
    """Collects addresses and looks them up in full batches.

    An address is in flight once, no matter how many batches need it. Its result, a verdict or the
    reason for none, is passed to *deliver* from a task of this queue.
    """

    def __init__(
        self,
        paid_lookup: PaidLookup,
        clock: Clock,
        *,
        cache: VerdictCache,
        deliver: Callable[[Mapping[str, Answer]], Awaitable[None]],
        revise: Callable[[Mapping[str, Answer]], Awaitable[dict[str, Answer]]] | None = None,
    ) -> None:
        """*revise* may change results before they are stored."""
        self.paid_lookup = paid_lookup
        self._revise = revise
        self._clock = clock
        self._cache = cache
        self._storing: Coalescer[Mapping[str, Answer], None] = Coalescer(self._store)
        self._deliver = deliver
        self._flushing = False
        self._queue: deque[tuple[str, float]] = deque()
        self._ready: deque[list[str]] = deque()
        """Batches of addresses whose request has failed before."""
        self._in_flight: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._queued = asyncio.Event()

    @property
    def counts(self) -> LookupCounts:
        """Lookups and requests made so far."""
        return self.paid_lookup.counts

    @property
    def pending(self) -> int:
        """Number of addresses that are queued or being looked up."""
        return len(self._in_flight)

    def enqueue(self, addresses: Sequence[str]) -> None:
        """Look up *addresses* when a batch is full or has lingered long enough."""
        now = self._clock.now()
        new = [address for address in dict.fromkeys(addresses) if address not in self._in_flight]
        self._in_flight.update(new)
        failed = [address for address in new if address in self.paid_lookup.failed]
        batch_size = self.paid_lookup.source.batch_size
        self._ready += self.paid_lookup.failed.parts_of(failed, batch_size)
        others = set(new).difference(failed)
        self._queue += [(address, now) for address in new if address in others]
        if self._queue:
            self._queued.set()
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Look up a partial batch if an address has lingered long enough."""
        if self._queue:
            waited = self._clock.now() - self._queue[0][1]
            self._flushing = self._flushing or waited >= self._clock.mode.lookup_linger
        self._start()

    async def flush_lingering(self) -> None:
        """Look up partial batches that have lingered long enough, until cancelled.

        Raises the error of a failed lookup task.
        """
        while True:
            await self._queued.wait()
            if self._failure is not None:
                raise self._failure
            if not self._queue:
                self._queued.clear()
                continue
            linger = self._clock.mode.lookup_linger
            left = linger - (self._clock.now() - self._queue[0][1])
            await asyncio.sleep(left if left > 0 else linger)
            self.flush_if_due()

    async def wait_for_in_flight(self) -> None:
        """Wait until no request is running. Addresses in a partial batch stay queued."""
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def begin(self) -> None:
        """Start the budget's first period."""
        await self.paid_lookup.budget.begin()

    def flush(self) -> None:
        """Look up all queued addresses, the last batch perhaps partial."""
        self._flushing = True
        self._start()

    async def wait_for_result(self) -> None:
        """Wait until one queued lookup finishes. Re-raises the error of a failed lookup task."""
        self.flush()
        if self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def wait_until_idle(self) -> None:
        """Wait until nothing is in flight. Re-raises a lookup task's error, such as KeyRefused."""
        while self._queue or self._ready or self._tasks:
            await self.wait_for_result()
        if self._failure is not None:
            raise self._failure

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

    def _start(self) -> None:
        if self._failure is not None:
            raise self._failure
        while len(self._tasks) < self.paid_lookup.breaker.limit and (batch := self._next_batch()):
            task = asyncio.create_task(self._look_up(batch))
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)
        self._flushing = self._flushing and bool(self._queue)

    def _next_batch(self) -> list[str]:
        """Take the next batch; empty if none is to be looked up now."""
        size = self.paid_lookup.batch_size
        if self._ready:
            batch = self._ready.popleft()
            if len(batch) > size:
                self._ready.appendleft(batch[size:])
            return batch[:size]
        if not self._flushing and len(self._queue) < size:
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

    async def _look_up(self, addresses: list[str]) -> None:
        cached = self._cache.cached(addresses)
        missing = [address for address in addresses if address not in cached]
        result = await self.paid_lookup.look_up(missing) if missing else None
        answers = result.verdicts if result else {}
        if result and result.retry_individually:
            now = self._clock.now()
            self._queue.extendleft(
                (address, now) for address in reversed(result.retry_individually)
            )
            self._queued.set()
        if answers and self._revise is not None:
            answers = await self._revise(answers)
        now = self._clock.now()
        unexpired = {address: answer for address, answer in answers.items() if answer.expires > now}
        if unexpired:
            await self._storing.submit(unexpired)
        if result and result.resolved:
            self._cache.remember(result.resolved)
            answers = answers | result.resolved
        answers |= cached
        self._in_flight.difference_update(answers)
        log.debug("lookup results delivered", addresses=list(answers))
        await self._deliver(answers)

    async def _store(self, batches: Sequence[Mapping[str, Answer]]) -> list[None]:
        answers: dict[str, Answer] = {}
        for batch in batches:
            answers.update(batch)
        await self._cache.put_verdicts(answers)
        return [None] * len(batches)
