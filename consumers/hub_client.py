"""The edge to azure-eventhub: clients from settings, its errors in our words, and its traps.

What the SDK does when something fails was found out by trying version 5.15.1; see the tests of
``receive``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.eventhub import TransportType, parse_connection_string
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from consumers.settings import proxy_for
from schemas.errors import ConfigurationError
from schemas.health import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from consumers.checkpoint_store import CheckpointStore
    from consumers.settings import EventHubSettings

PROBE_SECONDS = 5.0
_FRAMES = "azure.eventhub._pyamqp.aio._link_async"
"""The logger to which the SDK writes the frames of a link, if asked to trace."""


@dataclass(frozen=True, slots=True)
class Hub:
    """One event hub and how to reach it."""

    name: str
    settings: EventHubSettings
    credential: Any
    """An AsyncTokenCredential; None with a connection string."""
    ca_bundle: Path | None

    def consumer(
        self, store: CheckpointStore | None = None, **options: Any
    ) -> EventHubConsumerClient:
        """Return a client that receives, with checkpoints in *store*."""
        group = self.settings.consumer_group
        more = {**self._options(), **options}
        if store is not None:
            more |= {
                "checkpoint_store": store,
                "load_balancing_interval": self.settings.balance_interval,
                "partition_ownership_expiration_interval": self.settings.ownership_expiry,
            }
        with _readable_settings():
            if (text := self._connection_string) is not None:
                return EventHubConsumerClient.from_connection_string(
                    text, group, eventhub_name=self.name, **more
                )
            return EventHubConsumerClient(
                self.settings.namespace or "", self.name, group, self.credential, **more
            )

    def producer(self) -> EventHubProducerClient:
        """Return a client that sends."""
        more = self._options()
        with _readable_settings():
            if (text := self._connection_string) is not None:
                return EventHubProducerClient.from_connection_string(
                    text, eventhub_name=self.name, **more
                )
            return EventHubProducerClient(
                self.settings.namespace or "", self.name, self.credential, **more
            )

    @property
    def _connection_string(self) -> str | None:
        secret = self.settings.connection_string
        return None if secret is None else secret.get_secret_value()

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.settings.transport == "websocket":
            options["transport_type"] = TransportType.AmqpOverWebsocket
            if (proxy := self._proxy()) is not None:
                options["http_proxy"] = proxy
        if self.settings.endpoint is not None:
            options.setdefault("transport_type", TransportType.Amqp)
            options["custom_endpoint_address"] = self.settings.endpoint
        if self.ca_bundle is not None:
            options["connection_verify"] = str(self.ca_bundle)
        return options

    def _proxy(self) -> dict[str, Any] | None:
        host = self.settings.namespace or "any.servicebus.windows.net"
        proxy = proxy_for(f"https://{host}")
        if proxy is None:
            return None
        parts = urlsplit(proxy)
        told: dict[str, Any] = {"proxy_hostname": parts.hostname, "proxy_port": parts.port or 80}
        if parts.username:
            told |= {"username": parts.username, "password": parts.password or ""}
        return told


def hub_names(settings: EventHubSettings) -> list[str]:
    """Return the hubs to be read: EVENTHUB__NAME, else the connection string's EntityPath.

    ConfigurationError when neither says.
    """
    if settings.name:
        return list(dict.fromkeys(settings.name))
    if settings.connection_string is not None:
        with _readable_settings():
            text = settings.connection_string.get_secret_value()
            path = parse_connection_string(text).eventhub_name
        if path:
            return [path]
    raise ConfigurationError("SIGNINWATCH_EVENTHUB__NAME: say which hubs to read")


@contextmanager
def _readable_settings() -> Iterator[None]:
    """Translate what the SDK says of a connection string; it never shows the string itself."""
    try:
        yield
    except ValueError:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__CONNECTION_STRING: is no Event Hubs connection string "
            "(Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…), or names another hub "
            "than EVENTHUB__NAME"
        ) from None


def trouble_of(error: EventHubError | OSError | TimeoutError, hub: str) -> tuple[Trouble, str]:
    """Return what an error of a hub means, and how to mend it."""
    text = str(error)
    if "404" in text or "not-found" in text or "could not be found" in text:
        return (
            Trouble.HUB_MISSING,
            f"EVENTHUB__NAME: there is no event hub {hub} in this namespace",
        )
    if isinstance(error, AuthenticationError) or "401" in text or "unauthorized" in text:
        return (
            Trouble.HUB_REFUSED,
            f"EVENTHUB__CONNECTION_STRING or the identity: event hub {hub} refuses; check the key "
            "and its Listen right, or the role Azure Event Hubs Data Receiver",
        )
    return (
        Trouble.HUB_UNREACHABLE,
        f"event hub {hub} does not answer ({type(error).__name__}); check "
        "EVENTHUB__CONNECTION_STRING or EVENTHUB__NAMESPACE, the network (5671, or 443 with "
        "EVENTHUB__TRANSPORT=websocket) and its firewall",
    )


def forget_delivery_tags(client: EventHubConsumerClient) -> bool:
    """Empty the sets of delivery tags that the SDK fills and never reads; tell whether it worked.

    It keeps one for every message as long as a link lives, 72 bytes each. There is no public way.
    """
    try:
        for processor in client._event_processors.values():  # noqa: SLF001
            for consumer in processor._consumers.values():  # noqa: SLF001
                link = getattr(consumer._handler, "_link", None)  # noqa: SLF001
                if link is not None:
                    link._received_delivery_tags.clear()  # noqa: SLF001
    except AttributeError:
        return False
    return True


class _Refusals(logging.Handler):
    """Catches the error of a detached link from the SDK's trace of frames."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard = asyncio.Event()
        self.told: tuple[str, str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Look into frames only, never at texts."""
        frame = record.args[0] if isinstance(record.args, tuple) and record.args else None
        error = getattr(frame, "error", None)
        if isinstance(error, list | tuple) and error:
            parts = [one.decode() if isinstance(one, bytes) else str(one) for one in error[:2]]
            self.told = (parts[0], parts[1] if len(parts) > 1 else "")
            self.heard.set()


async def why_refused(hub: Hub, partition: str) -> tuple[str, str] | None:
    """Open a link of one's own on a partition to hear why the hub refuses it; None if it does not.

    Returns condition and description. The SDK swallows the refusal of a consumer link and tries
    again for ever; only its trace tells. Takes up to :data:`PROBE_SECONDS`.
    """
    logger = logging.getLogger(_FRAMES)
    refusals = _Refusals()
    before = logger.level, logger.propagate
    logger.addHandler(refusals)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    client = hub.consumer(logging_enable=True, retry_total=0)
    receiving = asyncio.ensure_future(
        client.receive_batch(_ignore, partition_id=partition, starting_position="@latest")
    )
    try:
        await asyncio.wait_for(refusals.heard.wait(), PROBE_SECONDS)
    except TimeoutError:
        return None
    finally:
        await client.close()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        logger.removeHandler(refusals)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return refusals.told


async def _ignore(*_: object) -> None:
    """Take no notice of events: the probe only wants to know whether the link opens."""
