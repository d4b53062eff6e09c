"""Sentinel's STIX objects upload API as documented, with its faults on request.

It refuses what the documentation says that the service refuses, and keeps the last version of an
object by its id. What is not documented (several hosts, the order of checks) is not modelled.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from schemas.events.times import parse_time
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

WORKSPACE = "0f7e9f1c-6f0b-4a37-9d0e-5f1f1c2b3a4d"
API_VERSION = "2024-02-01-preview"
MOST_OBJECTS = 100
LARGEST_BODY = 1_000_000
_PATH = f"/workspaces/{WORKSPACE}/threat-intelligence-stix-objects:upload"
_TYPES = ("indicator", "attack-pattern", "threat-actor", "identity", "relationship")
_COMMON = ("id", "type", "created", "modified")
_OF_INDICATORS = ("pattern", "pattern_type", "valid_from")

StixObject = dict[str, Any]


@dataclass
class ThreatIntelligence:
    """The state of the service: ``objects`` by id, the last version of each.

    ``fault`` sees the number of the request and its objects, and may return a response instead
    of the service's, or ``"reset"``. ``wrong`` sees each object, and may return why it is
    refused. ``most`` requests are taken in a minute of ``monotonic``.
    """

    fault: Callable[[int, list[StixObject]], web.Response | str | None] = lambda *_: None
    wrong: Callable[[StixObject], str | None] = lambda _: None
    most: int = 100
    monotonic: Callable[[], float] = time.monotonic
    objects: dict[str, StixObject] = field(default_factory=dict)
    uploads: Counter[str] = field(default_factory=Counter)
    """How often each id was accepted."""
    requests: list[int] = field(default_factory=list)
    """The number of objects of each request that was read."""
    statuses: Counter[int] = field(default_factory=Counter)
    sources: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    largest_body: int = 0
    _begun: deque[float] = field(default_factory=deque)

    def server(self) -> Loopback:
        """Return a server."""
        return Loopback(self._answer)

    def active(self, now: float) -> set[str]:
        """Return the patterns of what is valid at a time."""
        return {
            one["pattern"]
            for one in self.objects.values()
            if _seconds(one["valid_from"]) <= now < _seconds(one.get("valid_until"))
        }

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = await self._take(request)
        self.statuses[response.status] += 1
        return response

    async def _take(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "")
        self.tokens.add(token)
        if not token.startswith("Bearer ") or len(token) == len("Bearer "):
            return web.Response(status=401)
        if request.path != _PATH or request.query.get("api-version") != API_VERSION:
            return web.Response(status=404)
        if self._too_fast():
            text = "Rate limit is exceeded. Try again in 1 seconds."
            return web.json_response({"statusCode": 429, "message": text}, status=429)
        if request.content_type != "application/json":
            return web.Response(status=400)
        body = await request.read()
        self.largest_body = max(self.largest_body, len(body))
        return self._taken(request, body)

    def _too_fast(self) -> bool:
        now = self.monotonic()
        while self._begun and self._begun[0] + 60 <= now:
            self._begun.popleft()
        if len(self._begun) >= self.most:
            return True
        self._begun.append(now)
        return False

    def _taken(self, request: web.Request, body: bytes) -> web.StreamResponse:
        try:
            told = orjson.loads(body)
            source, objects = told["sourcesystem"], told["stixobjects"]
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400)
        if not _sound(source, objects) or len(body) > LARGEST_BODY:
            return web.Response(status=400)
        self.requests.append(len(objects))
        fault = self.fault(len(self.requests), objects)
        if isinstance(fault, web.Response):
            return fault
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        self.sources.add(source)
        return self._kept(objects)

    def _kept(self, objects: list[StixObject]) -> web.Response:
        errors = []
        for index, one in enumerate(objects):
            why = _why_wrong(one) or self.wrong(one)
            if why is not None:
                errors.append({"recordIndex": index, "errorMessages": [why]})
                continue
            self.objects[one["id"]] = one
            self.uploads[one["id"]] += 1
        return web.json_response({"errors": errors}) if errors else web.Response()


def _sound(source: object, objects: object) -> bool:
    return (
        isinstance(source, str)
        and source != "Microsoft Sentinel"
        and isinstance(objects, list)
        and len(objects) <= MOST_OBJECTS
        and all(isinstance(one, dict) for one in objects)
    )


def _why_wrong(one: StixObject) -> str | None:
    """Return the first thing that is wrong with an object, as the service words it."""
    needed = (*_COMMON, *(_OF_INDICATORS if one.get("type") == "indicator" else ()))
    for name in needed:
        if not one.get(name):
            return f"Error for Property={name}: Required property is missing. Actual value: NULL."
    if one["type"] not in _TYPES:
        return "Error for Property=type: not a supported STIX object."
    if "valid_until" in one and _seconds(one["valid_until"]) <= _seconds(one["valid_from"]):
        return "Error for Property=valid_until: must be greater than valid_from."
    return None


def _seconds(text: object) -> float:
    parsed = parse_time(text)
    return float("inf") if parsed is None else parsed.timestamp()
