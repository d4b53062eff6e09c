"""How long a bad sign-in takes: ``python -m tests.bench.measurements.latency --seconds 60``.

From the moment a message is in the hub to the moment its finding is with the ingestion service,
at 500 sign-ins a second, CrowdSec taking 30 ms a request, for either ledger. Each sign-in comes
from an address of its own, so each has to be asked about: the slowest case there is. ``--fresh
0.02`` has as many new addresses as the field has, one in 50 sign-ins. Messages are published one
by one, each with its own time; the ingestion service, another process by the same clock, tells
when the finding of each event came. The service's own histogram must tell the same.

Wanted: a median of at most 1 s and a 99th percentile of at most 3 s, each finding, each ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import orjson

from tests.bench.measure import Outcome, print_outcomes, told_by
from tests.bench.measurements.data import Writer, addresses, repeated
from tests.bench.measurements.service import SIZE, Site, cpu_of, site
from tests.support.service_process import Running, until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HUB, PARTITIONS = "signins", 4
RATE, SECONDS = 500, 60
DELAY = 0.03
KNOWN = 0.25
"""Share of the addresses that CrowdSec knows; a fifth of them, so one in 20, is bad."""
WANTED = {"median": 1.0, "99th percentile": 3.0}
SEED = 21
PATIENCE = 600.0
"""Seconds for what is still open when all is published."""
NAME = "latency"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one ledger's run showed."""

    ledger: str
    seconds: list[float]
    """From the hub to the ingestion service, of each finding, in order."""
    counted: int
    """Findings in the service's own histogram."""
    within: Mapping[float, float]
    """Of those, how many took at most so many seconds, as the histogram tells."""
    lookups: int
    requests: int
    signins: int
    cpu: float
    late: float
    """Seconds by which publishing was ever behind its rate."""

    def at(self, share: float) -> float:
        """Return the quantile."""
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    @property
    def agrees(self) -> bool:
        """Tell whether the histogram counts what was seen; acceptance comes a little later."""
        few = max(2.0, 0.02 * self.counted)
        return self.counted == len(self.seconds) and all(
            count <= sum(one <= bound for one in self.seconds) + few
            and count >= sum(one <= bound - 0.1 for one in self.seconds) - few
            for bound, count in self.within.items()
        )


def bodies_of(of: Sequence[str]) -> list[tuple[bytes, list[str]]]:
    """Return message bodies, one sign-in for each of the addresses, and the ids of their events."""
    writer = Writer(SEED)
    bodies = []
    for start in range(0, len(of), SIZE):
        rows = [writer.flat(address) for address in of[start : start + SIZE]]
        bodies.append((orjson.dumps({"records": rows}), [row["Id"] for row in rows]))
    return bodies


async def publish(
    place: Site, bodies: Sequence[tuple[bytes, list[str]]], rate: float
) -> tuple[dict[str, float], float]:
    """Publish at a rate; return when each event was published, and the longest delay."""
    published: dict[str, float] = {}
    late = 0.0
    started = time.monotonic()
    for number, (body, ids) in enumerate(bodies):
        due = started + number * SIZE / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        late = max(late, time.monotonic() - due)
        moment = int(time.time() * 1_000)
        published |= dict.fromkeys(ids, moment / 1_000)
        await place.broker.control(
            "publish",
            hub=HUB,
            partition=number % PARTITIONS,
            bodies=[base64.b64encode(body).decode()],
            enqueued=moment,
        )
    return published, late


async def histogram(service: Running) -> dict[float, float]:
    """Return how many findings took at most so many seconds, by the service's own histogram."""
    _, text = await service.get("/metrics")
    head = "signinwatch_finding_seconds_bucket{le="
    lines = [line for line in text.decode().splitlines() if line.startswith(head)]
    parts = [line.removeprefix(head).replace('"', "").split("} ") for line in lines]
    return {float(bound): float(count) for bound, count in parts if bound != "+Inf"}


