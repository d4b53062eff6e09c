"""What waits goes on waiting: over kill -9 at any point, a new key, and a long outage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.servers.crowdsec import CrowdSec
from tests.servers.ingestion import Ingestion
from tests.support.command import crowdsec_at, findings_in, logs_at, replay
from tests.support.quotas import Killed, at, far_reset_day, ids_by_event
from tests.support.service_process import Running, free_port, until
from tests.support.sign_ins import address, lines, message, row
from tests.support.site import PARTITIONS, Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite

WIDE = "1000000"
"""A quota whose share of one day is more than any test here asks."""
ORIGIN_OF_LATE = {"late"}
"""Relax it here to {"live", "late"}: what a late verdict is called is not what is proven."""


@dataclass
class Planted:
    """A recording in two parts, and the sign-ins in it that must be found."""

    first: Path
    second: Path
    bad: set[str] = field(default_factory=set)
    crowdsec: CrowdSec = field(default_factory=CrowdSec)
    ingestion: Ingestion = field(default_factory=Ingestion)

    def found_once(self) -> None:
        """Check that each planted sign-in has a row and one FindingId, and no other has."""
        found = ids_by_event(self.ingestion.rows)
        assert found.keys() == self.bad
        assert {len(ids) for ids in found.values()} == {1}


PART = 60
"""Addresses of each part, every second of them bad, two sign-ins each."""


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """Return a morning and a noon of one day; some of the morning's addresses come again."""
    planted = Planted(tmp_path / "morning.ndjson", tmp_path / "noon.ndjson")
    begin = datetime(2026, 3, 2, 8, tzinfo=UTC)
    bad = {address(number) for number in range(0, 2 * PART, 2)}
    planted.crowdsec.serve_bad(*bad)
    for path, first, hours in ((planted.first, 0, 0), (planted.second, PART // 2, 4)):
        bodies = []
        for number in range(first, first + PART + first):
            moment = begin + timedelta(hours=hours, seconds=30 * number)
            rows = [row(address(number), **at(moment)) for _ in range(2)]
            planted.bad |= {one["Id"] for one in rows if one["IPAddress"] in bad}
            bodies.append(message(*rows))
        path.write_bytes(lines(*bodies))
    return planted


Moment = Callable[[Planted, Killed], Callable[[], bool]]
"""Sets a trap in the servers, or returns the condition for which to kill."""


def _never() -> bool:
    return False


def _question(number: int) -> Moment:
    """Kill when so many questions have arrived, before the last of them is answered."""

    def trap(planted: Planted, victim: Killed) -> Callable[[], bool]:
        last = planted.crowdsec.requests + number

        def fault(requests: int) -> None:
            if requests >= last:
                victim.kill()

        planted.crowdsec.fault = fault
        return _never

    return trap


def _answers(number: int) -> Moment:
    """Kill soon after so many answers."""

    def trap(planted: Planted, _victim: Killed) -> Callable[[], bool]:
        limit = planted.crowdsec.asked.total() + number
        planted.crowdsec.delay = 0.1
        return lambda: planted.crowdsec.asked.total() >= limit

    return trap


def _upload(number: int) -> Moment:
    """Kill while an upload is under way, which is accepted."""

    def trap(planted: Planted, victim: Killed) -> Callable[[], bool]:
        last = planted.ingestion.requests + number

        def fault(requests: int, _rows: list[object]) -> None:
            if requests >= last:
                victim.kill()

        planted.ingestion.fault = fault
        return _never

    return trap


def _sink_trouble(planted: Planted, _victim: Killed) -> Callable[[], bool]:
    """Kill while no upload is accepted."""
    planted.ingestion.fault = lambda *_: web.Response(status=503)
    return lambda: planted.ingestion.statuses[503] > 1


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(_question(1), id="first question"),
        pytest.param(_question(4), id="fourth question"),
        pytest.param(_answers(30), id="answers"),
        pytest.param(_upload(1), id="upload accepted"),
        pytest.param(_upload(4), id="later upload accepted"),
        pytest.param(_sink_trouble, id="sink in trouble"),
    ],
)
async def test_what_waited_is_found_after_a_kill(
    moment: Moment, planted: Planted, tmp_path: Path
) -> None:
    """A morning waits; a noon with a wide quota is killed; the noon again finds both."""
    crowdsec, ingestion = planted.crowdsec, planted.ingestion
    async with crowdsec.server() as cti, ingestion.server() as logs:
        settings = crowdsec_at(cti.url, CROWDSEC__BATCH_SIZE="10", CROWDSEC__CONCURRENCY="2")
        settings |= logs_at(logs.url)
        arguments = ("--state", tmp_path / "state", "--findings", "azure")
        ran = await replay(planted.first, *arguments, "--quota", "12", **settings)
        assert ran.status == 0, ran.err
        assert crowdsec.asked.total() <= 12
        assert ran.summary["unanswered"] >= 2 * (PART - 12)
        victim = Killed((planted.second, *arguments, "--quota", WIDE), settings)
        assert await victim.run(moment(planted, victim)), "it ended before it was killed"
        assert len(ids_by_event(ingestion.rows)) < len(planted.bad), "killed too late"
        crowdsec.fault, ingestion.fault = lambda _: None, lambda *_: None
        crowdsec.delay = 0.0
        ran = await replay(planted.second, *arguments, "--quota", WIDE, **settings)
        assert ran.status == 0, ran.err
        assert ran.summary["unanswered"] == 0
    planted.found_once()


