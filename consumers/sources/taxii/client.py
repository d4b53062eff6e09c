"""TAXII 2.1 client: reads a collection page by page from a stored cursor (OASIS TAXII 2.1)."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

import stamina

from consumers.sources.http import ResponseTooLarge
from consumers.sources.taxii.pages import SMALL_PAGE_OBJECTS, CollectionRead, Cursor, FeedPage
from consumers.sources.taxii.requests import (
    Collection,
    ConnectionLost,
    Envelope,
    NextRefused,
    PageRefused,
    ServerBusy,
    TaxiiRequests,
)
from schemas.errors import FeedFailed
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from consumers.sources.http import HttpClient

__all__ = ["Collection", "Cursor", "FeedPage", "TaxiiClient"]

MAX_TRIES = 4
"""Attempts per page."""
FIRST_BACKOFF_SECONDS = 0.5
MAX_TAXII_BACKOFF_SECONDS = 30.0
"""Longest delay between attempts if the server sends no Retry-After; with jitter."""
_Result = TypeVar("_Result")


class TaxiiClient:
    """Reads one collection. Owns and closes *http*, which carries the credentials.

    *url* is the API root. Every request sends *filters*, such as ``{"match[type]": "indicator"}``.
    A stored cursor is only valid with the filters that it was created with. A run ends after
    *max_pages*, or before the first page that follows *max_seconds*. The next run continues there.
    """

    def __init__(
        self,
        http: HttpClient,
        url: str,
        collection: str,
        *,
        filters: Mapping[str, str] | None = None,
        page_size: int = 2_000,
        max_pages: int = 2_500,
        max_seconds: float = 1_800.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._requests = TaxiiRequests(http, url, collection)
        self._filters = dict(filters or {})
        self._page_size = page_size
        self._max_pages = max_pages
        self._max_seconds = max_seconds
        self._now = now
        self._monotonic = monotonic
        self._unused: Cursor | None = None
        """A cursor whose ``next`` was definitely not sent, because the last run stopped before."""

    async def probe(self) -> Collection:
        """Return the server's description of the collection; FeedFailed like :meth:`pages`."""
        body = await _with_retry(self._requests.collection)
        return Collection(clean_text(body.get("title"), 200), body.get("can_read") is not False)

    async def first_page(self) -> FeedPage:
        """Return the first page of the collection; FeedFailed like :meth:`pages`."""
        async with aclosing(self.pages(Cursor())) as pages:
            return await anext(pages)

    async def pages(self, cursor: Cursor) -> AsyncGenerator[FeedPage]:
        """Yield the pages from *cursor* to the current end of the collection.

        The next page is requested when the caller resumes the iteration. The caller must store each
        page with its cursor first. FeedFailed gives the reason if a run ends early; the pages
        yielded before are valid, and the next run continues at the last cursor. An empty response
        without ``next`` keeps a persistent ``next`` valid.
        """
        run = CollectionRead(cursor, self._filters, self._page_size)
        if cursor != self._unused:
            run.distrust_next()
        self._unused = None
        started = self._monotonic()
        more = True
        while more:
            self._check_bounds(run, self._monotonic() - started)
            try:
                envelope = await _with_retry(lambda: self._fetch_page(run))
            except NextRefused as error:
                run.go_back(error, 1)
                continue
            except PageRefused:
                if not run.shrink():
                    raise
                self._page_size = run.limit
                continue
            except ServerBusy:
                self._unused = run.cursor()
                raise
            run.take(envelope, self._now())
            more = envelope.more
            date = self._now() if envelope.date is None else envelope.date
            yield FeedPage(envelope.objects, run.cursor(), more, date, tuple(run.notes))
            run.check(envelope)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _check_bounds(self, run: CollectionRead, spent: float) -> None:
        if run.pages >= self._max_pages:
            bound = f"{self._max_pages:,} pages"
        elif run.pages and spent > self._max_seconds:
            bound = f"{self._max_seconds:,.0f} seconds"
        else:
            return
        self._unused = run.cursor()
        raise FeedFailed(f"has more than fits in {bound}; the next run continues from here")

    async def _fetch_page(self, run: CollectionRead) -> Envelope:
        try:
            return await self._requests.objects(run.query())
        except ResponseTooLarge as error:
            if run.limit <= SMALL_PAGE_OBJECTS:
                text = f"sends {error} for a page of {run.limit} objects"
                raise FeedFailed(text, refused=True) from None
            run.limit = SMALL_PAGE_OBJECTS
            lost = ConnectionLost(str(error))
            run.answer_lost(lost)
            raise lost from None
        except ConnectionLost as error:
            run.answer_lost(error)
            raise


async def _with_retry(request: Callable[[], Awaitable[_Result]]) -> _Result:
    """Send a request; retry transient failures, up to :data:`MAX_TRIES` attempts."""
    async for attempt in stamina.retry_context(
        on=_retry_delay,
        attempts=MAX_TRIES,
        timeout=None,
        wait_initial=FIRST_BACKOFF_SECONDS,
        wait_max=MAX_TAXII_BACKOFF_SECONDS,
    ):
        with attempt:
            return await request()
    raise AssertionError("unreachable")  # pragma: no cover


def _retry_delay(error: Exception) -> bool | float:
    """Return the delay before a retry, True for the default delay, or False for no retry.

    A Retry-After beyond :data:`MAX_TAXII_BACKOFF_SECONDS` ends the run.
    """
    if not isinstance(error, ServerBusy | ConnectionLost):
        return False
    if error.retry_after is None:
        return True
    return False if error.retry_after > MAX_TAXII_BACKOFF_SECONDS else error.retry_after
