"""Message bodies into an event hub, through azure-eventhub: the edge to it for sending.

The SDK's own retries are off: they repeat everything, a refused key too, and their number would
multiply with ours. Retries here end after :data:`RETRY_SECONDS`, have jitter, and cap the wait that
a busy hub asks for. A batch that was sent but not confirmed is sent again. That is harmless: an
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
"""Seconds for which a hub that is busy or away is tried."""
FIRST_RETRY_SECONDS = 15.0
"""The same before anything was sent: then a wrong setting is the likelier reason."""
MAX_SEND_BACKOFF_SECONDS = 10.0
"""Seconds between two tries, and up to a second of jitter."""
TRY_TIMEOUT_SECONDS = 30.0
"""Seconds that one try may take; the SDK knows traps in which it waits for ever."""
CLOSE_TIMEOUT_SECONDS = 5.0
OVERHEAD_BYTES = 1_024
"""Bytes that a message of its own takes beside its body, and some to spare."""
SDK_OPTIONS: dict[str, Any] = {"retry_total": 0}
"""What the clients that :class:`EventHubSink` takes are made with."""
_BUSY_ERRORS = ("server-busy", "resource-limit-exceeded")


class EventHubSink:
    """See :class:`schemas.ports.MessageSink`. Sends bodies to one event hub, in order.

    Without *partition* the hub gives its partitions their turns, batch by batch. *connect* makes a
    client; after trouble it is asked for another one. *explain* says what an error means, and
    whether it may pass by itself.
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
        """Connect. ConfigurationError for a partition that the hub does not have; HubFailed."""
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
        """Return the bytes that a body may surely have."""
        return self._current.max_size_in_bytes - OVERHEAD_BYTES

    @property
    def waiting(self) -> int:
        """Return how many bodies the batch holds."""
        return len(self._current)

    def add(self, body: bytes) -> bool:
        """Put a body into the batch; False if it has no room for it."""
        try:
            self._current.add(EventData(body))
        except ValueError:
            return False
        return True

    async def flush(self) -> None:
        """Send the batch and begin another one."""
        batch = self._current
        following = await self._patiently(self._new_batch)  # first, so that nothing fails after
        await self._patiently(lambda client: client.send_batch(batch))
        self._batch = following
        self._patience = RETRY_SECONDS

    async def close(self) -> None:
        """Let go of the connection. What is in the batch is not sent."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(EventHubError, AzureError, OSError):  # it may be what is broken
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
        """Do *work*, again and again while its trouble may pass; HubFailed when patience ends."""
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
        """Do *work* once. After an error the client is not used again."""
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
        """Warn of the same trouble once."""
        if error.again and self._reported != str(error):
            self._reported = str(error)
            log.warning("trying again", why=str(error))


def _may_pass(error: Exception) -> bool:
    return isinstance(error, HubFailed) and error.again
