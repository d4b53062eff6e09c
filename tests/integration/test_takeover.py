"""Two instances share a hub and a ledger; one is killed while something else fails as well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import pytest
from aiohttp import web

from schemas.rows.columns import FINDINGS_TABLE
from tests.deployment.kql import make_workspace
from tests.servers.azurite import Azurite
from tests.support.service_process import Running, until
from tests.support.sign_ins import address, message, row
from tests.support.site import PARTITIONS, Site, open_site

Fault = Callable[[Site, Azurite], Awaitable[None]]
CONCURRENCY, BATCH = 2, 20
LASTS = 8.0
"""Seconds of trouble."""


@pytest.fixture
async def storage() -> AsyncIterator[Azurite]:
    """Return storage of the test's own, which it may stop and start."""
    async with Azurite(keep=True) as server:
        yield server


async def _none(_site: Site, _storage: Azurite) -> None:
    """Nothing else fails."""


async def _dropping(site: Site, _storage: Azurite) -> None:
    for _ in range(int(LASTS / 2)):
        site.broker.drop_connections()
        await asyncio.sleep(2)


async def _no_storage(_site: Site, storage: Azurite) -> None:
    await storage.stop()
    await asyncio.sleep(LASTS)
    await storage.start()


async def _no_sink(site: Site, _storage: Azurite) -> None:
    site.ingestion.fault = lambda *_: web.Response(status=503)
    await asyncio.sleep(LASTS)
    site.ingestion.fault = lambda *_: None


async def _no_answers(site: Site, _storage: Azurite) -> None:
    site.crowdsec.fault = lambda _: "hang"
    await asyncio.sleep(LASTS)
    site.crowdsec.fault = lambda _: None


async def _partitions(service: Running) -> int:
    _, body = await service.get("/metrics")
    return body.decode().count("signinwatch_checkpoint_age_seconds{")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", [_none, _dropping, _no_storage, _no_sink, _no_answers])
async def test_the_other_takes_over(fault: Fault, storage: Azurite) -> None:
    """Every planted sign-in is found, repeats share their id, and hardly anything is paid twice."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(storage.connection_string))
        site.settings |= {
            "CROWDSEC__TIMEOUT": "1",
            "CROWDSEC__CONCURRENCY": str(CONCURRENCY),
            "CROWDSEC__BATCH_SIZE": str(BATCH),
        }
        site.crowdsec.delay = 0.1
        first, second = [await stack.enter_async_context(Running(site.settings)) for _ in range(2)]

        async def shared() -> bool:
            return [await _partitions(one) for one in (first, second)] == [2, 2]

        await until(shared, "two partitions each")
        publishing = asyncio.create_task(_publish(site))
        failing = asyncio.ensure_future(fault(site, storage))
        await until(lambda: len(site.crowdsec.asked) > 150, "work under way")
        first.kill()
        await failing
        await publishing
        await until(site.found, "every finding", 180)

        async def taken_over() -> bool:
            return await _partitions(second) == PARTITIONS and await site.all_checkpointed()

        await until(taken_over, "all partitions and checkpoints", 60)
        await until(lambda: len(site.crowdsec.asked) == 800, "every address asked", 60)
        assert await second.terminate() == 0
        assert site.one_id_each()
        _assert_paid_once(site, fault)


async def test_two_instances_ask_once(azurite: Azurite) -> None:
    """The same addresses reach both at the same moment, and each is paid for once."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(azurite.connection_string))
        site.crowdsec.delay = 1.0
        services = [await stack.enter_async_context(Running(site.settings)) for _ in range(2)]

        async def shared() -> bool:
            return [await _partitions(one) for one in services] == [2, 2]

        await until(shared, "two partitions each")
        addresses = [address(number) for number in range(40)]
        site.crowdsec.serve_bad(*addresses)
        for partition in range(PARTITIONS):
            rows = [row(one) for one in addresses]
            site.planted |= {one["Id"] for one in rows}
            site.broker.publish("signins", partition, message(*rows))
        await until(site.found, "every finding of both")
        for service in services:
            assert await service.terminate() == 0
        assert site.one_id_each()
        assert set(site.crowdsec.asked.values()) == {1}


