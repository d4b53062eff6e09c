"""The TAXII client with medallion, the server by the authors of the standard, end to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from consumers.sources.taxii.client import Cursor, TaxiiClient
from schemas.errors import FeedFailed
from tests.servers.medallion import PASSWORD, Medallion, authorization
from tests.servers.taxii import indicator, revoked
from tests.servers.taxii_client import all_pages, http, ids, some, until_failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.usefixtures("no_waiting")

FILTERS = {"match[type]": "indicator", "match[spec_version]": "2.1"}
DATED = [
    (f"2026-01-{number // 24 + 1:02}T{number % 24:02}:00:00.{number:06}Z", one)
    for number, one in enumerate(some(250))
]
"""Indicators, one added each hour."""
MALWARE = {
    **indicator("81.2.69.160"),
    "type": "malware",
    "id": "malware--8ad0eb46-a9c5-4f64-9f72-2e2c6b4bb7d1",
}


@pytest_asyncio.fixture
async def medallion() -> AsyncIterator[Medallion]:
    """Serve 250 indicators and something else, in pages of 60, as CrowdSec names its collection."""
    added = [*DATED, ("2026-02-01T00:00:00.000000Z", MALWARE)]
    async with Medallion(added, collection="real-time-feeds", page_size=60) as server:
        yield server


def reader(server: Medallion, password: str = PASSWORD, **more: Any) -> TaxiiClient:
    """Return a client of it."""
    client = http({"Authorization": authorization(password)})
    return TaxiiClient(client, server.url, server.collection, filters=FILTERS, **more)


async def test_all_comes_and_later_what_changed(medallion: Medallion) -> None:
    """First everything, then what a writer added: something new, and something taken back."""
    taxii = reader(medallion)
    assert (await taxii.probe()).title == "A collection"
    pages = await all_pages(taxii)
    assert ids(pages) == [one["id"] for _, one in DATED]
    assert [len(one.objects) for one in pages] == [60, 60, 60, 60, 10]
    end = pages[-1].cursor
    assert end == Cursor(added_after="2026-01-11T08:59:59.000249Z")
    (idle,) = await all_pages(taxii, end)
    assert ids([idle]) == [DATED[-1][1]["id"]]
    assert idle.cursor == end

    new, taken_back = indicator("93.184.216.34"), DATED[7][1]
    await medallion.add(new, revoked(taken_back, "2026-11-01T00:00:00.000Z"))
    changed = await all_pages(taxii, idle.cursor)
    assert set(ids(changed)) == {DATED[-1][1]["id"], new["id"], taken_back["id"]}
    (gone,) = [
        one
        for each in changed
        for one in each.objects
        if isinstance(one, dict) and one["id"] == taken_back["id"]
    ]
    assert gone["revoked"] is True
    assert changed[-1].cursor.added_after is not None
    assert end.added_after is not None
    assert changed[-1].cursor.added_after > end.added_after
    await taxii.close()


async def test_a_cursor_of_a_server_that_started_again(medallion: Medallion) -> None:
    """It knows no cursor any more: on from the place, in mid-run and by a stored one."""
    taxii = reader(medallion)
    pages = []
    async for one in taxii.pages(Cursor()):
        pages.append(one)
        if len(pages) == 2:
            break
    await taxii.close()
    await medallion.stop()
    await medallion.start()
    taxii = reader(medallion)
    pages += await all_pages(taxii, pages[-1].cursor)
    assert set(ids(pages)) == {one["id"] for _, one in DATED}
    assert len(ids(pages)) == 251  # one is read twice: that of the last place

    foreign = Cursor(next="never-given", kept=True, resume="2026-01-11T07:30:00Z")
    assert len(ids(await all_pages(taxii, foreign))) == 2
    await taxii.close()


async def test_refusals(medallion: Medallion) -> None:
    """A wrong password, and a collection that is not there."""
    taxii = reader(medallion, "a-wrong-password")
    pages, error = await until_failed(taxii)
    assert (pages, error.refused) == ([], True)
    assert "user name or password (API key) is not accepted" in str(error)
    with pytest.raises(FeedFailed, match="not accepted"):
        await taxii.probe()
    await taxii.close()
    medallion.collection = "another"
    taxii = reader(medallion)
    _, error = await until_failed(taxii)
    assert error.refused
    assert "no such API root or collection" in str(error)
    await taxii.close()


async def test_a_collection_that_may_not_be_read() -> None:
    """The probe says so, and so does a run."""
    async with Medallion(DATED[:1], readable=False) as server:
        taxii = reader(server)
        assert not (await taxii.probe()).can_read
        _, error = await until_failed(taxii)
        assert error.refused
        assert "may not read this collection" in str(error)
        await taxii.close()


async def test_several_read_side_by_side(medallion: Medallion) -> None:
    """Each has its own cursor."""
    readers = [reader(medallion, page_size=size) for size in (17, 50, 2_000)]
    for pages in await asyncio.gather(*(all_pages(one) for one in readers)):
        assert ids(pages) == [one["id"] for _, one in DATED]
    for one in readers:
        await one.close()
