"""Replay against a CrowdSec that counts."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import fastavro
import orjson
import pytest
from aiohttp import web

from tests.servers.crowdsec import CrowdSec, limit
from tests.support.command import crowdsec_at, findings_in, replay, signinwatch
from tests.support.sign_ins import address, lines, message, record, row

if TYPE_CHECKING:
    from pathlib import Path

BAD = "93.184.216.34"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return 400 sign-ins from 120 addresses, one of them bad, in both envelopes."""
    bodies = [
        message(row(address(n % 119)), record(BAD if n % 50 == 0 else address(n % 119)))
        for n in range(200)
    ]
    path = tmp_path / "recording.ndjson"
    path.write_bytes(lines(*bodies))
    return path


async def test_each_address_is_asked_once_and_never_again(recording: Path, tmp_path: Path) -> None:
    """Lookups equal distinct addresses; a second run asks nothing and finds the same."""
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD)
    found, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    state = ("--state", tmp_path / "state")
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url)
        first = await replay(recording, "--findings", found, *state, **settings)
        requests = crowdsec.requests
        second = await replay(recording, "--findings", again, *state, **settings)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert first.summary["signins"] == 400
    assert first.summary["lookups"] == first.summary["distinct_ips"] == len(crowdsec.asked) == 120
    assert set(crowdsec.asked.values()) == {1}
    assert first.summary["cache_hits"] == 400 - 120
    assert crowdsec.requests == requests == first.summary["requests"]
    assert second.summary["lookups"] == second.summary["requests"] == 0
    assert second.summary["cache_hits"] == 400
    assert [one["FindingId"] for one in findings_in(found)] == [
        one["FindingId"] for one in findings_in(again)
    ]
    assert {one["IPAddress"] for one in findings_in(found)} == {BAD}
    assert len(findings_in(found)) == first.summary["findings"] == 4


