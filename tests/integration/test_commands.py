"""lookup, quarantine and demo, as a user runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at, findings_in, replay, signinwatch
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path

BAD = "93.184.216.34"


async def test_lookup_asks_once_and_remembers(tmp_path: Path) -> None:
    """The second time the ledger answers; what is no public address is never asked."""
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD)
    texts = (BAD, f"{BAD}:443", "10.0.0.1", "81.2.69.160")
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, STATE__DIR=str(tmp_path))
        first = await signinwatch("lookup", *texts, "--json", settings=settings)
        again = await signinwatch("lookup", BAD, "--json", "--explain", settings=settings)
        shown = await signinwatch("lookup", BAD, "--cached", settings=settings)
    rows = [orjson.loads(line) for line in first.out.splitlines()]
    assert [one["Verdict"] for one in rows] == ["malicious", "malicious", "unanswered", "unknown"]
    assert rows[0]["IPAddress"] == BAD
    assert rows[2]["Reason"] == "private address"
    assert crowdsec.asked == {BAD: 1, "81.2.69.160": 1}
    explained = orjson.loads(again.out)
    assert (explained["Cached"], explained["Waiting"], again.status) == (True, 0, 0)
    assert "malicious" in shown.out.decode()


async def test_lookup_never_shows_an_outage_as_an_answer(tmp_path: Path) -> None:
    """Exit status 1, and the reason."""
    async with CrowdSec().server() as server:
        settings = crowdsec_at(server.url)
    ran = await signinwatch("lookup", BAD, "--json", "--state", tmp_path, settings=settings)
    told = orjson.loads(ran.out)
    assert (ran.status, told["Verdict"], told["Reason"]) == (1, "unanswered", "source down")


async def test_quarantine_keeps_what_could_not_be_read(tmp_path: Path) -> None:
    """List, show, retry and purge; a body comes back byte for byte."""
    recording = tmp_path / "recording.ndjson"
    broken = b'{"records":[{"a":1},\xff\x1b[31m'
    recording.write_bytes(lines(broken, message(row(BAD)), b"not json"))
    state = ("--state", tmp_path / "state")
    ran = await replay(recording, *state)
    assert (ran.summary["rejected"], ran.summary["signins"]) == (2, 1)
    listed = await signinwatch("quarantine", "list", "--json", *state)
    items = [orjson.loads(line) for line in listed.out.splitlines()]
    assert [one["position"] for one in items] == [f"{recording}:1", f"{recording}:3"]
    shown = await signinwatch("quarantine", "show", items[0]["id"], *state)
    assert shown.out == b"\xff\x1b[31m", "the piece that is broken, alone"
    table = await signinwatch("quarantine", "list", *state)
    assert b"\x1b[31m" not in table.out
    retried = await signinwatch("quarantine", "retry", "--findings", tmp_path / "f", *state)
    assert retried.out.startswith(b"0 of 2 resolved")
    assert (await signinwatch("quarantine", "purge", *state)).status == 2
    purged = await signinwatch("quarantine", "purge", items[0]["id"], *state)
    assert purged.out == b"1 deleted\n"
    left = await signinwatch("quarantine", "list", "--json", *state)
    assert len(left.out.splitlines()) == 1


async def test_quarantine_retry_reads_what_a_new_setting_made_readable(tmp_path: Path) -> None:
    """A message that is readable now goes through the whole pipeline."""
    state = tmp_path / "state"
    (state / "quarantine").mkdir(parents=True)
    kept = {
        "id": "abc",
        "time": "2026-03-02T08:00:00Z",
        "kind": "message",
        "reason": "not JSON",
        "position": "hub:1",
        "bytes": 1,
        "body": message(row(BAD)).decode(),
    }
    (state / "quarantine" / "2099-03-02.ndjson").write_bytes(orjson.dumps(kept) + b"\n")
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD)
    async with crowdsec.server() as server:
        ran = await signinwatch(
            *("quarantine", "retry", "--state", state, "--findings", tmp_path / "f"),
            settings=crowdsec_at(server.url),
        )
    assert ran.out == b"1 of 1 resolved, 1 findings\n", ran.err
    assert findings_in(tmp_path / "f")[0]["IPAddress"] == BAD


async def test_the_demo_finds_the_seeded_addresses_and_no_others(tmp_path: Path) -> None:
    """The command checks itself against the truth file, and exits 1 when it is wrong."""
    ran = await signinwatch("demo", "--findings", tmp_path / "findings.jsonl")
    assert ran.status == 0, ran.out
    assert b"seeded malicious IPs were found, with no false positives" in ran.out
    assert len(findings_in(tmp_path / "findings.jsonl")) > 50
    shown = ran.out.partition(b"Alerts in Microsoft Sentinel")[2]
    assert b"Suspicious sign-in for" in shown, "it ends with the alerts of the shipped rule"


async def test_no_command_needs_more_than_its_help() -> None:
    """Help works everywhere, without settings."""
    for command in ([], ["replay"], ["lookup"], ["quarantine"], ["quarantine", "retry"], ["demo"]):
        ran = await signinwatch(*command, "--help")
        assert (ran.status, b"Usage:" in ran.out) == (0, True)
