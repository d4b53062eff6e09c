"""The queue before a paid source: single flight, full batches, side by side within bounds."""

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

LOOKUP_LINGER_SECONDS = {"event": 86_400.0, "wall": 0.25}
"""Seconds, by our clock, for which an address may wait for others to fill its batch. In a replay
no longer than a sign-in may wait; in a service no longer than a person would notice."""


class LookupQueue:
    """Collects addresses and has the asker ask about them in full batches.

    An address is in flight once, however many batches want it. What comes of it, an answer or a
    reason why there is none, goes to *deliver*, from a task of this object's own.
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
        """*revise* may change what was answered before it is kept."""
        self.paid_lookup = paid_lookup
        self._revise = revise
        self._clock = clock
        self._memory = cache
        self._keeping: Coalescer[Mapping[str, Answer], None] = Coalescer(self._keep)
        self._deliver = deliver
        self._flushing = False
        self._queue: deque[tuple[str, float]] = deque()
        self._flying: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    @property
    def counts(self) -> LookupCounts:
        """What asking has cost so far."""
        return self.paid_lookup.counts

    @property
    def pending(self) -> int:
        """Addresses that are queued or being asked about."""
        return len(self._flying)

    def enqueue(self, addresses: Sequence[str]) -> None:
        """Ask about *addresses* when a batch is full, or has waited long enough."""
        now = self._clock.now()
        for address in addresses:
            if address not in self._flying:
                self._flying.add(address)
                self._queue.append((address, now))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Ask in a batch that is not full when an address has waited long enough for others."""
        if self._queue:
            waited = self._clock.now() - self._queue[0][1]
            self._flushing = self._flushing or waited >= LOOKUP_LINGER_SECONDS[self._clock.kind]
        self._start()

    async def in_flight(self) -> None:
        """Wait until no request is under way; what waits for a full batch goes on waiting."""
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def begin(self) -> None:
        """Note that time has begun, for the budget's first period."""
        await self.paid_lookup.budget.begin()

    def flush(self) -> None:
        """Ask about everything that is wanted, in a last batch that may not be full."""
        self._flushing = True
        self._start()

    async def wait_for_result(self) -> None:
        """Wait until something that is wanted is answered. Raises what made a task fail."""
        self.flush()
        if self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def wait_until_idle(self) -> None:
        """Wait until nothing is in flight. Raises what made a task fail, KeyRefused above all."""
        while self._queue or self._tasks:
            await self.wait_for_result()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stop asking at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.paid_lookup.source.close()

    async def may_look_up(self) -> bool:
        """Tell whether a question could be asked now: the source is up and lookups are left."""
        return await self.paid_lookup.may_look_up()

    def reopen(self) -> None:
        """Let a source that is down be tried once more; one failure closes it again."""
        self.paid_lookup.breaker.allow_probe()

    def _start(self) -> None:
        if self._failure is not None:
            raise self._failure
        while self._queue and len(self._tasks) < self.paid_lookup.breaker.limit:
            size = self.paid_lookup.batch_size
            if not self._flushing and len(self._queue) < size:
                return
            batch = [self._queue.popleft()[0] for _ in range(min(size, len(self._queue)))]
            task = asyncio.create_task(self._ask(batch))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        self._flushing = self._flushing and bool(self._queue)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._failure = self._failure or error
        elif self._failure is None:
            self._start()

    async def _ask(self, addresses: list[str]) -> None:
        known = self._memory.cached(addresses)
        missing = [one for one in addresses if one not in known]
        asked = await self.paid_lookup.look_up(missing) if missing else None
        answers = asked.verdicts if asked else {}
        if asked and asked.retry_individually:
            now = self._clock.now()
            self._queue.extendleft((address, now) for address in reversed(asked.retry_individually))
        if answers and self._revise is not None:
            answers = await self._revise(answers)
        now = self._clock.now()
        kept = {one: answer for one, answer in answers.items() if answer.expires > now}
        if kept:
            await self._keeping.submit(kept)
        if asked and asked.resolved:
            self._memory.remember(asked.resolved)
            answers = answers | asked.resolved
        answers |= known
        self._flying.difference_update(answers)
        log.debug("told", addresses=list(answers))
        await self._deliver(answers)

    async def _keep(self, batches: Sequence[Mapping[str, Answer]]) -> list[None]:
        answers: dict[str, Answer] = {}
        for batch in batches:
            answers.update(batch)
        await self._memory.put_verdicts(answers)
        return [None] * len(batches)
