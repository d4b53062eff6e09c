"""Adapter for azure-eventhub: clients from settings, explained errors, workarounds for SDK bugs.

The SDK's behaviour on failures was determined by experiment with version 5.15.1; see the tests of
``receive``.
"""

from __future__ import annotations

import asyncio
import logging
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
from schemas.network_errors import causes, why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from consumers.inputs.checkpoint_store import CheckpointStore
    from consumers.settings import EventHubSettings

PROBE_SECONDS = 5.0
REFUSAL_SECONDS = 1.0
"""Seconds after a link was attached within which a refusal follows it."""
_GROUPS = "ConsumerGroups"
"""Part of the source of a consumer link, in its frames."""
_FRAMES = "azure.eventhub._pyamqp.aio._link_async"
"""Logger to which the SDK writes the frames of a link, if tracing is enabled."""


@dataclass(frozen=True, slots=True)
class EventHub:
    """An event hub and how to connect to it."""

    name: str
    settings: EventHubSettings
    credential: Any
    """An AsyncTokenCredential; None with a connection string."""
    ca_bundle: Path | None

    def consumer(
        self, store: CheckpointStore | None = None, **options: Any
    ) -> EventHubConsumerClient:
        """Return a client that receives; *store* keeps its checkpoints."""
        group = self.settings.consumer_group
        arguments = {**self._options(), **options}
        if store is not None:
            arguments |= {
                "checkpoint_store": store,
                "load_balancing_interval": self.settings.balance_interval,
                "partition_ownership_expiration_interval": self.settings.ownership_expiry,
            }
        with _readable_settings():
            if (text := self._connection_string) is not None:
                return EventHubConsumerClient.from_connection_string(
                    text, group, eventhub_name=self.name, **arguments
                )
            return EventHubConsumerClient(
                self.settings.namespace or "", self.name, group, self.credential, **arguments
            )

    def producer(self, **options: Any) -> EventHubProducerClient:
        """Return a client that sends."""
        arguments = {**self._options(), **options}
        with _readable_settings():
            if (text := self._connection_string) is not None:
                return EventHubProducerClient.from_connection_string(
                    text, eventhub_name=self.name, **arguments
                )
            return EventHubProducerClient(
                self.settings.namespace or "", self.name, self.credential, **arguments
            )

    @property
    def namespace(self) -> str:
        """The fully qualified namespace, part of the checkpoint names."""
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
        options: dict[str, Any] = {"ssl_context": _ssl_context(self.ca_bundle)}
        if self.settings.transport == "websocket":
            options["transport_type"] = TransportType.AmqpOverWebsocket
            if (proxy := self._proxy()) is not None:
                options["http_proxy"] = proxy
        if self.settings.endpoint is not None:
            options.setdefault("transport_type", TransportType.Amqp)
            options["custom_endpoint_address"] = self.settings.endpoint
        return options

    def _proxy(self) -> dict[str, Any] | None:
        """Return the proxy in the SDK's format: the SDK joins host and port, aiohttp needs a URL.

        User and password stay in the URL: aiohttp deprecates the SDK's way of passing them.
        """
        proxy = proxy_for(f"https://{self._host}")
        if proxy is None:
            return None
        parts = urlsplit(proxy)
        host = parts.netloc.removesuffix(f":{parts.port}")
        return {"proxy_hostname": f"http://{host}", "proxy_port": parts.port or 80}

    @property
    def _host(self) -> str:
        """The host to connect to."""
        endpoint = self.settings.endpoint or self.namespace
        return urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").hostname or ""


