"""A TAXII 2.1 server with the manners of the standard, of Sekoia and of CrowdSec, and faults."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from aiohttp import web

from schemas.events.times import iso_of, parse_time
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "a-good-key"
ROOT = "/taxii2/api"
VERSIONED = "application/taxii+json;version=2.1"
IDENTITY: dict[str, Any] = {
    "type": "identity",
    "spec_version": "2.1",
    "id": "identity--7ad0eb46-a9c5-4f64-9f72-2e2c6b4bb7d1",
    "created": "2026-01-01T00:00:00.000Z",
    "modified": "2026-01-01T00:00:00.000Z",
    "name": "Example Feed",
}
RESET, LOST, TRUNCATE, CUT, HANG = "reset", "lost", "truncate", "cut", "hang"
"""Faults: before the work is done; after it; half of the bytes; half of the JSON; no answer."""
Fault = web.Response | str


def indicator(value: str, **more: Any) -> dict[str, Any]:
    """Return an indicator for an address, or for a pattern in brackets; its id follows from it."""
    kind = "ipv6-addr" if ":" in value else "ipv4-addr"
    pattern = value if value.startswith("[") else f"[{kind}:value = '{value}']"
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.uuid5(uuid.NAMESPACE_URL, value)}",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "pattern": pattern,
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2100-01-01T00:00:00Z",
        "indicator_types": ["malicious-activity"],
        "confidence": 80,
        **more,
    }


def revoked(known: dict[str, Any], modified: str) -> dict[str, Any]:
    """Return the version of an indicator that takes it back."""
    return {**known, "modified": modified, "revoked": True}


@dataclass(frozen=True)
class Stored:
    """An object, when it was added, and its place in the order of adding."""

    added: float
    number: int
    value: dict[str, Any]


@dataclass
class Session:
    """What a cursor of the standard's manner stands for."""

    left: list[Stored]
    filters: dict[str, str]
    expires: float


