"""Asking a paid source: single flight, full batches, within the budget, never blindly again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import stamina
import structlog

from consumers.together import Together
from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceFailed,
    SourceUnavailable,
    TooFast,
)
from schemas.verdicts import Answer, Reputation, Unanswered, Verdict, WhyUnanswered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from consumers.budget import Budget
    from schemas.ports import Clock, Said, Source

log = structlog.get_logger()

ATTEMPTS = 4
"""Times that one request is sent while the source only asks to slow down."""
LINGER = 86_400.0
"""Seconds, by the event clock, for which an address may wait for others to fill its batch: no
longer than a sign-in may wait."""
RECONNECTS = 2
"""Times that a request is sent again that never reached the source."""
FAILURES = 3
"""Requests that fail in a row before the source counts as down; one that never worked, one less."""
PAUSE = 30.0
"""Seconds of wall time for which a source that is down is left alone."""
POSTPONED = 6 * 3_600.0
"""Seconds, by our clock, before an address is asked again whose question may have counted."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds for which a verdict is believed, by its kind."""

    malicious: float
    suspicious: float
    benign: float
    unknown: float

    def of(self, reputation: Reputation) -> float:
        """Return the lifetime of a verdict."""
        lifetime: float = getattr(self, reputation.value)
        return lifetime


@dataclass(slots=True)
class Counts:
    """What asking has cost so far."""

    lookups: int = 0
    requests: int = 0


