"""Addresses counted by CrowdSec never exceed the quota: over periods, restarts and instances."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at, replay
from tests.support.quotas import (
    DAYS,
    OWN_NETWORK,
    PERIOD,
    QUIET,
    Killed,
    by_period,
    day_of,
    days,
    far_reset_day,
)
from tests.support.service_process import Running, until
from tests.support.sign_ins import address, lines, message, row
from tests.support.site import PARTITIONS, Site, open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite

EACH_DAY = 60
"""New addresses, of which the widest quota here allows ten."""
CUTS = [0, 15, 30, 60, DAYS]
"""Where a recording is cut: at the ends of the periods as well, so that a run is of one period."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two periods and a bit, each with far more new addresses than any quota here."""
    path = tmp_path_factory.mktemp("months") / "months.ndjson"
    path.write_bytes(lines(*days(0, DAYS, EACH_DAY)))
    return path


async def _asked(recording: Path, quota: int, batch_size: int) -> CrowdSec:
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        ran = await replay(
            recording,
            *("--quota", str(quota)),
            **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE=str(batch_size)),
            TRUSTED_NETWORKS=OWN_NETWORK,
        )
    assert ran.status == 0, ran.err
    assert ran.summary["distinct_ips"] == EACH_DAY * (DAYS - len(QUIET)) + 1
    assert ran.summary["lookups"] == crowdsec.asked.total()
    return crowdsec


@pytest.mark.parametrize(("quota", "batch_size"), [(30, 1), (300, 100)])
async def test_no_period_exceeds_the_quota(recording: Path, quota: int, batch_size: int) -> None:
    """Three periods of one recording: each has its own quota, and nearly all of it is used."""
    crowdsec = await _asked(recording, quota, batch_size)
    asked = by_period(crowdsec.asked)
    assert max(asked) <= quota, asked
    assert min(asked[:2]) > 0.8 * quota, asked
    assert asked[2] > 0
    assert set(crowdsec.asked.values()) == {1}


async def test_a_period_s_end_has_lookups_too(recording: Path) -> None:
    """The quota is paced: each ten days of a full period get a good part of their share."""
    quota = 300
    crowdsec = await _asked(recording, quota, 100)
    thirds = [0] * (2 * 3)
    for one in crowdsec.asked:
        if day_of(one) < 2 * PERIOD:
            thirds[day_of(one) * 3 // PERIOD] += 1
    assert min(thirds) >= 0.4 * quota / 3, thirds


async def test_restarts_and_kills_spend_nothing_twice(tmp_path: Path) -> None:
    """One recording in pieces on one state, some killed at any moment and repeated."""
    quota, randomly = 300, random.Random(2)
    crowdsec = CrowdSec(delay=0.005)
    spent, kills = [0, 0, 0], 0
    async with crowdsec.server() as server:
        settings = {
            **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="3", CROWDSEC__CONCURRENCY="2"),
            "TRUSTED_NETWORKS": OWN_NETWORK,
        }
        arguments = ("--state", tmp_path / "state", "--quota", str(quota))
        for first, last in pairwise(CUTS):
            piece = tmp_path / f"from-{first}.ndjson"
            piece.write_bytes(lines(*days(first, last, EACH_DAY)))
            before = crowdsec.asked.total()
            if first % PERIOD == 0 or randomly.random() < 0.5:
                limit = before + randomly.randint(0, max(2, quota // 30))
                kills += await _killed(crowdsec, limit, Killed((piece, *arguments), settings))
            ran = await replay(piece, *arguments, **settings)
            assert ran.status == 0, ran.err
            spent[first // PERIOD] += crowdsec.asked.total() - before
            assert max(spent) <= quota, spent
    assert kills >= 2, "killed while it asked"
    assert min(spent[:2]) > 0.5 * quota, spent


async def _killed(crowdsec: CrowdSec, limit: int, victim: Killed) -> bool:
    """Kill *victim* at a question after more than *limit* addresses, or soon after its answer."""
    if limit % 2:
        return await victim.run(lambda: crowdsec.asked.total() > limit)

    def fault(_request: int) -> None:
        if crowdsec.asked.total() > limit:
            victim.kill()

    crowdsec.fault = fault
    try:
        return await victim.run()
    finally:
        crowdsec.fault = lambda _: None


async def _partitions(service: Running) -> int:
    _, body = await service.get("/metrics")
    return body.decode().count("signinwatch_checkpoint_age_seconds{")


def _publish(site: Site, first: int, count: int, each: int = 75) -> None:
    for number in range(first, first + count, each):
        body = message(*(row(address(number + one)) for one in range(each)))
        site.broker.publish("signins", number // each % PARTITIONS, body)


@pytest.mark.timeout(180)
async def test_four_instances_share_one_quota(azurite: Azurite) -> None:
    """On one ledger in Table Storage and one hub, killed and replaced while they ask."""
    quota, rounds, each_round = 200, 4, 300
    share = quota // 30 + 1  # what the pace allows all of them together at once
    randomly = random.Random(4)
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(azurite.connection_string))
        site.settings |= {
            "CROWDSEC__MONTHLY_QUOTA": str(quota),
            "CROWDSEC__RESET_DAY": far_reset_day(datetime.now(UTC)),
            "CROWDSEC__BATCH_SIZE": "10",
            "CROWDSEC__CONCURRENCY": "1",
        }
        site.crowdsec.delay = 0.3
        asked = site.crowdsec.asked
        services = [await stack.enter_async_context(Running(site.settings)) for _ in range(4)]

        async def shared() -> bool:
            return [await _partitions(one) for one in services] == [1] * 4

        await until(shared, "a partition each")
        for number in range(rounds):
            _publish(site, number * each_round, each_round)
            limit, before = asked.total() + quota // 10, await site.checkpoints()

            async def at_work(limit: int = limit, before: dict[str, int] = before) -> bool:
                return asked.total() >= limit or await site.checkpoints() != before

            await until(at_work, "work under way")
            victim = randomly.randrange(len(services))
            services[victim].kill()
            services[victim] = await stack.enter_async_context(Running(site.settings))
            assert asked.total() <= share
        await until(site.all_checkpointed, "every sign-in judged or waiting")
        ended = await asyncio.gather(*(service.terminate() for service in services))
        assert ended == [0] * len(services)
        assert 0 < asked.total() <= share
