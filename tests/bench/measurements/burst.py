"""200,000 new addresses in a minute: ``python -m tests.bench.measurements.burst``.

The quota is 1,500 lookups a month, so 50 on the first day; the ledger is shared, behind a way that
is slow and strict like Azure (see :mod:`tests.bench.measurements.storage`), and in memory, because
Azurite slows down with its rows (see :mod:`tests.bench.measurements.tables`). 50 addresses are
planted: each a successful sign-in that Entra ID rates as high risk, among failures. Told is how
long after the last message all is settled, how many of the planted ones were among the first
asked, the memory, and the CPU a record. One when it takes more than five minutes or 250 MB, or
when fewer than 40 of the planted ones were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import orjson

from tests.bench.goals.goal8_shared import PARTITIONS, PATIENCE, tables_of
from tests.bench.measure import Outcome, print_outcomes, told_by
from tests.bench.measurements.data import Writer, addresses
from tests.bench.measurements.service import SIZE, Site, cpu_of, resident, site
from tests.support.service_process import Running, until

if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT, PLANTED, QUOTA = 200_000, 50, 1_500
SECONDS = 60.0
NAME = "burst"


def bodies_of(pool: Sequence[str], planted: set[str]) -> list[bytes]:
    """Return messages with one sign-in from each address."""
    writer = Writer(people=5_000)
    bodies = []
    for at in range(0, len(pool), SIZE):
        rows = []
        for address in pool[at : at + SIZE]:
            row = writer.flat(address)
            if address in planted:
                row |= {"ResultType": "0", "RiskLevelDuringSignIn": "high", "RiskState": "atRisk"}
            else:
                row |= {"ResultType": "50126"}
            rows.append(row)
        bodies.append(orjson.dumps({"records": rows}))
    return bodies


async def _measured(place: Site, count: int, stack: AsyncExitStack) -> list[Outcome]:
    tables = await tables_of(stack, in_memory=True)
    pool = addresses(count, 7)
    planted = set(pool[:: count // PLANTED][:PLANTED])
    bodies = bodies_of(pool, planted)
    given = place.settings("signins", None)
    given |= {
        "CROWDSEC__MONTHLY_QUOTA": str(QUOTA),
        "STATE__CONNECTION_STRING": tables.connection_string,
    }
    service = await stack.enter_async_context(Running(given))
    await until(service.ready, "ready")
    assert service.process is not None
    pid, most = service.process.pid, 0
    cpu, began = cpu_of(pid), time.monotonic()
    step = 100
    for number, at in enumerate(range(0, len(bodies), step)):
        await asyncio.sleep(max(0.0, began + at / len(bodies) * SECONDS - time.monotonic()))
        await place.broker.control(
            "publish",
            hub="signins",
            partition=number % PARTITIONS,
            bodies=[base64.b64encode(body).decode() for body in bodies[at : at + step]],
            enqueued=int(time.time() * 1_000),
        )
        most = max(most, resident(pid))
    published = time.monotonic()

    async def settled() -> bool:
        nonlocal most
        most = max(most, resident(pid))
        held = await service.metric("held")
        return not held and await service.metric("signins") >= len(bodies) * SIZE

    await until(settled, "all settled", PATIENCE, every=1.0)
    after = time.monotonic() - published
    cpu = cpu_of(pid) - cpu
    asked = set(told_by(place.cti).get("asked", ()))
    told = told_by(tables.url)
    assert await service.terminate() == 0, service.errors
    return [
        Outcome(NAME, "settled after the last message", after, 0, "s", 300, most=True),
        Outcome(NAME, "planted ones not asked", len(planted - asked), 0, "", 10, most=True),
        Outcome(NAME, "asked", len(asked), 0, ""),
        Outcome(NAME, "memory", most / 1e6, 0, "MB", 250, most=True),
        Outcome(NAME, "CPU a record", cpu / count * 1e6, 0, "us"),
        Outcome(NAME, "table requests an address", told["requests"] / count, 0, ""),
        Outcome(
            NAME, "requests refused as Azure would", told.get("refused", 0), 0, "", 0, most=True
        ),
        Outcome(NAME, "partitions too busy", told.get("busy", 0), 0, ""),
    ]


async def _run(count: int) -> list[Outcome]:
    async with (
        site({"signins": PARTITIONS}, count=10, seed=7, known=0.05) as place,
        AsyncExitStack() as stack,
    ):
        return await _measured(place, count, stack)


def main() -> int:
    """Print the table; 1 when something is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", type=int, default=COUNT)
    outcomes = asyncio.run(_run(parser.parse_args().addresses))
    return print_outcomes(outcomes)


if __name__ == "__main__":
    sys.exit(main())
