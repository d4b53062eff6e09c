"""Goals 8 and 9: the ledger that instances share, against the one in a directory.

The same records, once with lookups for every new address and once for a twentieth of them, with
either ledger. The service is the command itself. It has started and owns its partitions when the
records arrive, so that the start does not count. Table Storage is Azurite behind a way that adds
15 ms, counts requests, and refuses what Azure refuses. CPU is that of the service alone.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.measure import Outcome, print_outcomes, served, told_by
from tests.bench.measurements.data import Writer, addresses, repeated
from tests.bench.measurements.service import SIZE, Site, cpu_of, resident, site
from tests.servers.azurite import Azurite
from tests.support.service_process import Running, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PARTITIONS = 4
HUBS = [f"signins{number}" for number in range(60)]
"""Each run reads a hub of its own from its beginning."""
RECORDS, NEW, PEOPLE = 60_000, 2_207, 5_000
DELAY = 0.015
AMPLE = 10**8
SCARCE = NEW // 20 * 30
"""Lookups a month of which a day's share, which may be spent at once, is a twentieth of NEW."""
PATIENCE = 600.0
ROUNDS = 3
NAME = {AMPLE: "8 ample", SCARCE: "9 scarce"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run showed, of one instance."""

    cpu: float
    """Microseconds a record."""
    records_a_second: float
    requests: float
    """Table requests a new address."""
    memory: float
    """Megabytes."""
    refused: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The way to the tables, and the connection string that leads over it."""

    url: str
    connection_string: str


async def tables_of(stack: AsyncExitStack, *, in_memory: bool = False) -> Tables:
    """Start a table service of its own, and the way to it; with *in_memory* one without Azurite."""
    azurite = await stack.enter_async_context(Azurite())
    port = 0 if in_memory else azurite.table_port
    url = stack.enter_context(served("storage", port=port, delay=DELAY))
    port = int(url.rpartition(":")[2])
    return Tables(url, azurite.connection_string_at(azurite.blob_port, port))


def bodies_of(pool: Sequence[str], records: int) -> list[bytes]:
    """Return messages of flat records from a pool of addresses, each of them at least once."""
    of = repeated(list(pool), records)
    writer = Writer(people=PEOPLE)
    return [writer.body("flat", of[at : at + SIZE]) for at in range(0, len(of), SIZE)]


async def publish(place: Site, hub: str, bodies: Sequence[bytes], rate: float | None) -> None:
    """Publish messages, in order; at *rate* records a second, or all at once."""
    step = 25 if rate else 250
    started = time.monotonic()
    for number, at in enumerate(range(0, len(bodies), step)):
        if rate:
            await asyncio.sleep(max(0.0, started + at * SIZE / rate - time.monotonic()))
        await place.broker.control(
            "publish",
            hub=hub,
            partition=number % PARTITIONS,
            bodies=[base64.b64encode(body).decode() for body in bodies[at : at + step]],
            enqueued=int(time.time() * 1_000),
        )


async def judged(service: Running, records: int) -> None:
    """Wait until all records are settled."""

    async def settled() -> bool:
        held = await service.metric("held")
        return not held and await service.metric("signins") >= records

    await until(settled, "all settled", PATIENCE, every=0.5)


async def measured(
    place: Site, tables: Tables | None, bodies: Sequence[bytes], quota: int, rate: float | None
) -> Seen:
    """Run the service once, with a new ledger; a shared one if there are *tables*."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        hub = HUBS.pop()
        given = place.settings(hub, Path(folder) if tables is None else None)
        given |= {"CROWDSEC__MONTHLY_QUOTA": str(quota)}
        if tables is not None:
            given["STATE__CONNECTION_STRING"] = tables.connection_string
        service = await stack.enter_async_context(Running(given))
        await until(service.ready, "ready")
        assert service.process is not None
        if tables is not None:
            told_by(tables.url)
        cpu, began = cpu_of(service.process.pid), time.monotonic()
        await publish(place, hub, bodies, rate)
        records = len(bodies) * SIZE
        await judged(service, records)
        cpu, wall = cpu_of(service.process.pid) - cpu, time.monotonic() - began
        told = told_by(tables.url) if tables is not None else {}
        memory = resident(service.process.pid) / 1e6
        assert await service.terminate() == 0, service.errors
    return Seen(
        cpu / records * 1e6,
        records / wall,
        told.get("requests", 0) / NEW,
        memory,
        told.get("refused", 0),
    )


async def together(
    place: Site, tables: Tables, bodies: Sequence[bytes], quota: int, count: int
) -> float:
    """Return the CPU of *count* instances on one ledger, in microseconds a record."""
    async with AsyncExitStack() as stack:
        hub = HUBS.pop()
        given = place.settings(hub, None, EVENTHUB__BALANCE_INTERVAL="2")
        given |= {
            "CROWDSEC__MONTHLY_QUOTA": str(quota),
            "STATE__CONNECTION_STRING": tables.connection_string,
        }
        services = [await stack.enter_async_context(Running(given)) for _ in range(count)]
        for service in services:
            await until(service.ready, "ready")

        async def shared() -> bool:
            owned = [(await service.get("/metrics"))[1].count(b"_lag{") for service in services]
            return owned == [PARTITIONS // count] * count

        await until(shared, "partitions shared", PATIENCE, every=0.5)
        pids = [service.process.pid for service in services if service.process is not None]
        cpu = sum(map(cpu_of, pids))
        await publish(place, hub, bodies, None)
        records = len(bodies) * SIZE

        async def settled() -> bool:
            held = sum([await service.metric("held") for service in services])
            done = sum([await service.metric("signins") for service in services])
            return not held and done >= records

        await until(settled, "all settled", PATIENCE, every=0.5)
        cpu = sum(map(cpu_of, pids)) - cpu
        for service in services:
            assert await service.terminate() == 0, service.errors
    return cpu / records * 1e6


async def _several(rounds: int) -> list[Outcome]:
    """Compare two and four instances with one; lookups are scarce, and all see all addresses."""
    bodies = bodies_of(addresses(NEW), RECORDS)
    outcomes = []
    async with site_with_tables() as (place, tables):
        seen = {
            count: median(
                [await together(place, tables, bodies, SCARCE, count) for _ in range(rounds)]
            )
            for count in (1, 2, 4)
        }
        for count in (2, 4):
            what = f"CPU a record, {count} instances together"
            outcomes.append(Outcome(NAME[SCARCE], what, seen[count], seen[1], "us", 1 / 1.5))
    return outcomes


@asynccontextmanager
async def site_with_tables() -> AsyncIterator[tuple[Site, Tables]]:
    """Run a site with tables of its own."""
    async with (
        site(dict.fromkeys(HUBS, PARTITIONS), count=NEW, seed=1, known=0.05) as place,
        AsyncExitStack() as stack,
    ):
        yield place, await tables_of(stack)


def middle(seen: Sequence[Seen]) -> Seen:
    """Return the medians."""
    return Seen(
        median(one.cpu for one in seen),
        median(one.records_a_second for one in seen),
        median(one.requests for one in seen),
        median(one.memory for one in seen),
        sum(one.refused for one in seen),
    )


def outcomes_of(quota: int, shared: Seen, embedded: Seen) -> list[Outcome]:
    """Return the lines of one quota."""
    ratio = 2.0 if quota == AMPLE else 2.5
    name = NAME[quota]
    return [
        Outcome(name, "CPU a record", shared.cpu, embedded.cpu, "us", 1 / ratio),
        Outcome(name, "memory", shared.memory, embedded.memory, "MB", 1 / 1.3),
        Outcome(name, "records a second", embedded.records_a_second, shared.records_a_second, ""),
        Outcome(name, "requests refused as Azure would", shared.refused, 0, "", 0, most=True),
    ]


async def _run(rounds: int, quotas: Sequence[int], paced: bool) -> tuple[list[Outcome], list[str]]:
    bodies = bodies_of(addresses(NEW), RECORDS)
    outcomes: list[Outcome] = []
    notes: list[str] = []
    async with site_with_tables() as (place, tables):
        for quota in quotas:
            shared: list[Seen] = []
            embedded: list[Seen] = []
            for _ in range(rounds):
                embedded.append(await measured(place, None, bodies, quota, None))
                shared.append(await measured(place, tables, bodies, quota, None))
            outcomes += outcomes_of(quota, middle(shared), middle(embedded))
            notes.append(f"{NAME[quota]}: {middle(shared).requests:.2f} requests a new address")
            if paced:
                rate = 50 * RECORDS / NEW
                seen = await measured(place, tables, bodies, quota, rate)
                most = 0.5 if quota == AMPLE else 2.0
                what = "table requests a new address, 50 a second"
                outcomes.append(Outcome(NAME[quota], what, seen.requests, 0, "", most, most=True))
                notes.append(f"{NAME[quota]}, 50 a second: {seen}")
    return outcomes, notes


def run(
    rounds: int = ROUNDS, quotas: Sequence[int] = (AMPLE, SCARCE), *, paced: bool = True
) -> tuple[list[Outcome], list[str]]:
    """Measure all cases."""
    return asyncio.run(_run(rounds, quotas, paced))


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--case", choices=["ample", "scarce"])
    parser.add_argument("--fast", action="store_true", help="leave out what takes its time")
    parser.add_argument("--together", action="store_true", help="two and four instances, only")
    given = parser.parse_args()
    if given.together:
        outcomes = asyncio.run(_several(given.rounds))
        return print_outcomes(outcomes)
    quotas = {"ample": (AMPLE,), "scarce": (SCARCE,)}.get(given.case, (AMPLE, SCARCE))
    outcomes, notes = run(given.rounds, quotas, paced=not given.fast)
    return print_outcomes(outcomes, notes)


if __name__ == "__main__":
    sys.exit(main())
