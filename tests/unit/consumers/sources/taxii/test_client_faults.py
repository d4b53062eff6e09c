"""The TAXII client: refusals, odd answers, and answers that get lost."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from aiohttp import web

from consumers.clock import WallClock
from consumers.sources.http import HttpClient
from consumers.sources.taxii import pages as taxii_pages
from consumers.sources.taxii.client import MAX_TRIES, Cursor, TaxiiClient, _retry_delay
from consumers.sources.taxii.requests import MEDIA_TYPE, ConnectionLost, ServerBusy
from schemas.errors import FeedFailed
from tests.servers.taxii import (
    CUT,
    HANG,
    KEY,
    LOST,
    RESET,
    TRUNCATE,
    TaxiiServer,
)
from tests.servers.taxii_client import (
    BASIC,
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

LAST = "2026-02-03T04:05:06.250Z"
pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "check the feed's filters"),
        (401, "user name or password (API key) is not accepted"),
        (403, "may not read this collection"),
        (404, "no such API root or collection"),
        (406, "refuses the media types of TAXII 2.1"),
        (413, "refuses the request (HTTP 413)"),
        (422, "refuses the request (HTTP 422)"),
        (416, "pages by ranges, as in TAXII 2.0; set the API root of TAXII 2.1"),
        (206, "refuses the request (HTTP 206)"),
        (301, "redirects; set the final URL"),
        (302, "redirects; set the final URL"),
        (307, "redirects; set the final URL"),
    ],
)
@pytest.mark.parametrize("probe", [False, True])
async def test_a_refusal_is_told_in_words(status: int, text: str, *, probe: bool) -> None:
    """At once, for a human to mend, without a secret or a URL; bodies of errors are not read."""
    requests = []

    def answer(request: web.Request) -> web.Response:
        requests.append(request.path)
        headers = {"Location": f"http://elsewhere.test/?key={KEY}"}
        return web.Response(status=status, text=f"<p>{KEY}", headers=headers)

    async with answering(answer) as taxii:
        with pytest.raises(FeedFailed) as failed:
            await (taxii.probe() if probe else all_pages(taxii))
    assert failed.value.refused
    assert text in str(failed.value)
    assert KEY not in str(failed.value)
    assert "elsewhere.test" not in str(failed.value)
    assert len(requests) <= (3 if status in (400, 413, 422) else 2)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"<html>Please sign in", "text/html; charset=utf-8", "responds with a web page"),
        (b"{}", "text/html", "responds with a web page"),
        (b"\n <!doctype html>", "application/taxii+json", "responds with a web page"),
        (b"hello", "application/taxii+json", "other than JSON"),
        (b"[]", "application/taxii+json", "JSON that is not an object"),
        (b'{"objects": {}}', "application/taxii+json", "objects that are not a list"),
    ],
)
async def test_an_answer_that_is_no_envelope_is_refused(body: bytes, kind: str, text: str) -> None:
    """At once; the hint says what it looks like."""
    answer = web.Response
    async with answering(lambda _: answer(body=body, headers={"Content-Type": kind})) as taxii:
        pages, error = await until_failed(taxii)
    assert (pages, error.refused) == ([], True)
    assert text in str(error)


@pytest.mark.parametrize("fault", [RESET, LOST, TRUNCATE, CUT, 429, 503, 500, 502, 408])
@pytest.mark.parametrize("manner", ["spec", "sekoia", "crowdsec"])
async def test_a_passing_fault_is_retried(fault: str | int, manner: str) -> None:
    """On the first page and on the second; nothing is missing."""
    fake = TaxiiServer(manner, page_size=2, consumes=True)
    fake.add(*some(5), apart=10.0)
    bad = web.Response
    fake.fault = lambda n: (
        None if n not in (1, 3) else bad(status=fault) if isinstance(fault, int) else fault
    )
    async with reading(fake) as taxii:
        assert set(fake.versions()) <= set(ids(await all_pages(taxii)))


@pytest.mark.parametrize("fault", [RESET, TRUNCATE, CUT, 429, 503, 500])
async def test_a_lasting_fault_ends_the_run(fault: str | int) -> None:
    """After some tries; it may pass, in the time that the server asks for."""
    fake = TaxiiServer()
    bad = web.Response
    fake.fault = lambda _: (
        bad(status=fault, headers={"Retry-After": "7"}) if isinstance(fault, int) else fault
    )
    async with reading(fake) as taxii:
        pages, error = await until_failed(taxii)
    assert (pages, error.refused) == ([], False)
    assert error.retry_after == (7.0 if isinstance(fault, int) else None)
    assert fake.requests == MAX_TRIES


async def test_a_server_out_of_reach_may_be_there_later() -> None:
    """Nothing listens."""
    async with TaxiiServer().server() as server:
        url = server.url
    taxii = TaxiiClient(http(), url, "c")
    _, error = await until_failed(taxii)
    await taxii.close()
    assert not error.refused
    assert "cannot connect" in str(error)


async def test_a_server_that_hangs_is_given_up() -> None:
    """By the client's timeout, as often as a page is tried."""
    fake = TaxiiServer(fault=lambda _: HANG)
    client = HttpClient(
        headers=BASIC,
        timeout=0.05,
        connections=1,
        largest_body=1_000,
        proxies=False,
        now=WallClock(),
    )
    async with reading(fake, client=client) as taxii:
        _, error = await until_failed(taxii)
    assert not error.refused
    assert fake.requests == MAX_TRIES