def arrivals_at(url: str) -> dict[str, float]:
    """Return when the finding of each event came to the ingestion service."""
    with urlopen(f"{url}/arrivals", timeout=30) as response:  # noqa: S310 - loopback
        arrivals: dict[str, float] = orjson.loads(response.read())
    return arrivals


async def measured(ledger: str, place: Site, bodies: Sequence[tuple[bytes, list[str]]]) -> Seen:
    """Run the service with one ledger."""
    told_by(place.cti)
    signins = len(bodies) * SIZE
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        given = place.settings(HUB, Path(folder) if ledger == "SQLite" else None)
        async with Running(given) as service:
            await until(service.ready, "ready")
            assert service.process is not None
            cpu = cpu_of(service.process.pid)
            published, late = await publish(place, bodies, RATE)

            async def judged() -> bool:
                open_ones = [await service.metric(one) for one in ("held", "findings_queued")]
                return not any(open_ones) and await service.metric("signins") >= signins

            await until(judged, "all judged", PATIENCE, every=0.5)
            cpu = cpu_of(service.process.pid) - cpu
            counted = await service.metric("finding_seconds_count")
            within = await histogram(service)
            await service.terminate()
    asked = told_by(place.cti)
    arrivals = arrivals_at(place.ingestion)
    seconds = sorted(
        arrivals[event] - moment for event, moment in published.items() if event in arrivals
    )
    return Seen(
        ledger, seconds, int(counted), within, asked["addresses"], asked["requests"], signins, cpu,
        late,
    )  # fmt: skip


async def both(seconds: int, fresh: float, ledgers: Sequence[str]) -> list[Seen]:
    """Run one ledger after the other, each in a site of its own."""
    signins = RATE * seconds // SIZE * SIZE
    pool = addresses(max(1, int(signins * fresh)), SEED)
    bodies = bodies_of(repeated(pool, signins))
    seen = []
    for ledger in ledgers:
        async with site(
            {HUB: PARTITIONS},
            arrivals=True,
            count=len(pool),
            seed=SEED,
            known=KNOWN,
            spread=1,
            delay=DELAY,
        ) as place:
            seen.append(await measured(ledger, place, bodies))
    return seen


def outcomes_of(one: Seen) -> list[Outcome]:
    """Return the lines of one ledger."""
    found = {"median": one.at(0.5), "99th percentile": one.at(0.99)}
    return [
        Outcome(NAME, f"{one.ledger}, {name}", value * 1e3, 0, "ms", WANTED[name] * 1e3, most=True)
        for name, value in found.items()
    ]


def note_of(one: Seen) -> str:
    """Say what else was seen."""
    return (
        f"{one.ledger}: {len(one.seconds):,} findings of {one.signins:,} sign-ins; 90 % within "
        f"{one.at(0.9) * 1e3:,.0f} ms, all within {one.seconds[-1] * 1e3:,.0f} ms; "
        f"{one.lookups:,} addresses asked in {one.requests:,} requests; "
        f"{one.cpu / one.signins * 1e6:.0f} us CPU a sign-in; published at most "
        f"{one.late * 1e3:.0f} ms late; the service's histogram "
        + ("agrees" if one.agrees else f"DISAGREES: {one.counted} {dict(one.within)}")
    )


def main() -> int:
    """Print the table; 1 when a goal is missed or the histogram tells something else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--fresh", type=float, default=1.0, help="new addresses a sign-in")
    parser.add_argument("--ledger", choices=["SQLite", "Table"])
    given = parser.parse_args()
    ledgers = [given.ledger] if given.ledger else ["SQLite", "Table"]
    seen = asyncio.run(both(given.seconds, given.fresh, ledgers))
    outcomes = [line for one in seen for line in outcomes_of(one)]
    missed = print_outcomes(outcomes, [note_of(one) for one in seen])
    return int(missed or not all(one.agrees for one in seen))


if __name__ == "__main__":
    sys.exit(main())
