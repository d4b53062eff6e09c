"""The TAXII client and servers that are peculiar: cursors, page sizes, redirects, clocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web

from consumers.sources.taxii import pages as taxii_pages
from schemas.errors import FeedFailed
from schemas.events.times import parse_time
from tests.servers.taxii import TaxiiServer
from tests.servers.taxii_client import all_pages, answering, ids, reading, some, until_failed

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("cursor", [b"[7]", b"1.5", b'{"a": 1}', b'"' + b"a" * 5_000 + b'"'])
async def test_a_bad_cursor_does_not_cost_its_page(cursor: bytes) -> None:
    """The page is used; then it is told that there is no way on. A last page does no harm."""
    more = b"true"

    def answer(_: web.Request) -> web.Response:
        body = b'{"objects": [{"id": "a"}], "more": %s, "next": %s}' % (more, cursor)
        return web.Response(body=body, content_type="application/taxii+json")

    async with answering(answer) as taxii:
        pages, error = await until_failed(taxii)
        assert [page.objects for page in pages] == [[{"id": "a"}]]
        assert error.refused
        assert "a cursor that is not text, or is too long" in str(error)
        more = b"false"
        (page,) = await all_pages(taxii)
    assert (page.objects, page.cursor.next) == ([{"id": "a"}], None)


async def test_numbers_and_texts_where_others_are_meant() -> None:
    """``next`` as a number, ``more`` as a text."""
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.query.get("next"))
        body = {
            "objects": [{"id": f"{len(asked)}"}],
            "more": str(len(asked) < 3),
            "next": len(asked),
        }
        return web.json_response(body, content_type="application/taxii+json")

    async with answering(answer) as taxii:
        pages = await all_pages(taxii)
    assert [page.objects for page in pages] == [[{"id": "1"}], [{"id": "2"}], [{"id": "3"}]]
    assert asked == [None, "1", "2"]
    assert pages[-1].cursor.next == "3"


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("most", [1_000, 100])
async def test_pages_of_a_size_that_is_accepted(status: int, most: int) -> None:
    """Smaller ones are asked for, and remembered by the client."""
    asked = []

    def answer(request: web.Request) -> web.Response:
        asked.append(int(request.query["limit"]))
        if asked[-1] > most:
            return web.Response(status=status)
        return web.json_response({"objects": []}, content_type="application/taxii+json")

    async with answering(answer) as taxii:
        await all_pages(taxii)
        await all_pages(taxii)
    assert asked == [2_000, *([] if most == 1_000 else [1_000]), most, most]


async def test_a_full_page_of_one_time_is_told_as_a_gap() -> None:
    """Without a cursor, what else was added at that time cannot be asked for."""
    fake = TaxiiServer(page_size=2, gives_next=False)
    fake.add(*some(3))
    fake.clock += 100.0
    fake.add(*some(6)[3:], apart=10.0)
    async with reading(fake) as taxii:
        pages = await all_pages(taxii)
    assert [taxii_pages.GAP in page.notes for page in pages].count(True) == 1
    assert {some(6)[n]["id"] for n in (3, 4, 5)} <= set(ids(pages))


async def test_no_position_is_from_the_future() -> None:
    """By the server's own clock: the next run would begin behind all that comes."""
    fake = TaxiiServer()
    fake.add(*some(2))
    stored = fake.stored[-1]
    fake.stored[-1] = replace(stored, added=stored.added + 86_400.0)
    async with reading(fake) as taxii:
        pages = await all_pages(taxii)
        assert taxii_pages.FUTURE in pages[-1].notes
        position = parse_time(pages[-1].cursor.added_after)
        assert position is not None
        assert position.timestamp() <= fake.clock
        fake.add(*some(3)[2:])
        assert some(3)[2]["id"] in ids(await all_pages(taxii, pages[-1].cursor))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "followed"),
    [
        ("/root/collections/c/objects", True),
        ("/root/collections/c/objects?limit=2000", True),
        ("objects", False),
        ("//elsewhere.test/root/collections/c/objects", False),
        ("https://{host}/root/collections/c/objects", False),
        ("http://{host}/root/collections/c/objects", True),
        ("/root/collections/d/objects", False),
        ("/root/collections/c/objects/", False),
        ("", False),
    ],
)
async def test_only_a_redirect_to_the_same_url_is_followed(
    status: int, location: str, *, followed: bool
) -> None:
    """With or without its slash; none other, because the password would go with it."""
    paths = []

    def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        if request.path.endswith("/"):
            target = location.format(host=request.host)
            return web.Response(status=status, headers={"Location": target})
        return web.json_response({"objects": []}, content_type="application/taxii+json")

    objects = "/root/collections/c/objects"
    async with answering(answer) as taxii:
        if followed:
            await all_pages(taxii)
            await all_pages(taxii)
            assert paths == [f"{objects}/", objects, objects]
        else:
            with pytest.raises(FeedFailed, match="set the final URL"):
                await all_pages(taxii)
            assert paths == [f"{objects}/"]


async def test_a_slash_that_is_wanted_later() -> None:
    """A server that changes its mind sends to the other form; it is remembered."""
    paths: list[str] = []

    def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        slash = request.path.endswith("/")
        if slash != (len(paths) > 2):
            other = request.path.rstrip("/") + ("" if slash else "/")
            return web.Response(status=308, headers={"Location": other})
        return web.json_response({"objects": []}, content_type="application/taxii+json")

    async with answering(answer) as taxii:
        for _ in range(3):
            await all_pages(taxii)
    objects = "/root/collections/c/objects"
    assert paths == [f"{objects}/", objects, objects, f"{objects}/", f"{objects}/"]
