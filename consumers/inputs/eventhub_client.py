"""The edge to azure-eventhub: clients from settings, its errors in our words, and its traps.

What the SDK does when something fails was found out by trying version 5.15.1; see the tests of
``receive``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.eventhub import TransportType, parse_connection_string
from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from consumers.settings.proxies import proxy_for
from schemas.errors import ConfigurationError
from schemas.health import HealthReporter, Problem
from schemas.network_errors import why_unreached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from consumers.inputs.checkpoint_store import CheckpointStore
    from consumers.settings import EventHubSettings

PROBE_SECONDS = 5.0
_MISSING = re.compile(r"\b404\b|not-found|could not be found")
_REFUSED = re.compile(r"\b401\b|unauthorized")
_FRAMES = "azure.eventhub._pyamqp.aio._link_async"
"""The logger to which the SDK writes the frames of a link, if asked to trace."""


@dataclass(frozen=True, slots=True)
class EventHub:
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

    def producer(self, **options: Any) -> EventHubProducerClient:
        """Return a client that sends."""
        more = {**self._options(), **options}
        with _readable_settings():
            if (text := self._connection_string) is not None:
                return EventHubProducerClient.from_connection_string(
                    text, eventhub_name=self.name, **more
                )
            return EventHubProducerClient(
                self.settings.namespace or "", self.name, self.credential, **more
            )

    @property
    def namespace(self) -> str:
        """The fully qualified namespace, by which checkpoints are named."""
        if (text := self._connection_string) is None:
            return self.settings.namespace or ""
        with _readable_settings():
            return parse_connection_string(text).fully_qualified_namespace

    @property
    def _connection_string(self) -> str | None:
        secret = self.settings.connection_string
        return None if secret is None else secret.get_secret_value()

    def _options(self) -> dict[str, Any]:
        close_failed_connections()
        options: dict[str, Any] = {"ssl_context": _trusted(self.ca_bundle)}
        if self.settings.transport == "websocket":
            options["transport_type"] = TransportType.AmqpOverWebsocket
            if (proxy := self._proxy()) is not None:
                options["http_proxy"] = proxy
        if self.settings.endpoint is not None:
            options.setdefault("transport_type", TransportType.Amqp)
            options["custom_endpoint_address"] = self.settings.endpoint
        return options

    def _proxy(self) -> dict[str, Any] | None:
        """Return the proxy as the SDK takes it: it joins host and port, and aiohttp takes a URL.

        User and password stay in the URL: aiohttp will not take them by the SDK's way much longer.
        """
        proxy = proxy_for(f"https://{self._host}")
        if proxy is None:
            return None
        parts = urlsplit(proxy)
        host = parts.netloc.removesuffix(f":{parts.port}")
        return {"proxy_hostname": f"http://{host}", "proxy_port": parts.port or 80}

    @property
    def _host(self) -> str:
        """The host that is connected to."""
        where = self.settings.endpoint or self.namespace
        return urlsplit(where if "//" in where else f"//{where}").hostname or ""


@cache
def _trusted(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return whom TLS trusts: *ca_bundle*, else the machine's own store like everybody else here.

    The SDK by itself trusts the list of a package, and reads it anew for each connection.
    """
    return ssl.create_default_context(cafile=ca_bundle)


@cache
def close_failed_connections() -> None:
    """Have the SDK close what it opened of a connection that failed, was lost or was given up.

    It forgets them: a socket when a partition is taken over while it connects, a WebSocket's
    session whenever it is lost, and each would leave an error in the log. No public way does it.
    """
    try:
        from azure.eventhub._pyamqp.aio._connection_async import Connection
    except ImportError:
        return
    connection: Any = Connection
    open_, close = connection.open, connection.close

    async def abandon(connection: Any) -> None:
        transport = getattr(connection, "_transport", None)
        if (writer := getattr(transport, "writer", None)) is not None:
            writer.transport.abort()
        if (session := getattr(transport, "session", None)) is not None:
            await session.close()

    async def open_whole(connection: Any, *args: Any, **options: Any) -> None:
        try:
            await open_(connection, *args, **options)
        except BaseException:
            await abandon(connection)
            raise

    async def close_whole(connection: Any, *args: Any, **options: Any) -> None:
        try:
            await close(connection, *args, **options)
        finally:
            await abandon(connection)

    connection.open, connection.close = open_whole, close_whole