@dataclass
class TaxiiServer:
    """One collection, its clock set by the test.

    ``manner`` is ``spec``, ``sekoia`` or ``crowdsec``. ``fault`` is called before each answer with
    the request's number, from 1: a response is sent instead, a name of a fault is done.
    """

    manner: str = "spec"
    collection: str = "365fed99-08fa-fdcd-a1b3-fb247eb41d01"
    page_size: int = 100
    """Most objects of a page, whatever the client asks for."""
    clock: float = 1_900_000_000.0
    fault: Callable[[int], Fault | None] = lambda _: None
    consumes: bool = False
    """A cursor stays the same and moves on with each request (medallion)."""
    gives_next: bool = True
    """Else the client has to go on by X-TAXII-Date-Added-Last."""
    dates: bool = True
    """Tell X-TAXII-Date-Added-Last; only the standard's manner does."""
    cursors_live: float = 30.0
    """Seconds of the server's clock, in the standard's manner."""
    repeats_next: bool = True
    """An empty answer of Sekoia's manner has the cursor again; else it is ``{}``."""
    accepts: tuple[str, ...] = (VERSIONED,)
    can_read: bool = True
    stored: list[Stored] = field(default_factory=list)
    requests: int = 0
    queries: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    """As they came over the wire, with their queries."""
    headers: list[dict[str, str]] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    age: int = 0
    """Cursors of another age are refused."""

    def server(self) -> Loopback:
        """Return a server; the API root is its URL and :data:`ROOT`."""
        return Loopback(self._answer)

    def add(self, *objects: dict[str, Any], apart: float = 0.0) -> None:
        """Add objects or new versions now, or each some seconds of the server's clock later."""
        for one in objects:
            self.stored.append(Stored(self.clock, len(self.stored) + 1, one))
            self.clock += apart

    def revoke(self, known: dict[str, Any]) -> None:
        """Add a version that takes an indicator back."""
        self.add(revoked(known, iso_of(self.clock) or ""))

    def versions(self) -> dict[str, str]:
        """Return the newest version of each object by its id."""
        return {one.value["id"]: one.value["modified"] for one in self.stored}

    def forget_cursors(self) -> None:
        """Let every cursor end that was given so far."""
        self.sessions.clear()
        self.age += 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.queries.append(dict(request.query))
        self.paths.append(request.raw_path)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        fault = self.fault(self.requests)
        if isinstance(fault, web.Response):
            return fault
        if fault == HANG:
            await asyncio.Event().wait()
        if fault == RESET:
            return _broken(request)
        answer = self._respond(request)
        answer.headers["Date"] = formatdate(self.clock, usegmt=True)
        if fault == LOST:
            return _broken(request)
        if fault == CUT:
            return web.Response(body=_body(answer)[:-1] or b"{", headers=answer.headers)
        return await _half(request, _body(answer)) if fault == TRUNCATE else answer

    def _respond(self, request: web.Request) -> web.Response:
        if not self._knows(request):
            return web.Response(status=401, text="<p>Unauthorized</p>", content_type="text/html")
        if request.headers.get("Accept") not in self._accepted():
            return _error(406)
        here = f"{ROOT}/collections/{self.collection}"
        slash = request.path.endswith("/")
        path = request.path.rstrip("/")
        if path not in (here, f"{here}/objects"):
            return _error(404)
        if not slash and self.manner != "sekoia":
            return web.Response(status=308, headers={"Location": f"{request.path}/"})
        if path == here:
            told = {"id": self.collection, "title": "A feed", "can_read": self.can_read}
            return _json({**told, "can_write": False})
        if not self.can_read:
            return _error(403)
        return {"spec": self._spec, "sekoia": self._sekoia, "crowdsec": self._crowdsec}[
            self.manner
        ](dict(request.query))

    def _knows(self, request: web.Request) -> bool:
        if self.manner == "crowdsec" and request.headers.get("x-api-key") == KEY:
            return True
        kind, _, told = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(told).decode().partition(":")
        return kind == "Basic" and bool(user) and password == KEY

    def _accepted(self) -> tuple[str, ...]:
        return (
            (*self.accepts, "application/taxii+json") if self.manner == "sekoia" else self.accepts
        )

    def _limit(self, query: dict[str, str]) -> int:
        return min(int(query.get("limit", self.page_size)), self.page_size)

    def _newest(self, query: dict[str, str]) -> list[Stored]:
        """Return the newest versions that pass the filters, in the order of adding."""
        last = {one.value["id"]: one for one in self.stored}
        after = parse_time(query.get("added_after"))
        start = float("-inf") if after is None else after.timestamp()
        kind = query.get("match[type]")
        return [
            one
            for one in sorted(last.values(), key=lambda each: each.number)
            if one.added > start and kind in (None, one.value["type"])
        ]

    def _spec(self, query: dict[str, str]) -> web.Response:
        limit, token = self._limit(query), query.get("next")
        filters = {name: query[name] for name in query if name not in ("next", "limit")}
        session = Session(self._newest(query), filters, self.clock + self.cursors_live)
        if token is not None:
            known = self.sessions.get(token)
            if known is None or known.filters != filters or known.expires < self.clock:
                return _error(400)
            session = known
        page, left = session.left[:limit], session.left[limit:]
        told: dict[str, Any] = {"objects": [one.value for one in page], "more": bool(left)}
        if left and self.gives_next:
            if not self.consumes or token is None:
                token = uuid.uuid4().hex
            self.sessions[token] = Session(left, filters, session.expires)
            told["next"] = token
        return _json(told if page else {}, self._dates(page))

    def _dates(self, page: list[Stored]) -> dict[str, str]:
        if not (page and self.dates):
            return {}
        first, last = _written(page[0].added), _written(page[-1].added)
        return {"X-TAXII-Date-Added-First": first, "X-TAXII-Date-Added-Last": last}

    def _sekoia(self, query: dict[str, str]) -> web.Response:
        place = self._place(query)
        if place is None:
            return _error(400)
        newest = [one for one in self._newest(query) if one.number > place]
        page = newest[: self._limit(query)]
        if not page and not self.repeats_next:
            return _json({})
        told = {"objects": [one.value for one in page], "more": len(page) < len(newest)}
        return _json({**told, "next": self._token(page[-1].number if page else place)})

    def _token(self, number: int) -> str:
        return base64.b64encode(f"after {number} of {self.age}?".encode()).decode()

    def _place(self, query: dict[str, str]) -> int | None:
        """Return the place that a cursor stands for: 0 for none, None for one that is not ours."""
        for number in range(len(self.stored) + 1):
            if query.get("next") in (None, self._token(number)):
                return number
        return None

    def _crowdsec(self, query: dict[str, str]) -> web.Response:
        place = self._place(query)
        if place is None:
            return _error(400)
        newest = [one for one in self._newest(query) if one.number > place]
        page = newest[: self._limit(query)]
        objects = [one.value for one in page]
        told: dict[str, Any] = {"objects": objects, "more": len(page) < len(newest)}
        if "next" not in query:
            told["objects"] = [IDENTITY, *objects]
        if told["more"]:
            told["next"] = self._token(page[-1].number)
        return _json(told)


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _json(value: object, headers: dict[str, str] | None = None) -> web.Response:
    body = json.dumps(value).encode()
    return web.Response(body=body, headers={"Content-Type": VERSIONED, **(headers or {})})


def _error(status: int) -> web.Response:
    told = {"title": "Error", "http_status": str(status), "description": f"see {KEY}"}
    return web.Response(
        status=status, body=json.dumps(told).encode(), headers={"Content-Type": VERSIONED}
    )


def _body(answer: web.Response) -> bytes:
    assert isinstance(answer.body, bytes)
    return answer.body


def _broken(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": VERSIONED})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response
