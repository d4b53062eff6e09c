"""Reading the fake TAXII server, and servers that answer by a function, in tests."""

from __future__ import annotations

import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from consumers.clock import WallClock
from consumers.sources.http import HttpClient
from consumers.sources.taxii.client import Cursor, FeedPage, TaxiiClient
from consumers.sources.taxii.requests import MEDIA_TYPE
from consumers.wiring.source_clients import MAX_SOURCE_RETRY_AFTER_SECONDS
from schemas.errors import FeedFailed
from schemas.events.times import parse_time
from tests.servers.loopback import Loopback
from tests.servers.taxii import KEY, ROOT, TaxiiServer, indicator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

BASIC = {"Authorization": "Basic " + base64.b64encode(f"any:{KEY}".encode()).decode()}
START = 1_900_000_000.0


def http(headers: dict[str, str] | None = None, *, largest: int = 1_000_000) -> HttpClient:
    """Return a client for one test."""
    return HttpClient(
        headers=BASIC if headers is None else headers,
        timeout=5.0,
        connections=2,
        largest_body=largest,
        proxies=False,
        now=WallClock(),
        longest_wait=MAX_SOURCE_RETRY_AFTER_SECONDS,
    )


@asynccontextmanager
async def reading(fake: TaxiiServer, **more: Any) -> AsyncIterator[TaxiiClient]:
    """Serve a fake, and read it; ``client`` replaces the HTTP client."""
    client = more.pop("client", None) or http()
    async with fake.server() as server:
        taxii = TaxiiClient(
            client, f"{server.url}{ROOT}", fake.collection, now=lambda: fake.clock, **more
        )
        try:
            yield taxii
        finally:
            await taxii.close()


@asynccontextmanager
async def answering(
    handler: Callable[[web.Request], web.Response], **more: Any
) -> AsyncIterator[TaxiiClient]:
    """Read a server that answers by a function."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return handler(request)

    async with Loopback(answer) as server:
        taxii = TaxiiClient(http(), f"{server.url}/root/", "c", **more)
        try:
            yield taxii
        finally:
            await taxii.close()


def page(*objects: object, status: int = 200, last: str | None = None, **told: Any) -> web.Response:
    """Return an envelope as a response."""
    headers = {"Content-Type": MEDIA_TYPE}
    if last is not None:
        headers["X-TAXII-Date-Added-Last"] = last
    body = orjson.dumps({"objects": list(objects), **told})
    return web.Response(status=status, body=body, headers=headers)


async def all_pages(taxii: TaxiiClient, cursor: Cursor | None = None) -> list[FeedPage]:
    """Return the pages of a run."""
    return [one async for one in taxii.pages(cursor or Cursor())]


async def until_failed(
    taxii: TaxiiClient, cursor: Cursor | None = None
) -> tuple[list[FeedPage], FeedFailed]:
    """Return the pages of a run that fails, and why it did."""
    pages: list[FeedPage] = []
    try:
        async for one in taxii.pages(cursor or Cursor()):
            pages.append(one)  # noqa: PERF401 - what came before the failure is wanted
    except FeedFailed as error:
        return pages, error
    raise AssertionError("the run did not fail")


def ids(pages: Iterable[FeedPage]) -> list[str]:
    """Return the ids of what came, in order."""
    return [one["id"] for each in pages for one in each.objects if isinstance(one, dict)]


def some(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return indicators for different addresses."""
    return [indicator(f"81.2.{n // 250}.{n % 250 + 1}") for n in range(start, start + count)]


def stamp(seconds: float) -> float:
    """Return seconds since the fake's first moment."""
    return round(seconds - START, 6)


def filter_of(query: dict[str, str]) -> float | None:
    """Return a request's added_after, in seconds since the fake's first moment."""
    moment = parse_time(query.get("added_after"))
    return None if moment is None else stamp(moment.timestamp())
