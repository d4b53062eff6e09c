"""The TAXII client: how runs go on, in the manners of several servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from consumers.sources.taxii.client import Cursor, TaxiiClient
from consumers.sources.taxii.requests import MEDIA_TYPE, MEDIA_TYPE_UNVERSIONED, earlier, exactly
from tests.servers.loopback import Loopback
from tests.servers.taxii import (
    IDENTITY,
    KEY,
    ROOT,
    TaxiiServer,
)
from tests.servers.taxii_client import (
    START,
    all_pages,
    answering,
    filter_of,
    http,
    ids,
    page,
    reading,
    some,
    until_failed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("no_waiting")


async def test_a_run_follows_next_with_the_same_filters() -> None:
    """All objects once, in order; every request with the filters, the limit and the media type."""
    fake = TaxiiServer(page_size=2)
    fake.add(*some(5), apart=10.0)
    filters = {"match[type]": "indicator"}
    async with reading(fake, filters=filters, page_size=7) as taxii:
        pages = await all_pages(taxii, Cursor(added_after="2020-01-01T00:00:00Z"))
    assert ids(pages) == [one["id"] for one in some(5)]
    assert [one.more for one in pages] == [True, True, False]
    for query in fake.queries:
        query.pop("next", None)
    told = {"match[type]": "indicator", "limit": "7", "added_after": "2020-01-01T00:00:00Z"}
    assert fake.queries == [told] * 3
    assert all("match%5Btype%5D=indicator" in path for path in fake.paths)
    assert {one["accept"] for one in fake.headers} == {MEDIA_TYPE}
    assert fake.paths[0].startswith(f"{ROOT}/collections/{fake.collection}/objects/?")


async def test_the_next_run_asks_from_a_second_before_the_last_place() -> None:
    """By X-TAXII-Date-Added-Last, with its fraction; new versions and revocations come."""
    fake = TaxiiServer(page_size=2, clock=START + 0.125)
    known = some(3)
    fake.add(*known, apart=10.0)
    async with reading(fake) as taxii:
        first = await all_pages(taxii)
        assert first[-1].cursor == Cursor(added_after="2030-03-17T17:46:59.125000Z")
        fake.revoke(known[0])
        again = await all_pages(taxii, first[-1].cursor)
    assert ids(again) == [known[2]["id"], known[0]["id"]]
    assert isinstance(last := again[-1].objects[-1], dict)
    assert last["revoked"] is True


async def test_an_empty_run_keeps_its_place() -> None:
    """``{}`` is a valid last page, and moves nothing."""
    async with reading(TaxiiServer()) as taxii:
        for place in (None, "2025-01-01T00:00:00Z"):
            (only,) = await all_pages(taxii, Cursor(added_after=place))
            assert (only.objects, only.cursor, only.more) == ([], Cursor(added_after=place), False)


async def test_without_places_the_next_run_asks_from_an_hour_before_the_first_page() -> None:
    """CrowdSec's manner: by the server's Date, not by our clock nor by the last page's."""
    fake = TaxiiServer("crowdsec", collection="real-time-feeds", page_size=2)
    fake.add(*some(5))
    async with reading(fake, client=http({"x-api-key": KEY})) as taxii:
        pages = []
        async for one in taxii.pages(Cursor()):
            pages.append(one)
            fake.clock += 600.0
        assert pages[0].objects[0] == IDENTITY
        assert len(ids(pages)) == 6
        await all_pages(taxii, pages[-1].cursor)
    assert filter_of(fake.queries[-1]) == -3_600.0


async def test_without_a_date_our_own_clock_serves() -> None:
    """A Date that cannot be read is none."""

    def answer(_: web.Request) -> web.Response:
        response = page(*some(1))
        response.headers["Date"] = "yesterday"
        return response

    async with answering(answer, now=lambda: START) as taxii:
        (only,) = await all_pages(taxii)
    assert only.cursor.added_after is not None
    assert filter_of({"added_after": only.cursor.added_after}) == -3_600.0


