"""The SDK's clients as tests use them: a consumer that collects, and checkpoints in memory."""

from __future__ import annotations

import asyncio
import inspect
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, EventHubProducerClient

from consumers.inputs.eventhub_client import close_failed_connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from azure.eventhub import EventData
    from azure.eventhub.aio import PartitionContext

    from tests.servers.eventhub import Broker

close_failed_connections()

HUB = "signins"
GROUP = "$Default"


class Reading:
    """A consumer of the SDK, reading in a task; ``events`` are those received."""

    def __init__(self, text: str, *, group: str = GROUP, start: Any = "-1", **options: Any) -> None:
        names = ("transport_type", "custom_endpoint_address", "checkpoint_store", "logging_enable",
                 "load_balancing_interval")  # fmt: skip
        client = {name: options.pop(name) for name in names if name in options}
        self.client = EventHubConsumerClient.from_connection_string(
            text, group, eventhub_name=HUB, retry_backoff_factor=0.01, **client
        )
        self._options = {"starting_position": start, "max_wait_time": 1, **options}
        self.events: list[EventData] = []
        self.contexts: list[PartitionContext] = []
        self.errors: list[Exception] = []
        self.closed: list[str] = []
        self.checkpoint = "checkpoint_store" in client

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(
            self.client.receive_batch(
                self._on_events,
                on_error=self._on_error,
                on_partition_close=self._on_close,
                **self._options,
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _on_events(self, context: PartitionContext, events: list[EventData]) -> None:
        self.events += events
        self.contexts += [context] * len(events)
        if self.checkpoint and events:
            await context.update_checkpoint(events[-1])

    async def _on_error(self, _: PartitionContext | None, error: Exception) -> None:
        self.errors.append(error)

    async def _on_close(self, context: PartitionContext, _: object) -> None:
        self.closed.append(context.partition_id)

    @property
    def bodies(self) -> list[bytes]:
        """The bodies received, in order."""
        return [b"".join(cast("Iterable[bytes]", event.body)) for event in self.events]

    async def until(self, count: int) -> list[bytes]:
        """Wait for so many events."""
        await until(lambda: len(self.events) >= count)
        return self.bodies


@asynccontextmanager
async def all_of(readers: Sequence[Reading]) -> AsyncIterator[None]:
    """Start and close several at once; a close takes the SDK a second."""
    await asyncio.gather(*(reading.__aenter__() for reading in readers))
    try:
        yield
    finally:
        await asyncio.gather(*(reading.__aexit__() for reading in readers))


async def until(met: Callable[[], object], seconds: float = 20) -> None:
    """Wait until a condition, which may be a coroutine's, is met; fails when it takes too long."""
    async with asyncio.timeout(seconds):
        while True:
            found = met()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)  # between two looks at the condition


def producer(broker: Broker, **options: Any) -> EventHubProducerClient:
    """Return a producer that gives up at once."""
    text = options.pop("text", None) or broker.connection_string()
    hub = options.pop("hub", HUB)
    return EventHubProducerClient.from_connection_string(
        text, eventhub_name=hub, retry_total=0, **options
    )


class Checkpoints(CheckpointStore):
    """A checkpoint store in memory; ownership as the service's blobs have it."""

    def __init__(self) -> None:
        self.owners: dict[str, dict[str, Any]] = {}
        self.checkpoints: dict[str, dict[str, Any]] = {}

    async def list_ownership(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        """Return who owns what."""
        return [dict(one) for one in self.owners.values()]

    async def claim_ownership(self, ownership_list: Any, **_: Any) -> list[dict[str, Any]]:
        """Claim what nobody else claimed since it was listed."""
        claimed = []
        for one in ownership_list:
            known = self.owners.get(one["partition_id"], {})
            if known.get("etag") == one.get("etag"):
                now = datetime.now(UTC).timestamp()
                self.owners[one["partition_id"]] = {
                    **one, "etag": os.urandom(8).hex(), "last_modified_time": now,
                }  # fmt: skip
                claimed.append(dict(self.owners[one["partition_id"]]))
        return claimed

    async def update_checkpoint(self, checkpoint: Any, **_: Any) -> None:
        """Keep a checkpoint."""
        self.checkpoints[checkpoint["partition_id"]] = dict(checkpoint)

    async def list_checkpoints(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        """Return the checkpoints."""
        return list(self.checkpoints.values())
