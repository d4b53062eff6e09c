"""Single TAXII 2.1 requests: the URL and Accept header a server takes, and its responses.

Sources: OASIS TAXII 2.1 (sections 1.6, 3.3 to 3.6, 5.2, 5.4) and servers in use. Sekoia's sample
has no trailing slash and sends the media type without a version. medallion sends a 401 as a web
page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin

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
"""Characters of a cursor. Servers do not accept much longer URLs."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGE_TOO_LARGE = frozenset({400, 413, 422})
"""Statuses with which servers refuse a limit (some have no status of their own for it)."""
_NEXT_REFUSED = frozenset({400, 404, 410})
_BUSY_STATUSES = frozenset({429, 503})
_EXACT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,20})?Z")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_REFUSED = {
    400: "does not understand the request; check the feed's filters",
    401: "user name or password (API key) is not accepted",
    403: "the account may not read this collection",
    404: "no such API root or collection, or the account may not see it",
    406: "refuses the media types of TAXII 2.1; check the URL",
    407: "the proxy of HTTPS_PROXY refuses the user name or password",
    416: "pages by ranges, as in TAXII 2.0; set the API root of TAXII 2.1",
}


class ConnectionLost(FeedFailed):
    """No complete response. It is unknown whether the server processed the request."""


class ServerBusy(FeedFailed):
    """The server did not process the request; it may be repeated."""


class NextRefused(FeedFailed):
    """The server refuses a cursor that it issued before."""


class PageRefused(FeedFailed):
    """The server refuses the request, perhaps because of the number of objects in a page."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A page (TAXII 2.1 section 3.7) with the paging information from its headers."""

    objects: list[object]
    more: bool
    next: str | None
    last: str | None
    """X-TAXII-Date-Added-Last as sent by the server, if it is a valid time."""
    date: float | None
    """The server's clock, in seconds since the epoch."""
    bad_next: bool = False
    """The server sent a cursor that is not text, or too long. ``next`` is None."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A server's description of a collection (TAXII 2.1 section 5.2)."""

    title: str | None
    can_read: bool


class TaxiiRequests:
    """Sends requests for one collection, and remembers the form of request that works.

    *url* is the API root. Every failure raises FeedFailed. Except for its subclasses
    ConnectionLost, ServerBusy and NextRefused, ``refused`` is set. A response beyond the client's
    size limit raises ResponseTooLarge.
    """

    def __init__(self, http: HttpClient, url: str, collection: str) -> None:
        self._http = http
        self._path = f"{url.rstrip('/')}/collections/{quote(collection, safe='')}"
        self._endings: dict[str, str] = {}
        """By resource, the path ending that works: a slash or nothing."""
        http.headers["Accept"] = MEDIA_TYPE

    async def collection(self) -> dict[str, Any]:
        """GET the description of the collection."""
        return _object(_checked(await self._get_either_path("", {}), with_next=False))

    async def objects(self, query: Mapping[str, str]) -> Envelope:
        """GET a page of objects."""
        reply = await self._get_either_path("/objects", query)
        if reply.status in _PAGE_TOO_LARGE and not ("next" in query and reply.status == 400):
            text = _REFUSED.get(reply.status, f"refuses the request (HTTP {reply.status})")
            raise PageRefused(text, refused=True)
        return _envelope(_object(_checked(reply, with_next="next" in query)), reply.headers)

    async def _get_either_path(self, resource: str, query: Mapping[str, str]) -> HttpResponse:
        """GET the path with a trailing slash, as TAXII requires; if that fails, without it.

        A redirect is followed only if it leads to the same URL with or without its slash.
        """
        ending = self._endings.get(resource, "/")
        reply = await self._get_negotiated(f"{resource}{ending}", query)
        other = "" if ending else "/"
        if self._leads_to(reply, f"{resource}{ending}", f"{resource}{other}") or (
            reply.status == 404 and resource not in self._endings
        ):
            with_other = await self._get_negotiated(f"{resource}{other}", query)
            if with_other.status not in (*_REDIRECTS, 404):
                reply, ending = with_other, other
        if reply.status == 200:
            self._endings[resource] = ending
        return reply

    def _leads_to(self, reply: HttpResponse, requested: str, other: str) -> bool:
        """Return True for a redirect from a resource to another."""
        if reply.status not in _REDIRECTS:
            return False
        target = urljoin(f"{self._path}{requested}", reply.headers.get("location", ""))
        return target.partition("?")[0] == f"{self._path}{other}"

    async def _get_negotiated(self, resource: str, query: Mapping[str, str]) -> HttpResponse:
        """GET with the media type that works; after a 406, once with the alternative."""
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