@pytest.mark.parametrize("fault", [LOST, CUT, TRUNCATE, 500])
async def test_a_cursor_is_not_sent_again_when_its_answer_got_lost(fault: str | int) -> None:
    """It may be used up: reading starts again from a second before the place."""
    fake = TaxiiServer(page_size=2, consumes=True)
    fake.add(*some(6), apart=10.0)
    bad = web.Response

    def at_two(number: int) -> web.Response | str | None:
        if number != 2:
            return None
        return bad(status=fault) if isinstance(fault, int) else fault

    fake.fault = at_two
    async with reading(fake) as taxii:
        pages = await all_pages(taxii)
    assert set(ids(pages)) == set(fake.versions())
    assert "next" not in fake.queries[2]
    assert filter_of(fake.queries[2]) == 9.0


@pytest.mark.parametrize("status", [429, 503])
async def test_a_cursor_is_sent_again_where_the_server_surely_did_nothing(status: int) -> None:
    """Asked to wait: the same request, at the server's own cursor."""
    fake = TaxiiServer(page_size=2, consumes=True)
    fake.add(*some(4), apart=10.0)
    fake.fault = lambda n: web.Response(status=status) if n == 2 else None
    async with reading(fake) as taxii:
        await all_pages(taxii)
    assert fake.queries[2] == fake.queries[1]


async def test_a_lost_answer_without_places_is_asked_for_again_by_the_same_cursor() -> None:
    """CrowdSec's manner: there is nothing else to go by."""
    fake = TaxiiServer("crowdsec", page_size=2, fault=lambda n: LOST if n == 2 else None)
    fake.add(*some(4))
    async with reading(fake) as taxii:
        assert set(fake.versions()) <= set(ids(await all_pages(taxii)))
    assert fake.queries[2] == fake.queries[1]


async def test_cursors_that_move_on_without_places_start_the_run_again() -> None:
    """The server showed that it uses one cursor for several pages: to repeat it loses a page."""
    fake = TaxiiServer(page_size=2, consumes=True, dates=False)
    fake.add(*some(8))
    fake.fault = lambda n: LOST if n == 3 else None
    async with reading(fake) as taxii:
        assert set(ids(await all_pages(taxii))) == set(fake.versions())
    assert "next" not in fake.queries[3]


@pytest.mark.parametrize("dates", [True, False])
async def test_a_cursor_that_ends_in_mid_run_is_left(*, dates: bool) -> None:
    """On from a second before the place, or from the run's start where no place is known."""
    fake = TaxiiServer(page_size=2, dates=dates)
    fake.add(*some(6), apart=10.0)
    pages = []
    async with reading(fake) as taxii:
        async for one in taxii.pages(Cursor()):
            pages.append(one)
            if len(pages) == 2:
                fake.forget_cursors()
    assert set(ids(pages)) == set(fake.versions())
    assert filter_of(fake.queries[3]) == (29.0 if dates else None)


async def test_cursors_that_always_end_are_given_up_where_going_back_does_not_help() -> None:
    """A moment fills more than a page, so the next page is only had by the cursor."""
    fake = TaxiiServer(page_size=2, cursors_live=-1.0)
    fake.add(*some(5))
    async with reading(fake) as taxii:
        pages, error = await until_failed(taxii)
    assert not error.refused
    assert "a restart from the last position did not help" in str(error)
    assert len(pages) == 2


async def test_cursors_that_always_end_do_no_harm_while_places_get_on() -> None:
    """Each page is asked for from the place of the one before."""
    fake = TaxiiServer(page_size=3, cursors_live=-1.0)
    fake.add(*some(12), apart=1.5)
    async with reading(fake) as taxii:
        assert set(ids(await all_pages(taxii))) == set(fake.versions())


async def test_answers_that_always_get_lost_behind_a_cursor_end_the_run() -> None:
    """First pages come, second pages never."""
    fake = TaxiiServer(page_size=2, fault=lambda n: None)
    fake.add(*some(5))
    fake.fault = lambda _: LOST if "next" in fake.queries[-1] else None
    async with reading(fake) as taxii:
        _, error = await until_failed(taxii)
    assert not error.refused
    assert fake.requests <= 2 * taxii_pages.MAX_RETURNS + 2


