"""Goal 6: malicious successful sign-ins caught with a small quota.

Makes recordings of made-up companies (``company.py``), replays each with each quota through what
``signinwatch replay`` calls, and counts the malicious successful sign-ins that became findings,
beside the oracle and the naive consumer (``company_oracle.py``) on the same recording. Quotas are
per 30 days; a shorter recording gets its share. One when the median of any personality misses.

The personalities held out run only when they are named: see ``company_personality.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import orjson
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from consumers.commands.replay.job import ReplayOptions, replay
from consumers.settings import CrowdSecSettings, Settings
from consumers.wiring.replay import StateFolder, make_sink
from tests.bench.company.__main__ import CROWDSEC, RECORDING, TRUTH, generate
from tests.bench.company.oracle import Result, naive, oracle, read_truth
from tests.bench.company.personality import PERSONALITIES, WORKING
from tests.bench.goals.goal6_servers import ListedLater, sharing_the_clock
from tests.bench.measure import machine
from tests.servers.crowdsec import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.company.oracle import KnownTruth

OF_ORACLE = {1_500: 0.7, 5_000: 0.8, 25_000: 0.95}
OF_NAIVE = {25_000: 4.0}
STDERR = Console(stderr=True)


class Wanted(NamedTuple):
    """What recordings to make."""

    users: int
    days: int
    with_risk: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What one replay gave, beside the two others."""

    personality: str
    seed: int
    quota: int
    malicious: int
    caught: int
    oracle: int
    naive: int
    lookups: int
    seconds: float

    @property
    def of_oracle(self) -> float:
        """Share of what the oracle catches."""
        return self.caught / self.oracle if self.oracle else 1.0

    @property
    def of_naive(self) -> float:
        """Multiple of what the naive consumer catches."""
        return self.caught / self.naive if self.naive else float("inf") if self.caught else 1.0


@contextmanager
def recording(cache: Path | None, personality: str, seed: int, wanted: Wanted) -> Iterator[Path]:
    """Make a recording, or take the one in *cache*, which is only kept with one."""
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            generate(Path(folder), personality, seed, wanted.users, wanted.days,
                     with_risk=wanted.with_risk)  # fmt: skip
            yield Path(folder)
        return
    name = f"{personality}-{seed}-{wanted.users}-{wanted.days}-{wanted.with_risk:d}-{_version()}"
    folder_kept = cache / name
    if not (folder_kept / TRUTH).exists():  # it is written last
        generate(folder_kept, personality, seed, wanted.users, wanted.days,
                 with_risk=wanted.with_risk)  # fmt: skip
    yield folder_kept


def _version() -> str:
    """Return what changes with the generator, the oracle and the naive consumer."""
    told = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("company*.py")):
        told.update(path.read_bytes())
    return told.hexdigest()[:10]