async def test_a_thousand_addresses_take_ten_requests(tmp_path: Path) -> None:
    """Batches are filled across messages, however thinly the addresses are spread."""
    path = tmp_path / "thousand.ndjson"
    path.write_bytes(lines(*(message(row(address(n)), row(address(n // 2))) for n in range(1_000))))
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        ran = await replay(path, **crowdsec_at(server.url))
    assert ran.summary["lookups"] == 1_000
    assert (crowdsec.requests, crowdsec.largest_batch) == (10, 100)


async def test_a_free_key_works_one_by_one(recording: Path) -> None:
    """A 403 on the batch form falls back to single calls, and says so once."""
    crowdsec = CrowdSec(batches=False)
    crowdsec.serve_bad(BAD)
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url))
    assert ran.status == 0
    assert ran.summary["lookups"] == 120
    assert ran.summary["findings"] == 4
    assert set(crowdsec.asked.values()) == {1}
    assert crowdsec.requests == 121
    assert ran.err.count("looking up one address at a time") == 1


@pytest.mark.parametrize("batch_size", ["1", "100"])
async def test_a_bad_key_is_one_line_and_exit_2(recording: Path, batch_size: str) -> None:
    """A refused key stops the replay before anything else, and is never shown."""
    async with CrowdSec().server() as server:
        settings = crowdsec_at(server.url, key="hunter2hunter2", CROWDSEC__BATCH_SIZE=batch_size)
        ran = await replay(recording, **settings)
    assert ran.status == 2
    complaints = [line for line in ran.err.splitlines() if line.startswith("signinwatch:")]
    assert len(complaints) == 1
    assert "CROWDSEC__API_KEY" in complaints[0]
    assert "hunter2" not in ran.err + ran.out.decode()


async def test_with_the_service_down_nothing_is_clean(recording: Path, tmp_path: Path) -> None:
    """Nobody listens: all sign-ins are unanswered, and wait in the ledger for the next run."""
    state = ("--state", tmp_path / "state")
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD)
    async with crowdsec.server() as server:
        url = server.url
    down = await replay(recording, *state, **crowdsec_at(url))
    assert down.status == 0
    assert down.summary["unanswered"] == down.summary["signins"] == 400
    assert down.summary["findings"] == down.summary["lookups"] == 0
    assert down.summary["seconds"] < 30
    async with crowdsec.server() as server:
        up = await replay(recording, *state, **crowdsec_at(server.url))
    assert (up.summary["findings"], up.summary["unanswered"]) == (4, 0)
    assert up.summary["lookups"] == 120


async def test_a_hanging_service_is_given_up(recording: Path) -> None:
    """Requests that are never answered may have counted: no address is asked twice."""
    crowdsec = CrowdSec(fault=lambda _: "hang")
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url, CROWDSEC__TIMEOUT="1"))
    assert ran.summary["unanswered"] == 400
    assert ran.summary["findings"] == 0
    assert ran.summary["requests"] == crowdsec.requests <= 3


async def test_a_failing_service_is_not_asked_twice(recording: Path) -> None:
    """A 500 may have counted, so its address waits; the others are asked and judged."""
    crowdsec = CrowdSec(
        fault=lambda n: web.Response(status=500, text="<html>") if n % 10 == 0 else None
    )
    crowdsec.serve_bad(BAD)
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1"))
    assert ran.status == 0
    assert max(crowdsec.asked.values()) == 1
    assert len(crowdsec.asked) == 120
    assert 0 < ran.summary["unanswered"] < 400


async def test_the_quota_is_never_exceeded(recording: Path, tmp_path: Path) -> None:
    """A recording of an hour spends it all at its end, if nothing can follow; else its share."""
    crowdsec = CrowdSec()
    state = ("--state", tmp_path / "state")
    async with crowdsec.server() as server:
        alone = await replay(recording, "--quota", "30", **crowdsec_at(server.url))
        first = await replay(recording, "--quota", "30", *state, **crowdsec_at(server.url))
        second = await replay(recording, "--quota", "30", *state, **crowdsec_at(server.url))
        third = await replay(recording, "--quota", "1000", *state, **crowdsec_at(server.url))
    lookups = [one.summary["lookups"] for one in (alone, first, second, third)]
    assert lookups == [30, 1, 0, 119]
    assert alone.summary["unanswered"] > 0
    assert third.summary["unanswered"] == 0


async def test_limit_exceeded_ends_the_asking(recording: Path) -> None:
    """After "Limit Exceeded" there is no further question in this period."""
    crowdsec = CrowdSec(fault=lambda n: limit("Limit Exceeded") if n > 5 else None)
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1"))
    assert ran.status == 0
    assert ran.summary["lookups"] == 5
    assert crowdsec.requests <= 5 + 16
    assert ran.summary["unanswered"] > 0


async def test_too_many_requests_is_waited_out(recording: Path) -> None:
    """A burst refusal costs nothing and is asked again; all addresses are answered."""
    crowdsec = CrowdSec(
        fault=lambda n: limit("Too Many Requests", **{"Retry-After": "0"}) if n % 7 == 0 else None
    )
    async with crowdsec.server() as server:
        ran = await replay(recording, **crowdsec_at(server.url, CROWDSEC__BATCH_SIZE="1"))
    assert ran.summary["lookups"] == 120
    assert ran.summary["unanswered"] == 0
    assert set(crowdsec.asked.values()) == {1}


async def test_every_kind_of_recording_gives_the_same(recording: Path, tmp_path: Path) -> None:
    """Plain, gzipped, Capture Avro and standard input: the same sign-ins."""
    text = recording.read_bytes()
    zipped = tmp_path / "recording.gz"
    zipped.write_bytes(gzip.compress(text))
    captured = tmp_path / "recording.avro"
    with captured.open("wb") as file:
        events = [
            {"EnqueuedTimeUtc": "3/2/2026 9:00:00 AM", "Body": line} for line in text.splitlines()
        ]
        fastavro.writer(file, fastavro.parse_schema(CAPTURE), events, codec="deflate")
    summaries = [(await replay(one)).summary for one in (recording, zipped, captured)]
    piped = await signinwatch("replay", "-", "--summary", "-", stdin=text)
    for summary in (*summaries, piped.summary):
        assert (summary["messages"], summary["signins"], summary["distinct_ips"]) == (200, 400, 120)


CAPTURE = {
    "type": "record",
    "name": "EventData",
    "namespace": "Microsoft.ServiceBus.Messaging",
    "fields": [
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}


BINARY = bytes(range(256)) * 50


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x1f\x8b\x08\x00broken", id="broken gzip"),
        pytest.param(gzip.compress(lines(message(row(address(1)))) * 500)[:-20], id="cut gzip"),
        pytest.param(b"Obj\x01\x02nonsense", id="broken avro"),
        pytest.param(BINARY, id="binary"),
        pytest.param(b"[" * 100_000, id="nested"),
        pytest.param(b"", id="empty"),
        pytest.param(message(row(address(1)))[:-7], id="cut message"),
    ],
)
async def test_no_content_crashes(content: bytes, tmp_path: Path) -> None:
    """Whatever a file holds, every record is accounted for; 1 if nothing was recognised."""
    path = tmp_path / "odd"
    path.write_bytes(content)
    ran = await replay(path)
    assert "Traceback" not in ran.err
    if content == BINARY:
        assert (ran.status, "a binary file of an unknown kind" in ran.err) == (1, True)
        return
    summary = ran.summary
    assert ran.status == (0 < summary["rejected"] == summary["records"]), ran.err
    assert summary["records"] == summary["rejected"] + summary["skipped"] + summary["signins"]
    assert (summary["rejected"] > 0) == bool(content)


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
async def test_lines_of_csv_end_in_any_way(tmp_path: Path, end: bytes) -> None:
    """Those of a Macintosh of long ago are not read as CSV, and nothing crashes."""
    path = tmp_path / "odd.csv"
    path.write_bytes(end.join([b"Type,IPAddress,Id", b"SigninLogs,81.2.69.160,1", b""]))
    ran = await replay(path)
    assert "Traceback" not in ran.err
    assert (ran.status, ran.summary["signins"]) == ((1, 0) if end == b"\r" else (0, 1))


async def test_tables_that_are_off_are_named(tmp_path: Path) -> None:
    """With the setting that turns them on beside the others."""
    path = tmp_path / "activity.ndjson"
    path.write_bytes(orjson.dumps({"Type": "OfficeActivity", "ClientIP": "81.2.69.160"}))
    ran = await replay(path)
    assert ran.status == 0
    assert "1 record of tables that are off: OfficeActivity" in " ".join(
        ran.err.replace("│", " ").split()
    )
    again = await replay(path, TABLES="default,OfficeActivity")
    assert again.summary["signins"] == 1


async def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    """A slip would skip everything in silence."""
    path = tmp_path / "rows.ndjson"
    path.write_bytes(b'{"IPAddress":"81.2.69.160"}')
    ran = await replay(path, "--table", "Signin")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--table Signin: is no known table" in ran.err
