"""One client that reads a hub to its end, in a process of its own; see ``goal7_service``.

``python -m tests.bench.measurements.reading service --messages 20000`` is the service, put together
and run by what ``signinwatch run`` calls. ``idle`` is the SDK's client with the same options and
checkpoint store, and a handler that does nothing but count. Settings come from the environment.
It prints one line of JSON: messages, seconds and CPU seconds after the first tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import orjson

from consumers.inputs.checkpoint_container import CheckpointContainer
from consumers.inputs.eventhub_client import EventHub, hub_names
from consumers.service.health import Health
from consumers.settings import SettingsReader
from consumers.wiring.service import open_service
from tests.bench.measurements.service import SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.eventhub import EventData

    from consumers.service.service import Service

WARM = 0.1
"""Share of the messages after which it is measured: links are open and addresses known."""
LOOK = 0.02
"""Seconds between two looks at how far it is."""
HEARTBEAT = 3.0
"""As long as the service lets the SDK wait for messages."""
MOST_SECONDS = 120.0
SETTLE_SECONDS = 15.0
"""Until connections are open and partitions owned."""


async def measured(done: Callable[[], int], messages: int) -> dict[str, float]:
    """Wait until all is done; return what came after the first tenth, and what that took."""
    begun: tuple[int, float, float] | None = None
    async with asyncio.timeout(MOST_SECONDS):
        while (now := done()) < messages:
            if begun is None and now >= messages * WARM:
                begun = now, time.perf_counter(), time.process_time()
            await asyncio.sleep(LOOK)
    assert begun is not None, "all came at once: more messages are needed"
    count, wall, cpu = begun
    return {
        "messages": now - count,
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
    }


async def resting(seconds: float) -> dict[str, float]:
    """Measure a time in which nothing arrives, some time after the start."""
    await asyncio.sleep(SETTLE_SECONDS)
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    return {"cpu": time.process_time() - cpu, "wall": seconds}


def _settled(service: Service) -> int:
    """Return how many messages are settled: judged, accepted or durably waiting."""
    total = 0
    for claim in service.claims():
        claim.advance()
        total += claim.settled.sequence_number + 1 if claim.settled else 0
    return total


async def of_service(messages: int) -> dict[str, float]:
    """Measure the service; settled is what counts as done."""
    reader = SettingsReader()
    async with open_service(reader.read(), reader, None) as service:
        running = asyncio.create_task(service.run())
        told = await measured(lambda: _settled(service), messages)
        counts = service.pipeline.counts
        assert counts.signins >= messages * SIZE, counts
        assert not counts.unanswered, counts
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    return told


async def of_idle(messages: int, seconds: float) -> dict[str, float]:
    """Measure the bare client; received is what counts as done. With *seconds*, while idle."""
    count = 0

    async def take(_: Any, events: list[EventData]) -> None:
        nonlocal count
        count += len(events)

    settings = SettingsReader().read()
    checkpoints = CheckpointContainer(settings.checkpoint, None, Health())
    assert await checkpoints.probe()
    prefetch = settings.eventhub.prefetch
    hub = EventHub(hub_names(settings.eventhub)[0], settings.eventhub, None, None)
    client = hub.consumer(checkpoints.store)
    receiving = asyncio.create_task(
        client.receive_batch(
            take,
            max_batch_size=prefetch,
            max_wait_time=HEARTBEAT,
            prefetch=prefetch,
            starting_position="-1",
        )
    )
    told = await (resting(seconds) if seconds else measured(lambda: count, messages))
    await client.close()
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await checkpoints.close()
    return told


def main() -> None:
    """Measure one client."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["service", "idle"])
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="measure while nothing comes")
    given = parser.parse_args()
    measure = (
        of_service(given.messages)
        if given.kind == "service"
        else of_idle(given.messages, given.seconds)
    )
    print(orjson.dumps(asyncio.run(measure)).decode())


if __name__ == "__main__":
    main()