async def ours(folder: Path, truth: KnownTruth, quota: int) -> Result:
    """Replay with a quota; return which malicious successes became findings."""
    service = ListedLater(folder / CROWDSEC, truth.listed_from)
    with tempfile.TemporaryDirectory(prefix="bench-") as state, sharing_the_clock(service):
        findings = str(Path(state) / "findings.jsonl")
        async with service.server() as server:
            settings = Settings(
                crowdsec=CrowdSecSettings(api_key=SecretStr(KEY), url=f"{server.url}/v2")
            )
            with StateFolder(None) as ledger:
                told = await replay(
                    settings,
                    ReplayOptions([str(folder / RECORDING)], quota=quota),
                    ledger,
                    lambda: make_sink(settings, findings),
                    lambda _, __: None,
                )
        asked = service.asked.total()
        periods = -(-int(truth.about["days"]) // 30)
        if asked > quota * periods:
            raise RuntimeError(f"{asked} addresses were asked of with a quota of {quota}")
        if told.summary["rejected"] or told.summary["signins"] != truth.about["signins"]:
            raise RuntimeError(f"the recording was not read in full: {told.summary}")
        wanted = {(one.id, one.address) for one in truth.taken}
        rows = map(orjson.loads, Path(findings).read_bytes().splitlines())
        found = {row["EventId"] for row in rows if (row["EventId"], row["IPAddress"]) in wanted}
    return Result(found, asked)


def _naive(folder: Path, truth: KnownTruth, quotas: list[int]) -> dict[int, int]:
    """Return what the naive consumer catches; it is told once for a recording that is kept."""
    kept = folder / f"naive-{'-'.join(map(str, quotas))}.json"
    if not kept.exists():
        told = naive(folder / RECORDING, truth, quotas)
        kept.write_bytes(orjson.dumps({str(one): len(told[one].caught) for one in quotas}))
    return {int(quota): count for quota, count in orjson.loads(kept.read_bytes()).items()}


def runs_of(folder: Path, quotas: list[int]) -> Iterator[Run]:
    """Run all consumers over one recording."""
    truth = read_truth(folder / TRUTH)
    share = min(1.0, truth.about["days"] / 30)
    scaled = {quota: round(quota * share) for quota in quotas}
    others = _naive(folder, truth, list(scaled.values()))
    for quota, lookups in scaled.items():
        started = time.perf_counter()
        told = asyncio.run(ours(folder, truth, lookups))
        yield Run(
            truth.about["personality"],
            truth.about["seed"],
            quota,
            len(truth.taken),
            len(told.caught),
            len(oracle(truth, lookups).caught),
            others[lookups],
            told.lookups,
            time.perf_counter() - started,
        )


def missed(runs: list[Run]) -> list[str]:
    """Return which goals are missed, by the median of each personality."""
    told = []
    for name, quota in dict.fromkeys((one.personality, one.quota) for one in runs):
        same = [one for one in runs if (one.personality, one.quota) == (name, quota)]
        for what, seen, goal in (
            ("of the oracle", median(one.of_oracle for one in same), OF_ORACLE.get(quota)),
            ("times the naive consumer", median(one.of_naive for one in same), OF_NAIVE.get(quota)),
        ):
            if goal is not None and seen < goal:
                told.append(f"{name} at {quota:,}: {seen:.2f} {what}, {goal} is wanted")
    return told


def print_runs(runs: list[Run]) -> None:
    """Print the table, with medians of each personality and of all at each quota."""
    table = Table(title=machine(), title_justify="left")
    for name in ("personality", "seed", "quota", "malicious", "caught", "oracle", "of oracle",
                 "naive", "of naive", "lookups", "seconds"):  # fmt: skip
        table.add_column(name, justify="left" if name == "personality" else "right")
    for one in runs:
        share = 100 / max(1, one.malicious)
        table.add_row(
            one.personality, str(one.seed), f"{one.quota:,}", str(one.malicious),
            f"{one.caught * share:.0f} %", f"{one.oracle * share:.0f} %", f"{one.of_oracle:.2f}",
            f"{one.naive * share:.0f} %", _times(one.of_naive), f"{one.lookups:,}",
            f"{one.seconds:.0f}",
        )  # fmt: skip
    table.add_section()
    names = list(dict.fromkeys(one.personality for one in runs))
    for name in [*names, "all"] if len(names) > 1 else names:
        for quota in dict.fromkeys(one.quota for one in runs):
            same = [one for one in runs if one.quota == quota and name in (one.personality, "all")]
            _add_median(table, name, quota, same)
    Console(width=None if sys.stdout.isatty() else 130).print(table)


def _times(ratio: float) -> str:
    return "" if ratio == float("inf") else f"{ratio:.1f}x"


def _add_median(table: Table, name: str, quota: int, same: list[Run]) -> None:
    def middle(part: str) -> str:
        return f"{median(100 * getattr(one, part) / max(1, one.malicious) for one in same):.0f} %"

    table.add_row(
        f"{name}, median", str(len(same)), f"{quota:,}", "", middle("caught"), middle("oracle"),
        f"{median(one.of_oracle for one in same):.2f}", middle("naive"),
        _times(median(one.of_naive for one in same)),
        f"{median(one.lookups for one in same):,.0f}",
        f"{median(one.seconds for one in same):.0f}",
    )  # fmt: skip


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--personality", default=",".join(WORKING), help="names, or all")
    parser.add_argument("--seeds", default="1", help="numbers, comma-separated")
    parser.add_argument("--quotas", default="1500,5000,25000")
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--without-risk", action="store_true", help="a tenant without P2")
    parser.add_argument("--cache", type=Path, help="where recordings are kept, 0.3 GB each")
    given = parser.parse_args()
    names = list(PERSONALITIES) if given.personality == "all" else given.personality.split(",")
    for name in names:
        if name not in PERSONALITIES:
            parser.error(f"--personality: {name} is none of {', '.join(PERSONALITIES)}")
    quotas = [int(one) for one in given.quotas.split(",")]
    wanted = Wanted(given.users, given.days, not given.without_risk)
    runs: list[Run] = []
    for name in names:
        for seed in map(int, given.seeds.split(",")):
            STDERR.print(f"{name}, seed {seed} …", highlight=False)
            with recording(given.cache, name, seed, wanted) as folder:
                runs += runs_of(folder, quotas)
    print_runs(runs)
    told = missed(runs)
    for one in told:
        print(f"MISSED: {one}")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
