"""Batches from one event hub into the pipeline, and checkpoints of what is settled.

The SDK cancels a handler at any await, when it loses a partition and when it closes. So work runs
in tasks of our own, and a drain is: stop taking, wait for them, checkpoint, and only then close.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from azure.core.exceptions import AzureError
from azure.eventhub.exceptions import EventHubError

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
"""Seconds without events after which the SDK calls all the same, with none."""
SILENT_SECONDS = 10.0
"""Seconds without any call after which a partition that is not held counts as silent."""
STUCK_SECONDS = 30.0
"""Seconds without events, while the hub moves on, after which the client is started anew."""
RECONNECT_SECONDS = 5.0
"""Seconds between two tries to reach a hub."""
WEDGED_SECONDS = 900.0
"""Seconds after which what stands still, though nothing outside holds it, needs a restart."""
MAX_UNTRACKED_MESSAGES = 1_000_000
"""Messages that a link may bring before it is made anew, should the SDK keep their tags for ever
and not let us at them."""


class Receiver:
    """Reads one hub for as long as it runs."""

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
        """*failed* is told of an error after which nothing can be promised."""
        self.claims: dict[str, OwnedPartition] = {}
        self.connected = asyncio.Event()
        """Set when the hub and the checkpoint container have let us in."""
        self.lags: dict[str, int] = {}
        """Messages by which each of our partitions is behind its end, when last looked at."""
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
        self._taking: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._sign_of_life = 0.0
        self._tracked = 0
        self._looked = 0.0
        self.owners = PartitionOwners(hub, checkpoints.store, health, monotonic=monotonic)

    # --- life ---

    async def run(self) -> None:
        """Receive until :meth:`close`; a client that ends is followed by another."""
        await self._greet()
        while not self._stopping:
            self._sign_of_life = self._monotonic()
            self._client = self._hub.consumer(self._checkpoints.store)
            self._receiving = asyncio.create_task(self._receive(self._client))
            try:
                await asyncio.wait([self._receiving])
            finally:
                await self._end(self._client)

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
            self._tell(error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _greet(self) -> None:
        """Wait until hub and checkpoint container are there and let us in."""
        while not self.connected.is_set():
            if await self._checkpoints.probe():
                told = await read_properties(self._hub, self._health)
                if told is not None:
                    self._checkpoints.store.hub_created(self._hub.name, told.created)
                    self.owners.partitions = told.partitions
                    self.connected.set()
                    return
            await asyncio.sleep(RECONNECT_SECONDS)

    def stop_receiving(self) -> None:
        """Take no more batches; those that come now are held and come again to who is next."""
        self._stopping = True

    async def drained(self) -> None:
        """Wait until the batches that were taken are with the pipeline."""
        while self._taking:
            await asyncio.wait(self._taking)

    async def close(self) -> None:
        """Give the partitions back."""
        self._stopping = True
        if self._client is not None:
            await self._end(self._client)
        for task in self._taking:
            task.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)

    async def _end(self, client: EventHubConsumerClient) -> None:
        await client.close()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)

    # --- what the SDK calls ---

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
        claim = self.claims.pop(context.partition_id, None)
        self._contexts.pop(context.partition_id, None)
        self.lags.pop(context.partition_id, None)
        if claim is not None:
            claim.closed = True
            self._health.resolve(Problem.PARTITION_SILENT, part=claim.name)
            self.owners.forget(claim)
            log.debug("partition given up", partition=claim.name, why=str(reason))

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        """Take note of what the SDK could not do; it goes on by itself, and so do we."""
        log.debug("hub error", partition=context and context.partition_id, error=repr(error)[:500])
        if context is None:
            self._sign_of_life = self._monotonic()
            self._tell(error)

    async def _on_batch(self, context: PartitionContext, events: list[EventData]) -> None:
        claim = self.claims.get(context.partition_id)
        if claim is None:
            return
        claim.last_heartbeat = self._monotonic()
        if events or not self.lags.get(context.partition_id):
            # While links are refused a call without events may come in between: it proves nothing.
            self._health.resolve(Problem.PARTITION_SILENT, part=claim.name)
        if not events:
            return
        claim.handler_active, claim.handler_started = True, self._monotonic()
        try:
            if self._stopping:
                await asyncio.Event().wait()  # until the SDK cancels this handler
            await self._guard.wait_until_allowed()
            claim.last_events = self._monotonic()
            await self._take(claim, events)
        finally:
            claim.handler_active = False
            claim.last_heartbeat = self._monotonic()

    async def _take(self, claim: OwnedPartition, events: Sequence[EventData]) -> None:
        claim.advance()
        messages: list[Message] = []
        unreadable: list[Position] = []
        last: StreamOffset | None = None
        for event in events:
            place = _place_of(event)
            if claim.is_duplicate(place):
                self._pipeline.counts.repeated += 1
                continue
            last = place
            position = Position(claim.name, place.sequence_number)
            body = _body_of(event)
            if body is None:
                unreadable.append(position)
            else:
                messages.append(Message(body, position, place.enqueued))
        if last is None:
            return
        ticket = claim.accept(last)
        ticket.add()
        task = asyncio.create_task(self._pipeline.process(messages, ticket))
        self._taking.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)
        for position in unreadable:
            await self._pipeline.reject(position, Reject("body is not binary", b""))
        ticket.done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._taking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    # --- now and then ---

    def is_stalled(self, *, held_up: bool) -> str | None:
        """Return what has stood still for so long that only a restart can help, or None.

        With *held_up* something outside holds work up, and batches may rightly wait.
        """
        now = self._monotonic()
        signs = (self._sign_of_life, self._checkpoints.store.listing_tried.get(self._hub.name, 0.0))
        if self.connected.is_set() and not self._stopping and now - max(signs) > WEDGED_SECONDS:
            return f"the client of event hub {self._hub.name} does nothing any more"
        for claim in self.claims.values():
            since = claim.handler_started if claim.handler_active else claim.stalled_since
            if (
                not held_up
                and now - since > WEDGED_SECONDS
                and (claim.handler_active or self._lags_behind(claim))
            ):
                return f"nothing is taken from {claim.name} any more"
        return None

    def _lags_behind(self, claim: OwnedPartition) -> bool:
        return bool(self.lags.get(claim.name.rpartition("/")[2]))

    async def checkpoint(self) -> None:
        """Write down how far each of our partitions is settled, where that is news."""
        for partition, claim in list(self.claims.items()):
            place, context = claim.due(), self._contexts.get(partition)
            if place is None or context is None:
                continue
            try:
                await context.update_checkpoint(place)  # type: ignore[arg-type] # all it reads
            except CheckpointLost:
                log.info("checkpoint left to the partition's new owner", partition=claim.name)
                continue
            except (AzureError, OSError) as error:
                self._tell(error)
                return
            claim.checkpointed = place
            claim.checkpointed_at = self._monotonic()
            self._checkpoints.resolve()

    async def check_partitions(self) -> None:
        """Notice partitions that nobody hears of, and say why."""
        now = self._monotonic()
        self._too_many_tags()
        self.owners.check()
        silent = {
            partition: claim
            for partition, claim in self.claims.items()
            if not claim.handler_active and now - claim.last_heartbeat >= SILENT_SECONDS
        }
        if not silent:
            return
        refusal = await read_refusal(self._hub, next(iter(silent)))
        why = explain_refusal(refusal, self._hub.settings.consumer_group)
        for claim in silent.values():
            if not claim.closed and claim.last_heartbeat <= now:
                self._health.report(Problem.PARTITION_SILENT, why, part=claim.name)

    async def check_hub(self) -> None:
        """Compare our positions with the ends of the partitions; start anew where we are stuck."""
        if not await self._checkpoints.probe():
            return
        stuck: list[str] = []
        another = False
        try:
            async with self._hub.consumer(retry_total=0) as client:
                properties = await client.get_eventhub_properties()
                made, self.owners.partitions = properties["created_at"], properties["partition_ids"]
                another = self._checkpoints.store.hub_created(self._hub.name, made)
                for partition, claim in list(self.claims.items()):
                    reached = claim.last_sequence  # before the question: messages go on coming
                    told = await client.get_partition_properties(partition)
                    if self._compare(partition, claim, reached, told):
                        stuck.append(partition)
        except (EventHubError, OSError, TimeoutError) as error:
            self._tell(error)
            return
        resolve_hub_problems(self._hub, self._health)
        if another:
            log.warning("hub was made anew", hub=self._hub.name)
            for partition in self.claims:
                self._checkpoints.store.invalidate(self._hub.name, partition)
        if another or self._too_many_tags() or (stuck and not await self._is_refused(stuck)):
            log.warning("client started anew", hub=self._hub.name, stuck=stuck)
            await self._restart()

    async def _is_refused(self, partitions: Sequence[str]) -> bool:
        """Tell whether the hub does not let partitions be read, and say so: no client can help."""
        refusal = await read_refusal(self._hub, partitions[0])
        if refusal is None or "stolen" in refusal[0]:
            return False  # it lets us read, or is being read, by our own link
        why = explain_refusal(refusal, self._hub.settings.consumer_group)
        for partition in partitions:
            if (claim := self.claims.get(partition)) is not None:
                self._health.report(Problem.PARTITION_SILENT, why, part=claim.name)
        return True

    def _compare(
        self, partition: str, claim: OwnedPartition, reached: int, told: dict[str, Any]
    ) -> bool:
        """Take note of the lag; tell whether only a new client can help."""
        end, begin = told["last_enqueued_sequence_number"], told["beginning_sequence_number"]
        self.lags[partition] = max(0, end - max(reached, begin - 1))
        self.owners.check_partition(claim, self.lags[partition])
        if end < reached:
            log.warning("hub was made anew", partition=claim.name)
            self._checkpoints.store.invalidate(self._hub.name, partition)
            return True
        quiet = self._monotonic() - max(claim.last_events, self._looked) > STUCK_SECONDS
        return bool(self.lags[partition]) and quiet and not claim.handler_active

    async def _restart(self) -> None:
        self._looked = self._monotonic()
        if self._client is not None:
            await self._client.close()
        if self._receiving is not None:
            self._receiving.cancel()

    def _too_many_tags(self) -> bool:
        """Empty the SDK's sets of delivery tags; tell whether only a new link can do that."""
        messages = self._pipeline.counts.messages
        if self._client is None or forget_delivery_tags(self._client):
            self._tracked = messages
        if messages - self._tracked < MAX_UNTRACKED_MESSAGES:
            return False
        self._tracked = messages
        return True

    def _tell(self, error: Exception) -> None:
        if isinstance(error, AzureError) and not isinstance(error, EventHubError):
            self._checkpoints.report(error)
        elif isinstance(error, EventHubError | OSError | TimeoutError):
            what, detail = problem_of(error, self._hub.name)
            self._health.report(what, detail, part=self._hub.name)
        else:
            self.owners.balancing_failed(error)


def _place_of(event: EventData) -> StreamOffset:
    return StreamOffset(event.sequence_number or 0, event.offset or "", event.enqueued_time)


def _body_of(event: EventData) -> bytes | None:
    """Return a binary body; None for an AMQP value or sequence, which no known sender sends."""
    try:
        return b"".join(event.body)  # type: ignore[arg-type] # an iterator of bytes, or a TypeError
    except TypeError:
        return None
