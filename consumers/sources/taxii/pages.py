"""Paging through a collection within a run and across runs (TAXII 2.1).

Servers page in different ways. Each must be read without a gap:

- In the standard, ``next`` is valid within a run and requires the same filters. A later run sends
  ``added_after`` to get newer objects. ``X-TAXII-Date-Added-Last`` is the position, by the
  server's clock. In medallion, each request uses up its cursor. If a response is lost, the request
  is therefore not repeated with the same ``next``. Reading restarts one second before the position.
- Sekoia's ``next`` is persistent: the last page has one too, and the next run continues with it.
  An empty response without ``next`` keeps it valid. A server whose last ``next`` is a dead end
  therefore looks like a feed without news.
- CrowdSec sends ``next`` within a run and, according to its documentation, none of these headers.
  A later run requests objects added since one hour before the start of the run, by the server's
  ``Date``.

Objects are read twice on purpose. The store keeps the newest version of each id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from consumers.sources.taxii.requests import earlier, exactly, later
from schemas.errors import FeedFailed
from schemas.events.times import iso_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.sources.taxii.requests import ConnectionLost, Envelope

MAX_RETURNS = 4
"""Restarts after lost responses without a new object in between."""
OVERLAP_SECONDS = 1.0
"""A later run starts this long before the last position, because server clocks are coarse."""
OVERLAP_BY_DATE_SECONDS = 3_600.0
"""The same without a known position: objects may become visible after they were added."""
GRAIN_SECONDS = 0.000_001
SMALLER_PAGES = (1_000, 100)
"""Objects per page after a page was refused; the next one that is smaller."""
SMALL_PAGE_OBJECTS = 100
"""Objects per page after a page was too large."""
MAX_SECONDS_AHEAD = 60.0
"""How far a server's time may be ahead of its own clock, which has whole seconds."""
GAP = "a page is full of objects added at one time and has no cursor: some may be missing"
FUTURE = "times of the server are ahead of its own clock; its clock is used instead"
MAX_STALE_PAGES = 3
"""Consecutive pages without a new object although the server announces more."""
MAX_EMPTY_PAGES = 2
MAX_REMEMBERED_VERSIONS = 100_000
"""Object versions per generation, to detect a loop. Two generations are held."""


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to continue. Store it with its page. Times are RFC 3339 in UTC."""

    next: str | None = None
    """The server's own cursor."""
    added_after: str | None = None
    """The filter of the request that returned ``next``, otherwise of the next request."""
    seen: str | None = None
    """The latest X-TAXII-Date-Added-Last of an unfinished run."""
    began: str | None = None
    """The server's clock at the first page of an unfinished run."""
    kept: bool = False
    """``next`` came with a last page, so it is persistent across runs."""
    resume: str | None = None
    """The filter to use if the server refuses a persistent ``next``."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """One page. ``cursor`` continues after it; ``more`` is True if this run continues."""

    objects: list[object]
    cursor: Cursor
    more: bool
    date: float
    """The server's clock, else ours, in seconds since the epoch: nothing was added after it."""
    notes: tuple[str, ...] = ()
    """What is wrong with the server's paging, and was worked around."""


@dataclass(slots=True)
class _Versions:
    """Recently seen versions of objects, in bounded memory."""

    now: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)

    def add(self, objects: list[object]) -> bool:
        """Add the versions of objects; return True if at least one is new."""
        versions = {hash(_version(item)) for item in objects}
        new = any(key not in self.now and key not in self.before for key in versions)
        self.now |= versions
        if len(self.now) > MAX_REMEMBERED_VERSIONS:
            self.before, self.now = self.now, set()
        return new


def _version(item: object) -> tuple[str, str]:
    if isinstance(item, dict):
        return str(item.get("id")), str(item.get("modified"))
    return "", str(item)