class Lookups:
    """Collects addresses and asks the source about them in full batches.

    An address is in flight once, however many batches want it. What comes of it, an answer or a
    reason why there is none, goes to *deliver*, from a task of this object's own.
    """

    def __init__(
        self,
        source: Source,
        budget: Budget,
        clock: Clock,
        *,
        lifetimes: Lifetimes,
        concurrency: int,
        recall: Callable[[Sequence[str]], dict[str, Answer]],
        keep: Callable[[Mapping[str, Answer]], Awaitable[None]],
        deliver: Callable[[Mapping[str, Answer]], Awaitable[None]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counts = Counts()
        self._source = source
        self._budget = budget
        self._clock = clock
        self._lifetimes = lifetimes
        self._recall = recall
        self._keep_all = keep
        self._keeping: Together[Mapping[str, Answer], None] = Together(self._keep)
        self._deliver = deliver
        self._monotonic = monotonic
        self._concurrency = concurrency
        self._slots = 1  # until the first answer tells that the key works, and for batches
        self._first = True
        self._single_untold = False
        self._flushing = False
        self._queue: deque[tuple[str, float]] = deque()
        self._flying: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._failures = 0
        self._closed_until = 0.0

    def want(self, addresses: Sequence[str]) -> None:
        """Ask about *addresses* when a batch is full, or at the next :meth:`flush`."""
        now = self._clock.now()
        for address in addresses:
            if address not in self._flying:
                self._flying.add(address)
                self._queue.append((address, now))
        self._flushing = self._flushing or self._lingered(now)
        self._start()

    def _lingered(self, now: float) -> bool:
        return bool(self._queue) and now - self._queue[0][1] >= LINGER

    async def landed(self) -> None:
        """Wait until no request is under way; what waits for a full batch goes on waiting."""
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def begin(self) -> None:
        """Note that time has begun, for the budget's first period."""
        await self._budget.begin()

    def flush(self) -> None:
        """Ask about everything that is wanted, in a last batch that may not be full."""
        self._flushing = True
        self._start()

    async def finished(self) -> None:
        """Wait until nothing is in flight. Raises what made a task fail, KeyRefused above all."""
        while self._queue or self._tasks:
            self.flush()
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stop asking at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._source.close()

    def _start(self) -> None:
        if self._failure is not None:
            raise self._failure
        while self._queue and len(self._tasks) < self._slots:
            size = self._source.batch_size
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
        known = self._recall(addresses)
        answers = await self._answers([one for one in addresses if one not in known])
        now = self._clock.now()
        kept = {address: answer for address, answer in answers.items() if answer.expires > now}
        if kept:
            await self._keeping.join(kept)
        answers |= known
        self._flying.difference_update(answers)
        log.debug("told", addresses=list(answers))
        await self._deliver(answers)

    async def _keep(self, batches: Sequence[Mapping[str, Answer]]) -> list[None]:
        answers: dict[str, Answer] = {}
        for batch in batches:
            answers.update(batch)
        await self._keep_all(answers)
        return [None] * len(batches)

    async def _answers(self, addresses: list[str]) -> dict[str, Answer]:
        if not addresses:
            return {}
        if self._monotonic() < self._closed_until:
            return self._unanswered(addresses, WhyUnanswered.SOURCE_DOWN)
        reservation = await self._budget.reserve(len(addresses))
        allowed = addresses[: reservation.lookups]
        answers = self._unanswered(addresses[reservation.lookups :], WhyUnanswered.QUOTA)
        if not allowed:
            return answers
        try:
            said = await self._request(allowed)
        except KeyRefused:
            await self._budget.refund(reservation)
            raise
        except SourceFailed as error:
            if not error.counted:
                await self._budget.refund(reservation)
            return answers | await self._after(error, allowed)
        self._failures = 0
        self._tell_single()
        self._slots = self._concurrency if self._first else min(self._slots + 1, self._concurrency)
        self._first = False
        self.counts.lookups += len(said)
        return answers | self._verdicts(said)

    async def _request(self, addresses: Sequence[str]) -> dict[str, Said]:
        """Ask once, and again only while the request surely does not count."""
        tries = 0

        def again(error: Exception) -> bool | float:
            nonlocal tries
            tries += 1
            if isinstance(error, TooFast):
                self._slots = max(1, self._slots // 2)
                return True if error.retry_after is None else error.retry_after
            lost = isinstance(error, SourceUnavailable) and not error.counted
            return lost and tries <= RECONNECTS

        async for attempt in stamina.retry_context(
            on=again, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=30.0
        ):
            with attempt:
                self.counts.requests += 1
                return await self._source.ask(addresses)
        raise AssertionError("unreachable")  # pragma: no cover

    async def _after(self, error: SourceFailed, addresses: list[str]) -> dict[str, Answer]:
        """Return what a failure means for the addresses that were asked."""
        if isinstance(error, BatchRefused):
            self._ask_singly(addresses)
            return {}
        if isinstance(error, QuotaSpent):
            log.warning("lookups used up", source=self._source.name, told=str(error))
            await self._budget.exhaust()
            return self._unanswered(addresses, WhyUnanswered.QUOTA)
        self._failures = FAILURES if isinstance(error, TooFast) else self._failures + 1
        if self._failures in (1, FAILURES):
            log.warning("source fails", source=self._source.name, why=str(error))
        if self._failures >= FAILURES - self._first:
            self._closed_until = self._monotonic() + PAUSE
        postponed = self._clock.now() + POSTPONED if error.counted else 0.0
        if error.counted:
            self.counts.lookups += len(addresses)
        return self._unanswered(addresses, WhyUnanswered.SOURCE_DOWN, postponed)

    def _ask_singly(self, addresses: list[str]) -> None:
        if self._source.batch_size > 1:
            self._source.batch_size = 1
            self._single_untold = True  # until a single answer shows that the key itself is good
        now = self._clock.now()
        self._queue.extendleft((address, now) for address in reversed(addresses))

    def _tell_single(self) -> None:
        if self._single_untold:
            self._single_untold = False
            log.warning(
                "asking one address at a time",
                source=self._source.name,
                why="the key's plan does not allow batches",
            )

    async def may_ask(self) -> bool:
        """Tell whether a question could be asked now: the source is up and lookups are left."""
        return self._monotonic() >= self._closed_until and await self._budget.open()

    def reopen(self) -> None:
        """Let a source that is down be tried once more; one failure closes it again."""
        self._closed_until = 0.0
        self._failures = FAILURES if self._failures else 0

    def _verdicts(self, said: Mapping[str, Said]) -> dict[str, Verdict]:
        """Give each word a lifetime. Addresses of which the same was said share one verdict."""
        now = self._clock.now()
        shared: dict[int, Verdict] = {}
        verdicts = {}
        for address, one in said.items():
            verdict = shared.get(id(one))
            if verdict is None:
                verdict = shared[id(one)] = self._verdict(one, now)
            verdicts[address] = verdict
        return verdicts

    def _verdict(self, said: Said, now: float) -> Verdict:
        return Verdict(
            reputation=said.reputation,
            source=self._source.name,
            time=now,
            expires=now + self._lifetimes.of(said.reputation),
            address_class=said.address_class,
            intel=said.intel,
        )

    @staticmethod
    def _unanswered(
        addresses: Sequence[str], why: WhyUnanswered, expires: float = 0.0
    ) -> dict[str, Answer]:
        return dict.fromkeys(addresses, Unanswered(why=why, expires=expires))
