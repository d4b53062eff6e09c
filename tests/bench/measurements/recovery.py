"""How long until all is judged again: ``python -m tests.bench.measurements.recovery``.

500 sign-ins a second, one in ten from a new address, a shared ledger. CrowdSec answers three
requests with 500, two with 429, and then all of them with 403 for a minute. Told is how long after
its recovery the last address that came before was answered, and the last finding of them accepted,
and what was booked of the quota beside what CrowdSec counted.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from urllib.request import Request, urlopen

import orjson

from tests.bench.goals.goal8_shared import tables_of
from tests.bench.measure import Outcome, print_outcomes, told_by
from tests.bench.measurements.data import addresses, repeated
from tests.bench.measurements.latency import (
    DELAY,
    HUB,
    KNOWN,
    PARTITIONS,
    RATE,
    SEED,
    arrivals_at,
    bodies_of,
    publish,
)
from tests.bench.measurements.service import Site, site
from tests.support.service_process import Running, until

FRESH = 0.1
BEFORE, BETWEEN, REFUSED, AFTER = 15, 15, 60, 15
"""Seconds of records: before the first failure, before the refusals, during them, and after."""
WANTED = 20.0
PATIENCE = 300.0
NAME = "recovery"
Body = tuple[bytes, list[str]]


def fail(place: Site, **how: object) -> None:
    """Tell CrowdSec's stand-in how to fail."""
    request = Request(f"{place.cti}/fail", orjson.dumps(how), method="POST")  # noqa: S310 - loopback
    urlopen(request, timeout=10).close()  # noqa: S310 - loopback


def answered_at(place: Site) -> dict[str, float]:
    """Return when each address was answered."""
    with urlopen(f"{place.cti}/answered", timeout=30) as response:  # noqa: S310 - loopback
        found: dict[str, float] = orjson.loads(response.read())
    return found


async def started(place: Site, stack: AsyncExitStack) -> Running:
    """Start the service on a shared ledger."""
    tables = await tables_of(stack)
    given = place.settings(HUB, None)
    given["STATE__CONNECTION_STRING"] = tables.connection_string
    service = await stack.enter_async_context(Running(given))
    await until(service.ready, "ready")
    return service


async def all_answered(place: Site, wanted: set[str]) -> None:
    """Wait until CrowdSec has answered for all of these addresses."""

    async def answered() -> bool:
        return wanted <= answered_at(place).keys()

    await until(answered, "all answered", PATIENCE, every=0.5)


async def recovered(place: Site, stack: AsyncExitStack) -> list[Outcome]:
    """Run the trouble, and return what was seen."""
    signins = RATE * (BEFORE + BETWEEN + REFUSED + AFTER)
    pool = addresses(int(signins * FRESH), SEED)
    of = repeated(pool, signins)
    bodies = bodies_of(of)
    service = await started(place, stack)
    publishing = asyncio.create_task(publish(place, bodies, RATE))
    await asyncio.sleep(BEFORE)
    fail(place, statuses=[500, 500, 500, 429, 429])
    await asyncio.sleep(BETWEEN)
    fail(place, refused=REFUSED)
    await asyncio.sleep(REFUSED)
    end = time.time()
    sent = (BEFORE + BETWEEN + REFUSED) * RATE
    earlier = set(of[:sent])
    await all_answered(place, earlier)
    published, late = await publishing

    async def judged() -> bool:
        return not any([await service.metric(name) for name in ("held", "findings_queued")])

    await until(judged, "all judged", PATIENCE, every=0.5)
    answered, arrivals = answered_at(place), arrivals_at(place.ingestion)
    booked = await service.metric("lookups")
    told = told_by(place.cti)
    assert await service.terminate() == 0, service.errors
    findings = [
        arrivals[event] for event, at in published.items() if at < end and event in arrivals
    ]
    return [
        Outcome(NAME, "last answer after the recovery", _after(answered, earlier, end), 0, "s",
                WANTED, most=True),
        Outcome(NAME, "last finding after the recovery", max(findings) - end, 0, "s", WANTED,
                most=True),
        Outcome(NAME, "lookups booked, and counted", booked, told["addresses"], ""),
        Outcome(NAME, "addresses in requests with 500", told["failed"], 0, ""),
        Outcome(NAME, "requests", told["requests"], 0, ""),
        Outcome(NAME, "published late, at most", late, 0, "s"),
    ]  # fmt: skip


def _after(answered: dict[str, float], wanted: set[str], end: float) -> float:
    return max(answered[address] for address in wanted) - end


async def _run() -> list[Outcome]:
    async with (
        site(
            {HUB: PARTITIONS},
            arrivals=True,
            count=5_250,
            seed=SEED,
            known=KNOWN,
            spread=1,
            delay=DELAY,
        ) as place,
        AsyncExitStack() as stack,
    ):
        return await recovered(place, stack)


def main() -> int:
    """Print the table; 1 when something is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    outcomes = asyncio.run(_run())
    return print_outcomes(outcomes)


if __name__ == "__main__":
    sys.exit(main())
