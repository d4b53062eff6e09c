"""Builds the event hub sink of ``publish`` from settings."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from consumers.inputs.eventhub_client import EventHub, hub_names, problem_of, require_hub_settings
from consumers.wiring.credentials import Credentials
from producers.eventhub import SDK_OPTIONS, EventHubSink
from schemas.errors import ConfigurationError
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.settings import EventHubSettings, Settings

RIGHT = "Send"
ROLE = "Azure Event Hubs Data Sender"


def chosen_hub(settings: EventHubSettings, wanted: str | None) -> str:
    """Return the hub to send to. Raise ConfigurationError if it is ambiguous or unknown."""
    require_hub_settings(settings)
    if wanted is not None and not settings.name:
        return wanted
    names = hub_names(settings)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise ConfigurationError(
            f"--hub is not set; EVENTHUB__NAME has several: set {' or '.join(names)}"
        )
    if wanted not in names:
        raise ConfigurationError(f"--hub {wanted}: EVENTHUB__NAME has {', '.join(names)}")
    return wanted


@asynccontextmanager
async def open_hub_sink(
    settings: Settings, hub_name: str | None, partition: int | None
) -> AsyncIterator[EventHubSink]:
    """Connect to an event hub for sending.

    Raise ConfigurationError for invalid settings, HubFailed if the hub refuses the connection.
    """
    name = chosen_hub(settings.eventhub, hub_name)
    async with AsyncExitStack() as stack:
        keyless = settings.eventhub.connection_string is None
        credential = Credentials(stack, settings).get() if keyless else None
        hub = EventHub(name, settings.eventhub, credential, settings.ca_bundle)

        def explain(error: Exception) -> tuple[str, bool]:
            problem, text = problem_of(error, name, right=RIGHT, role=ROLE)
            return text, problem is Problem.HUB_UNREACHABLE

        sink = EventHubSink(
            lambda: hub.producer(**SDK_OPTIONS),
            name,
            None if partition is None else str(partition),
            explain,
        )
        stack.push_async_callback(sink.close)
        await sink.open()
        yield sink
