"""TAXII 2.1: reads a collection page by page, from where the last run ended (OASIS TAXII 2.1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import stamina

from consumers.sources.http import ResponseTooLarge
from consumers.sources.taxii.pages import SMALL_PAGE_OBJECTS, CollectionRead, Cursor, FeedPage
from consumers.sources.taxii.requests import (
    Collection,
    ConnectionLost,
    Envelope,
    NextRefused,
    ServerBusy,
    TaxiiRequests,
)
from schemas.errors import FeedFailed
from schemas.events.sign_in import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from consumers.sources.http import HttpClient

__all__ = ["Collection", "Cursor", "FeedPage", "TaxiiClient"]

MAX_TRIES = 4
"""Times that one page is asked for."""
FIRST_BACKOFF_SECONDS = 0.5
MAX_TAXII_BACKOFF_SECONDS = 30.0
"""Seconds between tries, where the server names none; with jitter."""
_Asked = TypeVar("_Asked")


class TaxiiClient:
    """Reads a collection; closes *http*, which carries the credentials.

    *url* is the API root. *filters*, such as ``{"match[type]": "indicator"}``, go with every
    request; a stored cursor is only good with those that it was made with. A run ends after
    *most_pages*, or when a page is due after *longest* seconds; the next one goes on from there.
    """

    def __init__(
        self,
        http: HttpClient,
        url: str,
        collection: str,
        *,
        filters: Mapping[str, str] | None = None,
        page_size: int = 2_000,
        most_pages: int = 2_500,
        longest: float = 1_800.0,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._requests = TaxiiRequests(http, url, collection)
        self._filters = dict(filters or {})
        self._page_size = page_size
        self._most_pages = most_pages
        self._longest = longest
        self._now = now
        self._monotonic = monotonic
        self._unused: Cursor | None = None
        """A cursor whose ``next`` was surely not sent: the last run stopped before."""

    async def probe(self) -> Collection:
        """Ask what the server says of the collection; FeedFailed as :meth:`pages`."""
        told = await _tried(self._requests.collection)
        return Collection(clean_text(told.get("title"), 200), told.get("can_read") is not False)

    async def pages(self, cursor: Cursor) -> AsyncIterator[FeedPage]:
        """Yield the pages from *cursor* to the end of what there is now.

        The next page is asked for when the caller comes back, who has stored the one before with
        its cursor. FeedFailed tells why a run ends early; what was yielded is good, and its last
        cursor is where to go on. An empty answer without ``next`` leaves a kept ``next`` in force.
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
                envelope = await _tried(lambda: self._ask(run))
            except NextRefused as error:
                run.go_back(error, 1)
                continue
            except ServerBusy:
                self._unused = run.cursor()
                raise
            run.take(envelope, self._now())
            more = envelope.more
            yield FeedPage(envelope.objects, run.cursor(), more)
            run.check(envelope)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _check_bounds(self, run: CollectionRead, spent: float) -> None:
        if run.pages >= self._most_pages:
            bound = f"{self._most_pages:,} pages"
        elif run.pages and spent > self._longest:
            bound = f"{self._longest:,.0f} seconds"
        else:
            return
        self._unused = run.cursor()
        raise FeedFailed(f"has more than fits in {bound}; the next run goes on from here")

    async def _ask(self, run: CollectionRead) -> Envelope:
        try:
            return await self._requests.objects(run.query())
        except ResponseTooLarge as error:
            if run.limit <= SMALL_PAGE_OBJECTS:
                text = f"sends {error}, with {run.limit} objects asked for"
                raise FeedFailed(text, refused=True) from None
            run.limit = SMALL_PAGE_OBJECTS
            lost = ConnectionLost(str(error))
            run.answer_lost(lost)
            raise lost from None
        except ConnectionLost as error:
            run.answer_lost(error)
            raise


async def _tried(ask: Callable[[], Awaitable[_Asked]]) -> _Asked:
    """Ask, and again while that may help; at most :data:`MAX_TRIES` times."""
    async for attempt in stamina.retry_context(
        on=_again,
        attempts=MAX_TRIES,
        timeout=None,
        wait_initial=FIRST_BACKOFF_SECONDS,
        wait_max=MAX_TAXII_BACKOFF_SECONDS,
    ):
        with attempt:
            return await ask()
    raise AssertionError("unreachable")  # pragma: no cover


def _again(error: Exception) -> bool | float:
    """Tell whether to ask again soon, or after how long; not where a server wants longer."""
    if not isinstance(error, ServerBusy | ConnectionLost):
        return False
    if error.retry_after is None:
        return True
    return False if error.retry_after > MAX_TAXII_BACKOFF_SECONDS else error.retry_after
