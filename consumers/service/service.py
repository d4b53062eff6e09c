"""``signinwatch run``: everything that goes on at the same time, its beginning and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING

import structlog

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

DISPATCH_INTERVAL_SECONDS = 0.1
OUTBOX_INTERVAL_SECONDS = 0.25
PARTITION_CHECK_INTERVAL_SECONDS = 5.0
HUB_CHECK_INTERVAL_SECONDS = 15.0
MAINTENANCE_INTERVAL_SECONDS = 5.0
RECOVERY_INTERVAL_SECONDS = 60.0
ORPHANED_AFTER_SECONDS = 120.0
"""Seconds after which an answer's waiting sign-ins are taken to be forgotten by who asked."""
KEY_RELOAD_INTERVAL_SECONDS = 5.0
METRICS_INTERVAL_SECONDS = 30.0
VERDICTS_INTERVAL_SECONDS = 10.0
PURGE_INTERVAL_SECONDS = 3_600.0
SOURCES_INTERVAL_SECONDS = 5.0
"""Seconds between two looks whether feeds or the replica are due."""
EXPORT_INTERVAL_SECONDS = 10.0
"""Seconds between two looks whether Sentinel is to be told of indicators."""
SOURCES_STARTUP_WAIT_SECONDS = 20.0
"""Seconds for which the stream waits for them to begin with: what they know costs no lookup."""
CLOSE_TIMEOUT_SECONDS = 5.0
"""Seconds of the drain's deadline that are left for closing."""
LAST_REPORT_TIMEOUT_SECONDS = 2.0
"""Seconds for the last verdict rows; nothing is lost without them."""


class Service:
    """Runs until it is told to stop or fails."""

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
        """Put together what runs; *opened* waits until the ledger answers."""
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
        self.ready = False
        """Whether all loops run, and it does not drain."""

    def failed(self, error: BaseException) -> None:
        """Stop because of an error after which nothing can be promised."""
        self._failure = self._failure or error
        self._over.set()

    def _stop(self) -> None:
        """End at the first signal in good order, at the second at once."""
        if self._over.is_set():
            log.warning("ended by force; what was not settled comes again")
            os._exit(1)
        self._over.set()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain. Raises what made it fail."""
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, self._stop)
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
        """Start in order: what an earlier process left is judged before anything new is read."""
        self._start(_every(METRICS_INTERVAL_SECONDS, self._metrics.refresh))
        await self._opened()
        await self._pipeline.recover()
        for action in self._sources.actions():
            self._start(_every(SOURCES_INTERVAL_SECONDS, action))
        for action in self._sentinel.actions() if self._sentinel is not None else ():
            self._start(_every(EXPORT_INTERVAL_SECONDS, action))
        await self._sources.attempted(SOURCES_STARTUP_WAIT_SECONDS)
        for receiver in self.receivers:
            self._start(receiver.run())
        for seconds, action in self._actions():
            self._start(_every(seconds, action))
        for receiver in self.receivers:
            await receiver.connected.wait()
        self.health.resolve(Problem.STARTING)

    def claims(self) -> list[OwnedPartition]:
        """Return what we have of each partition of ours."""
        return [claim for one in self.receivers for claim in one.claims.values()]

    def owners(self) -> list[PartitionOwners]:
        """Return what is known of the owners of each hub's partitions."""
        return [one.owners for one in self.receivers]

    def is_stalled(self) -> str | None:
        """Return what of our own work stands though nothing outside holds it up, or None."""
        held_up = self.health.overdue
        told = (one.is_stalled(held_up=held_up) for one in self.receivers)
        return next((one for one in told if one is not None), None)

    def lags(self) -> list[tuple[str, int]]:
        """Return the lag of each partition of ours."""
        return [
            (one.claims[partition].name, lag)
            for one in self.receivers
            for partition, lag in one.lags.items()
            if partition in one.claims
        ]

    def _actions(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        return [
            (DISPATCH_INTERVAL_SECONDS, self._ask),
            (OUTBOX_INTERVAL_SECONDS, self._send),
            (PARTITION_CHECK_INTERVAL_SECONDS, self._look_around),
            (HUB_CHECK_INTERVAL_SECONDS, self._look_at_hubs),
            (self.settings.checkpoint_interval, self._checkpoint),
            (MAINTENANCE_INTERVAL_SECONDS, self._pipeline.run_maintenance),
            (RECOVERY_INTERVAL_SECONDS, self._recover),
            (KEY_RELOAD_INTERVAL_SECONDS, self._keys.reload_if_changed),
            (VERDICTS_INTERVAL_SECONDS, self._send_verdicts),
            (self.settings.report_interval, self._send_health),
            (PURGE_INTERVAL_SECONDS, self._ledger.purge_expired),
        ]

    async def _ask(self) -> None:
        if self._lookups is not None:
            self._lookups.flush_if_due()

    async def _send(self) -> None:
        if len(self._outbox):
            await self._outbox.flush()

    async def _look_around(self) -> None:
        await _each(one.check_partitions for one in self.receivers)

    async def _look_at_hubs(self) -> None:
        await _each(one.check_hub for one in self.receivers if one.connected.is_set())

    async def _send_verdicts(self) -> None:
        if self._reports is not None:
            await self._reports.send_verdicts()

    async def _send_health(self) -> None:
        if self._reports is not None:
            await self._reports.send_health()

    async def _checkpoint(self) -> None:
        await _each(one.checkpoint for one in self.receivers)

    async def _recover(self) -> None:
        await self._pipeline.recover(time.time() - ORPHANED_AFTER_SECONDS)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    # --- the end ---

    async def _end(self) -> None:
        """Stop taking, settle, checkpoint, give the partitions back; within the deadline."""
        self.ready = False
        self.health.report(Problem.DRAINING, "about to end")
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
                    await self._settle()
            except TimeoutError:
                log.warning("not all is settled; what is not comes again after the next start")
        try:
            async with asyncio.timeout(LAST_REPORT_TIMEOUT_SECONDS):
                if self._failure is None:
                    await self._checkpoint()  # while the partitions are still ours
                await self._send_verdicts()
        except TimeoutError:
            log.debug("the last checkpoint or verdict rows were given up")
        for task in list(self._tasks):
            task.cancel()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await asyncio.gather(*(one.close() for one in self.receivers))
        except TimeoutError:
            log.warning("partitions were not given back in time; they pass on when they expire")

    async def _settle(self) -> None:
        await _each(one.drained for one in self.receivers)
        await self._pipeline.flush()


async def _every(seconds: float, action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await action()
        await asyncio.sleep(seconds)


async def _each(actions: Iterable[Callable[[], Awaitable[None]]]) -> None:
    for action in actions:
        await action()
