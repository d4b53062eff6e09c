"""Goal 2: bytes in to verdict decided, against the loop that the SDK's samples invite.

Ours is the pipeline as ``signinwatch replay`` runs it: typed decode, ledger, batched lookups,
findings to a file. The loop decodes each body with orjson and awaits one lookup for each record
over one shared session (a session a call would double its cost), remembering nothing. Both ask
the same server, in another process, whose CPU time does not count. CPU time of this process.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from pydantic import SecretStr

from consumers.settings import CrowdSecSettings, PolicySettings, Settings
from consumers.wiring.replay import StateFolder, make_sink, open_chain
from tests.bench.measure import (
    Outcome,
    Spent,
    interleaved_awaiting,
    print_outcomes,
    served,
    spent_awaiting,
    told_by,
)
from tests.bench.measurements.data import BAD_SHARE, KNOWN_SHARE, addresses, messages, repeated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.wiring.replay import ReplayPipeline
    from schemas.ports import Message

SIGNINS, DISTINCT = 10_000, 580
AT_ONCE = 40
"""Messages handed over together: a replay takes 16 MB at once, which is about as many."""
WANTED_CPU, WANTED_LOOKUPS = 20.0, 17.0


def settings_for(url: str, *, stories: bool = False) -> Settings:
    """Return the settings of a paying user of the stand-in."""
    key = SecretStr("a-good-key")
    return Settings(
        crowdsec=CrowdSecSettings(api_key=key, url=f"{url}/v2", monthly_quota=10**7),
        policy=PolicySettings(stories=stories),
    )


async def through_pipeline(
    url: str, recorded: Sequence[Message], *, durable: bool, stories: bool = False
) -> Spent:
    """Run the messages through a fresh chain with an empty ledger; opening it is not measured."""
    folder = Path(tempfile.mkdtemp(prefix="bench-")) if durable else None
    settings = settings_for(url, stories=stories)

    async def work(chain: ReplayPipeline) -> None:
        for start in range(0, len(recorded), AT_ONCE):
            await chain.pipeline.process(recorded[start : start + AT_ONCE])
        await chain.pipeline.drain()

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
                spent = await spent_awaiting(lambda: work(chain))
                counts = chain.pipeline.counts
                assert (counts.signins, counts.unanswered) == (SIGNINS, 0), counts
                assert chain.outbox.accepted.total() > 0
    finally:
        if folder is not None:
            shutil.rmtree(folder)
    return spent


async def through_loop(url: str, recorded: Sequence[Message], address_of: Any) -> Spent:
    """Do what a handler of the SDK's samples would do with each event."""
    bad = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal bad
        for message in recorded:
            for record in orjson.loads(message.body)["records"]:
                async with session.get(f"{url}/v2/smoke/{address_of(record)}") as response:
                    told = orjson.loads(await response.read())
                    if told.get("reputation") in ("malicious", "suspicious"):
                        bad += 1

    async with aiohttp.ClientSession(headers={"x-api-key": "a-good-key"}) as session:
        spent = await spent_awaiting(lambda: work(session))
    assert bad
    return spent


ADDRESS = {
    "flat": lambda record: record["IPAddress"],
    "nested": lambda record: record["callerIpAddress"],
}


async def measured(kind: str, url: str) -> list[Outcome]:
    """Measure one form of record: CPU, lookups, and CPU with a ledger that fsyncs."""
    recorded = messages(kind, repeated(addresses(DISTINCT), SIGNINS))
    asked: dict[str, int] = {}

    async def ours() -> Spent:
        spent = await through_pipeline(url, recorded, durable=False)
        asked["ours"] = told_by(url)["addresses"]
        return spent

    async def durable() -> Spent:
        spent = await through_pipeline(url, recorded, durable=True)
        told_by(url)
        return spent

    async def with_stories() -> Spent:
        spent = await through_pipeline(url, recorded, durable=False, stories=True)
        told_by(url)
        return spent

    async def loop() -> Spent:
        spent = await through_loop(url, recorded, ADDRESS[kind])
        asked["loop"] = told_by(url)["addresses"]
        return spent

    one, kept, told, other = await interleaved_awaiting(ours, durable, with_stories, loop)
    each = 1e6 / SIGNINS
    name = "2 verdict"
    return [
        Outcome(name, f"{kind}, CPU", one.cpu * each, other.cpu * each, "us", WANTED_CPU),
        Outcome(name, f"{kind}, CPU, durable ledger", kept.cpu * each, other.cpu * each, "us"),
        Outcome(name, f"{kind}, CPU, with stories", told.cpu * each, other.cpu * each, "us"),
        Outcome(name, f"{kind}, wall", one.wall * each, other.wall * each, "us"),
        Outcome(name, f"{kind}, lookups", asked["ours"], asked["loop"], "", WANTED_LOOKUPS),
    ]


def run() -> tuple[list[Outcome], list[str]]:
    """Measure both forms."""
    with served("cti", count=DISTINCT) as url:
        outcomes = [one for kind in ADDRESS for one in asyncio.run(measured(kind, url))]
    notes = [
        f"{SIGNINS:,} sign-ins of {DISTINCT} addresses, bodies of 100; CrowdSec knows "
        f"{KNOWN_SHARE:.0%} of the addresses, {BAD_SHARE:.0%} are bad; findings are written; "
        "stories only where the line says so: every record here is of an account of its own"
    ]
    return outcomes, notes


if __name__ == "__main__":
    print_outcomes(*run())
