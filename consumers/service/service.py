"""``signinwatch run``: the concurrent loops of the service, their start and shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import structlog

from consumers.service.deadline import DrainDeadline
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.inputs.partition import OwnedPartition
    from consumers.inputs.partition_owners import PartitionOwners
    from consumers.inputs.receiver import Receiver
    from consumers.pipeline.outbox import Outbox
    from consumers.pipeline.pipeline import Pipeline
    from consumers.service.health import Health
    from consumers.service.key_reload import KeyReload
    from consumers.service.metrics import MetricsCollector
    from consumers.service.reports import Reports
    from consumers.settings import ServiceSettings
    from consumers.wiring.local_sources import SourceManager
    from consumers.wiring.sentinel import SentinelExport
    from schemas.ledger_ports import Ledger

log = structlog.get_logger()

PARTITION_CHECK_INTERVAL_SECONDS = 5.0
HUB_CHECK_INTERVAL_SECONDS = 15.0
MAINTENANCE_INTERVAL_SECONDS = 5.0
ORPHANED_AFTER_SECONDS = 120.0
"""Age in seconds of a verdict from which its waiting sign-ins count as orphaned."""
KEY_RELOAD_INTERVAL_SECONDS = 5.0
METRICS_INTERVAL_SECONDS = 30.0
VERDICTS_INTERVAL_SECONDS = 10.0
PURGE_INTERVAL_SECONDS = 3_600.0
SOURCES_INTERVAL_SECONDS = 5.0
"""Seconds between checks whether feeds or the replica are due."""
INDICATOR_EXPORT_INTERVAL_SECONDS = 10.0
"""Seconds between checks whether indicators are due for upload to Sentinel."""
SOURCES_STARTUP_WAIT_SECONDS = 20.0
"""Seconds for which the stream waits for local sources at startup: their matches are free."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""Seconds of the drain deadline that are reserved for closing."""
LAST_REPORT_TIMEOUT_SECONDS = 2.0
"""Seconds for the last verdict rows; no finding is lost without them."""


class Service:
    """Runs until a signal stops it or it fails."""

    def __init__(
        self,
        *,
        settings: ServiceSettings,
        pipeline: Pipeline,
        outbox: Outbox,
        lookups: LookupQueue | None,
        ledger: Ledger,
        health: Health,
        metrics: MetricsCollector,
        reports: Reports | None,
        key_reload: KeyReload,
        sources: SourceManager,
        sentinel: SentinelExport | None,
        opened: Callable[[], Awaitable[None]],
    ) -> None:
        """Set up the service; *opened* waits until the ledger responds."""
        self.receivers: Sequence[Receiver] = ()
        self.settings = settings
        self._pipeline = pipeline
        self._outbox = outbox
        self._lookups = lookups
        self._ledger = ledger
        self.health = health
        self._metrics = metrics
        self._reports = reports
        self._keys = key_reload
        self._sources = sources
        self._sentinel = sentinel
        self._opened = opened
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
        self._start(_every(METRICS_INTERVAL_SECONDS, self._metrics.refresh))
        await self._opened()
        await self._pipeline.recover()
        for action in self._sources.actions():
            self._start(_every(SOURCES_INTERVAL_SECONDS, action))
        for action in self._sentinel.actions() if self._sentinel is not None else ():
            self._start(_every(INDICATOR_EXPORT_INTERVAL_SECONDS, action))
        await self._sources.wait_until_attempted(SOURCES_STARTUP_WAIT_SECONDS)
        for receiver in self.receivers:
            self._start(receiver.run())
        self._start(self._outbox.send_lingering())
        if self._lookups is not None:
            self._start(self._lookups.flush_lingering())
        if self._pipeline.lookups is not None:
            self._start(self._pipeline.lookups.process_results())
        for seconds, action in self._actions():
            self._start(_every(seconds, action))
        for receiver in self.receivers:
            await receiver.connected.wait()
        self.health.resolve(Problem.STARTING)

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

    def _actions(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        return [
            (PARTITION_CHECK_INTERVAL_SECONDS, self._check_partitions),
            (HUB_CHECK_INTERVAL_SECONDS, self._check_hubs),
            (self.settings.checkpoint_interval, self._checkpoint),
            (MAINTENANCE_INTERVAL_SECONDS, self._pipeline.maintenance.run),
            (KEY_RELOAD_INTERVAL_SECONDS, self._keys.reload_if_changed),
            (VERDICTS_INTERVAL_SECONDS, self._send_verdicts),
            (self.settings.report_interval, self._send_health),
            (PURGE_INTERVAL_SECONDS, self._ledger.purge_expired),
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
            await self._pipeline.recover(time.time() - ORPHANED_AFTER_SECONDS)

    async def _check_hubs(self) -> None:
        connected = (receiver for receiver in self.receivers if receiver.connected.is_set())
        await _each(receiver.check_hub for receiver in connected)

    async def _send_verdicts(self) -> None:
        if self._reports is not None:
            await self._reports.send_verdicts()

    async def _send_health(self) -> None:
        if self._reports is not None:
            await self._reports.send_health()

    async def _checkpoint(self) -> None:
        await _each(receiver.checkpoint for receiver in self.receivers)

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
                await self._send_verdicts()
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
        await self._pipeline.flush()


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await action()
        await asyncio.sleep(seconds)


async def _each(actions: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for action in actions:
        await action()
