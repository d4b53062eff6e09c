"""Feeds at size: a million indicators, and what matching adds to a verdict.

Run ``python -m tests.bench.measurements.feeds``: it takes in pages of 2,000 indicators as a sync
does, loads the file again as a restart does, measures memory in a process of its own, matches
addresses of which one in twenty is named, and compares goal 2's pipeline with and without the
feed. CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from consumers.settings import FeedSettings, PolicySettings
from consumers.sources.feeds.indicator_schema import FEEDS_FILE
from consumers.sources.feeds.indicator_store import FeedState, IndicatorStore
from consumers.sources.feeds.matcher import FeedMatcher, FeedRules
from consumers.sources.feeds.presets import feed_plans
from consumers.sources.taxii.stix_objects import indicator_of
from consumers.wiring.replay import StateFolder, make_sink, open_chain
from schemas.intel.indicators import Indicator
from tests.bench.goals.goal2_verdict import AT_ONCE, DISTINCT, SIGNINS, settings_for
from tests.bench.measure import Spent, served, spent_awaiting
from tests.bench.measurements.data import addresses, messages, repeated
from tests.servers.taxii import indicator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schemas.ports import Message

FEED = "feed"
NOWHERE = "http://127.0.0.1:9"
"""Is never asked: the feed is not due."""
PAGE = 2_000
NETWORKS = 50_000
MATCHED = 1_000_000
HIT_SHARE = 20
ROUNDS = 5
WANTED_SHARE = 0.20


def address(number: int) -> str:
    """Return one of many public addresses."""
    return f"{45 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def network(number: int) -> str:
    """Return one of many networks, of lengths 20 to 28."""
    length = 20 + number % 9
    first = (number << 12) & 0xFFFFFF
    first &= 0xFFFFFF << (32 - length) & 0xFFFFFF
    return f"{150 + (number >> 12)}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/{length}"


def indicators(count: int) -> Iterator[Indicator]:
    """Yield indicators of CrowdSec's shape: addresses, and networks among them."""
    for number in range(count):
        one = indicator_of(indicator(address(number), labels=["malicious", "ssh:bruteforce"]))
        assert isinstance(one, Indicator)
        yield one
    for number in range(NETWORKS if count >= NETWORKS else 0):
        pattern = f"[ipv4-addr:value ISSUBSET '{network(number)}']"
        one = indicator_of(indicator(pattern))
        assert isinstance(one, Indicator)
        yield one


def spent(work: Callable[[], object]) -> float:
    """Return the seconds of CPU time that *work* takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def resident() -> int:
    """Return the bytes of memory that this process occupies now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def take_in(folder: Path, count: int) -> float:
    """Take in all indicators, page by page; return the seconds of CPU time without making them."""
    store = IndicatorStore(folder)
    feeds = FeedMatcher(store, {FEED: FeedRules()})
    page: list[Indicator] = []
    seconds = 0.0
    steps = 0

    def apply() -> None:
        fresh = store.fresh(FEED, page)
        feeds.applied(store.apply(FEED, [(steps, fresh)], FeedState(steps=steps), now=time.time()))

    for one in indicators(count):
        page.append(one)
        if len(page) == PAGE:
            steps += 1
            seconds += spent(apply)
            page.clear()
    steps += 1
    seconds += spent(apply)
    store.close()
    return seconds


def loaded(folder: Path) -> FeedMatcher:
    """Open the file as a restart does."""
    feeds = FeedMatcher(IndicatorStore(folder), {FEED: FeedRules()})
    feeds.load()
    return feeds


