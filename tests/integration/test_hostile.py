"""What a hostile tester found once, and must not find again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.servers.crowdsec import CrowdSec
from tests.servers.ingestion import Ingestion
from tests.servers.loopback import Loopback
from tests.support.command import crowdsec_at, findings_in, logs_at, replay, signinwatch
from tests.support.sign_ins import address, lines, message, row

if TYPE_CHECKING:
    from pathlib import Path


def _recording(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_bytes(lines(*(message(*rows[n : n + 20]) for n in range(0, len(rows), 20))))
    return path


def _at(day: int, hour: int = 8) -> dict[str, str]:
    time = f"2026-03-{day:02}T{hour:02}:00:00.0000000Z"
    return {"TimeGenerated": time, "CreatedDateTime": time}


async def test_an_address_is_asked_once_while_findings_are_uploaded(tmp_path: Path) -> None:
    """Answers that come in while the sink is slow are not asked for again."""
    bad = [address(n) for n in range(300)]
    rows = (row(bad[n * 7 % 300], f"u{n}@example.net") for n in range(4_000))
    recording = _recording(tmp_path / "r", *rows)
    crowdsec, ingestion = CrowdSec(), Ingestion()
    crowdsec.serve_bad(*bad)

    async def slowly(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return await ingestion._take(request)

    async with crowdsec.server() as intel, Loopback(slowly) as logs:
        settings = {**crowdsec_at(intel.url, CROWDSEC__BATCH_SIZE="7"), **logs_at(logs.url)}
        ran = await replay(recording, "--findings", "azure", **settings)
    assert set(crowdsec.asked.values()) == {1}
    assert ran.summary["lookups"] == 300
    assert len({one["FindingId"] for one in ingestion.rows}) == 4_000 == len(ingestion.rows)


async def test_after_an_outage_the_same_command_asks(tmp_path: Path) -> None:
    """What one run must not ask twice, the next run may."""
    recording = _recording(tmp_path / "r", *(row(address(n)) for n in range(30)))
    crowdsec = CrowdSec(fault=lambda n: web.Response(status=500) if n == 1 else None)
    state = ("--state", tmp_path / "state")
    async with crowdsec.server() as server:
        first = await replay(recording, *state, **crowdsec_at(server.url))
        second = await replay(recording, *state, **crowdsec_at(server.url))
    assert (first.summary["unanswered"], second.summary["unanswered"]) == (30, 0)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param("404: Not Found", 404, id="a wrong URL"),
        pytest.param("{}", 200, id="nothing told"),
        pytest.param('{"message":"Internal server error"}', 200, id="an error told as success"),
        pytest.param('{"ip":"9.9.9.9","reputation":"safe"}', 200, id="another address"),
    ],
)
@pytest.mark.parametrize("batch", ["1", "100"])
async def test_no_odd_answer_makes_an_address_clean(
    tmp_path: Path, answer: str, status: int, batch: str
) -> None:
    """Whoever answers so has not been asked what we wanted to know."""
    recording = _recording(tmp_path / "r", *(row(address(n)) for n in range(3)))

    async def odd(_: web.Request) -> web.Response:
        return web.Response(text=answer, status=status)

    async with Loopback(odd) as server:
        settings = crowdsec_at(server.url, CROWDSEC__BATCH_SIZE=batch)
        ran = await replay(recording, **settings)
    assert ran.summary["unanswered"] == 3


async def test_a_lost_connection_is_not_asked_again_by_the_library(tmp_path: Path) -> None:
    """Aiohttp would repeat a GET whose kept connection breaks; the service would count twice."""
    recording = _recording(tmp_path / "r", *(row(address(n)) for n in range(40)))
    crowdsec = CrowdSec(fault=lambda n: "reset" if n % 2 == 0 else None)
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1"))
    assert crowdsec.requests == ran.summary["requests"]
    assert set(crowdsec.asked.values()) == {1}


async def test_an_older_recording_gets_no_quota_of_its_own(tmp_path: Path) -> None:
    """The first period begins with the first record met, and what is older belongs to it."""
    state = ("--state", tmp_path / "state", "--quota", "20")
    late = _recording(tmp_path / "a", *(row(address(n), **_at(20)) for n in range(30)))
    early = _recording(tmp_path / "b", *(row(address(100 + n), **_at(2)) for n in range(30)))
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        for recording in (late, early):
            await replay(recording, *state, **crowdsec_at(server.url))
    assert crowdsec.asked.total() == 1  # one day's share


async def test_the_period_begins_with_the_first_record(tmp_path: Path) -> None:
    """Also when nothing was asked for days."""
    quiet = [row("10.0.0.1", **_at(1)), row(address(0), **_at(1))]
    busy = [row(address(n), **_at(29)) for n in range(1, 20)]
    later = [row(address(n), **_at(31, 9)) for n in range(20, 40)]
    recording = tmp_path / "r"
    recording.write_bytes(lines(*(message(*part) for part in (quiet, busy, later))))
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1")
        ran = await replay(recording, "--quota", "20", **settings)
    early = sum(crowdsec.asked[address(n)] for n in range(20))
    assert early >= 19, "the pace of the first period, which ends a day after"
    assert crowdsec.asked.total() - early == 1, "a day's share of the second"
    assert ran.summary["unanswered"] == 19 + 20 - early


async def test_the_event_clock_waits_for_answers(tmp_path: Path) -> None:
    """A verdict of a week's life is asked anew in a recording of three weeks, on time."""
    rows = [message(row(address(1), **_at(day))) for day in range(1, 22)]
    recording, found = tmp_path / "r", tmp_path / "f"
    recording.write_bytes(lines(*rows))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(address(1))
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1")
        await replay(recording, "--findings", found, **settings)
    assert crowdsec.asked == {address(1): 3}
    assert {one["DelaySeconds"] for one in findings_in(found)} == {0.0}


