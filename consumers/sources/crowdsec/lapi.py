"""The decisions of a CrowdSec Security Engine (LAPI) as a local source, read like a feed.

The first read fetches all decisions, later ones what is new and what was deleted: the engine
remembers for each bouncer key how far it has read. Source: CrowdSec's documentation, "Local API",
``GET /v1/decisions/stream``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import msgspec

from consumers.sources.feeds.listed_indicator import listed_indicator
from consumers.sources.taxii.client import Cursor, FeedPage
from schemas.errors import FeedFailed, SourceUnavailable
from schemas.events.times import iso_of
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from pydantic import SecretStr

    from consumers.sources.feeds.indicator_store import IndicatorStore
    from consumers.sources.http import HttpClient, HttpResponse

LAPI = "crowdsec-lapi"
"""The name of this source in ``Sources``."""
MAX_LAPI_BYTES = 64 * 1024 * 1024
PAGE_OBJECTS = 2_000
_STREAM = Cursor(next="stream")
"""The cursor after all decisions were read once."""
_NAMESPACE = UUID("b5f2c2f0-8f0a-4e25-9d55-1f8d0e0f5a77")
_DURATION = re.compile(r"(-?)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:\d+(?:\.\d+)?[mµun]+s)?")
_TEST_ADDRESS = "192.0.2.1"
"""For documentation only (RFC 5737)."""
_SCOPES = ("ip", "range")
_LABELS = {"ban": "malicious", "captcha": "suspicious"}
"""What a type of decision says of the address; any other is suspicious."""


@dataclass(frozen=True, slots=True)
class LapiPlan:
    """Where the engine is."""

    url: str
    api_key: SecretStr
    interval: float
    name: str = LAPI

    @property
    def identity(self) -> str:
        """Return a hash of the URL. It changes if the engine changes."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:16]


class LapiReader:
    """Reads the decisions. Owns and closes *http*, which carries the key."""

    def __init__(
        self,
        plan: LapiPlan,
        store: IndicatorStore,
        http: HttpClient,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._store = store
        self._http = http
        self._now = now

    async def pages(self, cursor: Cursor) -> AsyncGenerator[FeedPage]:
        """Yield new and deleted decisions; all of them if *cursor* is that of the start."""
        startup = cursor != _STREAM
        decisions = await self._fetch(startup=startup)
        now = self._now()
        objects = [it for decision in decisions["new"] if (it := _indicator(decision, now))]
        objects += [it for decision in decisions["deleted"] if (it := _ended(decision, now))]
        if startup:
            objects += self._missing({it["id"] for it in objects}, now)
        for start in range(0, max(1, len(objects)), PAGE_OBJECTS):
            more = start + PAGE_OBJECTS < len(objects)
            after = cursor if more else _STREAM
            yield FeedPage(list(objects[start : start + PAGE_OBJECTS]), after, more, now)
            await asyncio.sleep(0)

    def _missing(self, current: set[str], now: float) -> Iterator[dict[str, Any]]:
        """Yield the end of stored decisions that the engine does not have any more."""
        for _, indicator in self._store.all_of(self._plan.name):
            ended = indicator.valid_until is not None and indicator.valid_until <= now
            if indicator.id not in current and not ended and not indicator.withdrawn:
                yield listed_indicator(indicator.id, indicator.keys[0], now, now, ["known"])

    async def _fetch(self, *, startup: bool) -> dict[str, list[Any]]:
        params = {"startup": str(startup).lower(), "scopes": "ip,range"}
        try:
            response = await self._http.get(f"{self._plan.url}/v1/decisions/stream", params)
        except SourceUnavailable as error:
            raise FeedFailed(str(error)) from None
        if response.status != 200:
            raise _refusal(response)
        try:
            body = msgspec.json.decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise FeedFailed("sends broken JSON") from None
        if not isinstance(body, dict):
            raise FeedFailed("sends no decisions; is this the local API?", refused=True)
        return {
            name: [it for it in body.get(name) or () if isinstance(it, dict)]
            for name in ("new", "deleted")
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


async def probe_engine(http: HttpClient, url: str) -> None:
    """Ask for the decisions on a documentation address. Raises FeedFailed.

    The stream is not read, because the engine remembers how far the key has read it.
    """
    try:
        response = await http.get(f"{url}/v1/decisions", {"ip": _TEST_ADDRESS})
    except SourceUnavailable as error:
        raise FeedFailed(str(error)) from None
    if response.status != 200:
        raise _refusal(response)


def _indicator(decision: dict[str, Any], now: float) -> dict[str, Any] | None:
    """Return a decision on an address or range as a STIX indicator; None for other scopes."""
    value = clean_text(decision.get("value"), 60)
    if value is None or str(decision.get("scope", "ip")).lower() not in _SCOPES:
        return None
    seconds = duration_of(decision.get("duration"))
    kind = str(decision.get("type", "ban")).lower()
    labels = [_LABELS.get(kind, "suspicious")]
    labels += [text for name in ("scenario", "origin") if (text := clean_text(decision.get(name)))]
    end = None if seconds is None else now + seconds
    return listed_indicator(_identity(decision), value, now, end, labels)


def _ended(decision: dict[str, Any], now: float) -> dict[str, Any] | None:
    found = _indicator(decision, now)
    return None if found is None else {**found, "valid_until": iso_of(now)}


def _identity(decision: dict[str, Any]) -> str:
    return f"indicator--{uuid5(_NAMESPACE, str(decision.get('id')) + str(decision.get('value')))}"


def duration_of(text: object) -> float | None:
    """Return a duration as Go writes it (``167h59m40.9s``) in seconds; None if it is none."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        return None
    sign, hours, minutes, seconds = match.groups()
    total = int(hours or 0) * 3_600 + int(minutes or 0) * 60 + float(seconds or 0)
    return -total if sign else total


def _refusal(response: HttpResponse) -> FeedFailed:
    if response.status in (401, 403):
        text = (
            f"HTTP {response.status}: the key is not accepted; make one with 'cscli bouncers add'"
        )
        return FeedFailed(text, refused=True)
    if response.status == 404 or 300 <= response.status < 400:
        return FeedFailed(f"HTTP {response.status}: this is not the local API", refused=True)
    return FeedFailed(f"HTTP {response.status}", retry_after=response.retry_after)
