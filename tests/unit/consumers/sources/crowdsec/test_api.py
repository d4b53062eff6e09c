"""CrowdSec's answers: every field of the documentation, and every way it may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from consumers.clock import WallClock
from consumers.sources.crowdsec.api import MAX_LOOKUP_RESPONSE_BYTES, CrowdSecApi, verdict_of_item
from consumers.sources.http import HttpClient, retry_after
from schemas.errors import (
    BatchRefused,
    KeyRefused,
    QuotaSpent,
    SourceFailed,
    SourceUnavailable,
    TooFast,
)
from schemas.intel.verdicts import AddressClass, Reputation
from tests.servers.crowdsec import KEY, CrowdSec, limit
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = "81.2.69.160", "2a02:8108::5", "93.184.216.34"

FULL: dict[str, Any] = {
    "ip": A,
    "reputation": "malicious",
    "confidence": "high",
    "background_noise": "medium",
    "background_noise_score": 6,
    "ip_range": "81.2.69.0/24",
    "ip_range_score": 4,
    "ip_range_24": "81.2.69.0/24",
    "ip_range_24_reputation": "suspicious",
    "ip_range_24_score": 3,
    "proxy_or_vpn": True,
    "as_name": "EXAMPLE-NET",
    "as_num": 64501,
    "reverse_dns": "vpn.example.net",
    "location": {"country": "NL", "city": None, "latitude": 52.3, "longitude": 4.9},
    "history": {"first_seen": "2026-02-03T04:15:00+00:00", "last_seen": None, "days_age": None},
    "behaviors": [{"name": "http:bruteforce", "label": "x", "description": "y"}],
    "attack_details": [{"name": "crowdsecurity/http-generic-bf", "references": []}],
    "classifications": {"false_positives": [], "classifications": [{"name": "proxy:vpn"}]},
    "mitre_techniques": [{"name": "T1110"}],
    "cves": ["CVE-2024-0001"],
    "references": [{"name": "list:example"}],
    "target_countries": {"FR": 61, "DE": 22.5},
    "scores": {"overall": {"total": 4, "threat": None}, "last_day": {"total": 1}},
}


def test_every_field_is_read() -> None:
    """The documented item, whole."""
    said = verdict_of_item(FULL)
    intel = said.intel
    assert (said.reputation, said.address_class) == (Reputation.MALICIOUS, AddressClass.VPN)
    assert (intel.raw_reputation, intel.confidence, intel.score) == ("malicious", "high", 4)
    assert (intel.background_noise, intel.ip_range_score, intel.ip_range_24_score) == (6, 4, 3)
    assert (intel.as_number, intel.as_name, intel.country) == (64501, "EXAMPLE-NET", "NL")
    assert (intel.ip_range, intel.ip_range_24) == ("81.2.69.0/24", "81.2.69.0/24")
    assert intel.behaviors == ("http:bruteforce",)
    assert intel.attack_details == ("crowdsecurity/http-generic-bf",)
    assert (intel.mitre_techniques, intel.cves) == (("T1110",), ("CVE-2024-0001",))
    assert intel.references == ("list:example",)
    assert intel.target_countries == {"FR": 61.0, "DE": 22.5}
    assert intel.scores == {"overall": {"total": 4}, "last_day": {"total": 1}}
    assert (intel.first_seen, intel.last_seen) == ("2026-02-03T04:15:00+00:00", None)
    assert (intel.reverse_dns, intel.proxy_or_vpn) == ("vpn.example.net", True)
    assert intel.ip_range_24_reputation == "suspicious"


@pytest.mark.parametrize(
    "odd", [None, "", [], {}, 7, "text", [None, 7, {}, {"name": None}], {"a": {}}]
)
@pytest.mark.parametrize("field", [name for name in FULL if name != "ip"])
def test_any_field_may_be_missing_null_or_odd(field: str, odd: object) -> None:
    """No answer of CrowdSec's stops the stream."""
    said = verdict_of_item({**FULL, field: odd})
    assert orjson.dumps(said.intel.scores) is not None
    assert (
        verdict_of_item({name: value for name, value in FULL.items() if name != field}) is not None
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("malicious", Reputation.MALICIOUS),
        ("suspicious", Reputation.SUSPICIOUS),
        ("benign", Reputation.BENIGN),
        ("safe", Reputation.BENIGN),
        ("known", Reputation.UNKNOWN),
        ("unknown", Reputation.UNKNOWN),
        (None, Reputation.UNKNOWN),
        ("Malicious", Reputation.MALICIOUS),
        ("a word to come", Reputation.UNKNOWN),
    ],
)
def test_reputations(word: str | None, expected: Reputation) -> None:
    """Words that nobody knows yet are tolerated."""
    assert verdict_of_item({"ip": A, "reputation": word}).reputation is expected


