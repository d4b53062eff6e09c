"""Indicators to a threat intelligence service that refuses, fails and hesitates."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken

from consumers.wiring.azure import transports
from producers.logs_ingestion import TokenSource
from producers.sentinel.upload import (
    MAX_INDICATOR_REQUEST_BYTES,
    IndicatorUpload,
    RequestRateLimiter,
    Timing,
)
from schemas.errors import ConfigurationError, SinkHeldBack
from schemas.health import Problem
from schemas.intel.stix_export import malicious_indicator
from schemas.intel.verdicts import Intel
from tests.contracts.support_ledger import Told
from tests.servers.threat_intelligence import WORKSPACE, ThreatIntelligence
from tests.servers.tls import Authority, Front
from tests.support.indicator_upload import NOW, Time, uploading
from tests.support.sign_ins import address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def objects(number: int, text: str = "") -> list[dict[str, Any]]:
    """Return so many objects."""
    intel = Intel(confidence="high")
    return [
        malicious_indicator(
            address(n), intel, source="test", now=NOW, valid_until=NOW + 86_400, first=NOW
        )
        | ({"description": text} if text else {})
        for n in range(number)
    ]


def status(code: int, **headers: str) -> web.Response:
    """Return an answer."""
    return web.Response(status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def test_objects_arrive_in_requests_of_a_hundred() -> None:
    """All once, with our source's name and a token; the same again replaces them."""
    service = ThreatIntelligence()
    async with uploading(service) as upload:
        assert await upload.send([]) == []
        assert await upload.send(objects(250)) == []
        assert service.requests == [100, 100, 50]
        assert set(service.uploads.values()) == {1}
        assert await upload.send(objects(250, "again")) == []
    assert len(service.objects) == 250
    assert {one["description"] for one in service.objects.values()} == {"again"}
    assert (service.sources, service.tokens) == ({"test"}, {"Bearer placeholder"})


async def test_no_request_is_larger_than_it_may_be() -> None:
    """Large objects, of which few fit; one that fits into none is refused alone."""
    service = ThreatIntelligence()
    many = objects(40, "ä" * 40_000)
    many[7]["description"] = "x" * MAX_INDICATOR_REQUEST_BYTES
    async with uploading(service) as upload:
        refused = await upload.send(many)
    assert [one["id"] for one, _ in refused] == [many[7]["id"]]
    assert "bytes" in refused[0][1]
    assert len(service.objects) == 39
    assert 900_000 < service.largest_body <= 1_000_000


async def test_what_is_refused_by_itself_is_told() -> None:
    """Inside a 200, by its place in the request; all others are kept."""
    service = ThreatIntelligence()
    many = objects(150)
    many[149].pop("pattern")
    service.wrong = lambda one: "no\x1b[31m" * 200 if one["id"] == many[3]["id"] else None
    async with uploading(service) as upload:
        refused = await upload.send(many)
    assert [one for one, _ in refused] == [many[3], many[149]]
    assert len(refused[0][1]) <= 300
    assert "\x1b" not in refused[0][1]
    assert "Property=pattern" in refused[1][1]
    assert len(service.objects) == 148


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ('{"errors": null}', []),
        ("null", []),
        (" ", []),
        ('{"errors": [{"recordIndex": 9}, {"recordIndex": -1}]}', []),
        ('{"errors": [{"recordIndex": 1}, {"recordIndex": 1}]}', [1]),
        ('{"errors": [{"recordIndex": 2, "errorMessages": [1, null, {}]}], "more": 1}', [2]),
    ],
)
async def test_odd_answers_are_understood(answer: str, refused: list[int]) -> None:
    """An object is refused once, and only one that was sent."""
    service, three = ThreatIntelligence(fault=lambda *_: web.Response(text=answer)), objects(3)
    async with uploading(service) as upload:
        assert [one for one, _ in await upload.send(three)] == [three[n] for n in refused]