def _checked(reply: HttpResponse, *, with_next: bool) -> HttpResponse:
    """Return a reply with status 200; raise the matching error for any other status."""
    status = reply.status
    if status == 200:
        return reply
    if with_next and status in _NEXT_REFUSED:
        raise NextRefused("no longer accepts its own cursor")
    if status in _BUSY_STATUSES:
        raise ServerBusy(f"is busy (HTTP {status})", retry_after=reply.retry_after)
    if status == 408 or status >= 500:
        raise ConnectionLost(
            f"has an internal error (HTTP {status})", retry_after=reply.retry_after
        )
    if status in _REDIRECTS:
        raise FeedFailed("redirects; set the final URL", refused=True)
    text = _REFUSED.get(status, f"refuses the request (HTTP {status})")
    raise FeedFailed(text, refused=True)


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _object(reply: HttpResponse) -> dict[str, Any]:
    """Return the JSON object of a body. A truncated body raises ConnectionLost."""
    start = reply.body[:64].lstrip()[:1]
    if reply.headers.get("content-type", "").lower().startswith("text/html") or start == b"<":
        raise FeedFailed(
            "responds with a web page, perhaps for signing in; check the URL", refused=True
        )
    body = reply.body.removeprefix(_BYTE_ORDER_MARK)
    try:
        value = _read(body)
    except (ValueError, RecursionError):
        if start in (b"{", b""):
            raise ConnectionLost("a truncated response") from None
        raise FeedFailed(
            "responds with something other than JSON; check the URL", refused=True
        ) from None
    if not isinstance(value, dict):
        raise FeedFailed("responds with JSON that is not an object; check the URL", refused=True)
    return value


def _read(body: bytes) -> Any:
    """Parse a body. Truncate objects that are nested too deeply instead of failing."""
    try:
        return load_json(body)
    except TooDeep:
        return load_json(truncate_depth(body))


def _envelope(body: Mapping[str, Any], headers: Mapping[str, str]) -> Envelope:
    objects = body.get("objects")
    if objects is None:
        objects = []
    if not isinstance(objects, list):
        raise FeedFailed("sends objects that are not a list", refused=True)
    cursor, bad = _cursor(body.get("next"))
    more = body.get("more")
    last = headers.get("x-taxii-date-added-last")
    return Envelope(
        objects=objects,
        more=more is True or (isinstance(more, str) and more.strip().lower() == "true"),
        next=cursor,
        last=None if parse_time(last) is None else last,
        date=_date(headers.get("date")),
        bad_next=bad,
    )


def _cursor(value: object) -> tuple[str | None, bool]:
    """Return a cursor, which some servers send as a number, and whether it cannot be used."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and len(value) <= MAX_NEXT_LENGTH:
        return value or None, False
    return None, bool(value)


def _date(value: str | None) -> float | None:
    try:
        return None if value is None else parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None


def exactly(time: str) -> str:
    """Return a server's time in the form that filters accept; unchanged if it already fits."""
    return time if _EXACT.fullmatch(time) else earlier(time, 0.0)


def later(first: str | None, second: str) -> str:
    """Return the later of two valid times, or *first* if they are equal."""
    first_time, second_time = parse_time(first), parse_time(second)
    if first is None or first_time is None:
        return second
    return second if second_time is not None and second_time > first_time else first


def earlier(time: str, seconds: float) -> str:
    """Return the time *seconds* before *time*, as RFC 3339 in UTC with microseconds.

    An invalid time, or a time before 1970, becomes the start of 1970.
    """
    timestamp = parse_time(time) or _EARLIEST
    span = timedelta(seconds=seconds)
    return iso(max(timestamp, _EARLIEST + span) - span)
