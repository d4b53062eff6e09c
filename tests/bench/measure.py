"""How the goals are measured: rounds in turn, medians, CPU time, and peers of their own process.

The machine is shared and noisy, so no figure stands alone: both sides run in turn within one
process, five times or more, and what counts is the ratio of their medians.
"""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import orjson
from rich.console import Console
from rich.table import Table

from consumers.commands.logging import start_logging

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

start_logging(verbose=False)  # the way commands log: an unconfigured logger prints everything

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the report. Figures are what one unit of work costs, or a plain count.

    Without a *wanted* ratio it is there for information, and neither met nor missed.
    """

    goal: str
    what: str
    ours: float
    baseline: float
    unit: str
    wanted: float | None = None
    most: bool = False
    """Whether *wanted* is the most that *ours* may be, rather than the least ratio."""

    @property
    def ratio(self) -> float:
        """How many times less ours costs."""
        return self.baseline / self.ours if self.ours else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None for information."""
        if self.wanted is None:
            return None
        return self.ours <= self.wanted if self.most else self.ratio >= self.wanted


@dataclass(frozen=True, slots=True)
class Spent:
    """What one run of one side took, in seconds."""

    cpu: float
    wall: float


def spent_by(work: Callable[[], object]) -> Spent:
    """Run *work* once without garbage of others, and tell what it took of this process."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)


async def spent_awaiting(work: Callable[[], Awaitable[object]]) -> Spent:
    """Do the same for a coroutine. CPU of other processes, the servers', does not count."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return Spent(time.process_time() - cpu, time.perf_counter() - wall)


def interleaved(*sides: Callable[[], object], rounds: int = ROUNDS, times: int = 1) -> list[float]:
    """Return the median CPU seconds of one run of each side, measured in turn.

    A first round that is not counted warms caches up; *times* runs make one measurement.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for side, kept in zip(sides, seconds, strict=True):
            spent = spent_by(lambda side=side: _repeat(side, times))  # type: ignore[misc]
            if number:
                kept.append(spent.cpu / times)
    return [median(kept) for kept in seconds]


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


async def interleaved_awaiting(
    *sides: Callable[[], Awaitable[Spent]], rounds: int = ROUNDS
) -> list[Spent]:
    """Return the medians of sides that measure themselves, run in turn after a warming round."""
    kept: list[list[Spent]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for side, spent in zip(sides, kept, strict=True):
            one = await side()
            if number:
                spent.append(one)
    return [middle(spent) for spent in kept]


def middle(spent: Sequence[Spent]) -> Spent:
    """Return the medians of several runs."""
    return Spent(median(one.cpu for one in spent), median(one.wall for one in spent))


@contextmanager
def served(kind: str, **options: object) -> Iterator[str]:
    """Run a server of :mod:`tests.bench.measurements.servers` in its own process; give its URL.

    It ends with the block, and by itself when this process is gone.
    """
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.measurements.servers", kind, *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def told_by(url: str) -> dict[str, Any]:
    """Return what a server has counted since it was last asked."""
    with urlopen(f"{url}/told", timeout=10) as response:  # noqa: S310 - loopback
        told: dict[str, Any] = orjson.loads(response.read())
    return told


def machine() -> str:
    """Describe where the figures come from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{model}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}"


def print_outcomes(outcomes: Sequence[Outcome], notes: Sequence[str] = ()) -> int:
    """Print the table, a line for each outcome; return 1 if a goal is missed, otherwise 0."""
    table = Table(title=machine(), title_justify="left")
    for name in ("goal", "what"):
        table.add_column(name)
    for name in ("ours", "baseline", "ratio", "wanted", "met"):
        table.add_column(name, justify="right")
    for one in outcomes:
        wanted = "" if one.wanted is None else f"{'<=' if one.most else '>='} {one.wanted:,.9g}"
        met = {None: "", True: "yes", False: "NO"}[one.met]
        ratio = "" if one.most else f"{one.ratio:,.2f}x"
        baseline = "" if one.most else f"{one.baseline:,.2f} {one.unit}"
        ours = f"{one.ours:,.0f} {one.unit}" if one.most else f"{one.ours:,.2f} {one.unit}"
        table.add_row(one.goal, one.what, ours, baseline, ratio, wanted, met)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False)
    return int(any(one.met is False for one in outcomes))