@cache
def _ssl_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts *ca_bundle*, else the operating system's store.

    By default, the SDK trusts the list of a Python package and reads it for each connection.
    """
    return ssl.create_default_context(cafile=ca_bundle)


@cache
def close_failed_connections() -> None:
    """Patch the SDK to release the resources of a connection that failed, was lost or abandoned.

    The SDK leaks a socket if a partition is taken over while it connects, and a WebSocket session
    whenever it is lost. Each leak logs an error. There is no public way to avoid this.
    """
    try:
        from azure.eventhub._pyamqp.aio._connection_async import Connection
    except ImportError:
        return
    connection: Any = Connection
    open_, close = connection.open, connection.close

    async def release(connection: Any) -> None:
        transport = getattr(connection, "_transport", None)
        if (writer := getattr(transport, "writer", None)) is not None:
            writer.transport.abort()
        if (session := getattr(transport, "session", None)) is not None:
            await session.close()

    async def open_or_release(connection: Any, *args: Any, **options: Any) -> None:
        try:
            await open_(connection, *args, **options)
        except BaseException:
            await release(connection)
            raise

    async def close_and_release(connection: Any, *args: Any, **options: Any) -> None:
        try:
            await close(connection, *args, **options)
        finally:
            await release(connection)

    connection.open, connection.close = open_or_release, close_and_release


def require_hub_settings(settings: EventHubSettings) -> None:
    """Raise ConfigurationError unless one readable way to connect to Event Hubs is configured."""
    if settings.connection_string is None and settings.namespace is None:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__CONNECTION_STRING: not set; set it or EVENTHUB__NAMESPACE"
        )
    if settings.connection_string is not None and settings.namespace is not None:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__NAMESPACE: set either it or EVENTHUB__CONNECTION_STRING"
        )
    if settings.connection_string is not None:
        with _readable_settings():
            parse_connection_string(settings.connection_string.get_secret_value())


def hub_names(settings: EventHubSettings) -> list[str]:
    """Return the hubs to read: EVENTHUB__NAME, else the connection string's EntityPath.

    Raises ConfigurationError if neither is set.
    """
    if settings.name:
        return list(dict.fromkeys(settings.name))
    if settings.connection_string is not None:
        with _readable_settings():
            text = settings.connection_string.get_secret_value()
            path = parse_connection_string(text).eventhub_name
        if path:
            return [path]
    raise ConfigurationError("SIGNINWATCH_EVENTHUB__NAME: not set; name the event hubs to read")


@contextmanager
def _readable_settings() -> Iterator[None]:
    """Translate the SDK's errors about a connection string; never show the string itself."""
    try:
        yield
    except ValueError:
        raise ConfigurationError(
            "SIGNINWATCH_EVENTHUB__CONNECTION_STRING: not an Event Hubs connection string "
            "(Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…), or it names another hub "
            "than EVENTHUB__NAME"
        ) from None


def problem_of(
    error: Exception,
    hub: str,
    *,
    right: str = "Listen",
    role: str = "Azure Event Hubs Data Receiver",
) -> tuple[Problem, str]:
    """Return the problem behind an error of a hub, and how to fix it.

    *right* and *role* are what a key or an identity needs for the failed operation.
    """
    if (why := why_no_token(error)) is not None:
        return Problem.HUB_REFUSED, f"EVENTHUB__NAMESPACE: no token could be had: {why}"
    conditions = _conditions(error)
    if conditions & {"amqp:not-found", 404}:
        return (
            Problem.HUB_MISSING,
            f"EVENTHUB__NAME: event hub {hub} does not exist in this namespace",
        )
    if isinstance(error, AuthenticationError) or conditions & {"amqp:unauthorized-access", 401}:
        return (
            Problem.HUB_REFUSED,
            f"EVENTHUB__CONNECTION_STRING or the identity: event hub {hub} denies access; check "
            f"the key and its {right} right, or the role {role}",
        )
    return (
        Problem.HUB_UNREACHABLE,
        f"event hub {hub} is unreachable ({why_unreached(error)}); check "
        "EVENTHUB__CONNECTION_STRING or EVENTHUB__NAMESPACE, the network (port 5671, or 443 with "
        "EVENTHUB__TRANSPORT=websocket) and the hub's firewall",
    )


