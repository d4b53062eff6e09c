"""Goal 4: what is known of 100 addresses, 95 of them known, from the durable ledger.

Ours is :class:`consumers.ledger.cache.VerdictCache` over
:class:`consumers.ledger.sqlite.ledger.SqliteLedger`. Against it the store alone (one statement with
an IN-list on the same table and connection, answers decoded), and a bare dictionary walked by the
same loop in a coroutine. The dictionary forgets everything when the process ends and never looks
further for what it lacks, so it is a bound, not a rival. Every batch draws other addresses, and
the five unknown ones are new each time, so that ours asks SQLite for them each time. CPU time.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from consumers.clock import WallClock
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.sources.crowdsec.api import UNKNOWN_VERDICT, verdict_of_item
from schemas.intel.verdicts import Verdict
from tests.bench.measure import Outcome, interleaved, print_outcomes
from tests.bench.measurements.data import KNOWN_SHARE, addresses, item, reputations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schemas.intel.verdicts import Answer
    from schemas.ports import Clock

KEPT, BATCH, BATCHES = 17_000, 100, 500
"""Addresses in the ledger (those of a day of a million sign-ins), and what is asked of it."""
HITS = 95
WANTED_STORE, WANTED_DICT = 1.8, 0.45


class BareDict:
    """A dictionary of answers, walked as :class:`VerdictCache` walks its own."""

    def __init__(self, answers: dict[str, Answer], clock: Clock) -> None:
        self._answers = answers
        self._clock = clock

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired."""
        now = self._clock.now()
        known = self._answers
        found: dict[str, Answer] = {}
        missing: list[str] = []
        for address in addresses:
            answer = known.get(address)
            if answer is not None and answer.expires > now:
                found[address] = answer
            else:
                missing.append(address)
        return found


def verdicts(pool: list[str], clock: Clock) -> dict[str, Answer]:
    """Return a verdict on each address; few are known, as in the field."""
    now = clock.now()
    told = reputations(KEPT, 1, KNOWN_SHARE)
    found: dict[str, Answer] = {}
    for address in pool:
        word = told.get(address)
        said = verdict_of_item(orjson.loads(item(address, word))) if word else UNKNOWN_VERDICT
        found[address] = Verdict(
            reputation=said.reputation,
            source="crowdsec",
            time=now,
            expires=now + 86_400,
            address_class=said.address_class,
            intel=said.intel,
        )
    return found


def batches(known: list[str], unknown: list[str]) -> list[list[str]]:
    """Return batches of distinct addresses, the unknown ones in no special place."""
    dice = random.Random(4)
    made = []
    misses = BATCH - HITS
    for number in range(BATCHES):
        batch = dice.sample(known, HITS) + unknown[number * misses : (number + 1) * misses]
        dice.shuffle(batch)
        made.append(batch)
    return made


def run() -> tuple[list[Outcome], list[str]]:
    """Measure the three side by side."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    clock = WallClock()
    store = SqliteLedger(folder, clock, waiting_per_address=200)
    try:
        return _measured(store, clock)
    finally:
        asyncio.run(store.close())
        shutil.rmtree(folder)


def _measured(store: SqliteLedger, clock: Clock) -> tuple[list[Outcome], list[str]]:
    pool = addresses(KEPT + BATCHES * (BATCH - HITS))
    known = verdicts(pool[:KEPT], clock)
    asked = batches(pool[:KEPT], pool[KEPT:])
    memory, bare = VerdictCache(store, clock), BareDict(known, clock)
    asyncio.run(memory.put_verdicts(known))

    def asking(side: VerdictCache | SqliteLedger | BareDict) -> Callable[[], None]:
        async def ask() -> None:
            for batch in asked:
                assert len(await side.get_verdicts(batch)) == HITS

        return lambda: asyncio.run(ask())

    ours, alone, bound = interleaved(asking(memory), asking(store), asking(bare), rounds=9)
    each = 1e6 / (BATCH * BATCHES)
    name = "4 ledger"
    return [
        Outcome(name, "SQLite IN-list", ours * each, alone * each, "us", WANTED_STORE),
        Outcome(name, "bare dict", ours * each, bound * each, "us", WANTED_DICT),
    ], [f"goal 4: {KEPT:,} addresses kept, batches of {BATCH}, {HITS} of them known"]


if __name__ == "__main__":
    print_outcomes(*run())
