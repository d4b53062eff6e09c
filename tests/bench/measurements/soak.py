"""Whether the service stays small: ``python -m tests.bench.measurements.soak --signins 10000000``.

``signinwatch run`` reads four partitions to their end at full speed, prefetch 300, while its
resident memory is looked at every second. The hub repeats 1,000 bodies of 20 flat rows, so events
and addresses repeat, but no message does; what grows is what the service, or the SDK in it, keeps
of messages. ``measure_memory`` is the one in which addresses and findings go on being new.

Exits 1 when the mean of the last tenth is more than 10 % above that of the second tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests.bench.measure import machine
from tests.bench.measurements.data import addresses
from tests.bench.measurements.service import SIZE, cpu_of, resident, site, templates
from tests.support.service_process import Running

HUB, PARTITIONS, PREFETCH = "signins", 4, 300
DISTINCT, BODIES = 5_000, 1_000
WARM = 0.1
MOST_GROWTH = 0.1
MOST_SECONDS_STILL = 60.0
"""Seconds without any progress after which it is given up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How it was at one moment."""

    signins: float
    at: float
    cpu: float
    bytes: int


async def sampled(service: Running, wanted: int) -> list[Sample]:
    """Look at the service every second until it has taken all sign-ins."""
    assert service.process is not None
    pid = service.process.pid
    samples: list[Sample] = []
    moved = time.monotonic()
    while not samples or samples[-1].signins < wanted:
        await asyncio.sleep(1.0)
        signins = await service.metric("signins")
        now = time.monotonic()
        if not samples or signins > samples[-1].signins:
            moved = now
        elif now - moved > MOST_SECONDS_STILL or service.process.returncode is not None:
            raise RuntimeError(f"it stands still at {signins:,.0f}: {service.errors[-2_000:]}")
        samples.append(Sample(signins, now, cpu_of(pid), resident(pid)))
    return samples


def report(samples: list[Sample]) -> bool:
    """Print what was seen; tell whether memory stayed flat."""
    total = samples[-1].signins
    warm = next(one for one in samples if one.signins >= WARM * total)
    second = [one.bytes for one in samples if WARM * total <= one.signins <= 2 * WARM * total]
    last = [one.bytes for one in samples if one.signins >= (1 - WARM) * total]
    growth = mean(last) / mean(second) - 1
    for name, size in (
        ("after a tenth", warm.bytes),
        ("most", max(one.bytes for one in samples)),
        ("end", samples[-1].bytes),
    ):
        print(f"{name:15} {size / 1e6:8.1f} MB")
    print(
        f"growth          {growth:+8.1%}, mean of the last tenth ({mean(last) / 1e6:.1f} MB, "
        f"{len(last)} samples) over the second ({mean(second) / 1e6:.1f} MB, {len(second)})"
    )
    moved = samples[-1].signins - warm.signins
    if moved:
        seconds, cpu = samples[-1].at - warm.at, samples[-1].cpu - warm.cpu
        print(f"speed           {moved / seconds:8,.0f} sign-ins a second after the first tenth")
        print(f"CPU             {cpu / moved * 1e6:8.2f} us a sign-in")
    return growth <= MOST_GROWTH


async def soak(signins: int) -> bool:
    """Run the service through so many sign-ins; tell whether its memory stayed flat."""
    bodies = templates(addresses(DISTINCT), BODIES)
    each = -(-signins // (SIZE * PARTITIONS))
    wanted = each * PARTITIONS * SIZE
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with site({HUB: PARTITIONS}, count=DISTINCT) as place:
            for partition in range(PARTITIONS):
                await place.broker.fill(HUB, partition, bodies, each)
            given = place.settings(HUB, Path(folder), EVENTHUB__PREFETCH=str(PREFETCH))
            async with Running(given) as service:
                started = time.monotonic()
                samples = await sampled(service, wanted)
                seconds = time.monotonic() - started
                told = {
                    name: await service.metric(name)
                    for name in ("messages", "repeated_messages", "signins", "lookups", "findings")
                }
                status = await service.terminate()
    flat = report(samples)
    size = sum(map(len, bodies)) / len(bodies) * each * PARTITIONS
    print(f"{wanted:,} sign-ins, {size / 1e9:.1f} GB in {seconds:.0f} s, exit status {status}")
    print(", ".join(f"{name} {value:,.0f}" for name, value in told.items()))
    return flat and status == 0


def main() -> int:
    """Run it; 1 when memory grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signins", type=int, default=10_000_000)
    given = parser.parse_args()
    print(machine())
    return int(not asyncio.run(soak(given.signins)))


if __name__ == "__main__":
    sys.exit(main())