async def test_one_bad_object_costs_no_other() -> None:
    """A 400 of the whole request is halved until the object is found."""
    many = objects(100)
    bad = {many[17]["id"], many[18]["id"]}

    def fault(_: int, told: list[dict[str, Any]]) -> web.Response | None:
        return status(400) if any(one["id"] in bad for one in told) else None

    service = ThreatIntelligence(fault=fault)
    async with uploading(service) as upload:
        refused = await upload.send(many)
    assert {one["id"] for one, _ in refused} == bad
    assert len(service.objects) == 98
    assert set(service.uploads.values()) == {1}


async def test_a_service_that_refuses_everything_is_no_fault_of_the_objects() -> None:
    """Nothing is given up as bad; it does not take a request for each object to see."""
    service = ThreatIntelligence(fault=lambda *_: status(400))
    async with uploading(service) as upload:
        with pytest.raises(SinkHeldBack, match="every object"):
            await upload.send(objects(100))
    assert len(service.requests) < 40


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda n, _: status(401) if n < 4 else None, id="401 for a while"),
        pytest.param(lambda n, _: status(403) if n < 4 else None, id="403 for a while"),
        pytest.param(lambda n, _: status(404) if n < 2 else None, id="404 for a while"),
        pytest.param(lambda n, _: status(429) if n == 1 else None, id="429"),
        pytest.param(lambda n, _: status(500) if n == 2 else None, id="500"),
        pytest.param(lambda n, _: status(307, Location="/") if n == 1 else None, id="moved"),
        pytest.param(lambda n, _: "reset" if n == 2 else None, id="reset"),
        pytest.param(lambda n, _: web.Response(text="<html>") if n == 2 else None, id="nonsense"),
        pytest.param(lambda n, _: web.Response(text="[1]") if n == 2 else None, id="odd"),
    ],
)
async def test_passing_trouble_is_waited_out(
    fault: Callable[[int, list[Any]], web.Response | str | None],
) -> None:
    """All objects arrive, the watch is told, and told that it is over."""
    service, health, time = ThreatIntelligence(fault=fault), Told(), Time()
    async with uploading(service, time, health=health) as upload:
        assert await upload.send(objects(150)) == []
    assert len(service.objects) == 150
    assert health.troubles == set()
    assert len(health.details) == upload.errors == len(time.slept)


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (401, "identity"),
        (403, "Microsoft Sentinel Contributor"),
        (404, "SENTINEL__WORKSPACE_ID"),
        (429, "no action needed"),
        (503, "no action needed"),
        (418, "SENTINEL__URL"),
    ],
)
async def test_lasting_trouble_is_told_with_its_mend(code: int, mend: str) -> None:
    """When patience ends; nothing was refused for good, and later it goes on."""
    service, health, time = ThreatIntelligence(fault=lambda *_: status(code)), Told(), Time()
    async with uploading(service, time, health=health, patience=60.0) as upload:
        with pytest.raises(SinkHeldBack, match=str(code)) as caught:
            await upload.send(objects(3))
        assert mend in caught.value.remedy
        assert health.troubles == {Problem.INDICATORS_HELD_BACK}
        assert 30 < sum(time.slept) <= 60
        assert time.slept[:4] == [0.5, 1.0, 2.0, 4.0]
        assert max(time.slept) <= 30
        service.fault = lambda *_: None
        assert await upload.send(objects(3)) == []
    assert health.troubles == set()


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (lambda: status(429, Retry_After="17"), 17.0),
        (lambda: status(503, Retry_After="5"), 5.0),
        (lambda: web.Response(status=429, text='{"message": "Try again in 9 seconds."}'), 9.0),
        (lambda: status(429, Retry_After="86400"), 120.0),
        (lambda: status(429, Retry_After="nan"), 0.5),
        (lambda: status(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), 0.5),
    ],
)
async def test_the_service_says_how_long_to_wait(
    answer: Callable[[], web.Response], waits: float
) -> None:
    """In the header or in words, and is believed up to a bound."""
    service, time = ThreatIntelligence(fault=lambda n, _: answer() if n == 1 else None), Time()
    async with uploading(service, time, patience=600.0) as upload:
        assert await upload.send(objects(1)) == []
    assert time.slept == [waits]


