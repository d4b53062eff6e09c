"""Whatever fails, and whatever the server's manner: in the end all versions are here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.sources.taxii.client import Cursor, TaxiiClient
from schemas.errors import FeedFailed
from schemas.events.times import iso_of
from tests.properties.strategies import THOROUGH
from tests.servers.taxii import CUT, LOST, RESET, ROOT, TRUNCATE, TaxiiServer, indicator
from tests.servers.taxii_client import http

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXPIRE, RESTART, WELL = "expire", "restart", "well"
MANNERS: dict[str, dict[str, Any]] = {
    "spec": {"manner": "spec"},
    "spec, cursors move on": {"manner": "spec", "consumes": True},
    "spec, no places": {"manner": "spec", "dates": False},
    "sekoia": {"manner": "sekoia"},
    "sekoia, empty answers": {"manner": "sekoia", "repeats_next": False},
    "crowdsec": {"manner": "crowdsec"},
}
FAULTS = [RESET, LOST, TRUNCATE, CUT, "429", "503", "500"]
HAPPENINGS = st.lists(
    st.sampled_from([*[WELL] * 8, *FAULTS, LOST, EXPIRE, *[RESTART] * 3, "add"]),
    min_size=20,
    max_size=40,
)
"""What happens at each request, in order; then all is well."""
BATCHES = st.lists(
    st.tuples(st.integers(5, 25), st.sampled_from([90.0, 0.7, 3_000.0, 0.000_001, 0.0])),
    min_size=2,
    max_size=4,
)
"""Sizes of what is added together, and the seconds between its objects."""
MOST_RUNS = 60


@dataclass
class World:
    """A server, what happens to it, and a reader that keeps pages with their cursors."""

    fake: TaxiiServer
    happenings: Iterator[str]
    url: str = ""
    cursor: Cursor = field(default_factory=Cursor)
    known: dict[str, str] = field(default_factory=dict)
    """The newest version of each object, by id."""
    dying: bool = False
    added: int = 0

    def add(self, count: int, apart: float) -> None:
        """Add objects: new ones, and every third time a new version of an old one."""
        for _ in range(count):
            self.added += 1
            number = self.added // 2 if self.added % 3 == 0 else self.added
            value = f"81.2.{number // 250}.{number % 250 + 1}"
            modified = iso_of(self.fake.clock + self.added)
            self.fake.add(
                indicator(value, modified=modified, revoked=self.added % 6 == 0), apart=apart
            )

    def fault(self, _: int) -> web.Response | str | None:
        """Say what happens at a request."""
        self.fake.clock += 0.01
        what = next(self.happenings, WELL)
        if what in (RESET, LOST, TRUNCATE, CUT):
            return what
        if what.isdigit():
            return web.Response(status=int(what))
        if what == EXPIRE:
            self.fake.forget_cursors()
        elif what == "add":
            self.add(2, 0.5)
        self.dying = what == RESTART
        return None

    async def run(self) -> bool:
        """Read once; tell whether the run came to its end. A new process each time it died."""
        taxii = TaxiiClient(
            http(), self.url, self.fake.collection, page_size=5, now=lambda: self.fake.clock
        )
        try:
            async for page in taxii.pages(self.cursor):
                if self.dying:  # the answer came, but was not stored
                    self.dying = False
                    return False
                self._store(page.objects)
                self.cursor = page.cursor
        except FeedFailed as error:
            if error.refused:
                raise
            return False
        finally:
            await taxii.close()
        return True

    def _store(self, objects: Sequence[object]) -> None:
        for one in objects:
            assert isinstance(one, dict)
            self.known[one["id"]] = max(one["modified"], self.known.get(one["id"], ""))

    async def catch_up(self) -> None:
        """Read until a run comes to its end: all that was there when it began is known then."""
        there = self.fake.versions()
        for _ in range(MOST_RUNS):
            if await self.run():
                assert all(self.known.get(one, "") >= modified for one, modified in there.items())
                return
        raise AssertionError("no run comes to its end")


async def _live(fake: TaxiiServer, batches: list[tuple[int, float]], happenings: list[str]) -> None:
    world = World(fake, iter(happenings))
    async with fake.server() as server:
        world.url = f"{server.url}{ROOT}"
        fake.fault = world.fault
        for count, apart in [*batches, (3, 1.0)]:
            world.add(count, apart)
            await world.catch_up()
        world.happenings = iter(())
        await world.catch_up()  # what was added while the last run read
        assert world.known | fake.versions() == world.known
        world.add(4, 1.0)
        await world.catch_up()
        assert world.known | fake.versions() == world.known


@pytest.mark.parametrize("manner", MANNERS)
@given(page_size=st.integers(1, 7), batches=BATCHES, happenings=HAPPENINGS)
@settings(THOROUGH, max_examples=25)
def test_nothing_is_ever_missing(
    manner: str, page_size: int, batches: list[tuple[int, float]], happenings: list[str]
) -> None:
    """First runs, incremental ones, and restarts in their midst."""
    fake = TaxiiServer(page_size=page_size, **MANNERS[manner])
    with stamina.set_testing(True, attempts=1_000, cap=True):
        asyncio.run(_live(fake, batches, happenings))
