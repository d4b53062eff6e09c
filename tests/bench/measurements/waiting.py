"""A million waiting addresses: ``python -m tests.bench.measurements.waiting``.

Parks one sign-in for each of a million addresses in a durable SQLite ledger, then asks about all
of them in slices, best first, by what the service does for each offer: rank (``due``), keep the
answers, settle what waits. Tells the CPU time an address of each step, and the memory. One when
ranking and settling together take more than 20 us an address, or memory grows by more than the
ledger's own cache.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from consumers.clock import WallClock
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.intel.verdicts import Answer, Reputation, Verdict
from schemas.ledger_ports import PendingSignIn
from tests.bench.measure import machine

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 500
WANTED = 20.0
"""Microseconds of CPU an address, for ranking and settling."""
MOST_GROWTH = 100
"""Megabytes."""


def _waiting(number: int, dice: random.Random) -> PendingSignIn:
    address = f"{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.9"
    details = Details(
        table="SigninLogs",
        event_id=f"event-{number}",
        event_time=datetime(2026, 3, 2, tzinfo=UTC),
        addresses=((address, address),),
        account=f"user{number % 5_000}@example.net",
        outcome=Outcome.SUCCESS,
        user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
        correlation_id=f"correlation-{number}",
    )
    own = dice.uniform(-50, 150)
    parts = (("success", 60.0), ("new network", own - 60))
    return PendingSignIn(f"{number:032x}", address, details, time.time(), own, 0.0, parts)


async def _ask_and_settle(store: SqliteLedger, addresses: Sequence[str], now: float) -> None:
    verdict = Verdict(reputation=Reputation.UNKNOWN, source="x", time=now, expires=now + 604_800)
    answers: dict[str, Answer] = dict.fromkeys(addresses, verdict)
    await store.put_verdicts(answers)
    await store.waiting_among(addresses, just_answered=True)
    await store.acknowledge_addresses(addresses)


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


async def measure(folder: Path, addresses: int) -> dict[str, float]:
    """Return microseconds an address of each step, and megabytes."""
    store = SqliteLedger(folder, WallClock(), waiting_per_address=200, keep=True)
    dice = random.Random(4)
    told = {"parking": 0.0, "ranking": 0.0, "settling": 0.0, "memory before": _memory()}
    for start in range(0, addresses, BATCH):
        batch = [_waiting(n, dice) for n in range(start, min(start + BATCH, addresses))]
        began = time.process_time()
        await store.enqueue_unless_answered(batch)
        told["parking"] += time.process_time() - began
    settled, last = 0, float("inf")
    while settled < addresses:
        began = time.process_time()
        due = await store.due(BATCH)
        ranked = time.process_time()
        if due[0].score > last:
            raise RuntimeError("not the best first")
        last = due[-1].score
        await _ask_and_settle(store, [one.address for one in due], time.time())
        told["ranking"] += ranked - began
        told["settling"] += time.process_time() - ranked
        settled += len(due)
    size = await store.size()
    if size.waiting or size.waiting_addresses:
        raise RuntimeError(f"{size.waiting} sign-ins are left")
    await store.close()
    told["memory after"] = _memory()
    return {
        name: value if name.startswith("memory") else value / addresses * 1e6
        for name, value in told.items()
    }


def main() -> int:
    """Print the table; 1 when it takes too long or too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--addresses", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        told = asyncio.run(measure(Path(folder), given.addresses))
    table = Table(title=machine(), title_justify="left")
    table.add_column(f"{given.addresses:,} waiting addresses")
    table.add_column("", justify="right")
    for name, value in told.items():
        unit = "MB" if name.startswith("memory") else "us CPU an address"
        table.add_row(name, f"{value:,.1f} {unit}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    slow = told["ranking"] + told["settling"] > WANTED
    return int(slow or told["memory after"] - told["memory before"] > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