async def test_late_events_of_a_folded_hour_keep_the_whole_count(tmp_path: Path) -> None:
    """The row told last holds all of them, under the same id."""
    failed = {"ResultType": "50126"}
    first = [row(address(1), **_at(2, 8), **failed) for _ in range(150)]
    pause = [row(address(2), **_at(2, hour)) for hour in range(9, 20)]
    late = [row(address(1), **_at(2, 8), **failed) for _ in range(50)]
    recording, found = tmp_path / "r", tmp_path / "f"
    recording.write_bytes(lines(*(message(one) for one in (*first, *pause, *late))))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(address(1))
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1")
        await replay(recording, "--findings", found, **settings)
    folded = [one for one in findings_in(found) if "folded" in one["Evidence"]]
    assert len({one["FindingId"] for one in folded}) == 1
    assert folded[-1]["Evidence"]["folded"]["signIns"] == 100


@pytest.mark.parametrize("option", ["--findings", "--summary"])
async def test_a_recording_is_never_overwritten(tmp_path: Path, option: str) -> None:
    """Nor do findings and summary share a file, nor is anything spent before that is clear."""
    recording = _recording(tmp_path / "r", row(address(1)))
    before = recording.read_bytes()
    ran = await signinwatch("replay", recording, option, recording)
    assert (ran.status, recording.read_bytes()) == (2, before)
    ran = await signinwatch("replay", recording, "--findings", "x/y", option, tmp_path)
    assert ran.status == 2


async def test_patience_is_paid_once(tmp_path: Path) -> None:
    """However many uploads there are."""
    bad = [address(n) for n in range(200)]
    rows = (row(bad[n % 200], f"u{n}@example.net") for n in range(2_500))
    recording = _recording(tmp_path / "r", *rows)
    crowdsec = CrowdSec()
    crowdsec.serve_bad(*bad)
    ingestion = Ingestion(fault=lambda *_: web.Response(status=403))
    async with crowdsec.server() as intel, ingestion.server() as logs:
        settings = {**crowdsec_at(intel.url), **logs_at(logs.url), "LOGS__RETRY_LIMIT": "0.01"}
        ran = await replay(recording, "--findings", "azure", **settings)
    assert ran.status == 1
    assert ingestion.requests <= 2  # of seven uploads


async def test_quarantine_retry_does_not_lose_what_nobody_can_answer(tmp_path: Path) -> None:
    """Without a key the message stays where it is."""
    state = tmp_path / "state"
    (state / "quarantine").mkdir(parents=True)
    body = message(row(address(1))).decode().replace('"', '\\"')
    (state / "quarantine" / "2099-01-01.ndjson").write_text(
        '{"id":"a","time":"2026-03-02T08:00:00Z","kind":"message","reason":"x","position":"p",'
        f'"bytes":1,"body":"{body}"}}\n'
    )
    arguments = ("quarantine", "retry", "--state", state, "--findings", tmp_path / "f")
    ran = await signinwatch(*arguments)
    assert ran.out.startswith(b"0 of 1 resolved")


async def test_looking_does_not_make_a_ledger(tmp_path: Path) -> None:
    """``lookup --cached`` leaves a new directory alone."""
    ran = await signinwatch("lookup", address(1), "--cached", "--state", tmp_path / "new")
    assert (ran.status, (tmp_path / "new").exists()) == (0, False)


@pytest.mark.parametrize("column", ["RISK_LEVEL", "ACCOUNT", "RESULT", "SESSION_ID", "USER_AGENT"])
async def test_a_value_that_is_an_object_is_none(tmp_path: Path, column: str) -> None:
    """A table of the user's own may name a place that holds others."""
    recording = tmp_path / "r"
    one = {"Type": "Door_CL", "Risk": {"ip": address(1)}, "TimeGenerated": "2026-03-01T00:00:00Z"}
    recording.write_bytes(lines(message(one)))
    own = {"OWN_TABLES__DOOR_CL__ADDRESS": "Risk.ip", f"OWN_TABLES__DOOR_CL__{column}": "Risk"}
    async with CrowdSec().server() as server:
        ran = await replay(recording, **crowdsec_at(server.url), **own)
    assert (ran.status, ran.summary["signins"]) == (0, 1), ran.err
