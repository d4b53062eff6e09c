"""Feeds and replica against servers that are odd, broken or hostile, by commands alone.

The servers are written here from what the standards and the providers say, and share nothing with
those of the other tests, so that a mistake made there does not hide here.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import sys
import uuid
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from tests.servers.peer import Peer
from tests.support.command import crowdsec_at, findings_in, signinwatch
from tests.support.hostile import BAD, OTHER, PASSWORD, found, replayed, synced
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.peer import Handler

TAXII = "application/taxii+json;version=2.1"


def indicator(pattern: str, /, **more: Any) -> dict[str, Any]:
    """Return an indicator as STIX 2.1 writes it; an address stands for the pattern of it."""
    if "[" not in pattern:
        pattern = f"[ipv{6 if ':' in pattern else 4}-addr:value = '{pattern}']"
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": f"indicator--{uuid.uuid5(uuid.NAMESPACE_URL, pattern)}",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "valid_from": "2026-01-01T00:00:00Z",
        "name": "named by a feed",
        "pattern": pattern,
        "pattern_type": "stix",
        "indicator_types": ["malicious-activity"],
        "confidence": 80,
        **more,
    }


def envelope(objects: list[Any] | None = None, **more: Any) -> web.Response:
    """Return a page; without arguments the empty object that the standard allows."""
    body = more if objects is None else {"objects": objects, **more}
    return web.Response(body=orjson.dumps(body), headers={"content-type": TAXII})


def always(*objects: Any, **more: Any) -> Handler:
    """Return a handler that has one page."""

    async def answer(_: web.Request) -> web.Response:
        return envelope(list(objects), **more)

    return answer


def feed_at(url: str, name: str = "acme", **more: str) -> dict[str, str]:
    """Return the settings of a feed."""
    told = {"URL": f"{url}/root", "COLLECTION": "c", "USERNAME": "u", "PASSWORD": PASSWORD, **more}
    return {f"FEEDS__{name.upper()}__{setting}": text for setting, text in told.items()}


async def started(*arguments: str | Path, settings: dict[str, str]) -> asyncio.subprocess.Process:
    """Start a command that is going to be killed."""
    own = {f"SIGNINWATCH_{name}": text for name, text in settings.items()}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumers.cli", *map(str, arguments)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **own},
    )


async def test_odd_but_legal_manners(tmp_path: Path) -> None:
    """gzip, lower-case headers, no ``more``, an empty page on the way, a cursor of odd letters."""
    cursor = "a+b/=&;%20é"

    async def answer(request: web.Request) -> web.Response:
        if (given := request.query.get("next")) is None:
            return envelope([], more=True, next=cursor, extra={"told": [1]})
        assert given == cursor
        assert request.query["limit"] == "2000"
        body = orjson.dumps({"objects": [{"type": "identity"}, 5, None, indicator(BAD)]})
        headers = {"content-type": f"{TAXII}; charset=utf-8", "content-encoding": "gzip"}
        return web.Response(body=gzip.compress(body), headers=headers)

    async with Peer(answer) as peer:
        ran, (told,) = await synced(tmp_path, feed_at(peer.url))
    assert ran.status == 0
    assert (told["indicators"], told["skipped"]) == (1, {"not an indicator": 3})


async def test_sekoias_manners(tmp_path: Path) -> None:
    """No slash, no version in the media type, a cursor for ever: only what is new is read again."""
    objects = [indicator(f"81.5.0.{n}") for n in range(250)]

    async def answer(request: web.Request) -> web.Response:
        secret = base64.b64encode(f"u:{PASSWORD}".encode()).decode()
        assert request.headers["Authorization"] == f"Basic {secret}"
        assert request.query["match[spec_version]"] == "2.1"
        if request.path.endswith("/"):
            return web.Response(status=404, text="not here")
        if "version" in request.headers["Accept"]:
            return web.Response(status=406)
        begin = int(request.query.get("next", "0"))
        part = objects[begin : begin + 100]
        end = begin + len(part)
        return envelope(part, more=end < len(objects), next=str(end))

    async with Peer(answer) as peer:
        settings = feed_at(peer.url, "sekoia")
        first, (told,) = await synced(tmp_path, settings)
        assert (first.status, told["indicators"], told["fresh"]) == (0, 250, 250)
        again = indicator("81.5.0.3", revoked=True, modified="2026-02-01T00:00:00Z")
        objects.append(again)
        _, (told,) = await synced(tmp_path, settings)
    assert (told["indicators"], told["fresh"], told["detail"]) == (249, 1, "1 objects in 1 pages")


async def test_a_redirect_gets_no_password(tmp_path: Path) -> None:
    """Nobody is asked at the other end, and the feed is told to be refused."""
    async with Peer(always(indicator(BAD))) as other:

        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": other.url + request.path_qs})

        async with Peer(answer) as peer:
            ran, (told,) = await synced(tmp_path, feed_at(peer.url))
        assert (ran.status, other.asked) == (1, [])
        assert "redirects" in told["trouble"]


@pytest.mark.parametrize("manner", ["endless", "same", "html", "bomb"])
async def test_a_bad_server_is_cut_off(tmp_path: Path, manner: str) -> None:
    """With a line that says so; what was good stays."""
    zeros = gzip.compress(b" " * (80 << 20), 1)

    async def answer(request: web.Request) -> web.Response:
        number = int(request.query.get("next", "0"))
        if manner == "html":
            text = f"<html>\x1b[31m{request.headers['Authorization']}</html>"
            return web.Response(status=401, text=text, content_type="text/html")
        if manner == "bomb" and number:
            headers = {"content-type": TAXII, "content-encoding": "gzip"}
            return web.Response(body=zeros, headers=headers)
        if manner == "same":
            return envelope([indicator(BAD)], more=True, next="7")
        objects = [indicator(BAD)] if not number else []
        return envelope(objects, more=True, next=str(number + 1))

    async with Peer(answer) as peer:
        ran, (told,) = await synced(tmp_path, feed_at(peer.url))
        assert len(peer.asked) <= 6
    assert ran.status == 1
    words = {"endless": "empty pages", "same": "repeatedly", "html": "not accepted"}
    assert words.get(manner, "67,108,864") in told["trouble"]
    assert told["indicators"] == (0 if manner == "html" else 1)


async def test_one_odd_text_does_not_stop_a_page(tmp_path: Path) -> None:
    """Half a surrogate pair, a NaN, Latin-1: event bodies with these are read, pages should be."""
    objects = [indicator(BAD, description="ODD"), indicator(OTHER, x="NOT", y="OLD")]
    body = orjson.dumps({"objects": objects})
    for plain, odd in ((b"ODD", b"cut \\ud83d"), (b'"NOT"', b"NaN"), (b"OLD", b"\xe9t\xe9")):
        body = body.replace(plain, odd)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"content-type": TAXII})

    async with Peer(answer) as peer:
        ran, (told,) = await synced(tmp_path, feed_at(peer.url))
    assert (ran.status, told["indicators"]) == (0, 2)


async def test_killed_in_mid_sync(tmp_path: Path) -> None:
    """After kill -9 with a page under way: all indicators, each once, and not from the start."""
    objects = [indicator(f"81.6.{n >> 8}.{n & 255}") for n in range(600)]
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        begin = int(request.query.get("next", "0"))
        if begin == 300:
            reached.set()
            await go_on.wait()
        part = objects[begin : begin + 100]
        end = begin + len(part)
        return envelope(part, more=end < len(objects), next=str(end))

    async with Peer(answer) as peer:
        settings = feed_at(peer.url)
        process = await started("feeds", "sync", "--state", tmp_path, settings=settings)
        await asyncio.wait_for(reached.wait(), 30)
        process.kill()
        await process.wait()
        go_on.set()
        before = len(peer.asked)
        ran, (told,) = await synced(tmp_path, settings)
        assert (ran.status, told["indicators"], told["fresh"]) == (0, 600, 300)
        assert len(peer.asked) - before == 3


async def test_windows_confidence_and_spellings(tmp_path: Path) -> None:
    """Odd values of each property, and control characters, end in the documented reading."""
    moment = "2026-03-02T12:00:00Z"
    cases: dict[str, tuple[dict[str, Any], str | None]] = {
        "81.3.0.1": ({"confidence": None}, "malicious"),
        "81.3.0.2": ({"confidence": 0}, "suspicious"),
        "81.3.0.3": ({"confidence": 100}, "malicious"),
        "81.3.0.4": ({"confidence": "high"}, "malicious"),
        "81.3.0.5": ({"confidence": 49}, "suspicious"),
        "81.3.0.6": ({"indicator_types": ["benign"]}, None),
        "81.3.0.7": ({"valid_until": moment}, None),
        "81.3.0.8": ({"valid_from": moment}, "malicious"),
        "81.3.0.9": ({"valid_from": "2026-03-02T12:00:00.001Z"}, None),
        "81.3.0.10": ({"revoked": True}, None),
        "81.3.0.11": ({"labels": ["\x1b[31mred\x07", 5, "x" * 5_000]}, "malicious"),
        "81.3.0.12": ({"pattern": "[ipv4-addr:value = '81.3.0.12/32']"}, "malicious"),
        "81.4.0.9": ({"pattern": "[ipv4-addr:value = '81.4.0.1/24']"}, "malicious"),
        "81.3.0.14": ({"pattern": "[ipv6-addr:value = '::FFFF:81.3.0.14']"}, "malicious"),
        "2a02:8108::5": ({"pattern": "[ipv6-addr:value = '2A02:8108:0:0:0:0:0:5']"}, "malicious"),
    }
    objects = [indicator(one, **more) for one, (more, _) in cases.items()]
    async with Peer(always(*objects)) as peer:
        rows = [row(one, CreatedDateTime=moment) for one in cases]
        ran = await replayed(tmp_path, *rows, **feed_at(peer.url))
        expected = {one: word for one, (_, word) in cases.items() if word is not None}
        assert {one: told["Reputation"] for one, told in found(tmp_path).items()} == expected
        assert ran.summary["lookups"] == 0
        assert ran.summary["cache_hits"] == len(expected)
        assert ran.summary["unanswered"] == len(cases) - len(expected)
        assert b"\\u001b" not in (tmp_path / "found").read_bytes()
        await synced(tmp_path / "looked", feed_at(peer.url))
        looked = await signinwatch(
            *("lookup", "81.3.0.11", "--state", tmp_path / "looked"), settings=feed_at(peer.url)
        )
    assert looked.status == 0
    assert b"red" in looked.out
    assert not {0x1B, 7} & set(looked.out)


async def test_one_feed_takes_back_what_another_still_says(tmp_path: Path) -> None:
    """Each feed speaks for itself; when both have taken it back nobody does."""
    one, other = [indicator(BAD)], [indicator(BAD, confidence=40)]
    taken_back = indicator(BAD, revoked=True, modified="2026-02-01T00:00:00Z")

    async def first(_: web.Request) -> web.Response:
        return envelope(list(one))

    async def second(_: web.Request) -> web.Response:
        return envelope(list(other))

    async with Peer(first) as here, Peer(second) as there:
        settings = {**feed_at(here.url, "one"), **feed_at(there.url, "two")}
        await synced(tmp_path / "state", settings)
        one.append(taken_back)
        await synced(tmp_path / "state", settings)
        await replayed(tmp_path, row(BAD), **settings)
        told = found(tmp_path)[BAD]
        assert (told["Sources"], told["Reputation"]) == (["two"], "suspicious")
        other.append(taken_back)
        await synced(tmp_path / "state", settings)
        await replayed(tmp_path, row(BAD), **settings)
        assert not found(tmp_path)


def benign_crowdsec() -> Handler:
    """Return CrowdSec, for whom every address is a benign scanner's."""

    async def answer(request: web.Request) -> web.Response:
        address = request.path.rpartition("/")[2]
        return web.json_response({"ip": address, "reputation": "benign"})

    return answer


