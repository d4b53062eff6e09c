"""Goal 10: a service that has nothing to do, while 20,000 addresses wait and no lookup is left.

The ledger is shared. What waits must cost nothing: no request and no work that grows with it. The
other side is the SDK's client alone, with the same hub and checkpoint store. CPU and storage
requests, of tables and blobs, are those of a minute. Told as well: how long a start with 20,000
waiting addresses takes, and the CPU of choosing the best 50 of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import orjson

from consumers.clock import WallClock
from consumers.ledger.table.client import StateTable
from consumers.ledger.table.ledger import TableLedger
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.ledger_ports import PendingSignIn
from tests.bench.goals.goal8_shared import DELAY, PARTITIONS
from tests.bench.measure import ROOT, print_outcomes, served, told_by
from tests.bench.measure import Outcome as Line
from tests.bench.measurements.data import addresses
from tests.bench.measurements.reading import SETTLE_SECONDS
from tests.bench.measurements.service import Site, cpu_of, site
from tests.servers.azurite import Azurite
from tests.support.service_process import Running, until

WAITING = 20_000
SECONDS = 60.0
NAME = "10 idle"
BATCH = 1_000
BEST = 50


class _NoHealth:
    def report(self, *_: object, **__: object) -> None:
        """Nothing is wrong here."""

    def resolve(self, *_: object, **__: object) -> None:
        """Nothing was."""


def waiting_at(address: str, number: int, now: float) -> PendingSignIn:
    """Return a sign-in that waits; scores differ."""
    details = Details(
        table="SigninLogs",
        event_id=f"event-{number}",
        event_time=datetime.fromtimestamp(now, UTC),
        addresses=((address, address),),
        account=f"user{number % 5_000}@example.net",
        outcome=Outcome.SUCCESS,
        user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
    )
    own = float(number * 7_919 % 200 - 50)
    return PendingSignIn(f"{number:032x}", address, details, now, own, 0.0, (("success", own),))


async def fill(connection_string: str, table: str) -> tuple[float, float]:
    """Have 20,000 addresses wait; return the CPU seconds of choosing the best 50, and the wall."""
    store = TableLedger(
        StateTable.at(table, _NoHealth(), connection_string=connection_string),
        WallClock(),
        waiting_per_address=200,
        instance="another",
    )
    await store.open()
    now = time.time()
    pool = addresses(WAITING)
    for start in range(0, WAITING, BATCH):
        await store.enqueue_unless_answered(
            [waiting_at(one, start + n, now) for n, one in enumerate(pool[start : start + BATCH])]
        )
    await store.due(BEST)
    cpu, wall = time.process_time(), time.perf_counter()
    assert len(await store.due(BEST)) == BEST
    cost = time.process_time() - cpu, time.perf_counter() - wall
    await store.close()
    return cost


async def bare(given: dict[str, str], seconds: float) -> float:
    """Return the CPU seconds of the SDK's client."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.measurements.reading", "idle"),
        f"--seconds={seconds}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {f"SIGNINWATCH_{name}": value for name, value in given.items()},
    )
    out, _ = await process.communicate()
    return float(orjson.loads(out)["cpu"])


async def _measured(place: Site, seconds: float, stack: AsyncExitStack) -> list[Line]:
    azurite = await stack.enter_async_context(Azurite())
    ways = [
        stack.enter_context(served("storage", port=port, delay=DELAY))
        for port in (azurite.blob_port, azurite.table_port)
    ]
    text = azurite.connection_string_at(*(int(way.rpartition(":")[2]) for way in ways))
    given = place.settings("signins0", None)
    given |= {
        "CROWDSEC__MONTHLY_QUOTA": "1",
        "STATE__CONNECTION_STRING": text,
        "CHECKPOINT__CONNECTION_STRING": text,
    }
    choosing, choosing_wall = await fill(text, given["STATE__TABLE"])
    began = time.monotonic()
    service = await stack.enter_async_context(Running(given))
    await until(service.ready, "ready")
    started = time.monotonic() - began
    await asyncio.sleep(SETTLE_SECONDS)
    for way in ways:
        told_by(way)
    assert service.process is not None
    cpu = cpu_of(service.process.pid)
    await asyncio.sleep(seconds)
    cpu = cpu_of(service.process.pid) - cpu
    blobs, tables = (told_by(way).get("requests", 0) for way in ways)
    assert await service.metric("waiting_addresses") >= WAITING - 1
    assert await service.terminate() == 0, service.errors
    other = await bare(place.settings("signins1", None), seconds)
    minute = 60.0 / seconds
    return [
        Line(
            NAME,
            "CPU beyond the SDK's client",
            (cpu - other) * minute * 1e3,
            0,
            "ms",
            300,
            most=True,
        ),
        Line(NAME, "CPU of the SDK's client", other * minute, 0, "s"),
        Line(NAME, "storage requests a minute", (blobs + tables) * minute, 0, "", 60, most=True),
        Line(NAME, "of these to tables", tables * minute, 0, ""),
        Line(NAME, f"best {BEST} of {WAITING:,}, CPU", choosing * 1e3, 0, "ms", 100, most=True),
        Line(NAME, f"best {BEST} of {WAITING:,}, wall", choosing_wall * 1e3, 0, "ms"),
        Line(NAME, f"start with {WAITING:,} waiting", started * 1e3, 0, "ms", 5_000, most=True),
    ]


async def _run(seconds: float) -> list[Line]:
    hubs = {f"signins{number}": PARTITIONS for number in range(2)}
    async with site(hubs, count=10, seed=1, known=0.05) as place, AsyncExitStack() as stack:
        return await _measured(place, seconds, stack)


def run(seconds: float = SECONDS) -> tuple[list[Line], list[str]]:
    """Measure a minute."""
    return asyncio.run(_run(seconds)), []


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    outcomes, notes = run(parser.parse_args().seconds)
    return print_outcomes(outcomes, notes)


if __name__ == "__main__":
    sys.exit(main())