class CollectionRead:
    """State of a run: its position, its restart point, and loop detection."""

    def __init__(self, cursor: Cursor, filters: Mapping[str, str], page_size: int) -> None:
        self.limit = page_size
        self.pages = 0
        self._filters = filters
        self._next = cursor.next
        self._added_after = cursor.added_after
        self._seen = cursor.seen
        self._began = cursor.began
        self._kept = cursor.kept
        self._resume = cursor.resume
        self._brought = cursor.began is not None
        """True if this run has returned objects, possibly before a restart of the process."""
        self._ended: Cursor | None = None
        self.notes: dict[str, None] = {}
        """What is wrong with the paging of the last page, and was worked around."""
        self._stuck = False
        """The server announces more objects, but gives no way to request them."""
        self._used_up = False
        """The server uses the same cursor for several pages: each request advances it."""
        self._versions = _Versions()
        self._cursors: set[int] = set()
        self._stale = self._empty = 0
        self._restarts = 0
        """Restarts since the last page with a new object."""
        self._objects = self._known_ahead = 0
        """Objects of this run, and objects that a restart may return again."""

    def query(self) -> dict[str, str]:
        """Return the query parameters. With ``next`` the filters must not change (section 3.4)."""
        own = {"added_after": self._added_after, "limit": str(self.limit), "next": self._next}
        return {**self._filters, **{name: text for name, text in own.items() if text is not None}}

    def cursor(self) -> Cursor:
        """Return the cursor after the last page."""
        return self._ended or Cursor(
            next=self._next,
            added_after=self._added_after,
            seen=self._seen,
            began=self._began,
            kept=self._kept,
            resume=self._resume,
        )

    def distrust_next(self) -> None:
        """Continue from the position, if known, because ``next`` may have been used before."""
        if self._next is not None and not self._kept and self._seen is not None:
            self._rewind()

    def answer_lost(self, error: ConnectionLost) -> None:
        """Prepare a retry after a lost response: the cursor may be used up."""
        if self._next is None or self._kept:
            return
        if self._seen is not None or self._used_up:
            self.go_back(error, MAX_RETURNS)

    def go_back(self, error: FeedFailed, max_restarts: int) -> None:
        """Drop ``next`` and continue from the position.

        Raises FeedFailed after *max_restarts* restarts without a new object.
        """
        if self._restarts >= max_restarts:
            text = f"{error}; a restart from the last position did not help"
            raise FeedFailed(text, retry_after=error.retry_after)
        self._restarts += 1
        self._known_ahead = self._objects
        self._rewind()

    def _rewind(self) -> None:
        if self._seen is not None:
            self._added_after = earlier(self._seen, OVERLAP_SECONDS)
        elif self._kept:
            self._added_after = self._resume
        self._next = None
        self._kept = False

    def take(self, page: Envelope, now: float) -> None:
        """Advance past a page."""
        self.pages += 1
        self._objects += len(page.objects)
        self._brought = self._brought or bool(page.objects)
        self.notes = {}
        date = now if page.date is None else page.date
        if page.last is not None:
            self._seen = later(self._seen, self._believed(page.last, date))
        if self._began is None:
            self._began = iso_of(date)
        if not page.more:
            self._ended = self._end(page)
        elif page.next is not None:
            self._used_up = self._used_up or (page.next == self._next and bool(page.objects))
            self._next = page.next
        elif page.last is not None:
            self._added_after = self._behind(page.last)
            if self._added_after == exactly(page.last):
                self.notes[GAP] = None
            self._next = None
            self._kept = False
        else:
            self._stuck = True  # the cursor stays, so that the next run retries this page

    def shrink(self) -> bool:
        """Request smaller pages; return False if they cannot be smaller."""
        smaller = next((size for size in SMALLER_PAGES if size < self.limit), None)
        self.limit = smaller or self.limit
        return smaller is not None

    def _believed(self, last: str, date: float) -> str:
        """Return a position, but none in the future: a later run would begin after all objects."""
        if later(iso_of(date + MAX_SECONDS_AHEAD), last) != last:
            return last
        self.notes[FUTURE] = None
        return iso_of(date) or last

    def _behind(self, last: str) -> str:
        """Return the filter for the page after *last*, the timestamp of the page's last object.

        Objects with the same timestamp may be on both pages, so that timestamp is requested again
        unless it fills a whole page.
        """
        before = earlier(last, GRAIN_SECONDS)
        if self._added_after is None or later(self._added_after, before) != self._added_after:
            return before
        return exactly(last)

    def _end(self, page: Envelope) -> Cursor:
        start = self._start_of_next_run()
        kept = page.next
        if kept is None and self._kept and not page.objects:
            kept = self._next
        if kept is None:
            return Cursor(added_after=start)
        return Cursor(next=kept, added_after=self._added_after, kept=True, resume=start)

    def _start_of_next_run(self) -> str | None:
        if self._seen is not None:
            return earlier(self._seen, OVERLAP_SECONDS)
        if self._brought and self._began is not None:
            return earlier(self._began, OVERLAP_BY_DATE_SECONDS)
        return self._resume if self._kept else self._added_after

    def check(self, page: Envelope) -> None:
        """Raise FeedFailed if paging loops, or if the server gives no way to continue."""
        if not page.more:
            return
        if self._stuck:
            cursor = "a cursor that is not text, or is too long" if page.bad_next else "no way"
            raise FeedFailed(
                f"announces more objects, but gives {cursor} to request them", refused=True
            )
        new = self._versions.add(page.objects)
        repeated = page.next is not None and hash(page.next) in self._cursors
        if page.next is not None:
            self._cursors.add(hash(page.next))
        self._empty = 0 if page.objects else self._empty + 1
        if self._empty >= MAX_EMPTY_PAGES:
            raise FeedFailed("announces more objects, but sends empty pages", refused=True)
        if new:
            self._stale = self._restarts = 0
        elif self._known_ahead > 0:
            self._known_ahead -= len(page.objects)
        else:
            self._stale += 1
            if repeated or self._stale >= MAX_STALE_PAGES:
                raise FeedFailed("endless paging: sends the same pages repeatedly", refused=True)