async def test_a_restart_in_mid_run_goes_on_from_the_place() -> None:
    """By another process: the cursor was maybe sent before, and is used up."""
    fake = TaxiiServer(page_size=2, consumes=True)
    fake.add(*some(8), apart=10.0)
    pages = []
    async with reading(fake) as taxii:
        async for one in taxii.pages(Cursor()):
            pages.append(one)
            if len(pages) == 2:
                break
        await anext(taxii.pages(pages[0].cursor))  # what comes gets lost
        pages += await all_pages(taxii, pages[1].cursor)
    assert set(ids(pages)) == set(fake.versions())
    assert filter_of(fake.queries[3]) == 29.0


async def test_a_restart_in_mid_run_without_places_goes_on_by_the_cursor() -> None:
    """CrowdSec's and Sekoia's manner; the start of the run is not forgotten."""
    for manner in ("crowdsec", "sekoia"):
        fake = TaxiiServer(manner, page_size=2)
        fake.add(*some(5))
        async with reading(fake) as taxii:
            first = await anext(taxii.pages(Cursor()))
            fake.clock += 7_200.0
            rest = await all_pages(taxii, first.cursor)
        assert set(ids(rest)) == {one["id"] for one in some(5)[2:]}
        end = rest[-1].cursor
        assert filter_of({"added_after": end.resume or end.added_after or ""}) == -3_600.0


async def test_a_kept_cursor_is_sent_again_when_its_answer_got_lost() -> None:
    """It showed that it outlives a request, even where the server tells places too."""
    queries: list[dict[str, str]] = []

    def answer(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        if len(queries) == 2:
            return web.Response(status=500)
        return page(*some(1, len(queries)), last=LAST, more=len(queries) == 1, next="b")

    async with answering(answer) as taxii:
        await all_pages(taxii, Cursor(next="a", kept=True, resume="2020-01-01T00:00:00Z"))
    assert [one["next"] for one in queries] == ["a", "b", "b"]


async def test_the_waiting_that_a_server_asks_for_is_done() -> None:
    """In its seconds; else by our own measure; and a refusal is not tried again."""
    assert _retry_delay(ServerBusy("", retry_after=7.0)) == 7.0
    assert _retry_delay(ConnectionLost("", retry_after=0.0)) == 0.0
    assert _retry_delay(ServerBusy("")) is True
    assert _retry_delay(FeedFailed("", refused=True)) is False


@pytest.mark.parametrize("status", [429, 503])
async def test_a_long_wait_is_left_to_who_comes_back_later(status: int) -> None:
    """Nobody is asked again before; the one who syncs is told how long it is."""
    fake = TaxiiServer()
    fake.fault = lambda _: web.Response(status=status, headers={"Retry-After": "600"})
    async with reading(fake) as taxii:
        _, error = await until_failed(taxii)
    assert (fake.requests, error.retry_after) == (1, 600.0)


@pytest.mark.parametrize("depth", [150, 1_100, 100_000])
async def test_an_object_that_is_nested_too_deeply_spoils_no_other(depth: int) -> None:
    """What is too deep is left out; the objects around it, and the cursor, are as they were."""
    good = [orjson.dumps(one) for one in some(2)]
    deep = b'{"id": "deep", "name": "]}", "x": ' + b'{"a": [' * depth + b"]}" * depth + b"}"

    def answer(request: web.Request) -> web.Response:
        objects = b", ".join([good[0], deep, good[1]]) if "next" not in request.query else b""
        told = b'{"more": %s, "next": "n", "objects": [' % (b"true" if objects else b"false")
        return web.Response(body=told + objects + b"]}", headers={"Content-Type": MEDIA_TYPE})

    async with answering(answer) as taxii:
        pages = await all_pages(taxii)
    assert ids(pages) == [some(2)[0]["id"], "deep", some(2)[1]["id"]]
    left: Any = pages[0].objects[1]
    assert left["name"] == "]}"


async def test_a_server_that_asks_to_wait_for_long_is_gone_on_with_later() -> None:
    """By the very cursor, in the same process: it did nothing with it."""
    fake = TaxiiServer(page_size=2, consumes=True)
    fake.add(*some(4))
    fake.fault = lambda n: web.Response(status=429) if 1 < n <= 1 + MAX_TRIES else None
    async with reading(fake) as taxii:
        pages, _ = await until_failed(taxii)
        pages += await all_pages(taxii, pages[-1].cursor)
    assert ids(pages) == list(fake.versions())


async def test_a_place_that_cannot_be_read_is_none() -> None:
    """A header of nonsense."""
    async with answering(lambda _: page(*some(1), more=True, last="soon")) as taxii:
        _, error = await until_failed(taxii)
    assert "announces more objects, but gives no way to request them" in str(error)


async def test_a_server_that_refused_both_media_types_is_asked_with_both_later() -> None:
    """It may have been a passing thing."""
    fake = TaxiiServer(fault=lambda n: web.Response(status=406) if n <= 2 else None)
    async with reading(fake) as taxii:
        await until_failed(taxii)
        await all_pages(taxii)
        await all_pages(taxii)
    assert fake.headers[-1]["accept"] == MEDIA_TYPE