async def test_no_minute_sees_more_than_a_hundred_requests() -> None:
    """By a sliding window, across calls."""
    service, time = ThreatIntelligence(), Time()
    one = objects(1)
    async with uploading(service, time) as upload:
        for _ in range(60):
            assert await upload.send(one) == []
        time.time += 50
        for _ in range(60):
            assert await upload.send(one) == []
        assert time.slept == [10.0]
        for _ in range(90):
            assert await upload.send(one) == []
    assert service.statuses == {200: 210}
    assert time.slept == [10.0, 50.0, 10.0]


async def test_who_sends_at_the_same_time_shares_the_minute() -> None:
    """Several tasks pass one after the other."""
    time = Time()
    pace = RequestRateLimiter(5, Timing(time.monotonic, time.sleep))
    passed: list[float] = []

    async def pass_through() -> None:
        await pace.acquire()
        passed.append(time.time)

    await asyncio.gather(*(pass_through() for _ in range(12)))
    assert passed == [1_000.0] * 5 + [1_060.0] * 5 + [1_120.0] * 2


async def test_a_server_out_of_reach_is_told_as_such() -> None:
    """Without its address in words; no token is shown."""
    time = Time()
    upload = IndicatorUpload(
        "http://127.0.0.1:1",
        WORKSPACE,
        None,
        source="test",
        patience=1.0,
        timing=Timing(time.monotonic, time.sleep),
        new_transport=transports(None),
    )
    with pytest.raises(SinkHeldBack, match="no answer") as caught:
        await upload.send(objects(1))
    assert "placeholder" not in f"{caught.value}{caught.value.remedy}"
    await upload.close()


class Credential:
    """Gives tokens, and keeps for what."""

    def __init__(self) -> None:
        self.scopes: list[tuple[str, ...]] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Give a token for an hour."""
        self.scopes.append(scopes)
        return AccessToken(f"token-{len(self.scopes)}", 4_000_000_000)

    async def close(self) -> None:
        """Nothing to let go of, and not to be called by who does not own it."""
        raise AssertionError

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to let go of."""


async def test_with_a_credential_one_token_serves_many_requests(tmp_path: Path) -> None:
    """For the audience that the service wants, over TLS; after a 401 another one is had."""
    service, credential, time = ThreatIntelligence(), Credential(), Time()
    service.fault = lambda n, _: status(401) if n == 3 else None
    authority = Authority()
    trusted = transports(authority.write_bundle(tmp_path / "bundle.pem"))
    async with (
        service.server() as server,
        Front(authority, "localhost", int(server.url.rsplit(":", 1)[1])) as front,
    ):
        upload = IndicatorUpload(
            f"https://localhost:{front.port}",
            WORKSPACE,
            TokenSource(credential, "https://management.azure.com/.default"),
            source="test",
            new_transport=trusted,
            timing=Timing(time.monotonic, time.sleep),
        )
        assert await upload.send(objects(250)) == []
        await upload.close()
    assert credential.scopes == [("https://management.azure.com/.default",)] * 2
    assert service.tokens == {"Bearer token-1", "Bearer token-2"}
    assert len(service.objects) == 250


@pytest.mark.parametrize(
    ("workspace", "source", "named"),
    [
        ("my-workspace", "test", "WORKSPACE_ID"),
        (f"{WORKSPACE}/..", "test", "WORKSPACE_ID"),
        (WORKSPACE, "Microsoft Sentinel", "SOURCE"),
        (WORKSPACE, " microsoft sentinel ", "SOURCE"),
        (WORKSPACE, " ", "SOURCE"),
    ],
)
async def test_a_wrong_setting_is_named(workspace: str, source: str, named: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=f"SIGNINWATCH_SENTINEL__{named}"):
        IndicatorUpload(
            "https://localhost", workspace, TokenSource(Credential(), "scope"), source=source
        )
