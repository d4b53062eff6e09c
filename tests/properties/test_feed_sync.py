"""Whatever fails, and whoever reads: in the end the indicators here are those of the server."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consumers.sources.feeds import snapshot as snapshot_module
from consumers.sources.feeds import sync as sync_module
from schemas.errors import LedgerFailed
from tests.properties.strategies import THOROUGH
from tests.properties.test_taxii import FAULTS, MANNERS
from tests.servers.taxii import LOST, RESET, ROOT, TaxiiServer
from tests.support.feed_instances import (
    EXPIRE,
    RESTART,
    STALL,
    WELL,
    WRITTEN,
    Crash,
    Instance,
    World,
)
from tests.support.feeds import MemoryBlobs
from tests.support.snapshots import containers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schemas.feed_ports import BlobStore
    from tests.servers.azurite import Azurite

CHANGES = st.lists(
    st.tuples(
        st.integers(1, 14),
        st.sampled_from(["new", "new", "newer", "moved", "revoked", "lapsed"]),
    ),
    min_size=3,
    max_size=20,
)
"""What becomes of which indicator: its number, and how its next version is."""
BATCHES = st.lists(
    st.tuples(CHANGES, st.sampled_from([90.0, 0.7, 0.000_001, 0.0])), min_size=2, max_size=4
)
HAPPENINGS = st.lists(
    st.sampled_from([*[WELL] * 8, *FAULTS, LOST, EXPIRE, *[RESTART] * 2, "add"]), max_size=30
)
TOGETHER = st.lists(
    st.sampled_from(
        [*[WELL] * 6, RESET, LOST, "503", EXPIRE, RESTART, *[WRITTEN] * 3, *[STALL] * 4, "add"]
    ),
    min_size=10,
    max_size=40,
)
TURNS = st.lists(st.sampled_from(["one", "other", "both", "follow", "restart"]), max_size=12)
MOST_RUNS = 80
FAST = settings(THOROUGH, max_examples=20, phases=[Phase.explicit, Phase.generate])
"""Without making failures smaller: each example takes a while."""


async def catch_up(instance: Instance) -> None:
    """Read until a run comes to its end, and once more: then all that is there is known."""
    ends = 0
    for _ in range(MOST_RUNS):
        ends += await instance.run()
        if ends >= 2:
            return
    raise AssertionError("no run comes to its end")


async def _alone(fake: TaxiiServer, batches: list[Any], happenings: list[str]) -> None:
    world = World(fake, iter(happenings))
    with tempfile.TemporaryDirectory() as folder:
        async with fake.server() as server:
            world.url, fake.fault = f"{server.url}{ROOT}", world.fault
            instance = Instance("one", world, Path(folder))
            instance.begin()
            try:
                for changes, apart in batches:
                    for number, how in changes:
                        world.change(number, how, apart)
                    await catch_up(instance)
                world.happenings = iter(())
                await catch_up(instance)
                instance.check()
                world.change(3, "revoked")
                world.change(20, "new")
                await catch_up(instance)
                instance.check()
                assert "81.2.20.1" in world.told
            finally:
                await instance.end()


@pytest.mark.parametrize("manner", MANNERS)
@given(page_size=st.integers(1, 7), batches=BATCHES, happenings=HAPPENINGS)
@settings(FAST)
def test_the_store_follows_the_server(
    manner: str, page_size: int, batches: list[Any], happenings: list[str]
) -> None:
    """First and later runs, revocations, new addresses, restarts anywhere, expired cursors."""
    fake = TaxiiServer(page_size=page_size, **MANNERS[manner])
    with stamina.set_testing(True, attempts=1_000, cap=True):
        asyncio.run(_alone(fake, batches, happenings))


@asynccontextmanager
async def _two(
    fake: TaxiiServer, world: World, two: Sequence[BlobStore]
) -> AsyncIterator[list[Instance]]:
    with tempfile.TemporaryDirectory() as folder:
        async with fake.server() as server:
            world.url, fake.fault = f"{server.url}{ROOT}", world.fault
            both = [
                Instance(name, world, Path(folder) / name, blobs)
                for name, blobs in zip(("one", "other"), two, strict=True)
            ]
            for one in both:
                one.begin()
            try:
                yield both
            finally:
                for one in both:
                    await one.end()


async def _followed(instance: Instance) -> None:
    try:
        await instance.sync.follow()
        instance.see()
    except LedgerFailed:
        pass  # a part was replaced while it was read
    except Crash:
        await instance.end()
        instance.begin()


async def _at_once(one: Instance, other: Instance) -> None:
    """Let one read; the other one takes over whenever a claim has run out."""
    reading = asyncio.create_task(one.run())
    while not reading.done():
        await other.run()
        await asyncio.sleep(0)
    await reading


async def _turn(turn: str, both: list[Instance]) -> None:
    one, other = both
    if turn == "both":
        await _at_once(one, other)
    elif turn == "follow":
        await _followed(other)
    elif turn == "restart":
        await other.end()
        other.begin()
    else:
        await (one if turn == "one" else other).run()


async def _together(
    fake: TaxiiServer,
    batches: list[Any],
    happenings: list[str],
    turns: list[str],
    two: Sequence[BlobStore],
) -> None:
    world = World(fake, iter(happenings))
    left = iter(turns)
    async with _two(fake, world, two) as both:
        for changes, apart in batches:
            for number, how in changes:
                world.change(number, how, apart)
            for turn in (next(left, "one"), next(left, "both"), next(left, "other")):
                await _turn(turn, both)
        world.happenings = iter(())
        world.claimed.clear()
        for one in both:
            await catch_up(one)
        await _followed(both[0])
        for one in both:
            one.check()
        world.change(4, "revoked")
        world.change(21, "new")
        await catch_up(both[1])
        await _followed(both[0])
        for one in both:
            one.check()
        assert both[0].all() == both[1].all()
        assert "81.2.21.1" in world.told


SMALL = {"FULL_PART_INDICATORS": 3, "MAX_BLOAT": 1}
"""Snapshots have several parts, and are replaced often."""


@pytest.mark.parametrize("manner", ["spec", "spec, cursors move on", "sekoia", "crowdsec"])
@given(page_size=st.integers(1, 7), batches=BATCHES, happenings=TOGETHER, turns=TURNS)
@settings(FAST)
def test_two_follow_the_server_together(
    manner: str, page_size: int, batches: list[Any], happenings: list[str], turns: list[str]
) -> None:
    """Snapshots replaced often; claims that run out, and deaths between blob and store."""
    fake = TaxiiServer(page_size=page_size, **MANNERS[manner])
    blobs = MemoryBlobs()
    with pytest.MonkeyPatch.context() as patch:
        _make_small(patch)
        with stamina.set_testing(True, attempts=1_000, cap=True):
            asyncio.run(_together(fake, batches, happenings, turns, [blobs, blobs]))


def _make_small(patch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        patch.setattr(snapshot_module, name, value)
    patch.setattr(sync_module, "FULL_PART_INDICATORS", SMALL["FULL_PART_INDICATORS"])


@pytest.mark.usefixtures("no_waiting")
async def test_two_follow_the_server_by_a_container(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the blobs of the service."""
    _make_small(monkeypatch)
    batches = [
        ([(number, "new") for number in range(1, 15)], 0.7),
        ([(2, "revoked"), (3, "moved"), (5, "lapsed"), (6, "newer"), (9, "newer")], 0.0),
        ([(2, "new"), (7, "moved"), (7, "revoked"), (3, "newer"), (11, "moved")], 90.0),
    ]
    happenings = [WELL, WRITTEN, LOST, WELL, WELL, RESTART, STALL, WELL, EXPIRE, WRITTEN, STALL]
    turns = ["both", "both", "follow", "one", "restart", "both", "both"]
    async with containers(azurite, 2) as two:
        await _together(TaxiiServer(page_size=4), batches, happenings, turns, two)
        assert len(await two[0].names("feeds/")) > 2