def _conditions(error: Exception) -> set[str | int]:
    """Return the AMQP conditions behind an error, and the statuses of refused tokens."""
    found: set[str | int] = set()
    for link in causes(error):
        condition = getattr(link, "condition", None)
        condition = getattr(condition, "value", condition)
        if condition:
            found.add(condition.decode() if isinstance(condition, bytes) else str(condition))
        if isinstance(status := getattr(link, "status_code", None), int):
            found.add(status)
    return found


_HUB_PROBLEMS = (Problem.HUB_UNREACHABLE, Problem.HUB_REFUSED, Problem.HUB_MISSING)


@dataclass(frozen=True, slots=True)
class HubProperties:
    """Properties of a hub."""

    partitions: list[str]
    created: datetime


async def read_properties(hub: EventHub, health: HealthReporter) -> HubProperties | None:
    """Return a hub's properties. If it is unreachable, report why to *health*; return None."""
    try:
        async with hub.consumer(retry_total=0) as client:
            properties = await client.get_eventhub_properties()
    except (EventHubError, OSError, TimeoutError) as error:
        problem, detail = problem_of(error, hub.name)
        health.report(problem, detail, part=hub.name)
        return None
    resolve_hub_problems(hub, health)
    return HubProperties(list(properties["partition_ids"]), properties["created_at"])


def resolve_hub_problems(hub: EventHub, health: HealthReporter) -> None:
    """Report to *health* that the hub is reachable."""
    for problem in _HUB_PROBLEMS:
        health.resolve(problem, part=hub.name)


def explain_refusal(why: tuple[str, str] | None, group: str) -> str:
    """Explain why a consumer link was refused, and how to fix it."""
    if why is None:
        return "nothing is received from this partition; the client retries by itself"
    condition, description = why
    if "not-found" in condition:
        fix = f"EVENTHUB__CONSUMER_GROUP: check that consumer group {group} exists."
    elif "unauthorized" in condition:
        fix = "Grant the key or identity the right to listen (Azure Event Hubs Data Receiver)."
    else:
        fix = "See the runbook."
    return f"{fix} The hub refuses to be read: {condition} {description}"[:400]


def forget_delivery_tags(client: EventHubConsumerClient) -> bool:
    """Clear the delivery tags that the SDK collects but never reads; return True if that worked.

    The SDK keeps a tag for every message of a link, 72 bytes each. There is no public way.
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
    """Captures the error of a detached link from the SDK's frame trace."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.received = asyncio.Event()
        self.answered = asyncio.Event()
        """Set once the service has attached the link, or refused it."""
        self.refusal: tuple[str, str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Read frames only, never message texts."""
        frame = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if str(record.msg).startswith("<-") and _GROUPS in str(getattr(frame, "source", "")):
            self.answered.set()
        error = getattr(frame, "error", None)
        if isinstance(error, list | tuple) and error:
            parts = [part.decode() if isinstance(part, bytes) else str(part) for part in error[:2]]
            self.refusal = (parts[0], parts[1] if len(parts) > 1 else "")
            self.received.set()
            self.answered.set()


async def read_refusal(hub: EventHub, partition: str) -> tuple[str, str] | None:
    """Open a separate link to a partition to learn why the hub refuses it; None if it does not.

    Returns condition and description. The SDK swallows the refusal of a consumer link and retries
    forever; only its trace shows it. Takes up to :data:`PROBE_SECONDS`.
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
        await asyncio.wait_for(refusals.answered.wait(), PROBE_SECONDS)
        await asyncio.wait_for(refusals.received.wait(), REFUSAL_SECONDS)
    except TimeoutError:
        return None
    finally:
        await client.close()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        logger.removeHandler(refusals)
        logger.setLevel(before[0])
        logger.propagate = before[1]
    return refusals.refusal


async def _ignore(*_: object) -> None:
    """Ignore events: the probe only needs to know whether the link opens."""
