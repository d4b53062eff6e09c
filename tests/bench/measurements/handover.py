"""How long findings take while instances change: ``python -m tests.bench.measurements.handover``.

500 sign-ins a second, one in ten from a new address, a shared ledger, CrowdSec at 30 ms. A second
instance joins after 30 seconds; the first one leaves in good order half a minute later. Told is how
long each finding took from the hub to the ingestion service, by whichever instance.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.bench.goals.goal8_shared import tables_of
from tests.bench.measure import Outcome, print_outcomes
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

if TYPE_CHECKING:
    from collections.abc import Mapping

FRESH = 0.1
JOIN, LEAVE, END = 30, 60, 100
"""Seconds of records when the second instance starts, the first one ends, and after all."""
WANTED = {0.5: 1.0, 0.99: 5.0, 0.999: 15.0}
"""Seconds within which this share of the findings is accepted."""
PATIENCE = 120.0
NAME = "handover"


async def measured(place: Site, stack: AsyncExitStack) -> tuple[list[float], Mapping[str, float]]:
    """Return the seconds of each finding, in order, and what happened when."""
    signins = RATE * END
    bodies = bodies_of(repeated(addresses(int(signins * FRESH), SEED), signins))
    tables = await tables_of(stack)
    given = place.settings(HUB, None)
    given["STATE__CONNECTION_STRING"] = tables.connection_string
    first = await stack.enter_async_context(Running(given))
    await until(first.ready, "ready")
    publishing = asyncio.create_task(publish(place, bodies, RATE))
    await asyncio.sleep(JOIN)
    second = await stack.enter_async_context(Running(given))
    await until(second.ready, "the second one ready")
    await asyncio.sleep(LEAVE - JOIN)
    leaving = time.monotonic()
    assert await first.terminate() == 0, first.errors
    left = time.monotonic() - leaving
    published, late = await publishing

    async def judged() -> bool:
        lags = await second.metric("lag")
        return not any([lags, *[await second.metric(n) for n in ("held", "findings_queued")]])

    await until(judged, "all judged", PATIENCE, every=0.5)
    assert await second.terminate() == 0, second.errors
    arrivals = arrivals_at(place.ingestion)
    seconds = sorted(arrivals[event] - at for event, at in published.items() if event in arrivals)
    return seconds, {"seconds to leave": left, "published late, at most": late}


async def _run() -> list[Outcome]:
    async with (
        site(
            {HUB: PARTITIONS},
            arrivals=True,
            count=int(RATE * END * FRESH),
            seed=SEED,
            known=KNOWN,
            spread=1,
            delay=DELAY,
        ) as place,
        AsyncExitStack() as stack,
    ):
        seconds, happened = await measured(place, stack)
    found = [
        Outcome(NAME, f"{share:.1%} of {len(seconds):,} findings",
                seconds[int(share * len(seconds))] * 1e3, 0, "ms", wanted * 1e3, most=True)
        for share, wanted in WANTED.items()
    ]  # fmt: skip
    return found + [Outcome(NAME, what, value, 0, "s") for what, value in happened.items()]


def main() -> int:
    """Print the table; 1 when something is missed."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    outcomes = asyncio.run(_run())
    return print_outcomes(outcomes)


if __name__ == "__main__":
    sys.exit(main())