async def test_a_next_of_a_last_page_is_kept_for_the_next_run() -> None:
    """Sekoia's manner: runs go on by it, with the filters that it was made with."""
    fake = TaxiiServer("sekoia", page_size=2)
    fake.add(*some(3))
    async with reading(fake) as taxii:
        first = await all_pages(taxii, Cursor(added_after="2020-01-01T00:00:00Z"))
        kept = first[-1].cursor
        assert kept.kept
        assert kept.next is not None
        fake.add(*some(1, 10))
        second = await all_pages(taxii, kept)
        third = await all_pages(taxii, second[-1].cursor)
    assert ids(second) == [some(1, 10)[0]["id"]]
    assert ids(third) == []
    assert {one["added_after"] for one in fake.queries} == {"2020-01-01T00:00:00Z"}


async def test_an_empty_answer_leaves_a_kept_next_in_force() -> None:
    """``{}`` does not repeat it; the run after goes on by it, and falls back as far as before."""
    fake = TaxiiServer("sekoia", page_size=2, repeats_next=False)
    fake.add(*some(3))
    async with reading(fake) as taxii:
        kept = (await all_pages(taxii))[-1].cursor
        fake.clock += 90_000.0
        (empty,) = await all_pages(taxii, kept)
        assert empty.cursor == kept
        fake.add(*some(1, 10))
        assert ids(await all_pages(taxii, empty.cursor)) == [some(1, 10)[0]["id"]]


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_kept_next_that_is_refused_gives_way_to_added_after(status: int) -> None:
    """The run goes on with the place to fall back to, and later runs too."""
    queries: list[dict[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        return page(status=status) if "next" in request.query else page(*some(1), last=LAST)

    cursor = Cursor(next="old", added_after="2020-01-01T00:00:00Z", kept=True, resume=LAST)
    async with answering(answer) as taxii:
        (only,) = await all_pages(taxii, cursor)
    assert only.cursor == Cursor(added_after="2026-02-03T04:05:05.250000Z")
    assert (queries[0]["next"], queries[0]["added_after"]) == ("old", "2020-01-01T00:00:00Z")
    assert queries[-1] == {"limit": "2000", "added_after": LAST}


LAST = "2026-02-03T04:05:06.250Z"


async def test_a_run_by_a_kept_next_that_ends_without_one_returns_to_added_after() -> None:
    """The manner of the server changed: a last page with objects and no ``next``."""
    async with answering(lambda _: page(*some(1), last=LAST)) as taxii:
        (only,) = await all_pages(
            taxii, Cursor(next="old", kept=True, resume="2020-01-01T00:00:00Z")
        )
    assert only.cursor == Cursor(added_after="2026-02-03T04:05:05.250000Z")


@pytest.mark.parametrize("kept", [False, True])
async def test_a_cursor_survives_being_stored(*, kept: bool) -> None:
    """By msgspec, and small where there is little to say."""
    cursor = Cursor(next="a", kept=kept, resume=LAST)
    body = msgspec.json.encode(cursor)
    assert msgspec.json.decode(body, type=Cursor) == cursor
    assert msgspec.json.encode(Cursor()) == b"{}"


async def test_more_without_next_goes_on_by_the_last_place() -> None:
    """Objects of one moment on both sides of a page's end come too."""
    fake = TaxiiServer(page_size=3, gives_next=False)
    for start in (0, 2, 4, 6):
        fake.add(*some(2, start))
        fake.clock += 0.001
    async with reading(fake) as taxii:
        assert set(ids(await all_pages(taxii))) == set(fake.versions())


async def test_more_without_next_gets_past_a_moment_that_fills_a_page() -> None:
    """What is beyond the limit of that moment is out of reach, but the rest is not."""
    fake = TaxiiServer(page_size=2, gives_next=False)
    fake.add(*some(2))
    fake.clock += 5.0
    fake.add(*some(3, 10), apart=1.0)
    async with reading(fake) as taxii:
        assert set(ids(await all_pages(taxii))) == set(fake.versions())


async def test_more_with_neither_next_nor_place_is_a_fault() -> None:
    """The page is handed over; a later run tries it again."""
    async with answering(lambda _: page(*some(1), more=True)) as taxii:
        pages, error = await until_failed(taxii)
    assert error.refused
    assert "announces more objects, but gives no way to request them" in str(error)
    assert len(ids(pages)) == 1
    assert (pages[0].cursor.next, pages[0].cursor.added_after) == (None, None)


async def test_each_page_is_handed_over_before_the_next_is_asked_for() -> None:
    """So that the caller stores it with its cursor first."""
    fake = TaxiiServer(page_size=1)
    fake.add(*some(3), apart=1.0)
    async with reading(fake) as taxii:
        asked = [fake.requests async for _ in taxii.pages(Cursor())]
    assert asked == [1, 2, 3]


async def test_a_path_without_a_slash_is_tried_once_and_remembered() -> None:
    """A server that knows the path only so."""
    paths = []

    def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        if request.path.endswith("/"):
            return web.Response(status=404)
        return page(*some(1))

    async with answering(answer) as taxii:
        await all_pages(taxii)
        await all_pages(taxii)
        await taxii.probe()
        await taxii.probe()
    objects, collection = "/root/collections/c/objects", "/root/collections/c"
    assert paths == [f"{objects}/", objects, objects, f"{collection}/", collection, collection]


async def test_a_path_that_worked_with_a_slash_is_not_tried_without() -> None:
    """A 404 later on is what it says."""
    fake = TaxiiServer()
    async with reading(fake) as taxii:
        await all_pages(taxii)
        fake.fault = lambda _: web.Response(status=404)
        await until_failed(taxii)
    assert fake.requests == 2


async def test_a_collection_id_is_quoted() -> None:
    """It need not be a UUID, and cannot lead elsewhere."""
    paths = []

    def answer(request: web.Request) -> web.Response:
        paths.append(request.raw_path)
        return page()

    async with answering(answer):
        pass
    async with Loopback(_async(answer)) as server:
        taxii = TaxiiClient(http(), server.url, "a/b c?d")
        await all_pages(taxii)
        await taxii.close()
    assert paths == ["/collections/a%2Fb%20c%3Fd/objects/?limit=2000"]


def _async(handler: Callable[[web.Request], web.Response]) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        return handler(request)

    return answer


async def test_a_media_type_without_version_is_tried_once_and_remembered() -> None:
    """After a 406."""
    fake = TaxiiServer(accepts=(MEDIA_TYPE_UNVERSIONED,))
    fake.add(*some(1))
    async with reading(fake) as taxii:
        await all_pages(taxii)
        await all_pages(taxii)
        fake.accepts = (MEDIA_TYPE,)
        await all_pages(taxii)
    told = [one["accept"] for one in fake.headers]
    assert told == [MEDIA_TYPE, *[MEDIA_TYPE_UNVERSIONED] * 3, MEDIA_TYPE]


async def test_the_content_type_is_not_trusted() -> None:
    """An envelope is one, whatever it is called."""

    def answer(_: web.Request) -> web.Response:
        return web.Response(
            body=b' {"objects": [1, null], "more": "no"}', content_type="text/plain"
        )

    async with answering(answer) as taxii:
        (only,) = await all_pages(taxii)
    assert only.objects == [1, None]


async def test_a_restart_before_an_empty_end_keeps_the_beginning() -> None:
    """What came before the restart counts for where the next run begins."""
    cursor = Cursor(next="a", began="2026-02-03T04:05:06.000000Z")
    async with answering(lambda _: page()) as taxii:
        (only,) = await all_pages(taxii, cursor)
    assert only.cursor == Cursor(added_after="2026-02-03T03:05:06.000000Z")


def test_times_of_servers_are_kept_exactly_where_filters_take_them() -> None:
    """Fractions of any length; another offset becomes UTC."""
    assert exactly("2026-02-03T04:05:06.123456789Z") == "2026-02-03T04:05:06.123456789Z"
    assert exactly("2026-02-03T04:05:06.5+02:00") == "2026-02-03T02:05:06.500000Z"
    assert earlier("0001-01-01T00:00:00Z", 1.0) == "1970-01-01T00:00:00.000000Z"
