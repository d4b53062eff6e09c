"""Send message bodies to an event hub with azure-eventhub.

The SDK's own retries are off: they repeat everything, a refused key too, and their number would
multiply with ours. Retries here end after :data:`RETRY_SECONDS`, have jitter, and cap the wait that
a busy hub requests. A batch that was sent but not confirmed is sent again. That is harmless: an
event that arrives twice has the same FindingId both times.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import stamina
import structlog
from azure.core.exceptions import AzureError
from azure.eventhub import EventData
from azure.eventhub.exceptions import EventHubError

from schemas.errors import ConfigurationError, HubFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from azure.eventhub import EventDataBatch
    from azure.eventhub.aio import EventHubProducerClient

T = TypeVar("T")

log = structlog.get_logger()

RETRY_SECONDS = 60.0
"""How long a busy or unreachable hub is retried."""
FIRST_RETRY_SECONDS = 15.0
"""The same before the first success, when a wrong setting is more likely."""
MAX_SEND_BACKOFF_SECONDS = 10.0
"""Maximum time between two attempts, plus up to a second of jitter."""
TRY_TIMEOUT_SECONDS = 30.0
"""Time limit of an attempt; the SDK may otherwise wait forever."""
CLOSE_TIMEOUT_SECONDS = 5.0
OVERHEAD_BYTES = 1_024
"""Bytes that a message needs besides its body, with a margin."""
SDK_OPTIONS: dict[str, Any] = {"retry_total": 0}
"""Options of the clients for :class:`EventHubSink`."""
_BUSY_ERRORS = ("server-busy", "resource-limit-exceeded")


class EventHubSink:
    """See :class:`schemas.ports.MessageSink`. Sends bodies to an event hub, in order.

    Without *partition* the hub distributes batches over its partitions. *connect* creates a client,
    again after an error. *explain* translates an error and says whether a retry may help.
    """

    def __init__(
        self,
        connect: Callable[[], EventHubProducerClient],
        hub: str,
        partition: str | None,
        explain: Callable[[Exception], tuple[str, bool]],
    ) -> None:
        self.retries = 0
        self._connect = connect
        self._client: EventHubProducerClient | None = None
        self._hub = hub
        self._partition = partition
        self._explain = explain
        self._batch: EventDataBatch | None = None
        self._reported = ""
        self._patience = FIRST_RETRY_SECONDS

    async def open(self) -> None:
        """Connect. ConfigurationError for an unknown partition; HubFailed if unreachable."""
        if self._partition is not None:
            partitions = await self._patiently(lambda client: client.get_partition_ids())
            if self._partition not in partitions:
                raise ConfigurationError(
                    f"--partition {self._partition}: event hub {self._hub} has the partitions "
                    + ", ".join(partitions)
                )
        self._batch = await self._patiently(self._new_batch)

    @property
    def room(self) -> int:
        """Return the size in bytes that a body may have at least."""
        return self._current.max_size_in_bytes - OVERHEAD_BYTES

    @property
    def waiting(self) -> int:
        """Return the number of bodies in the batch."""
        return len(self._current)

    def add(self, body: bytes) -> bool:
        """Add a body to the batch; return False if it does not fit."""
        try:
            self._current.add(EventData(body))
        except ValueError:
            return False
        return True

    async def flush(self) -> None:
        """Send the batch and start the next."""
        batch = self._current
        following = await self._patiently(self._new_batch)  # first: nothing may fail after
        await self._patiently(lambda client: client.send_batch(batch))
        self._batch = following
        self._patience = RETRY_SECONDS

    async def close(self) -> None:
        """Close the connection. The current batch is not sent."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(EventHubError, AzureError, OSError):  # it may be broken itself
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await client.close()

    @property
    def _current(self) -> EventDataBatch:
        if self._batch is None:
            raise RuntimeError("the sink is not open")
        return self._batch

    async def _new_batch(self, client: EventHubProducerClient) -> EventDataBatch:
        return await client.create_batch(partition_id=self._partition)

    async def _patiently(self, work: Callable[[EventHubProducerClient], Awaitable[T]]) -> T:
        """Do *work* and retry transient errors; HubFailed when the time is up."""
        async for attempt in stamina.retry_context(
            on=_may_pass,
            attempts=None,
            timeout=self._patience,
            wait_initial=0.5,
            wait_max=MAX_SEND_BACKOFF_SECONDS,
            wait_jitter=1.0,
        ):
            with attempt:
                try:
                    self.retries += attempt.num > 1
                    return await self._try(work)
                except HubFailed as error:
                    self._tell(error)
                    raise
        raise RuntimeError("retries end with a result or an error")

    async def _try(self, work: Callable[[EventHubProducerClient], Awaitable[T]]) -> T:
        """Do *work* once. The client is not used again after an error."""
        if self._client is None:
            self._client = self._connect()
        try:
            async with asyncio.timeout(TRY_TIMEOUT_SECONDS):
                return await work(self._client)
        except (EventHubError, AzureError, OSError) as error:
            text, again = self._explain(error)
            if any(word in str(error) for word in _BUSY_ERRORS):
                text = f"event hub {self._hub} is busy: use --rate, or give it more throughput"
                again = True
            await self.close()
            raise HubFailed(text, again=again) from None

    def _tell(self, error: HubFailed) -> None:
        """Log a problem once."""
        if error.again and self._reported != str(error):
            self._reported = str(error)
            log.warning("trying again", why=str(error))


def _may_pass(error: Exception) -> bool:
    return isinstance(error, HubFailed) and error.again