def require_hub_settings(settings: EventHubSettings) -> None:
    """Raise ConfigurationError unless there is one way to reach event hubs."""
    if settings.connection_string is None and settings.namespace is None:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__CONNECTION_STRING: say it, or EVENTHUB__NAMESPACE"
        )
    if settings.connection_string is not None and settings.namespace is not None:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__NAMESPACE: say either it or EVENTHUB__CONNECTION_STRING"
        )


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
    raise ConfigurationError("SIGNINWATCH_EVENTHUB__NAME: say which event hubs")


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


def problem_of(
    error: Exception,
    hub: str,
    *,
    right: str = "Listen",
    role: str = "Azure Event Hubs Data Receiver",
) -> tuple[Problem, str]:
    """Return what an error of a hub means, and how to mend it.

    *right* and *role* are what a key or an identity needs for what was tried.
    """
    text = str(error)
    if _MISSING.search(text):
        return (
            Problem.HUB_MISSING,
            f"EVENTHUB__NAME: there is no event hub {hub} in this namespace",
        )
    if isinstance(error, AuthenticationError) or _REFUSED.search(text):
        return (
            Problem.HUB_REFUSED,
            f"EVENTHUB__CONNECTION_STRING or the identity: event hub {hub} refuses; check the key "
            f"and its {right} right, or the role {role}",
        )
    return (
        Problem.HUB_UNREACHABLE,
        f"event hub {hub} does not answer ({why_unreached(error)}); check "
        "EVENTHUB__CONNECTION_STRING or EVENTHUB__NAMESPACE, the network (5671, or 443 with "
        "EVENTHUB__TRANSPORT=websocket) and its firewall",
    )


_HUB_PROBLEMS = (Problem.HUB_UNREACHABLE, Problem.HUB_REFUSED, Problem.HUB_MISSING)


@dataclass(frozen=True, slots=True)
class HubProperties:
    """What a hub tells of itself."""

    partitions: list[str]
    created: datetime


async def read_properties(hub: EventHub, health: HealthReporter) -> HubProperties | None:
    """Return a hub's properties. If it cannot be reached, report why to *health*; return None."""
    try:
        async with hub.consumer(retry_total=0) as client:
            properties = await client.get_eventhub_properties()
    except (EventHubError, OSError, TimeoutError) as error:
        what, detail = problem_of(error, hub.name)
        health.report(what, detail, part=hub.name)
        return None
    resolve_hub_problems(hub, health)
    return HubProperties(list(properties["partition_ids"]), properties["created_at"])


def resolve_hub_problems(hub: EventHub, health: HealthReporter) -> None:
    """Tell *health* that the hub answers."""
    for trouble in _HUB_PROBLEMS:
        health.resolve(trouble, part=hub.name)


def explain_refusal(why: tuple[str, str] | None, group: str) -> str:
    """Return what the refusal of a consumer link means, and how to mend it."""
    if why is None:
        return "nothing is heard of this partition; the client tries again by itself"
    condition, description = why
    if "not-found" in condition:
        mend = f"EVENTHUB__CONSUMER_GROUP: is there a consumer group {group}?"
    elif "unauthorized" in condition:
        mend = "the key or identity needs the right to listen (Azure Event Hubs Data Receiver)"
    else:
        mend = "see the runbook"
    return f"{mend} The hub refuses to be read: {condition} {description}"[:400]


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


class _RefusalHandler(logging.Handler):
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


async def read_refusal(hub: EventHub, partition: str) -> tuple[str, str] | None:
    """Open a link of one's own on a partition to hear why the hub refuses it; None if it does not.

    Returns condition and description. The SDK swallows the refusal of a consumer link and tries
    again for ever; only its trace tells. Takes up to :data:`PROBE_SECONDS`.
    """
    logger = logging.getLogger(_FRAMES)
    refusals = _RefusalHandler()
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
