"""Goal 3: verdicts on 1,000 addresses from a CTI that takes 30 ms a request, with a batch key.

Ours is :class:`consumers.enrichment.lookup_queue.LookupQueue` over
:class:`consumers.sources.crowdsec.api.CrowdSecApi` as wired in the service: budget reserved and
answers kept in a SQLite ledger before anybody is told. The service has asked before, so one other
batch is asked first; the cold figure is told as well. Against it:

- wall time: one address after the other over one shared aiohttp session, which is what consumers
  do; measured on 100 addresses and scaled, because each costs the same;
- CPU time: msticpy 3.0.2's CrowdSec provider, ``lookup_iocs`` of 100 addresses it has not seen,
  in a virtual environment of its own; its import and first connection are not counted. It keeps
  nothing and counts no quota, so ours is also shown without keeping answers.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import orjson

from consumers.ledger.cache import VerdictCache
from consumers.wiring.lookups import LookupOptions, make_lookup_queue
from consumers.wiring.replay import StateFolder, make_clock, make_ledger
from schemas.intel.verdicts import Verdict
from tests.bench.goals.goal2_verdict import settings_for
from tests.bench.measure import (
    ROOT,
    ROUNDS,
    Outcome,
    Spent,
    middle,
    print_outcomes,
    served,
    spent_awaiting,
    told_by,
)
from tests.bench.measurements.data import KNOWN_SHARE, addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from consumers.enrichment.lookup_queue import LookupResult
    from schemas.intel.verdicts import Answer

ADDRESSES, DELAY = 1_000, 0.030
SINGLY = 100
"""Addresses in one round of those that ask one at a time."""
POOL = ADDRESSES + 100 + SINGLY * 2 * (ROUNDS + 1)
WANTED_WALL, WANTED_CPU = 500.0, 200.0
DOCUMENTED = 1.7e-3
"""CPU seconds an address of msticpy 3.0.2, for machines without it."""
PYTHON = ROOT / ".venv-msticpy" / "bin" / "python"


@dataclass(slots=True)
class Pool:
    """Addresses; those for ours are the same each round, msticpy needs new ones."""

    ours: list[str]
    priming: list[str]
    rest: list[str]

    def fresh(self) -> list[str]:
        """Return addresses nobody was asked about."""
        taken, self.rest = self.rest[:SINGLY], self.rest[SINGLY:]
        return taken


def new_pool() -> Pool:
    """Return the pool; the server spreads the known addresses over it."""
    pool = addresses(POOL)
    return Pool(pool[:ADDRESSES], pool[ADDRESSES : ADDRESSES + 100], pool[ADDRESSES + 100 :])


class Forgetful(VerdictCache):
    """Keeps nothing, as msticpy does."""

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Do nothing."""


async def ours(
    url: str, pool: Pool, *, primed: bool, durable: bool = True, keeping: bool = True
) -> Spent:
    """Ask about all addresses with an empty ledger; tell what it took until the last answer."""
    folder = Path(tempfile.mkdtemp(prefix="bench-")) if durable else None
    settings, clock = settings_for(url), make_clock("wall")
    with StateFolder(folder) as state:
        ledger = make_ledger(settings, state, clock)
        memory = (VerdictCache if keeping else Forgetful)(ledger, clock)
        lookups = make_lookup_queue(settings, ledger, memory, clock, LookupOptions(10**7))
        assert lookups is not None

        results: list[LookupResult] = []

        async def ask(wanted: list[str]) -> None:
            results[:] = await lookups.look_up_all(wanted)

        if primed:
            await ask(pool.priming)
        spent = await spent_awaiting(lambda: ask(pool.ours))
        assert len(results) == ADDRESSES
        assert all(isinstance(result.answer, Verdict) for result in results)
        await lookups.close()
        await ledger.close()
    if folder is not None:
        shutil.rmtree(folder)
    return spent


async def singly(url: str, wanted: list[str]) -> Spent:
    """Ask one after the other; the connection is there before."""

    async def ask(session: aiohttp.ClientSession) -> None:
        for address in wanted:
            async with session.get(f"{url}/v2/smoke/{address}") as response:
                orjson.loads(await response.read())

    async with aiohttp.ClientSession(headers={"x-api-key": "a-good-key"}) as session:
        async with session.get(f"{url}/v2/smoke/{wanted[0]}") as response:
            await response.read()
        return await spent_awaiting(lambda: ask(session))


