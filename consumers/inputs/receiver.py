"""Receives batches from an event hub, passes them to the pipeline, and writes checkpoints.

The SDK cancels a handler at any await, when it loses a partition and when it closes. So batches are
processed in tasks of our own. To drain: stop receiving, wait for these tasks, checkpoint, close.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub.exceptions import EventHubError

from consumers.inputs.amqp_body import body_of
from consumers.inputs.checkpoint_store import CheckpointLost
from consumers.inputs.eventhub_client import (
    explain_refusal,
    forget_delivery_tags,
    problem_of,
    read_properties,
    read_refusal,
    resolve_hub_problems,
)
from consumers.inputs.partition import OwnedPartition, StreamOffset
from consumers.inputs.partition_owners import PartitionOwners
from schemas.events.decode import Reject
from schemas.health import Problem
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from azure.eventhub import CloseReason, EventData
    from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

    from consumers.inputs.checkpoint_container import CheckpointContainer
    from consumers.inputs.eventhub_client import EventHub
    from consumers.inputs.unreadable_guard import UnreadableGuard
    from consumers.pipeline.pipeline import Pipeline
    from schemas.health import HealthReporter

log = structlog.get_logger()

HEARTBEAT_SECONDS = 3.0
"""Seconds without events after which the SDK calls the handler with an empty batch."""
SILENT_SECONDS = 10.0
"""Seconds without any call after which an idle partition counts as silent."""
STUCK_SECONDS = 30.0
"""Seconds without events, though the hub has more, after which the client is restarted."""
RECONNECT_SECONDS = 5.0
"""Seconds between attempts to connect to a hub."""
WEDGED_SECONDS = 900.0
"""Seconds without progress, though nothing external blocks it, after which a restart is needed."""
MAX_UNTRACKED_MESSAGES = 1_000_000
"""Messages after which a link is replaced, in case the SDK keeps their delivery tags forever and
they cannot be cleared."""


class Receiver:
    """Receives from one hub until closed."""

    def __init__(
        self,
        hub: EventHub,
        checkpoints: CheckpointContainer,
        pipeline: Pipeline,
        guard: UnreadableGuard,
        health: HealthReporter,
        *,
        failed: Callable[[BaseException], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """*failed* receives an error after which no guarantee holds."""
        self.claims: dict[str, OwnedPartition] = {}
        self.connected = asyncio.Event()
        """Set when the hub and the checkpoint container have accepted a connection."""
        self.lags: dict[str, int] = {}
        """Messages between our position and the end, by partition, at the last check."""
        self._hub = hub
        self._checkpoints = checkpoints
        self._pipeline = pipeline
        self._guard = guard
        self._health = health
        self._failed = failed
        self._monotonic = monotonic
        self._contexts: dict[str, PartitionContext] = {}
        self._client: EventHubConsumerClient | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._processing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._last_activity = 0.0
        self._tracked = 0
        self._restarted_at = 0.0
        self.owners = PartitionOwners(hub, checkpoints.store, health, monotonic=monotonic)

    # --- lifecycle ---

    async def run(self) -> None:
        """Receive until :meth:`close`; replace a client that ends."""
        await self._wait_until_connected()
        while not self._stopping:
            self._last_activity = self._monotonic()
            self._client = self._hub.consumer(self._checkpoints.store)
            self._receiving = asyncio.create_task(self._receive(self._client))
            try:
                await asyncio.wait([self._receiving])
            finally:
                await self._close_client(self._client)

    async def _receive(self, client: EventHubConsumerClient) -> None:
        try:
            await client.receive_batch(
                self._on_batch,
                on_error=self._on_error,
                on_partition_initialize=self._on_claimed,
                on_partition_close=self._on_lost,
                max_batch_size=self._hub.settings.prefetch,
                max_wait_time=HEARTBEAT_SECONDS,
                prefetch=self._hub.settings.prefetch,
                starting_position="-1",
            )
        except (EventHubError, AzureError, OSError) as error:
            self._report(error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _wait_until_connected(self) -> None:
        """Wait until the hub and the checkpoint container exist and accept our credentials."""
        while not self.connected.is_set():
            if await self._checkpoints.probe():
                properties = await read_properties(self._hub, self._health)
                if properties is not None:
                    self._checkpoints.store.hub_created(self._hub.name, properties.created)
                    self.owners.partitions = properties.partitions
                    self.connected.set()
                    return
            await asyncio.sleep(RECONNECT_SECONDS)

    def stop_receiving(self) -> None:
        """Accept no more batches; a batch that arrives now is redelivered to the next owner."""
        self._stopping = True

    async def wait_until_drained(self) -> None:
        """Wait until the pipeline has taken all received batches."""
        while self._processing:
            await asyncio.wait(self._processing)

    async def close(self) -> None:
        """Release the partitions."""
        self._stopping = True
        if self._client is not None:
            await self._close_client(self._client)
        for task in self._processing:
            task.cancel()
        await asyncio.gather(*self._processing, return_exceptions=True)

    async def _close_client(self, client: EventHubConsumerClient) -> None:
        await client.close()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)

    # --- callbacks of the SDK ---

    async def _on_claimed(self, context: PartitionContext) -> None:
        partition = context.partition_id
        self.claims[partition] = OwnedPartition(
            f"{self._hub.name}/{partition}",
            self._monotonic(),
            start=self._checkpoints.store.start_of(self._hub.name, partition),
        )
        self._contexts[partition] = context
        log.debug("partition claimed", partition=self.claims[partition].name)

    async def _on_lost(self, context: PartitionContext, reason: CloseReason) -> None:
        owned = self.claims.pop(context.partition_id, None)
        self._contexts.pop(context.partition_id, None)
        self.lags.pop(context.partition_id, None)
        if owned is not None:
            owned.closed = True
            self._health.resolve(Problem.PARTITION_SILENT, part=owned.name)
            self.owners.forget(owned)
            log.debug("partition released", partition=owned.name, why=str(reason))

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        """Report an error of the SDK, which retries by itself."""
        log.debug("hub error", partition=context and context.partition_id, error=repr(error)[:500])
        if context is None:
            self._last_activity = self._monotonic()
            self._report(error)

    async def _on_batch(self, context: PartitionContext, events: list[EventData]) -> None:
        owned = self.claims.get(context.partition_id)
        if owned is None:
            return
        owned.last_heartbeat = self._monotonic()
        if events or not self.lags.get(context.partition_id):
            # Refused links can be interrupted by a call without events: it proves nothing.
            self._health.resolve(Problem.PARTITION_SILENT, part=owned.name)
        if not events:
            return
        owned.handler_active, owned.handler_started = True, self._monotonic()
        try:
            if self._stopping:
                await asyncio.Event().wait()  # until the SDK cancels this handler
            await self._guard.wait_until_allowed()
            owned.last_events = self._monotonic()
            await self._process(owned, events)
        finally:
            owned.handler_active = False
            owned.last_heartbeat = self._monotonic()

    async def _process(self, owned: OwnedPartition, events: Sequence[EventData]) -> None:
        owned.advance()
        messages: list[Message] = []
        rejected: list[tuple[Position, Reject]] = []
        last: StreamOffset | None = None
        for event in events:
            offset = _offset_of(event)
            if owned.is_duplicate(offset):
                self._pipeline.counts.repeated += 1
                continue
            last = offset
            position = Position(owned.name, offset.sequence_number)
            body = body_of(event)
            if isinstance(body, Reject):
                rejected.append((position, body))
            else:
                messages.append(Message(body, position, offset.enqueued))
        if last is None:
            return
        tracker = owned.accept(last)
        tracker.add()
        task = asyncio.create_task(self._pipeline.process(messages, tracker))
        self._processing.add(task)
        task.add_done_callback(self._on_task_done)
        await asyncio.shield(task)
        for position, reject in rejected:
            await self._pipeline.reject(position, reject)
        tracker.done()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._processing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    # --- periodic checks ---

    def is_stalled(self, *, held_up: bool) -> str | None:
        """Return what has been stalled for so long that only a restart helps, or None.

        If *held_up* is true, something external blocks progress, and batches may wait.
        """
        now = self._monotonic()
        listed = self._checkpoints.store.listing_tried.get(self._hub.name, 0.0)
        active = max(self._last_activity, listed)
        if self.connected.is_set() and not self._stopping and now - active > WEDGED_SECONDS:
            return f"the client of event hub {self._hub.name} is inactive"
        for owned in self.claims.values():
            since = owned.handler_started if owned.handler_active else owned.stalled_since
            behind = owned.handler_active or self._lags_behind(owned)
            if not held_up and now - since > WEDGED_SECONDS and behind:
                return f"no message is read from {owned.name} any more"
        return None

    def _lags_behind(self, owned: OwnedPartition) -> bool:
        return bool(self.lags.get(owned.name.rpartition("/")[2]))

    async def checkpoint(self) -> None:
        """Write a checkpoint for each of our partitions that has progressed."""
        for partition, owned in list(self.claims.items()):
            offset, context = owned.due(), self._contexts.get(partition)
            if offset is None or context is None:
                continue
            try:
                await context.update_checkpoint(offset)  # type: ignore[arg-type] # all it reads
            except CheckpointLost:
                log.info("checkpoint left to the partition's new owner", partition=owned.name)
                continue
            except (AzureError, OSError) as error:
                self._report(error)
                return
            owned.checkpointed = offset
            owned.checkpointed_at = self._monotonic()
            self._checkpoints.resolve()

    async def check_partitions(self) -> None:
        """Report partitions without any call, and the reason."""
        now = self._monotonic()
        self._needs_new_link()
        self.owners.check()
        silent = {
            partition: owned
            for partition, owned in self.claims.items()
            if not owned.handler_active and now - owned.last_heartbeat >= SILENT_SECONDS
        }
        if not silent:
            return
        refusal = await read_refusal(self._hub, next(iter(silent)))
        why = explain_refusal(refusal, self._hub.settings.consumer_group)
        for owned in silent.values():
            if not owned.closed and owned.last_heartbeat <= now:
                self._health.report(Problem.PARTITION_SILENT, why, part=owned.name)

    async def check_hub(self) -> None:
        """Compare our positions with the ends of the partitions; restart a stuck client."""
        if not await self._checkpoints.probe():
            return
        stuck: list[str] = []
        recreated = False
        try:
            async with self._hub.consumer(retry_total=0) as client:
                properties = await client.get_eventhub_properties()
                self.owners.partitions = properties["partition_ids"]
                recreated = self._checkpoints.store.hub_created(
                    self._hub.name, properties["created_at"]
                )
                for partition, owned in list(self.claims.items()):
                    last_sequence = owned.last_sequence  # read first: messages keep arriving
                    partition_properties = await client.get_partition_properties(partition)
                    if self._is_stuck(partition, owned, last_sequence, partition_properties):
                        stuck.append(partition)
        except (EventHubError, OSError, TimeoutError) as error:
            self._report(error)
            return
        resolve_hub_problems(self._hub, self._health)
        if recreated:
            log.warning("hub was recreated", hub=self._hub.name)
            for partition in self.claims:
                self._checkpoints.store.invalidate(self._hub.name, partition)
        if recreated or self._needs_new_link() or (stuck and not await self._is_refused(stuck)):
            log.warning("client restarted", hub=self._hub.name, stuck=stuck)
            await self._restart()

    async def _is_refused(self, partitions: Sequence[str]) -> bool:
        """Return True, and report why, if the hub refuses reads: a new client cannot help."""
        refusal = await read_refusal(self._hub, partitions[0])
        if refusal is None or "stolen" in refusal[0]:
            return False  # the hub accepts our link, or our own link is reading
        why = explain_refusal(refusal, self._hub.settings.consumer_group)
        for partition in partitions:
            if (owned := self.claims.get(partition)) is not None:
                self._health.report(Problem.PARTITION_SILENT, why, part=owned.name)
        return True

    def _is_stuck(
        self, partition: str, owned: OwnedPartition, last_sequence: int, properties: dict[str, Any]
    ) -> bool:
        """Record the lag; return True if only a new client can help."""
        end = properties["last_enqueued_sequence_number"]
        before = properties["beginning_sequence_number"] - 1
        self.lags[partition] = max(0, end - max(last_sequence, before))
        self.owners.check_partition(owned, self.lags[partition])
        if end < last_sequence:
            log.warning("hub was recreated", partition=owned.name)
            self._checkpoints.store.invalidate(self._hub.name, partition)
            return True
        idle = self._monotonic() - max(owned.last_events, self._restarted_at) > STUCK_SECONDS
        return bool(self.lags[partition]) and idle and not owned.handler_active

    async def _restart(self) -> None:
        self._restarted_at = self._monotonic()
        if self._client is not None:
            await self._client.close()
        if self._receiving is not None:
            self._receiving.cancel()

    def _needs_new_link(self) -> bool:
        """Clear the SDK's delivery tags; return True if only a new link can free them."""
        messages = self._pipeline.counts.messages
        if self._client is None or forget_delivery_tags(self._client):
            self._tracked = messages
        if messages - self._tracked < MAX_UNTRACKED_MESSAGES:
            return False
        self._tracked = messages
        return True

    def _report(self, error: Exception) -> None:
        if isinstance(error, AzureError) and not isinstance(error, EventHubError):
            self._checkpoints.report(error)
        elif isinstance(error, EventHubError | OSError | TimeoutError):
            problem, detail = problem_of(error, self._hub.name)
            self._health.report(problem, detail, part=self._hub.name)
        else:
            self.owners.balancing_failed(error)


def _offset_of(event: EventData) -> StreamOffset:
    return StreamOffset(event.sequence_number or 0, event.offset or "", event.enqueued_time)