async def test_killed_while_sign_ins_begin_to_wait(planted: Planted, tmp_path: Path) -> None:
    """Killed as a narrow quota is spent; the same again with a wide one finds everything."""
    crowdsec, ingestion = planted.crowdsec, planted.ingestion
    async with crowdsec.server() as cti, ingestion.server() as logs:
        settings = crowdsec_at(cti.url, CROWDSEC__BATCH_SIZE="1") | logs_at(logs.url)
        arguments = ("--state", tmp_path / "state", "--findings", "azure")
        victim = Killed((planted.first, *arguments, "--quota", "45"), settings)
        assert await victim.run(_answers(1)(planted, victim))
        crowdsec.delay = 0.0
        for part in (planted.first, planted.second):
            ran = await replay(part, *arguments, "--quota", WIDE, **settings)
            assert ran.status == 0, ran.err
    planted.found_once()


@pytest.fixture
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, azurite: Azurite
) -> AsyncIterator[Site]:
    """Return peers on loopback, with either ledger, in a month that does not end now."""
    state = tmp_path / "state" if request.param == "directory" else None
    async with open_site(azurite.connection_string, state) as one:
        one.settings["CROWDSEC__RESET_DAY"] = far_reset_day(datetime.now(UTC))
        yield one


async def _wait_and_be_killed(site: Site, **settings: str) -> set[str]:
    """Run until all sign-ins wait or are judged, kill it; return the events that were found."""
    async with Running(site.settings | settings) as service:
        await until(site.all_checkpointed, "sign-ins that wait")
        service.kill()
    return set(ids_by_event(site.ingestion.rows))