@contextmanager
def msticpy(url: str) -> Iterator[Callable[[list[str]], float] | None]:
    """Give a function that has msticpy ask about addresses; None where msticpy is not there."""
    if not PYTHON.exists():
        yield None
        return
    script = Path(__file__).with_name("measure_msticpy.py")
    command = [str(PYTHON), "-W", "ignore", str(script), url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(wanted: list[str]) -> float:
            stdin.write(" ".join(wanted) + "\n")
            stdin.flush()
            return float(stdout.readline())

        try:
            assert stdout.readline() == "ready\n"
            yield ask
        finally:
            process.terminate()


@dataclass(slots=True)
class Sides:
    """The medians of all sides, in seconds for all addresses."""

    primed: Spent
    cold: Spent
    relaxed: Spent
    forgetful: Spent
    one_by_one: Spent
    msticpy: float


def measured(url: str, ask: Callable[[list[str]], float] | None) -> Sides:
    """Run all sides in turn; the first round is not counted."""
    pool = new_pool()
    kept: list[list[Spent]] = [[], [], [], [], []]
    of_msticpy: list[float] = []
    for number in range(ROUNDS + 1):
        round_ = [
            asyncio.run(ours(url, pool, primed=True)),
            asyncio.run(ours(url, pool, primed=False)),
            asyncio.run(ours(url, pool, primed=True, durable=False)),
            asyncio.run(ours(url, pool, primed=True, durable=False, keeping=False)),
            asyncio.run(singly(url, pool.fresh())),
        ]
        theirs = ask(pool.fresh()) / SINGLY if ask else DOCUMENTED
        if number:
            of_msticpy.append(theirs)
            for one, spent in zip(kept, round_, strict=True):
                one.append(spent)
    told_by(url)
    primed, cold, relaxed, forgetful, single = map(middle, kept)
    scale = ADDRESSES / SINGLY
    all_singly = Spent(single.cpu * scale, single.wall * scale)
    return Sides(primed, cold, relaxed, forgetful, all_singly, median(of_msticpy) * ADDRESSES)


def outcomes_of(sides: Sides, known: float, *, goal: bool) -> list[Outcome]:
    """Return the lines of one share of known addresses."""
    name, share, each = "3 lookups", f"{known:.0%} known", 1e6 / ADDRESSES
    one_by_one = sides.one_by_one.wall * 1e3
    return [
        Outcome(
            name,
            f"{share}, wall, one by one",
            sides.primed.wall * 1e3,
            one_by_one,
            "ms",
            WANTED_WALL if goal else None,
        ),
        Outcome(name, f"{share}, wall, cold start", sides.cold.wall * 1e3, one_by_one, "ms"),
        Outcome(name, f"{share}, wall, no fsync", sides.relaxed.wall * 1e3, one_by_one, "ms"),
        Outcome(
            name,
            f"{share}, CPU, msticpy",
            sides.primed.cpu * each,
            sides.msticpy * each,
            "us",
            WANTED_CPU if goal else None,
        ),
        Outcome(
            name,
            f"{share}, CPU, msticpy, keeping nothing",
            sides.forgetful.cpu * each,
            sides.msticpy * each,
            "us",
        ),
        Outcome(
            name,
            f"{share}, CPU, aiohttp one by one",
            sides.primed.cpu * each,
            sides.one_by_one.cpu * each,
            "us",
        ),
    ]


def run() -> tuple[list[Outcome], list[str]]:
    """Measure at the usual share of known addresses, and with all known."""
    outcomes = []
    for known in (KNOWN_SHARE, 1.0):
        with (
            served("cti", count=POOL, known=known, spread=1, delay=DELAY) as url,
            msticpy(url) as ask,
        ):
            sides = measured(url, ask)
            outcomes += outcomes_of(sides, known, goal=known < 1)
    there = "measured" if PYTHON.exists() else f"not installed: {DOCUMENTED * 1e3} ms taken for it"
    notes = [
        f"figures of goal 3 are for {ADDRESSES:,} addresses, known ones have 7 KB; one by one is "
        f"measured on {SINGLY} and scaled; msticpy {there}"
    ]
    return outcomes, notes


if __name__ == "__main__":
    print_outcomes(*run())