async def _publish(site: Site) -> None:
    for number in range(20):
        site.publish(bad=5, good=35, start=number * 100, each=4)
        await asyncio.sleep(0.25)


def _assert_paid_once(site: Site, fault: Fault) -> None:
    """Check what was asked again: no more than was in flight at the kill."""
    again = {one: count for one, count in site.crowdsec.asked.items() if count > 1}
    if fault is not _no_answers:  # there, what was never answered has to be asked again
        assert len(again) <= CONCURRENCY * BATCH
        assert max(again.values(), default=0) <= 2


async def test_a_process_that_wakes_moves_no_checkpoint_back(azurite: Azurite) -> None:
    """It was stopped, not killed: its partitions went on without it, and it does not know yet."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(azurite.connection_string))
        first = await stack.enter_async_context(Running(site.settings))
        await until(first.ready, "the first")
        site.publish(bad=4, good=36)
        await until(site.all_checkpointed, "the first checkpoints")
        site.crowdsec.delay = 3.0  # what the first has taken is not settled when it is stopped
        site.publish(bad=4, good=36, start=1_000)
        await until(lambda: site.crowdsec.requests > 1, "questions under way")
        first.stop()
        site.crowdsec.delay = 0.0
        second = await stack.enter_async_context(Running(site.settings))

        async def taken_over() -> bool:
            return await _partitions(second) == PARTITIONS

        await until(taken_over, "all partitions", 60)
        site.publish(bad=4, good=76, start=2_000)
        await until(site.found, "every finding")
        await until(site.all_checkpointed, "the checkpoints of the second")
        reached = await site.checkpoints()
        first.wake()
        lowest = dict(reached)

        async def gone() -> bool:
            for partition, number in (await site.checkpoints()).items():
                lowest[partition] = min(lowest[partition], number)
            return await _partitions(first) + await _partitions(second) == PARTITIONS

        site.publish(bad=2, good=38, start=3_000)
        await until(gone, "each partition read once", 60)
        await until(site.found, "what came after")
        await until(site.all_checkpointed, "the last checkpoints", 60)
        for service in (first, second):
            assert await service.terminate() == 0
        assert lowest == reached
        assert site.one_id_each()


@pytest.mark.parametrize("order", [("50074", "0"), ("0", "50074")])
async def test_two_instances_tell_of_a_success_whoever_writes_last(
    azurite: Azurite, order: tuple[str, str]
) -> None:
    """A prompt and the success of one sign-in, read by two instances, are one High finding."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(open_site(azurite.connection_string))
        services = [await stack.enter_async_context(Running(site.settings)) for _ in range(2)]

        async def shared() -> bool:
            return [await _partitions(one) for one in services] == [2, 2]

        await until(shared, "two partitions each")
        bad = address(1)
        site.crowdsec.serve_bad(bad)
        site.planted = {"one"}
        # Who reads partition 0 reads one of the others too; the other instance reads two of them.
        for told, (code, partitions) in enumerate(zip(order, ([0], [1, 2, 3]), strict=True), 1):
            for partition in partitions:
                body = message(row(bad, Id="one", ResultType=code))
                site.broker.publish("signins", partition, body)
            await until(partial(_outcomes, site, told), "the outcome")
        await until(site.all_checkpointed, "all checkpointed")
        for service in services:
            assert await service.terminate() == 0
        assert site.one_id_each()
        workspace = make_workspace({FINDINGS_TABLE: site.ingestion.rows})
        (found,) = workspace.query("SignInFindings()", datetime.now(UTC))
        assert (found["Outcome"], found["Severity"]) == ("Success", "High")


def _outcomes(site: Site, number: int) -> bool:
    """Tell whether rows of so many outcomes have arrived."""
    return len({one["Outcome"] for one in site.ingestion.rows}) == number
