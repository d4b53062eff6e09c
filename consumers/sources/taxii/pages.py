"""How a run goes from page to page of a collection, and how the next run goes on (TAXII 2.1).

Servers go on in different manners, and each must be read without a gap:

- By the standard, ``next`` lives within a run and repeats the same filters; a later run asks with
  ``added_after`` for what came since. ``X-TAXII-Date-Added-Last`` is the place, by their clock.
  Some cursors are used up by each request (medallion), so a request whose answer got lost is not
  repeated with the same ``next``: reading starts again a second before the place.
- Sekoia's ``next`` has no end: the last page has one too, by which the next run goes on. An empty
  answer without it leaves it in force; so a server whose last ``next`` is a dead end looks quiet.
- CrowdSec gives ``next`` within a run and, as far as is documented, no such headers: a later run
  asks for what came since an hour before the run began, by the server's ``Date``.

All that is read twice is read again on purpose; who stores it keeps the newest version of an id.
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
"""Times that a run goes back for lost answers in vain."""
OVERLAP_SECONDS = 1.0
"""Seconds before the last place by which a later run asks: clocks of servers have grains."""
OVERLAP_BY_DATE_SECONDS = 3_600.0
"""The same where a server tells no place: objects may be told some time after they were added."""
GRAIN_SECONDS = 0.000_001
SMALL_PAGE_OBJECTS = 100
"""Objects asked for at once, after a page was too large."""
MAX_STALE_PAGES = 3
"""Pages in a row that bring nothing new and promise more."""
MAX_EMPTY_PAGES = 2
MAX_REMEMBERED_VERSIONS = 100_000
"""Versions of objects by which a loop is seen; twice as many are held at most."""


class Cursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to go on; to be stored with the page that it came with. Times are RFC 3339 in UTC."""

    next: str | None = None
    """The server's own cursor."""
    added_after: str | None = None
    """The filter in force: of the request that gave ``next``, else of the next request."""
    seen: str | None = None
    """The latest X-TAXII-Date-Added-Last of a run that is not at its end."""
    began: str | None = None
    """The server's clock at the first page of a run that is not at its end."""
    kept: bool = False
    """``next`` came with a last page: it outlives runs."""
    resume: str | None = None
    """The filter to go on with, should a kept ``next`` be refused."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """One page. ``cursor`` is where to go on after it, ``more`` whether this run goes on."""

    objects: list[object]
    cursor: Cursor
    more: bool


@dataclass(slots=True)
class _Versions:
    """Versions of objects seen lately, in bounded memory."""

    now: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)

    def add(self, objects: list[object]) -> bool:
        """Remember; tell whether one is new."""
        told = {hash(_version(one)) for one in objects}
        new = any(one not in self.now and one not in self.before for one in told)
        self.now |= told
        if len(self.now) > MAX_REMEMBERED_VERSIONS:
            self.before, self.now = self.now, set()
        return new


def _version(one: object) -> tuple[str, str]:
    if isinstance(one, dict):
        return str(one.get("id")), str(one.get("modified"))
    return "", str(one)


class CollectionRead:
    """Where a run is, where it can go back to, and whether it gets on."""

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
        """Objects came in this run, before a restart maybe."""
        self._ended: Cursor | None = None
        self._stuck = False
        """The server says that there is more, but not how to get it."""
        self._used_up = False
        """The server gave one cursor for several pages: each request moves it on."""
        self._versions = _Versions()
        self._cursors: set[int] = set()
        self._stale = self._empty = 0
        self._backs = 0
        """Times of going back since the last page that brought something new."""
        self._objects = self._known_ahead = 0
        """Objects that came in this run; and those that may well come again, as it went back."""

    def query(self) -> dict[str, str]:
        """Return what to ask with. With ``next`` all else stays as it was (section 3.4)."""
        own = {"added_after": self._added_after, "limit": str(self.limit), "next": self._next}
        return {**self._filters, **{name: text for name, text in own.items() if text is not None}}

    def cursor(self) -> Cursor:
        """Return where to go on after the last page taken."""
        return self._ended or Cursor(
            next=self._next,
            added_after=self._added_after,
            seen=self._seen,
            began=self._began,
            kept=self._kept,
            resume=self._resume,
        )

    def distrust_next(self) -> None:
        """Go on from the place, if known, by a cursor that was maybe sent before a restart."""
        if self._next is not None and not self._kept and self._seen is not None:
            self._return()

    def answer_lost(self, error: ConnectionLost) -> None:
        """Make the next try safe: a cursor may be used up that is not known to be repeatable."""
        if self._next is None or self._kept:
            return
        if self._seen is not None or self._used_up:
            self.go_back(error, MAX_RETURNS)

    def go_back(self, error: FeedFailed, most: int) -> None:
        """Drop ``next`` and go on from the place; raise if that was done so often in vain."""
        if self._backs >= most:
            text = f"{error}; and going back did not help"
            raise FeedFailed(text, retry_after=error.retry_after)
        self._backs += 1
        self._known_ahead = self._objects
        self._return()

    def _return(self) -> None:
        if self._seen is not None:
            self._added_after = earlier(self._seen, OVERLAP_SECONDS)
        elif self._kept:
            self._added_after = self._resume
        self._next = None
        self._kept = False

    def take(self, page: Envelope, now: float) -> None:
        """Move on behind a page."""
        self.pages += 1
        self._objects += len(page.objects)
        self._brought = self._brought or bool(page.objects)
        if page.last is not None:
            self._seen = later(self._seen, page.last)
        if self._began is None:
            self._began = iso_of(now if page.date is None else page.date)
        if not page.more:
            self._ended = self._end(page)
        elif page.next is not None:
            self._used_up = self._used_up or (page.next == self._next and bool(page.objects))
            self._next = page.next
        elif page.last is not None:
            self._added_after = self._behind(page.last)
            self._next = None
            self._kept = False
        else:
            self._stuck = True  # the cursor stays, so that the next run tries this page again

    def _behind(self, last: str) -> str:
        """Return the filter behind a page: objects of one moment may lie on both sides of its end.

        So that moment is asked for again, unless it fills pages.
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
        """Raise FeedFailed if the server goes in circles, or does not say how to go on."""
        if not page.more:
            return
        if self._stuck:
            raise FeedFailed("says there is more, but not how to get it", refused=True)
        new = self._versions.add(page.objects)
        again = page.next is not None and hash(page.next) in self._cursors
        if page.next is not None:
            self._cursors.add(hash(page.next))
        self._empty = 0 if page.objects else self._empty + 1
        if self._empty >= MAX_EMPTY_PAGES:
            raise FeedFailed("promises more, and sends empty pages", refused=True)
        if new:
            self._stale = self._backs = 0
        elif self._known_ahead > 0:
            self._known_ahead -= len(page.objects)
        else:
            self._stale += 1
            if again or self._stale >= MAX_STALE_PAGES:
                raise FeedFailed("sends the same pages again and again", refused=True)