async def benign_then_named(folder: Path, name: str) -> list[dict[str, Any]]:
    """Replay a sign-in that CrowdSec calls benign, then another when a feed names the address."""
    objects: list[Any] = []

    async def answer(_: web.Request) -> web.Response:
        return envelope(list(objects))

    async with Peer(benign_crowdsec()) as crowdsec, Peer(answer) as peer:
        settings = {**crowdsec_at(crowdsec.url), **feed_at(peer.url, name, INTERVAL="0.01")}
        await replayed(folder, row(BAD), **settings)
        assert not found(folder)
        objects.append(indicator(BAD))
        await replayed(folder, row(BAD), **settings)
        assert len(crowdsec.asked) == 1
    return findings_in(folder / "found")


async def test_a_late_finding_is_tempered_too(tmp_path: Path) -> None:
    """CrowdSec's benign tempers a feed's word, whether the feed told in time or late."""
    told = {one["Origin"]: one for one in await benign_then_named(tmp_path, "acme")}
    assert told["replay"]["Reputation"] == "suspicious"
    assert told["replay"]["Sources"] == ["acme", "crowdsec"]
    assert told["late"]["Reputation"] == "suspicious"


async def test_a_feed_called_crowdsec_beside_the_api(tmp_path: Path) -> None:
    """What each of the two said is told, though they share a name."""
    told = {one["Origin"]: one for one in await benign_then_named(tmp_path, "crowdsec")}
    said = orjson.dumps(told["replay"]["Evidence"])
    assert b'"malicious"' in said
    assert b'"benign"' in said


