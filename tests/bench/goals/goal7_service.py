"""Goal 7: the whole service against the hub, and the SDK's client alone.

Ours is the service with ledger, lookups, sink, checkpoints, reports and endpoints, run by what
``signinwatch run`` calls; the other side is the SDK's client with the same prefetch, batches and
checkpoint store, and a handler that does nothing. Each is a fresh process (``measure_reading``)
that reads the same messages from their beginning, with an empty ledger and a checkpoint container
of its own, and takes its own time: a process of our own rather than the command, so that both
sides are measured alike, from within, and nobody has to ask /metrics meanwhile. The first tenth
(start, links, most lookups) does not count. Ours is done with a message when it is settled.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson

from tests.bench.measure import ROOT, ROUNDS, Outcome, Spent, middle, print_outcomes
from tests.bench.measurements.data import BAD_SHARE, addresses
from tests.bench.measurements.service import SIZE, Site, site, templates

DISTINCT = 2_000
BODIES = 500
NAME = "7 service"


@dataclass(frozen=True, slots=True)
class Case:
    """One way to read a hub."""

    partitions: int
    prefetch: int
    messages: int
    wanted: float

    @property
    def hub(self) -> str:
        """The name of its hub."""
        return f"signins{self.partitions}"

    @property
    def what(self) -> str:
        """What it is called."""
        parts = "1 partition" if self.partitions == 1 else f"{self.partitions} partitions"
        return f"{parts}, prefetch {self.prefetch}"


CASES = (Case(1, 300, 16_000, 0.95), Case(4, 3_000, 48_000, 0.45))


async def one_run(kind: str, place: Site, case: Case) -> Spent:
    """Have one client read the hub; return what one message took it."""
    with ExitStack() as stack:
        state: Path | None = None
        if kind == "service":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            state = Path(folder)
        given = place.settings(case.hub, state, EVENTHUB__PREFETCH=str(case.prefetch))
        given |= {"HTTP__HOST": "127.0.0.1", "HTTP__PORT": "0"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.measurements.reading", kind),
            *("--messages", str(case.messages)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {f"SIGNINWATCH_{name}": value for name, value in given.items()},
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the client of kind {kind} ended with {process.returncode}")
    told = orjson.loads(out)
    return Spent(told["cpu"] / told["messages"], told["wall"] / told["messages"])


async def measured(place: Site, case: Case, rounds: int) -> tuple[list[Outcome], str]:
    """Run both sides in turn; return the lines of one case, and a note on what was seen."""
    ours: list[Spent] = []
    idle: list[Spent] = []
    for _ in range(rounds):
        idle.append(await one_run("idle", place, case))
        ours.append(await one_run("service", place, case))
    mine, other = middle(ours), middle(idle)
    signin = 1e6 / SIZE
    work = median(a.cpu - b.cpu for a, b in zip(ours, idle, strict=True)) * signin
    outcomes = [
        Outcome(
            NAME, f"{case.what}, a message", mine.wall * 1e6, other.wall * 1e6, "us", case.wanted
        ),
        Outcome(NAME, f"{case.what}, CPU a sign-in", mine.cpu * signin, other.cpu * signin, "us"),
    ]
    note = (
        f"{case.what}: {1 / mine.wall:,.0f} messages a second, {SIZE / mine.wall:,.0f} sign-ins; "
        f"the bare client {1 / other.wall:,.0f} messages; {work:.2f} us CPU a sign-in are ours, "
        f"the rest the SDK's. Rounds: "
        + ", ".join(f"{b.wall / a.wall:.2f}x" for a, b in zip(ours, idle, strict=True))
    )
    return outcomes, note


async def _run(rounds: int, cases: tuple[Case, ...]) -> tuple[list[Outcome], list[str]]:
    pool = addresses(DISTINCT)
    bodies = templates(pool, BODIES)
    hubs = {case.hub: case.partitions for case in cases}
    outcomes: list[Outcome] = []
    size = sum(map(len, bodies)) / len(bodies) / 1e3
    notes = [
        f"bodies of {SIZE} flat rows, {size:.0f} KB; {DISTINCT:,} addresses, {BAD_SHARE:.0%} bad; "
        f"the same {BODIES} bodies again and again, so an event is a finding once; no TLS"
    ]
    async with site(hubs, count=DISTINCT) as place:
        for case in cases:
            for partition in range(case.partitions):
                count = case.messages // case.partitions
                await place.broker.fill(case.hub, partition, bodies, count)
            told, note = await measured(place, case, rounds)
            outcomes += told
            notes.append(note)
    return outcomes, notes


def run(rounds: int = ROUNDS, cases: tuple[Case, ...] = CASES) -> tuple[list[Outcome], list[str]]:
    """Measure all cases."""
    return asyncio.run(_run(rounds, cases))


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--partitions", type=int, choices=[case.partitions for case in CASES])
    given = parser.parse_args()
    cases = tuple(one for one in CASES if given.partitions in (None, one.partitions))
    outcomes, notes = run(given.rounds, cases)
    return print_outcomes(outcomes, notes)


if __name__ == "__main__":
    sys.exit(main())