def _api(url: str, key: str = KEY, timeout: float = 5.0) -> CrowdSecApi:
    http = HttpClient(
        headers={"x-api-key": key},
        timeout=timeout,
        connections=4,
        largest_body=MAX_LOOKUP_RESPONSE_BYTES,
        proxies=False,
        now=WallClock(),
    )
    return CrowdSecApi(http, f"{url}/v2", 100)


async def test_answers_are_joined_by_canonical_address() -> None:
    """In any order, in another spelling; what is not told is unknown."""
    crowdsec = CrowdSec(items={A: FULL, B: {**FULL, "ip": "2A02:8108:0::5"}})
    async with crowdsec.server() as server:
        api = _api(server.url)
        batch = await api.look_up([A, B, C])
        single = await api.look_up([B])
        missing = await api.look_up([C])
        await api.close()
    assert {one: said.reputation.value for one, said in batch.items()} == {
        A: "malicious",
        B: "malicious",
        C: "unknown",
    }
    assert (single[B].reputation, missing[C].reputation.value) == (Reputation.MALICIOUS, "unknown")


@pytest.mark.parametrize(
    ("fault", "expected", "counted"),
    [
        pytest.param(lambda _: limit("Too Many Requests"), TooFast, False, id="burst"),
        pytest.param(lambda _: limit("Limit Exceeded"), QuotaSpent, False, id="quota"),
        pytest.param(lambda _: limit("limit exceeded."), QuotaSpent, False, id="quota, other case"),
        pytest.param(lambda _: limit("?"), TooFast, False, id="unclear"),
        pytest.param(lambda _: web.Response(status=500), SourceUnavailable, True, id="500"),
        pytest.param(lambda _: web.Response(status=503), SourceUnavailable, True, id="503"),
        pytest.param(lambda _: web.Response(status=400), SourceUnavailable, True, id="400"),
        pytest.param(lambda _: web.Response(text="<html>"), SourceUnavailable, True, id="no JSON"),
        pytest.param(lambda _: web.Response(text="[]"), SourceUnavailable, True, id="no object"),
        pytest.param(lambda _: "reset", SourceUnavailable, True, id="reset"),
        pytest.param(lambda _: "hang", SourceUnavailable, True, id="hang"),
    ],
)
@pytest.mark.parametrize("addresses", [[A], [A, B]], ids=["single", "batch"])
async def test_troubles_are_told_apart(
    fault: Callable[[int], Any], expected: type[SourceFailed], counted: bool, addresses: list[str]
) -> None:
    """By what the caller must do, and by whether the question may have counted."""
    async with CrowdSec(fault=fault).server() as server:
        api = _api(server.url, timeout=0.5)
        with pytest.raises(expected) as raised:
            await api.look_up(addresses)
        await api.close()
    assert raised.value.counted is counted


@pytest.mark.parametrize("body", ["", "?", "<html>busy</html>"])
async def test_a_refusal_in_no_words_of_crowdsecs_is_never_the_quota(body: str) -> None:
    """A gateway's own 429 asks to slow down, however often it comes."""
    async with CrowdSec(fault=lambda _: limit(body)).server() as server:
        api = _api(server.url)
        for _ in range(12):
            with pytest.raises(TooFast):
                await api.look_up([A])
        await api.close()


