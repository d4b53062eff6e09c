"""Recordings that last for months, and replays that are killed, for the promises of the budget."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.support.service_process import until
from tests.support.sign_ins import message, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

START = datetime(2026, 3, 2, tzinfo=UTC)
PERIOD = 30
"""Days of a period of the event clock."""
DAYS = 65
QUIET = {28, 29, 58, 59}
"""Days on which nobody new signs in: whatever waited has been given up when a period begins."""
LAST_HOUR = 20
"""New addresses come in the hours before this one."""
OWN, OWN_NETWORK = "93.184.216.34", "93.184.216.0/24"
"""Own egress, of which nothing is asked: its sign-ins keep the clock going on quiet days."""


def at(moment: datetime) -> dict[str, str]:
    """Return the times of a row."""
    text = moment.isoformat(timespec="microseconds").replace("+00:00", "0Z")
    return {"TimeGenerated": text, "CreatedDateTime": text}


def address_of(day: int, number: int) -> str:
    """Return an address that signs in on this day alone."""
    return f"81.{day}.{number >> 8}.{number & 255}"


def day_of(address: str) -> int:
    """Return the day on which an address of :func:`address_of` signs in."""
    return int(address.split(".")[1])


def days(first: int, last: int, each_day: int, together: int = 4) -> Iterator[bytes]:
    """Return the messages of these days, *last* excluded, with so many new addresses a day."""
    for day in range(first, last):
        midnight = START + timedelta(days=day)
        for hour in range(24):
            now = midnight + timedelta(hours=hour)
            yield message(row(OWN, **at(now)))
            if day in QUIET:
                continue
            begin, end = (each_day * min(part, LAST_HOUR) // LAST_HOUR for part in (hour, hour + 1))
            for number in range(begin, end, together):
                few = range(number, min(end, number + together))
                now += timedelta(minutes=5)
                yield message(*(row(address_of(day, one), **at(now)) for one in few))


def by_period(asked: Mapping[str, int]) -> list[int]:
    """Return the addresses asked in each period, each as often as it was asked."""
    counts = Counter[int]()
    for address, times in asked.items():
        counts[day_of(address) // PERIOD] += times
    return [counts[period] for period in range(-(-DAYS // PERIOD))]


def far_reset_day(today: datetime) -> str:
    """Return a RESET_DAY on which no test runs: no period ends while it does."""
    return str((today.day + 13) % 28 + 1)


@dataclass
class Killed:
    """A ``replay`` that is killed with SIGKILL when a condition holds; use :meth:`run`."""

    arguments: tuple[str | Path, ...]
    settings: Mapping[str, str]
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    killed: bool = field(default=False, init=False)

    def kill(self) -> None:
        """Kill it now, if it runs. For the faults of servers: at the moment of a request."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            self.killed = True

    async def run(self, condition: Callable[[], bool] = lambda: False) -> bool:
        """Run until it ends, or is killed because of *condition*; tell whether it was killed."""
        environment = {name: text for name, text in os.environ.items() if "COVERAGE" not in name}
        environment |= {f"SIGNINWATCH_{name}": text for name, text in self.settings.items()}
        self.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-m", "consumers.cli", "replay", *map(str, self.arguments)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        try:
            await until(lambda: condition() or process.returncode is not None, "the moment to kill")
        finally:
            self.kill()
            await process.wait()
        return self.killed


def ids_by_event(rows: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the FindingIds of each event that was found."""
    found: dict[str, set[str]] = {}
    for one in rows:
        if one["Origin"] != "test":
            found.setdefault(one["EventId"], set()).add(one["FindingId"])
    return found
