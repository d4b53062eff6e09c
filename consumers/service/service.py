"""``signinwatch run``: the concurrent loops of the service, their start and shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from consumers.service.deadline import DrainDeadline
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from consumers.inputs.partition import OwnedPartition
    from consumers.inputs.partition_owners import PartitionOwners
    from consumers.inputs.receiver import Receiver
    from consumers.pipeline.pipeline import Pipeline
    from consumers.service.health import Health
    from consumers.service.reports import Reports
    from consumers.service.source_changes import RunningSources
    from consumers.settings import ServiceSettings

log = structlog.get_logger()

PARTITION_CHECK_INTERVAL_SECONDS = 5.0
HUB_CHECK_INTERVAL_SECONDS = 15.0
ORPHANED_AFTER_SECONDS = 120.0
"""Age in seconds of a verdict from which its waiting sign-ins count as orphaned."""
SOURCES_STARTUP_WAIT_SECONDS = 20.0
"""Seconds for which the stream waits for local sources at startup: their matches are free."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""Seconds of the drain deadline that are reserved for closing."""
LAST_REPORT_TIMEOUT_SECONDS = 2.0
"""Seconds for the last verdict rows; no finding is lost without them."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Work that is repeated, with a pause in seconds after each run; 0 if it never returns."""

    seconds: float
    run: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ServiceWork:
    """What runs beside the receivers, by when it starts."""

    at_once: Sequence[Repeated]
    after_recovery: Sequence[Repeated]
    with_the_stream: Sequence[Repeated]


class Service:
    """Runs until a signal stops it or it fails."""

    def __init__(
        self,
        settings: ServiceSettings,
        pipeline: Pipeline,
        sources: RunningSources,
        reports: Reports | None,
        health: Health,
        opened: Callable[[], Awaitable[None]],
        work: ServiceWork,
    ) -> None:
        """Set up the service; *opened* waits until the ledger responds."""
        self.receivers: Sequence[Receiver] = ()
        self.connected: Callable[[], None] = _ignore
        """Is called once when every hub and the ledger are connected."""
        self.settings = settings
        self.health = health
        self.pipeline = pipeline
        self._sources = sources
        self._reports = reports
        self._opened = opened
        self._work = work
        self._over = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._owned: set[str] = set()
        self._recover_at: float | None = None
        self.ready = False
        """True while all loops run and the service is not draining."""
        self.deadline = DrainDeadline(self.settings.drain)
        """Cancel it once everything is closed."""

    def failed(self, error: BaseException) -> None:
        """Stop because of an error after which no guarantee holds."""
        self._failure = self._failure or error
        self._over.set()

    def _stop(self) -> None:
        """Drain at the first signal, exit at once at the second."""
        if self._over.is_set():
            log.warning("forced exit; unacknowledged messages will be redelivered")
            os._exit(1)
        self._over.set()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then drain. Raise the error that made it fail."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self.health.report(Problem.STARTING, "not connected yet")
        try:
            self._start(self._begin())
            self.ready = True
            await self._over.wait()
        finally:
            await self._end()
        if self._failure is not None:
            raise self._failure

    async def _begin(self) -> None:
        """Start in order: sign-ins that an earlier process left are judged before new ones."""
        self._repeat(self._work.at_once)
        await self._opened()
        await self.pipeline.recover()
        self._repeat(self._work.after_recovery)
        await self._sources.wait_until_attempted(SOURCES_STARTUP_WAIT_SECONDS)
        for receiver in self.receivers:
            self._start(receiver.run())
        self._repeat([*self._work.with_the_stream, *self._own_work()])
        for receiver in self.receivers:
            await receiver.connected.wait()
        self.health.resolve(Problem.STARTING)
        self.connected()

    def claims(self) -> list[OwnedPartition]:
        """Return the partitions that this process owns."""
        return [claim for receiver in self.receivers for claim in receiver.claims.values()]

    def owners(self) -> list[PartitionOwners]:
        """Return the known partition owners of each hub."""
        return [receiver.owners for receiver in self.receivers]

    def is_stalled(self) -> str | None:
        """Return what is stalled without an external cause, or None."""
        held_up = self.health.is_blocked
        stalled = (receiver.is_stalled(held_up=held_up) for receiver in self.receivers)
        return next((name for name in stalled if name is not None), None)

    def lags(self) -> list[tuple[str, int]]:
        """Return the lag of each owned partition."""
        return [
            (receiver.claims[partition].name, lag)
            for receiver in self.receivers
            for partition, lag in receiver.lags.items()
            if partition in receiver.claims
        ]

    def _own_work(self) -> list[Repeated]:
        return [
            Repeated(PARTITION_CHECK_INTERVAL_SECONDS, self._check_partitions),
            Repeated(HUB_CHECK_INTERVAL_SECONDS, self._check_hubs),
            Repeated(self.settings.checkpoint_interval, self._checkpoint),
        ]

    async def _check_partitions(self) -> None:
        await _each(receiver.check_partitions for receiver in self.receivers)
        await self._recover_after_takeover()

    async def _recover_after_takeover(self) -> None:
        """Evaluate what the former owner of a partition left, if it has not been restarted.

        The owner may be ending in good order, so its verdicts get some time.
        """
        owned = {claim.name for claim in self.claims()}
        now = time.monotonic()
        if owned - self._owned:
            self._recover_at = now + ORPHANED_AFTER_SECONDS
        self._owned = owned
        if self._recover_at is not None and now >= self._recover_at:
            self._recover_at = None
            await self.pipeline.recover(time.time() - ORPHANED_AFTER_SECONDS)

    async def _check_hubs(self) -> None:
        connected = (receiver for receiver in self.receivers if receiver.connected.is_set())
        await _each(receiver.check_hub for receiver in connected)

    async def _checkpoint(self) -> None:
        await _each(receiver.checkpoint for receiver in self.receivers)

    def _repeat(self, work: Iterable[Repeated]) -> None:
        for repeated in work:
            self._start(_every(repeated.seconds, repeated.run))

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    # --- shutdown ---

    async def _end(self) -> None:
        """Stop receiving, drain, checkpoint and release the partitions, within the deadline."""
        self.ready = False
        self.deadline.begin()
        self.health.report(Problem.DRAINING, "shutting down")
        for receiver in self.receivers:
            receiver.stop_receiving()
        if self._failure is None:
            try:
                async with asyncio.timeout(
                    max(
                        0.1,
                        self.settings.drain - CLOSE_TIMEOUT_SECONDS - LAST_REPORT_TIMEOUT_SECONDS,
                    )
                ):
                    await self._drain()
            except TimeoutError:
                log.warning("drain incomplete; unacknowledged messages will be redelivered")
        try:
            async with asyncio.timeout(LAST_REPORT_TIMEOUT_SECONDS):
                if self._failure is None:
                    await self._checkpoint()  # while the partitions are still ours
                if self._reports is not None:
                    await self._reports.send_verdicts()
        except TimeoutError:
            log.debug("last checkpoint or verdict rows timed out")
        for task in list(self._tasks):
            task.cancel()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.gather(*(receiver.close() for receiver in self.receivers))
        except TimeoutError:
            log.warning("partitions were not released in time; their ownership will expire")

    async def _drain(self) -> None:
        await _each(receiver.wait_until_drained for receiver in self.receivers)
        await self.pipeline.flush()


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await action()
        await asyncio.sleep(seconds)


async def _each(actions: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for action in actions:
        await action()


def _ignore() -> None:
    """Do nothing."""