@pytest.mark.parametrize(
    ("why", "site"), [("quota", "table"), ("down", "directory")], indirect=["site"]
)
async def test_a_new_key_finds_what_waits(
    why: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be asked, kill -9, and another key: what waited is found, as late."""
    site.publish(bad=20, good=60)
    if why == "quota":
        narrow = {"CROWDSEC__MONTHLY_QUOTA": "10", "CROWDSEC__BATCH_SIZE": "5"}
    else:
        narrow = {"CROWDSEC__URL": f"http://127.0.0.1:{free_port()}/v2"}
    live = await _wait_and_be_killed(site, **narrow)
    assert site.crowdsec.asked.total() <= (10 if why == "quota" else 0)
    assert len(live) < len(site.planted)
    monkeypatch.setattr("tests.servers.crowdsec.KEY", "another-good-key")
    renewed = {"CROWDSEC__API_KEY": "another-good-key", "CROWDSEC__MONTHLY_QUOTA": WIDE}
    async with Running(site.settings | renewed) as service:
        await until(site.found, "what waited")
        assert await service.terminate() == 0
    assert site.one_id_each()
    origins = {one["EventId"]: one["Origin"] for one in site.ingestion.rows}
    assert {origins[event] for event in live} <= {"live"}
    assert {origins[event] for event in site.planted - live} <= ORIGIN_OF_LATE


OUTAGE = timedelta(hours=30)
FAILURES, SUCCESSES = 120, 6


def _publish_backlog(site: Site, ago: timedelta) -> tuple[set[str], set[str]]:
    """Fill the hub as it filled *ago*; return all addresses, and those that got in."""
    then = datetime.now(UTC) - ago
    rows = [
        row(address(number), ResultType="50126", **at(then + timedelta(seconds=number)))
        for number in range(FAILURES)
    ]
    inside = {address(number * FAILURES // SUCCESSES + 11) for number in range(SUCCESSES)}
    for one in rows:
        if one["IPAddress"] in inside:
            one["ResultType"] = "0"
    addresses = {str(one["IPAddress"]) for one in rows}
    site.crowdsec.serve_bad(*addresses)
    site.planted |= {one["Id"] for one in rows}
    enqueued = int((time.time() - ago.total_seconds()) * 1_000)
    for number in range(0, FAILURES, 10):
        body = message(*rows[number : number + 10])
        site.broker.publish("signins", number // 10 % PARTITIONS, body, enqueued=enqueued)
    return addresses, inside


@pytest.mark.parametrize("site", ["table"], indirect=True)
async def test_a_backlog_of_thirty_hours_is_ranked_and_asked(site: Site) -> None:
    """The consumer was away for longer than a sign-in may wait: nothing is too old for that."""
    addresses, inside = _publish_backlog(site, OUTAGE)
    narrow = {"CROWDSEC__URL": f"http://127.0.0.1:{free_port()}/v2"}
    assert await _wait_and_be_killed(site, **narrow) == set()
    narrow = {
        "CROWDSEC__MONTHLY_QUOTA": "120",
        "CROWDSEC__BATCH_SIZE": "3",
        "CROWDSEC__CONCURRENCY": "1",
    }
    async with Running(site.settings | narrow) as service:
        await until(lambda: site.crowdsec.asked.total() >= 3, "the best of the backlog")
        service.kill()
    best = list(site.crowdsec.asked)[: len(inside)]
    assert set(best) <= inside, "who got in is asked about first"
    async with Running(site.settings | {"CROWDSEC__MONTHLY_QUOTA": WIDE}) as service:
        await until(site.found, "the whole backlog")
        assert await service.terminate() == 0
    assert site.one_id_each()
    assert set(site.crowdsec.asked) == addresses


async def test_an_old_recording_by_the_wall_clock(tmp_path: Path) -> None:
    """What waits is as old as its waiting, not as its event: 30 hours old, it is asked late."""
    crowdsec = CrowdSec()
    then = datetime.now(UTC) - OUTAGE
    rows = [row(address(n), **at(then + timedelta(seconds=n))) for n in range(40)]
    crowdsec.serve_bad(*(one["IPAddress"] for one in rows))
    path, found = tmp_path / "old.ndjson", tmp_path / "found.jsonl"
    path.write_bytes(lines(*(message(one) for one in rows)))
    (tmp_path / "none.ndjson").write_bytes(b"")
    state = ("--clock", "wall", "--state", tmp_path / "state", "--findings", found)
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, CROWDSEC__RESET_DAY=far_reset_day(datetime.now(UTC)))
        first = await replay(path, *state, "--quota", "5", **settings)
        early = findings_in(found)
        second = await replay(tmp_path / "none.ndjson", *state, "--quota", WIDE, **settings)
    assert first.summary["unanswered"] == 40 - len(early)
    assert first.summary["lookups"] == len(early) <= 5
    assert second.summary["lookups"] == 40 - len(early)
    ids = ids_by_event(early + findings_in(found))
    assert ids.keys() == {one["Id"] for one in rows}
    assert set(crowdsec.asked.values()) == {1}
