"""Whether the service stays as it is: ``python -m tests.bench.measurements.soak_shared``.

20 minutes of 500 sign-ins a second, one in 50 from a new address, on a shared ledger with lookups
for a fraction of them, and with a feed of 100,000 indicators that is read every minute. Once a
minute it is looked at what the service has taken, keeps in memory and asks of the tables. After
three quarters the feed names an address that came a quarter before: its finding must come.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

import orjson

from tests.bench.goals.goal8_shared import tables_of
from tests.bench.measure import Outcome, print_outcomes, told_by
from tests.bench.measurements.data import Writer, addresses
from tests.bench.measurements.latency import HUB, PARTITIONS, RATE, SEED, arrivals_at
from tests.bench.measurements.service import SIZE, Site, cpu_of, resident, site
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.feed_commands import feed_at
from tests.support.service_process import Running, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.bench.goals.goal8_shared import Tables

FRESH = 0.02
INDICATORS = 100_000
PEOPLE = 5_000
QUOTA = 3_000
MAX_GROWTH = 0.1
LATE_SECONDS = 120.0
"""The feed is read once a minute."""
NAME = "soak"


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute showed."""

    signins: float
    memory: float
    requests: float
    cpu: float


class Traffic:
    """Sign-ins whose addresses repeat, and now and then are new."""

    def __init__(self, place: Site, seconds: int) -> None:
        self._place = place
        self._pool = addresses(int(seconds * RATE * FRESH) + 1_000, SEED)
        self._writer = Writer(SEED, people=PEOPLE)
        self._sent = 0
        self.events: dict[str, list[str]] = {}
        """Ids of the events of the addresses that are watched."""

    def _address(self, number: int) -> str:
        """Return a new address once in a while, else one of the last thousand."""
        newest = int(number * FRESH)
        if number % int(1 / FRESH) == 0:
            return self._pool[1_000 + newest]
        return self._pool[newest + number * 7 % 1_000]

    @property
    def newest(self) -> str:
        """Return the address that came as the last new one."""
        return self._pool[1_000 + int(self._sent * FRESH) - 1]

    async def second(self, number: int) -> None:
        """Publish the sign-ins of one second."""
        for body in range(RATE // SIZE):
            rows = []
            for _ in range(SIZE):
                address = self._address(self._sent)
                rows.append(self._writer.flat(address))
                if address in self.events:
                    self.events[address].append(rows[-1]["Id"])
                self._sent += 1
            await self._place.broker.control(
                "publish",
                hub=HUB,
                partition=(number + body) % PARTITIONS,
                bodies=[base64.b64encode(orjson.dumps({"records": rows})).decode()],
                enqueued=int(time.time() * 1_000),
            )


async def paced(seconds: int) -> AsyncIterator[int]:
    """Yield the numbers of seconds, one a second."""
    began = time.monotonic()
    for second in range(seconds):
        await asyncio.sleep(max(0.0, began + second - time.monotonic()))
        yield second


async def soaked(
    place: Site, tables: Tables, stack: AsyncExitStack, seconds: int
) -> tuple[list[Minute], float]:
    """Return what each minute showed, and how long the late finding took."""
    taxii = TaxiiServer(page_size=2_000)
    taxii.add(*(indicator(address) for address in addresses(INDICATORS, SEED + 1)))
    server = await stack.enter_async_context(taxii.server())
    given = place.settings(HUB, None, CROWDSEC__MONTHLY_QUOTA=str(QUOTA))
    given |= feed_at(server, INTERVAL="60")
    given["STATE__CONNECTION_STRING"] = tables.connection_string
    service = await stack.enter_async_context(Running(given))
    await until(service.ready, "ready", 120)
    assert service.process is not None
    pid = service.process.pid
    traffic = Traffic(place, seconds)
    minutes: list[Minute] = []
    watched, named = "", 0.0
    taken, cpu = await service.metric("signins"), cpu_of(pid)
    told_by(tables.url)
    async for second in paced(seconds):
        if second == seconds // 2:
            watched = traffic.newest
            traffic.events[watched] = []
        if second == seconds * 3 // 4:
            taxii.add(indicator(watched))
            named = time.time()
        await traffic.second(second)
        if second % 60 == 59:
            now, used = await service.metric("signins"), cpu_of(pid)
            requests = told_by(tables.url).get("requests", 0)
            minutes.append(Minute((now - taken) / 60, resident(pid) / 1e6, requests, used - cpu))
            taken, cpu = now, used
    rows = arrivals_at(place.ingestion)
    late = [
        rows[event] - named for event in traffic.events[watched] if rows.get(event, 0.0) > named
    ]
    assert await service.terminate() == 0, service.errors
    return minutes, min(late, default=float("inf"))


def outcomes_of(minutes: Sequence[Minute], late: float) -> list[Outcome]:
    """Compare the last quarter with the second one."""
    quarter = max(1, len(minutes) // 4)
    early, last = minutes[quarter : 2 * quarter], minutes[-quarter:]
    found = [
        Outcome(
            NAME,
            f"{what}, last quarter against the second",
            mean(getattr(minute, what) for minute in last),
            mean(getattr(minute, what) for minute in early),
            "",
        )
        for what in ("signins", "memory", "requests", "cpu")
    ]
    return [*found, Outcome(NAME, "late finding", late, 0, "s", LATE_SECONDS, most=True)]


async def _run(seconds: int) -> list[Outcome]:
    async with (
        site(
            {HUB: PARTITIONS}, arrivals=True, count=10_000, seed=SEED, known=0.25, spread=1
        ) as place,
        AsyncExitStack() as stack,
    ):
        minutes, late = await soaked(place, await tables_of(stack), stack, seconds)
    for number, minute in enumerate(minutes, 1):
        print(number, minute, flush=True)
    return outcomes_of(minutes, late)


def main() -> int:
    """Print the table; 1 when something grows by more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=1_200)
    outcomes = asyncio.run(_run(parser.parse_args().seconds))
    missed = print_outcomes(outcomes)
    memory = next(one for one in outcomes if "memory" in one.what)
    grown = memory.ours > memory.baseline * (1 + MAX_GROWTH)
    return int(grown or missed)


if __name__ == "__main__":
    sys.exit(main())