async def test_what_a_command_has_read_is_matched_late(tmp_path: Path) -> None:
    """A sign-in went by, ``feeds sync`` brings its address: the next to open the state finds it."""
    objects: list[Any] = []

    async def answer(_: web.Request) -> web.Response:
        return envelope(list(objects))

    async with Peer(answer) as peer:
        settings = feed_at(peer.url)
        async with Peer(benign_crowdsec()) as crowdsec:
            await replayed(tmp_path, row(BAD), **crowdsec_at(crowdsec.url), **settings)
        objects.append(indicator(BAD))
        ran, (told,) = await synced(tmp_path / "state", settings)
        assert (ran.status, told["fresh"]) == (0, 1)
        await replayed(tmp_path, row(OTHER), **settings)
    assert [one["Origin"] for one in findings_in(tmp_path / "found")] == ["late"]


async def test_late_matches_survive_a_kill_in_mid_sync(tmp_path: Path) -> None:
    """The page that names the address was durable; the process died while it read the next one."""
    pages: list[Any] = []
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        number = int(request.query.get("next", "0"))
        if number:
            reached.set()
            await go_on.wait()
        last = number + 1 >= len(pages)
        more = {} if last else {"more": True, "next": str(number + 1)}
        return envelope(pages[number : number + 1], **more)

    async with Peer(answer) as peer:
        settings = feed_at(peer.url, INTERVAL="0.01")
        async with Peer(benign_crowdsec()) as crowdsec:
            rows = row(BAD), row(OTHER)
            await replayed(tmp_path, *rows, **crowdsec_at(crowdsec.url), **settings)
        pages += [indicator(BAD), indicator(OTHER)]
        events = tmp_path / "events.ndjson"
        state = tmp_path / "state"
        process = await started("replay", events, "--state", state, settings=settings)
        await asyncio.wait_for(reached.wait(), 30)
        process.kill()
        await process.wait()
        go_on.set()
        await replayed(tmp_path, row("81.2.69.162"), **settings)
    late = {one["IPAddress"] for one in findings_in(tmp_path / "found") if one["Origin"] == "late"}
    assert OTHER in late, "the page after the kill"
    assert late == {BAD, OTHER}