async def test_a_bad_key_is_told_from_a_small_one() -> None:
    """403 on a batch may be the plan; on a single call it is the key, which is never shown."""
    async with CrowdSec().server() as server:
        api = _api(server.url, key="hunter2hunter2")
        with pytest.raises(BatchRefused):
            await api.look_up([A, B])
        with pytest.raises(KeyRefused) as raised:
            await api.look_up([A])
        await api.close()
    assert "hunter2" not in str(raised.value)


async def test_nobody_there_surely_did_not_count() -> None:
    """A refused connection cost nothing."""
    async with CrowdSec().server() as server:
        url = server.url
    api = _api(url)
    with pytest.raises(SourceUnavailable) as raised:
        await api.look_up([A])
    await api.close()
    assert not raised.value.counted


async def test_a_key_does_not_follow_redirects() -> None:
    """Another host never sees it."""
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("x-api-key", ""))
        return web.json_response(FULL)

    async with Loopback(elsewhere) as other:

        async def redirecting(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{other.url}/x"})

        async with Loopback(redirecting) as server:
            api = _api(server.url)
            with pytest.raises(SourceUnavailable):
                await api.look_up([A])
            await api.close()
    assert seen == []


async def test_an_endless_answer_is_cut_off() -> None:
    """Also when it is small on the wire."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" " * 1024 * 1024)
        return response

    async with Loopback(endless) as server:
        api = _api(server.url)
        with pytest.raises(SourceUnavailable, match="beyond"):
            await api.look_up([A])
        await api.close()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("3", 3.0),
        ("-3", 0.0),
        ("999999999", 30.0),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999", None),
        ("nan", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
    ],
)
def test_retry_after_is_read_and_capped(header: str | None, expected: float | None) -> None:
    """Seconds or a date; nonsense is no wish."""
    assert retry_after(header, now=10.0) == expected


def _body(value: object, status: int = 200) -> Callable[[int], web.Response]:
    return lambda _: web.json_response(value, status=status)


@pytest.mark.parametrize(
    ("addresses", "fault"),
    [
        pytest.param([A], _body({"message": "Not Found"}, 404), id="404 of a gateway"),
        pytest.param([A], _body({"message": "Route not found"}, 404), id="404 of a wrong URL"),
        pytest.param([A], _body({"error": "not found"}, 404), id="404 in other words"),
        pytest.param([A], _body({**FULL, "ip": B}), id="another address"),
        pytest.param([A, B], _body({"items": [{**FULL, "ip": C}]}), id="another in a batch"),
        pytest.param([A, B], _body({"items": [{"reputation": "safe"}]}), id="no address"),
        pytest.param([A, B], _body({"items": ["x"]}), id="no object"),
        pytest.param([A, B], _body({"total": 2, "not_found": 0, "items": []}), id="more found"),
        pytest.param([A, B], _body({"total": 0, "items": [{**FULL, "ip": A}]}), id="less found"),
        pytest.param([A, B], _body({"not_found": 1, "items": []}), id="more missing"),
        pytest.param(
            [A, B], _body({"message": "IP address information not found"}, 404), id="batch"
        ),
    ],
)
async def test_an_error_is_never_taken_for_an_answer(
    addresses: list[str], fault: Callable[[int], Any]
) -> None:
    """What is not known is believed for a week."""
    async with CrowdSec(fault=fault).server() as server:
        api = _api(server.url)
        with pytest.raises(SourceUnavailable):
            await api.look_up(addresses)
        await api.close()


@pytest.mark.parametrize("first", ["safe", "malicious"])
async def test_of_contradicting_items_the_worse_counts(first: str) -> None:
    """Whatever their order."""
    second = {"safe": "malicious", "malicious": "safe"}[first]
    items = [{"ip": A, "reputation": first}, {"ip": A, "reputation": second}]
    async with CrowdSec(
        fault=_body({"total": 2, "not_found": 1, "items": items})
    ).server() as server:
        api = _api(server.url)
        found = await api.look_up([A, B])
        await api.close()
    assert [found[one].reputation for one in (A, B)] == [Reputation.MALICIOUS, Reputation.UNKNOWN]
