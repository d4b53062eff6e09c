"""Recordings of made-up companies: ``python -m tests.bench.company --personality P --out DIR``.

Writes ``recording.ndjson.gz`` (one message body a line, in the order of arrival), ``truth.json``
(what was malicious, and what is known of each address from when on), ``crowdsec.json`` (what a
stand-in for CrowdSec knows in the end) and prints what it made. The same arguments give the same
files. Every assumption stands in ``company_personality.py`` and in the module that it concerns;
none is shared with the demonstration.

Sign-ins arrive two to fifteen minutes after they happened, an hour for a few, in messages of one
to twenty records of the same table. What falls outside the days is left out.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
from isal import igzip

from tests.bench.company.attacks import Attackers
from tests.bench.company.people import Staff
from tests.bench.company.personality import HELD_OUT, PERSONALITIES
from tests.bench.company.principals import Principals
from tests.bench.company.signins import TABLES, SignIn, Writer
from tests.bench.company.truth import Truth
from tests.bench.company.world import DAY, World

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR = 3_600.0
RECORDING, TRUTH, CROWDSEC = "recording.ndjson.gz", "truth.json", "crowdsec.json"
_AHEAD = 14 * HOUR
"""How long before midnight UTC the next day begins for somebody."""
_LINGER = 90.0
"""Seconds for which the exporter collects records for one message."""


class Exporter:
    """Puts sign-ins in order of arrival, and into messages."""

    def __init__(self, seed: str, writer: Writer, truth: Truth, nested: float) -> None:
        self._dice = random.Random(f"{seed} export")
        self._writer = writer
        self._truth = truth
        self._nested = nested
        self._coming: list[tuple[float, int, SignIn]] = []
        self._count = 0
        self._open: list[list[SignIn]] = [[] for _ in TABLES]
        self._since = [0.0] * len(TABLES)
        self._size = [1] * len(TABLES)

    def take(self, one: SignIn) -> None:
        """Let a sign-in be on its way."""
        dice = self._dice
        delay = min(900.0, max(120.0, dice.lognormvariate(5.6, 0.5)))
        if dice.random() < 0.002:
            delay += dice.uniform(0, HOUR)
        self._count += 1  # two that arrive together are never compared
        self._coming.append((one.time + delay, self._count, one))

    def arrived(self, until: float) -> Iterator[bytes]:
        """Yield the messages of what has arrived before *until*."""
        self._coming.sort()
        for number, (moment, _, one) in enumerate(self._coming):
            if moment >= until:
                del self._coming[:number]
                return
            yield from self._collect(one, moment)
        self._coming.clear()

    def rest(self) -> Iterator[bytes]:
        """Yield the messages that are not full, at the end."""
        for table in range(len(TABLES)):
            if self._open[table]:
                yield self._message(table)

    def _collect(self, one: SignIn, moment: float) -> Iterator[bytes]:
        table = one.table
        waiting = self._open[table]
        if waiting and moment - self._since[table] > _LINGER:
            yield self._message(table)
            waiting = self._open[table]
        if not waiting:
            self._since[table] = moment
            self._size[table] = self._dice.randrange(1, 21)
        waiting.append(one)
        if len(waiting) >= self._size[table]:
            yield self._message(table)

    def _message(self, table: int) -> bytes:
        nested = self._nested > 0 and self._dice.random() < self._nested
        records: list[dict[str, Any]] = []
        for one in self._open[table]:
            event_id = self._writer.guid()
            records.append(self._writer.written(one, event_id, nested=nested))
            self._truth.see(one, event_id)
        self._open[table] = []
        return orjson.dumps({"records": records})


def generate(
    out: Path, personality: str, seed: int, users: int, days: int, *, with_risk: bool = True
) -> dict[str, Any]:
    """Write a recording and its truth into *out*; return a few figures of it."""
    its = PERSONALITIES[personality]
    key = f"{personality} {seed} {users} {days}"
    world = World(key)
    staff = Staff(key, world, its, users, days)
    principals = Principals(key, world, its, users, days)
    truth = Truth(key, its)
    attacks = Attackers(key, world, its, staff, principals, truth, days)
    by_day: list[list[SignIn]] = [[] for _ in range(days)]
    for one in attacks.events:
        by_day[int(one.time // DAY)].append(one)
    exporter = Exporter(key, Writer(key, with_risk=with_risk), truth, its.nested)
    out.mkdir(parents=True, exist_ok=True)
    messages = 0
    file: BinaryIO
    with igzip.open(str(out / RECORDING), "wb", 1) as file:  # type: ignore[no-untyped-call]
        for day in range(days):
            for source in (staff.day(day), principals.day(day), by_day[day]):
                for one in source:
                    if 0 <= one.time < days * DAY:
                        exporter.take(one)
            last = day == days - 1
            until = (day + 2) * DAY if last else (day + 1) * DAY - _AHEAD
            for body in exporter.arrived(until):
                file.write(body + b"\n")
                messages += 1
        for body in exporter.rest():
            file.write(body + b"\n")
            messages += 1
    about = {"personality": personality, "seed": seed, "users": users, "days": days,
             "with_risk": with_risk, "held_out": personality in HELD_OUT}  # fmt: skip
    (out / CROWDSEC).write_bytes(orjson.dumps(truth.items()))
    told = truth.told()
    (out / TRUTH).write_bytes(orjson.dumps(about | told))
    taken = [one for one in truth.malicious if one["success"]]
    return about | {
        "messages": messages,
        "signins": told["signins"],
        "distinct_addresses": told["distinct_addresses"],
        "bad_addresses": sum(one["role"] != "ordinary" for one in told["addresses"].values()),
        "listed_ordinary": sum(one["role"] == "ordinary" for one in told["addresses"].values()),
        "malicious_signins": len(truth.malicious),
        "malicious_successes": len(taken),
        "their_addresses": len({one["address"] for one in taken}),
    }


def main() -> int:
    """Make one recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--personality", choices=list(PERSONALITIES), required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without-risk", action="store_true", help="a tenant without P2")
    given = parser.parse_args()
    started = time.monotonic()
    told = generate(given.out, given.personality, given.seed, given.users, given.days,
                    with_risk=not given.without_risk)  # fmt: skip
    told["seconds"] = round(time.monotonic() - started, 1)
    print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
