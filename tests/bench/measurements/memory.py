"""Whether memory stays flat: ``python -m tests.bench.measurements.memory --gigabytes 2``.

Streams a synthetic recording (bodies of 100 flat rows, nothing repeats but addresses) into
``signinwatch replay -`` and samples what the replay keeps resident. New addresses keep coming at
the rate seen in the field (17,049 in a million sign-ins), CrowdSec, in another process, knows
the usual few of them, and the quota is large; so what grows is what the replay remembers of
addresses and findings, within its bounds, and anything that leaks.

Ends by itself; after ten minutes it ends the replay and tells so.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import orjson

from tests.bench.measure import ROOT, machine, served
from tests.bench.measurements.data import Writer, addresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

MOST_SECONDS = 600.0
BODY = 100
SIGNINS_AN_ADDRESS = 1_000_000 / 17_049
WARM = 0.1
"""Share of the run after which growth is counted."""
FIRST = 1_000
"""Addresses that are there from the beginning."""
SEED = 9
_MARK = "ffffffff-ffff-4fff-8fff-ffffffffff"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def pool_size(size: int) -> int:
    """Return how many addresses a recording of *size* bytes may need, at 4 KB a sign-in."""
    return int(size / 4_000 / SIGNINS_AN_ADDRESS) + FIRST + 1


class Recording:
    """Writes bodies quickly: one row as a template, with ids, user, time and address of its own."""

    def __init__(self, pool: list[str]) -> None:
        self._dice = random.Random(5)
        row = Writer().flat("192.0.2.1")
        row |= {"Id": f"{_MARK}01", "IPAddress": "%(address)s", "UserPrincipalName": "%(user)s"}
        row |= {"TimeGenerated": "%(time)s", "CreatedDateTime": "%(time)s"}
        row |= {"CorrelationId": f"{_MARK}02", "SessionId": f"{_MARK}03"}
        text = orjson.dumps(row).decode().replace(_MARK, "%(guid)s")
        self._row = text
        self._pool = pool
        self._count = 0

    def body(self) -> bytes:
        """Return the next line of the recording."""
        return f'{{"records":[{",".join(self._next() for _ in range(BODY))}]}}\n'.encode()

    def _next(self) -> str:
        self._count += 1
        seen = int(self._count / SIGNINS_AN_ADDRESS) + FIRST
        place = int(seen * self._dice.random() ** 3) if self._count % 50 else seen
        moment = divmod(self._count // 20, 86_400)
        day, (hour, second) = moment[0], divmod(moment[1], 3_600)
        clock = f"2026-03-{day + 2:02}T{hour:02}:{second // 60:02}:{second % 60:02}.0000000Z"
        digits = f"{self._count:034x}"
        guid = f"{digits[2:10]}-{digits[10:14]}-4000-8000-{digits[-10:]}"
        user = f"user{self._count}@contoso.example"
        values = {"guid": guid, "address": self._pool[place], "user": user, "time": clock}
        return self._row % values

    def bodies(self, size: int) -> Iterator[bytes]:
        """Yield bodies until *size* bytes are written."""
        written = 0
        while written < size:
            body = self.body()
            written += len(body)
            yield body


class Feeder(Thread):
    """Writes the recording to the replay; ``written`` tells how far it is."""

    def __init__(self, stdin: IO[bytes], size: int) -> None:
        super().__init__(daemon=True)
        self.written = 0
        self._pool = addresses(pool_size(size), SEED)
        self._stdin = stdin
        self._size = size

    def run(self) -> None:
        """Write until all is written, or the replay is gone."""
        with suppress(BrokenPipeError):
            for body in Recording(self._pool).bodies(self._size):
                self._stdin.write(body)
                self.written += len(body)
            self._stdin.close()


def resident(pid: int) -> int:
    """Return the bytes that a process keeps in memory; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def sampled(url: str, size: int, summary: Path) -> tuple[list[tuple[int, int]], bool]:
    """Run one replay; return (bytes written, bytes resident) over time, and whether it ended."""
    environment = os.environ | {
        "SIGNINWATCH_CROWDSEC__URL": f"{url}/v2",
        "SIGNINWATCH_CROWDSEC__API_KEY": "a-good-key",
    }
    command = [sys.executable, "-m", "consumers.cli", "replay", "-", "--quota", "100000000"]
    command += ["--findings", os.devnull, "--summary", str(summary)]
    samples: list[tuple[int, int]] = []
    started = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        feeder = Feeder(process.stdin, size)
        feeder.start()
        while process.poll() is None:
            if now := resident(process.pid):
                samples.append((feeder.written, now))
            if time.monotonic() - started > MOST_SECONDS:
                process.kill()
                return samples, False
            time.sleep(0.1)
    return samples, process.returncode == 0


def report(samples: list[tuple[int, int]], size: int) -> None:
    """Print memory at five points of the run, and the growth after warming up."""
    for name, share in (
        ("start", 0.0),
        ("a tenth", WARM),
        ("quarter", 0.25),
        ("half", 0.5),
        ("three quarters", 0.75),
        ("end", 0.999),
    ):
        at = next((kept for written, kept in samples if written >= share * size), samples[-1][1])
        print(f"{name:15} {at / 1e6:8.1f} MB")
    late = [kept for written, kept in samples if written >= WARM * size]
    tenth = max(1, len(late) // 10)
    first, last = sum(late[:tenth]) / tenth, sum(late[-tenth:]) / tenth
    print(f"growth after the first tenth: {(last - first) / 1e6:+.1f} MB (mean of ten per cent)")
    print(f"most: {max(kept for _, kept in samples) / 1e6:.1f} MB")


def main() -> int:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    size = int(parser.parse_args().gigabytes * 1e9)
    print(machine())
    with (
        served("cti", count=pool_size(size), seed=SEED, spread=1) as url,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        summary = Path(folder, "summary.json")
        started = time.monotonic()
        samples, ended = sampled(url, size, summary)
        seconds = time.monotonic() - started
        told = orjson.loads(summary.read_bytes()) if ended else {}
    report(samples, size)
    rate = samples[-1][0] / seconds / 1e6
    print(f"{size / 1e9} GB in {seconds:.0f} s, {rate:.0f} MB/s: " + ("ended" if ended else "CUT"))
    for name in ("signins", "distinct_ips", "lookups", "requests", "findings", "unanswered"):
        print(f"{name:15} {told.get(name, '?')}")
    return int(not ended)


if __name__ == "__main__":
    sys.exit(main())
