"""One request of TAXII 2.1: which URL and Accept a server takes, and what its answers mean.

Facts from OASIS TAXII 2.1 (sections 1.6, 3.3 to 3.6, 5.2, 5.4), and from servers in use: Sekoia's
own sample has no slash at the end of the path and the media type without a version; medallion
answers 401 as a web page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from consumers.sources.http import ResponseTooLarge
from schemas.errors import FeedFailed, SourceUnavailable
from schemas.events.lenient_json import TooDeep, load_json, truncate_depth
from schemas.events.times import iso, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consumers.sources.http import HttpClient, HttpResponse

MEDIA_TYPE = "application/taxii+json;version=2.1"
MEDIA_TYPE_UNVERSIONED = "application/taxii+json"
MAX_NEXT_LENGTH = 4_096
"""Characters of a cursor; servers do not take much longer URLs."""

_MAYBE_WITHOUT_SLASH = frozenset({301, 308, 404})
_NEXT_REFUSED = frozenset({400, 404, 410})
_BUSY_STATUSES = frozenset({429, 503})
_EXACT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,20})?Z")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED = {
    400: "does not understand the request: check the feed's filters",
    401: "user name or password (API key) is not accepted",
    403: "the account may not read this collection",
    404: "no such API root or collection; or the account may not see it",
    406: "speaks no TAXII 2.1: it refuses its media types",
    407: "the proxy of HTTPS_PROXY needs another user and password",
    416: "pages by ranges: TAXII 2.0; give the API root of TAXII 2.1",
}


class ConnectionLost(FeedFailed):
    """No whole answer came. Whether the server has done its part is unknown."""


class ServerBusy(FeedFailed):
    """The server did nothing; the same request may be sent again."""


class NextRefused(FeedFailed):
    """The server does not know the cursor that it gave, or not any more."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a page says (TAXII 2.1 section 3.7), and what its headers say of it."""

    objects: list[object]
    more: bool
    next: str | None
    last: str | None
    """X-TAXII-Date-Added-Last as the server wrote it, if it can be read as a time."""
    date: float | None
    """The server's clock, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Collection:
    """What a server says of a collection (TAXII 2.1 section 5.2)."""

    title: str | None
    can_read: bool


class TaxiiRequests:
    """Sends requests about one collection, and remembers which form of them the server takes.

    *url* is the API root. Every failure is a FeedFailed; besides Lost, Busy and NextRefused they
    are ``refused``. Answers beyond the client's limit raise TooLarge.
    """

    def __init__(self, http: HttpClient, url: str, collection: str) -> None:
        self._http = http
        self._path = f"{url.rstrip('/')}/collections/{quote(collection, safe='')}"
        self._endings: dict[str, str] = {}
        """By resource, the form that worked: with a slash at the end, or without."""
        http.headers["Accept"] = MEDIA_TYPE

    async def collection(self) -> dict[str, Any]:
        """GET what the server says of the collection."""
        return _object(_well(await self._either("", {}), with_next=False))

    async def objects(self, query: Mapping[str, str]) -> Envelope:
        """GET a page of objects."""
        reply = _well(await self._either("/objects", query), with_next="next" in query)
        return _envelope(_object(reply), reply.headers)

    async def _either(self, resource: str, query: Mapping[str, str]) -> HttpResponse:
        """Ask with a slash at the end of the path, as TAXII wants it, or without."""
        known = self._endings.get(resource)
        if known is not None:
            return await self._accepted(f"{resource}{known}", query)
        reply = await self._accepted(f"{resource}/", query)
        ending = "/"
        if reply.status in _MAYBE_WITHOUT_SLASH:
            without = await self._accepted(resource, query)
            if without.status not in _MAYBE_WITHOUT_SLASH:
                reply, ending = without, ""
        if reply.status == 200:
            self._endings[resource] = ending
        return reply

    async def _accepted(self, resource: str, query: Mapping[str, str]) -> HttpResponse:
        """Ask with the media type that worked; after a 406, once with the other one."""
        reply = await self._get(resource, query)
        if reply.status == 406:
            versioned = self._http.headers["Accept"] == MEDIA_TYPE
            self._http.headers["Accept"] = MEDIA_TYPE_UNVERSIONED if versioned else MEDIA_TYPE
            reply = await self._get(resource, query)
        return reply

    async def _get(self, resource: str, query: Mapping[str, str]) -> HttpResponse:
        try:
            return await self._http.get(f"{self._path}{resource}", query)
        except ResponseTooLarge:
            raise
        except SourceUnavailable as error:
            kind = ConnectionLost if error.counted else ServerBusy
            raise kind(str(error)) from None


def _well(reply: HttpResponse, *, with_next: bool) -> HttpResponse:
    """Return a 200; raise what any other status means."""
    status = reply.status
    if status == 200:
        return reply
    if with_next and status in _NEXT_REFUSED:
        raise NextRefused("does not know its own cursor any more")
    if status in _BUSY_STATUSES:
        raise ServerBusy(f"asks to wait (HTTP {status})", retry_after=reply.retry_after)
    if status == 408 or status >= 500:
        raise ConnectionLost(
            f"has an error of its own (HTTP {status})", retry_after=reply.retry_after
        )
    if 300 <= status < 400:
        raise FeedFailed("redirects to elsewhere; give the final URL", refused=True)
    text = _REFUSED.get(status, f"refuses the request (HTTP {status})")
    raise FeedFailed(text, refused=True)


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _object(reply: HttpResponse) -> dict[str, Any]:
    """Return a body that is a JSON object. One that breaks off raises Lost."""
    start = reply.body[:64].lstrip()[:1]
    if reply.headers.get("content-type", "").lower().startswith("text/html") or start == b"<":
        raise FeedFailed("answers with a web page: a wrong URL, or a page to sign in", refused=True)
    body = reply.body.removeprefix(_BYTE_ORDER_MARK)
    try:
        value = _read(body)
    except (ValueError, RecursionError):
        if start in (b"{", b""):
            raise ConnectionLost("an answer that breaks off") from None
        raise FeedFailed("answers with something that is no JSON", refused=True) from None
    if not isinstance(value, dict):
        raise FeedFailed("answers with JSON that is no object", refused=True)
    return value


def _read(body: bytes) -> Any:
    """Return what a body writes; one object that is nested too deeply does not spoil the others."""
    try:
        return load_json(body)
    except TooDeep:
        return load_json(truncate_depth(body))


def _envelope(body: Mapping[str, Any], headers: Mapping[str, str]) -> Envelope:
    objects = body.get("objects")
    if objects is None:
        objects = []
    if not isinstance(objects, list):
        raise FeedFailed("answers with objects that are no list", refused=True)
    cursor = body.get("next") or None
    if not (cursor is None or (isinstance(cursor, str) and len(cursor) <= MAX_NEXT_LENGTH)):
        raise FeedFailed("gives a cursor that is no text, or too long", refused=True)
    last = headers.get("x-taxii-date-added-last")
    return Envelope(
        objects=objects,
        more=body.get("more") is True,
        next=cursor,
        last=None if parse_time(last) is None else last,
        date=_date(headers.get("date")),
    )


def _date(value: str | None) -> float | None:
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def exactly(time: str) -> str:
    """Return a time of a server in the form that filters take; its own text where that fits."""
    return time if _EXACT.fullmatch(time) else earlier(time, 0.0)


def later(one: str | None, other: str) -> str:
    """Return the later of two readable times, the first one if they are equal."""
    first, second = parse_time(one), parse_time(other)
    if one is None or first is None:
        return other
    return other if second is not None and second > first else one


def earlier(time: str, seconds: float) -> str:
    """Return a time, or one so much before it, as RFC 3339 in UTC with microseconds.

    What cannot be read, or is older than the calendar of computers, becomes 1970.
    """
    moment = parse_time(time) or _EARLIEST
    span = timedelta(seconds=seconds)
    return iso(max(moment, _EARLIEST + span) - span)
