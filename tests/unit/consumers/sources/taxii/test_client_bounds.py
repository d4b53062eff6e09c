"""The TAXII client: sizes, bounds and loops; and the probe."""

from __future__ import annotations

import pytest
from aiohttp import web

from consumers.sources.taxii import pages as taxii_pages
from consumers.sources.taxii.client import MAX_TRIES
from tests.servers.taxii import (
    TaxiiServer,
    indicator,
)
from tests.servers.taxii_client import (
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

pytestmark = pytest.mark.usefixtures("no_waiting")


class Ticks:
    """A monotonic clock that goes on by a second with each look."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        """Return the next second."""
        self.time += 1.0
        return self.time


async def test_pages_that_are_too_large_are_made_smaller() -> None:
    """For the rest of the run."""
    fake = TaxiiServer(page_size=2_000)
    fake.add(*some(300), apart=1.0)
    async with reading(fake, client=http(largest=60_000)) as taxii:
        pages = await all_pages(taxii)
    assert ids(pages) == list(fake.versions())
    assert [one["limit"] for one in fake.queries] == ["2000", "100", "100", "100"]


async def test_a_page_that_is_too_large_uses_up_its_cursor() -> None:
    """So reading starts again from a second before the place."""
    fake = TaxiiServer(page_size=150, consumes=True)
    fake.add(*some(150), apart=1.0)
    fake.add(*(indicator(f"93.184.216.{n}", name="x" * 200) for n in range(150)), apart=1.0)
    async with reading(fake, client=http(largest=80_000)) as taxii:
        pages = await all_pages(taxii)
    assert set(ids(pages)) == set(fake.versions())
    assert (fake.queries[2]["limit"], "next" in fake.queries[2]) == ("100", False)
    assert filter_of(fake.queries[2]) == 148.0


async def test_pages_that_are_too_large_however_small_are_refused() -> None:
    """A human may allow more bytes."""
    fake = TaxiiServer()
    fake.add(*some(300))
    async with reading(fake, client=http(largest=1_000)) as taxii:
        _, error = await until_failed(taxii)
    assert error.refused
    assert "beyond 1,000 bytes" in str(error)
    assert fake.requests == 2


async def test_a_run_ends_after_so_many_pages_and_the_next_goes_on() -> None:
    """By the very cursor, as it was surely not sent; even where one moment fills them all."""
    fake = TaxiiServer(page_size=1, consumes=True)
    fake.add(*some(5))
    async with reading(fake, max_pages=2) as taxii:
        pages, error = await until_failed(taxii)
        assert len(pages) == 2
        assert not error.refused
        assert "2 pages; the next run continues from here" in str(error)
        more, _ = await until_failed(taxii, pages[-1].cursor)
        more += await all_pages(taxii, more[-1].cursor)
    assert ids([*pages, *more]) == list(fake.versions())


async def test_a_run_ends_after_so_long_and_the_next_goes_on() -> None:
    """One page comes at least."""
    fake = TaxiiServer(page_size=1)
    fake.add(*some(3))
    async with reading(fake, max_seconds=1.5, monotonic=Ticks()) as taxii:
        pages, error = await until_failed(taxii)
        assert len(pages) == 1
        assert "seconds; the next run continues from here" in str(error)
        assert not error.refused
    async with reading(fake, max_seconds=0.0, monotonic=Ticks()) as taxii:
        pages, _ = await until_failed(taxii)
        assert len(pages) == 1


async def test_the_same_cursor_again_with_nothing_new_is_a_loop() -> None:
    """Found at the second page; a cursor that moves on is none."""
    async with answering(lambda _: page(*some(1), more=True, next="a")) as taxii:
        pages, error = await until_failed(taxii)
    assert error.refused
    assert "endless paging" in str(error)
    assert len(pages) == 2


async def test_pages_with_nothing_new_are_a_loop() -> None:
    """Three in a row, whatever their cursors."""
    number = iter(range(100))

    def answer(_: web.Request) -> web.Response:
        return page(*some(2), more=True, next=str(next(number)))

    async with answering(answer) as taxii:
        pages, error = await until_failed(taxii)
    assert error.refused
    assert len(pages) == 1 + taxii_pages.MAX_STALE_PAGES


async def test_a_longer_loop_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its versions are remembered."""
    monkeypatch.setattr(taxii_pages, "MAX_REMEMBERED_VERSIONS", 4)
    number = iter(range(100))

    def answer(_: web.Request) -> web.Response:
        place = next(number)
        return page(*some(2, place % 3 * 2), more=True, next=str(place))

    async with answering(answer) as taxii:
        pages, _ = await until_failed(taxii)
    assert len(pages) == 3 + taxii_pages.MAX_STALE_PAGES


async def test_a_new_version_is_no_loop() -> None:
    """The same id with another ``modified`` is something new."""
    number = iter(range(8))

    def answer(_: web.Request) -> web.Response:
        place = next(number)
        known = indicator("81.2.69.160", modified=f"2026-01-01T00:00:0{place}Z")
        return page(known, more=place < 7, next=str(place))

    async with answering(answer) as taxii:
        assert len(await all_pages(taxii)) == 8


async def test_empty_pages_that_promise_more_are_a_fault() -> None:
    """One is borne, two in a row are not."""
    number = iter(range(100))

    def answer(_: web.Request) -> web.Response:
        place = next(number)
        return page(*some(place % 2, place), more=place < 6, next=str(place))

    async with answering(answer) as taxii:
        assert len(await all_pages(taxii)) == 7
    async with answering(lambda _: page(more=True, next=str(next(number)))) as taxii:
        pages, error = await until_failed(taxii)
    assert error.refused
    assert "empty pages" in str(error)
    assert len(pages) == 2


async def test_objects_are_handed_over_unread() -> None:
    """Junk does not end a run."""
    junk: list[object] = [None, 7, {"id": [1]}, {}, "x", [[]]]
    async with answering(lambda r: page(*junk, more="next" not in r.query, next="a")) as taxii:
        pages = await all_pages(taxii)
    assert [one.objects for one in pages] == [junk, junk]


async def test_the_probe_tells_what_the_collection_is() -> None:
    """Its title, cleaned, and whether it may be read."""
    fake = TaxiiServer(can_read=False)
    async with reading(fake) as taxii:
        told = await taxii.probe()
    assert (told.title, told.can_read) == ("A feed", False)
    async with answering(lambda _: page(title="a\x1bb" * 200)) as taxii:
        told = await taxii.probe()
    assert told.title is not None
    assert (len(told.title), "\x1b" in told.title, told.can_read) == (200, False, True)


async def test_the_probe_tries_again() -> None:
    """As pages do."""
    fake = TaxiiServer(fault=lambda n: web.Response(status=503) if n < MAX_TRIES else None)
    async with reading(fake) as taxii:
        assert (await taxii.probe()).can_read