def measure(folder: Path, count: int) -> None:
    """Print load time, memory and matches of one process that holds the feed."""
    before = resident()
    feeds = FeedMatcher(IndicatorStore(folder), {FEED: FeedRules()})
    seconds = spent(feeds.load)
    grown = (resident() - before) / 1e6
    print(f"load: {seconds:.1f} s CPU, {grown:.0f} MB for {len(feeds.index):,} keys")
    asked = [address(n if n % HIT_SHARE == 0 else count + n) for n in range(MATCHED)]
    parts = [asked[start : start + 100] for start in range(0, MATCHED, 100)]
    hits: list[str] = []

    def match() -> None:
        for part in parts:
            hits.extend(feeds.matching(part))

    seconds = spent(match)
    print(f"among: {MATCHED / seconds:,.0f} addresses/s, {len(hits):,} of them named")
    some = list(dict.fromkeys(hits))[:10_000]
    seconds = spent(lambda: [feeds.verdicts_of(one, time.time()) for one in some])
    print(f"words: {len(some) / seconds:,.0f} named addresses/s, each for the first time")


async def through(url: str, recorded: Sequence[Message], kept: Path | None, late: float) -> Spent:
    """Run goal 2's messages through a fresh chain, with the feed at *kept* if it is given."""
    settings = settings_for(url)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    if kept is not None:
        (folder / FEEDS_FILE).symlink_to(kept / FEEDS_FILE)
        feeds = {FEED: FeedSettings(url=NOWHERE, collection="c", interval=1e9)}
        policy = PolicySettings(late_match=late)
        settings = settings.model_copy(update={"feeds": feeds, "policy": policy})
    try:
        with StateFolder(folder) as state:
            async with open_chain(
                settings,
                state,
                lambda: make_sink(settings, "/dev/null"),
                clock_kind="event",
                quota=10**7,
                origin="test",
            ) as chain:

                async def work() -> None:
                    for start in range(0, len(recorded), AT_ONCE):
                        await chain.pipeline.process(recorded[start : start + AT_ONCE])
                    await chain.pipeline.drain()

                spent = await spent_awaiting(work)
                assert chain.pipeline.counts.signins == SIGNINS
                return spent
    finally:
        shutil.rmtree(folder)


async def compare(folder: Path) -> dict[str, float]:
    """Return what goal 2's CPU time becomes with the feed asked, and with late matches as well."""
    feeds = loaded(folder)
    named = set(feeds.matching(addresses(DISTINCT)))
    feeds.store.close()
    pool = [one for one in addresses(DISTINCT) if one not in named]
    recorded = messages("flat", repeated(pool, SIGNINS))
    sides: dict[str, list[float]] = {"without": [], "matching": [], "late": []}
    store = IndicatorStore(folder)
    (plan,) = feed_plans({FEED: FeedSettings(url=NOWHERE, collection="c")})
    store.keep_state(FEED, FeedState(identity=plan.identity, synced=time.time(), steps=10**6))
    store.close()
    with served("cti", count=DISTINCT) as url:
        for _ in range(ROUNDS):
            sides["without"].append((await through(url, recorded, None, 0)).cpu)
            sides["matching"].append((await through(url, recorded, folder, 0)).cpu)
            sides["late"].append((await through(url, recorded, folder, 86_400)).cpu)
    least = sorted(sides["without"])[ROUNDS // 2]
    return {name: sorted(times)[ROUNDS // 2] / least - 1 for name, times in sides.items()}


def main() -> int:
    """Measure, and return 1 if matching costs more than is wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--indicators", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where a feed lies already")
    options = parser.parse_args()
    if options.folder is not None:
        measure(options.folder, options.indicators)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = take_in(folder, options.indicators)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"taken in: {options.indicators / seconds:,.0f}/s CPU, {size / 1e6:.0f} MB on disk")
        own = [sys.executable, "-m", "tests.bench.measurements.feeds", "--folder", name]
        subprocess.run([*own, "--indicators", str(options.indicators)], check=True)
        shares = asyncio.run(compare(folder))
    share = shares["matching"]
    print(f"matching adds {share:.1%} to goal 2's CPU time (wanted: under {WANTED_SHARE:.0%})")
    print(f"with sign-ins noted for late matches it is {shares['late']:.1%}")
    return int(share > WANTED_SHARE)


if __name__ == "__main__":
    sys.exit(main())
