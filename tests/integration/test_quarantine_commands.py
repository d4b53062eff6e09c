"""The quarantine beside the checkpoints, as a user looks after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from producers.quarantine.blob import BlobQuarantine
from schemas.ports import QuarantineItem
from tests.servers.crowdsec import CrowdSec
from tests.servers.ingestion import Ingestion
from tests.support.blobs import blobs_in, make_container, quarantine_container
from tests.support.command import crowdsec_at, findings_in, logs_at, replay, signinwatch
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite

BAD, WORSE, GOOD = "93.184.216.34", "93.184.216.35", "81.2.69.160"
SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0"


@pytest.fixture
async def beside(azurite: Azurite) -> dict[str, str]:
    """Return the settings for a new container."""
    return {
        "CHECKPOINT__CONNECTION_STRING": azurite.connection_string,
        "CHECKPOINT__CONTAINER": await make_container(azurite.connection_string),
    }


async def put(settings: dict[str, str], *bodies: bytes, kind: str = "message") -> None:
    """Set something aside as the service does, each a day older than the one before."""
    quarantine = BlobQuarantine(
        quarantine_container(
            settings["CHECKPOINT__CONNECTION_STRING"], settings["CHECKPOINT__CONTAINER"]
        ),
        instance="replica-1",
        patient=False,
    )
    now = datetime.now(UTC)
    for number, body in enumerate(bodies):
        moment = now - timedelta(days=number, minutes=1)
        await quarantine.put([QuarantineItem(kind, "not JSON", f"hub/0:{number}", body, moment)])
    await quarantine.close()


async def listed(settings: dict[str, str]) -> list[dict[str, Any]]:
    """Return what ``list`` shows."""
    ran = await signinwatch("quarantine", "list", "--json", settings=settings)
    assert ran.status == 0, ran.err
    return [orjson.loads(line) for line in ran.out.splitlines()]


async def test_list_show_and_purge(beside: dict[str, str]) -> None:
    """By id, by age, and all; a body comes back byte for byte."""
    broken = b'{"records":[\xff\x1b[31m'
    await put(beside, broken, b"two", b"three", b"four")
    items = await listed(beside)
    assert [one["position"] for one in items] == [f"hub/0:{number}" for number in range(4)]
    shown = await signinwatch("quarantine", "show", items[0]["id"], settings=beside)
    assert shown.out == broken
    table = await signinwatch("quarantine", "list", settings=beside)
    assert b"4 quarantined" in table.out
    unknown = await signinwatch("quarantine", "purge", "unknown", settings=beside)
    assert (unknown.status, "unknown: no such item" in unknown.err) == (2, True)
    for arguments, left in (
        (["--older-than", "2"], ["hub/0:0", "hub/0:1"]),
        ([items[0]["id"]], ["hub/0:1"]),
        (["--all"], []),
    ):
        purged = await signinwatch("quarantine", "purge", *arguments, settings=beside)
        assert (purged.status, purged.out.endswith(b" deleted\n")) == (0, True), purged.err
        assert [one["position"] for one in await listed(beside)] == left
    where = beside["CHECKPOINT__CONNECTION_STRING"]
    assert await blobs_in(where, beside["CHECKPOINT__CONTAINER"]) == {}


async def test_retry_asks_by_the_quota_given(beside: dict[str, str], tmp_path: Path) -> None:
    """Without one nothing is asked; what stays unanswered stays; what is settled goes."""
    bodies = [message(row(BAD), row(GOOD)), message(row(WORSE)), b"still not JSON"]
    await put(beside, *bodies)
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD, WORSE)
    retry = ("quarantine", "retry", "--findings")
    async with crowdsec.server() as server:
        settings = {**beside, **crowdsec_at(server.url)}
        unasked = await signinwatch(*retry, tmp_path / "0", settings=settings)
        assert unasked.out == b"0 of 3 resolved, 0 findings\n", unasked.err
        assert "--quota N" in unasked.err
        assert crowdsec.asked == {}
        first = await signinwatch(*retry, tmp_path / "1", "--quota", "2", settings=settings)
        assert first.out == b"1 of 3 resolved, 1 findings\n", first.err
        assert [one["position"] for one in await listed(beside)] == ["hub/0:1", "hub/0:2"]
        second = await signinwatch(*retry, tmp_path / "2", "--quota", "2", settings=settings)
        assert second.out == b"1 of 2 resolved, 1 findings\n", second.err
    assert [one["position"] for one in await listed(beside)] == ["hub/0:2"]
    assert crowdsec.asked == {BAD: 1, GOOD: 1, WORSE: 1}
    for name, found in (("0", []), ("1", [BAD]), ("2", [WORSE])):
        assert [one["IPAddress"] for one in findings_in(tmp_path / name)] == found


async def test_retry_keeps_what_is_refused_again(beside: dict[str, str], tmp_path: Path) -> None:
    """A finding refused for good comes back to where it lay, and so does that of a message."""
    recording = tmp_path / "recording.ndjson"
    recording.write_bytes(lines(message(row(BAD))))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(BAD, WORSE)
    refusing = Ingestion(fault=lambda *_: web.Response(status=400))
    async with crowdsec.server() as intel, refusing.server() as logs:
        found = await replay(recording, "--findings", tmp_path / "f", **crowdsec_at(intel.url))
        assert found.status == 0, found.err
        await put(beside, (tmp_path / "f").read_bytes().strip(), b"cut off {", kind="finding")
        await put(beside, message(row(WORSE)))
        settings = {**beside, **crowdsec_at(intel.url), **logs_at(logs.url)}
        ran = await signinwatch("quarantine", "retry", "--quota", "5", settings=settings)
        assert ran.out == b"1 of 3 resolved, 0 findings\n", ran.err
        assert [one["kind"] for one in await listed(beside)].count("finding") >= 3
        refusing.fault = lambda *_: None
        ran = await signinwatch("quarantine", "retry", settings=settings)
    assert ran.status == 0, ran.err
    assert {one["IPAddress"] for one in refusing.rows} == {BAD, WORSE}
    assert len(await listed(beside)) == 1  # the one that was cut off


async def test_what_a_command_cannot_reach_is_named(beside: dict[str, str]) -> None:
    """One line, the setting, exit status 2 or 1, and no secret."""
    parts = beside["CHECKPOINT__CONNECTION_STRING"].split(";")
    wrong_key = ";".join(f"AccountKey={SECRET}" if "Key=" in part else part for part in parts)
    cases: list[tuple[dict[str, str], int, str]] = [
        ({"CHECKPOINT__CONTAINER": "not-there"}, 2, "CHECKPOINT__CONTAINER"),
        ({"CHECKPOINT__CONTAINER": "Not_A_Name!"}, 2, "CHECKPOINT__CONTAINER"),
        ({"CHECKPOINT__CONTAINER": ""}, 2, "CHECKPOINT__CONTAINER"),
        ({"CHECKPOINT__CONNECTION_STRING": wrong_key}, 2, "CHECKPOINT__CONNECTION_STRING"),
        ({"CHECKPOINT__CONNECTION_STRING": SECRET}, 2, "CHECKPOINT__CONNECTION_STRING"),
        (
            {"CHECKPOINT__CONNECTION_STRING": wrong_key.replace("127.0.0.1", "storage.example")},
            2,
            "http:// is allowed on loopback only",
        ),
        (
            {"CHECKPOINT__CONNECTION_STRING": "", "CHECKPOINT__ACCOUNT_URL": "http://127.0.0.1:9"},
            2,
            "CHECKPOINT__ACCOUNT_URL",
        ),
        ({"CHECKPOINT__CONNECTION_STRING": "", "CHECKPOINT__CONTAINER": ""}, 2, "STATE__DIR"),
    ]
    for changed, status, words in cases:
        ran = await signinwatch("quarantine", "list", settings={**beside, **changed})
        assert (ran.status, words in ran.err, ran.err.count("\n")) == (status, True, 1), ran.err
        assert SECRET not in ran.err


async def test_a_stopped_storage_fails_the_command(beside: dict[str, str]) -> None:
    """Exit status 1, after a few tries."""
    where = beside["CHECKPOINT__CONNECTION_STRING"]
    port = where.split("BlobEndpoint=http://127.0.0.1:")[1].split("/")[0]
    closed = {"CHECKPOINT__CONNECTION_STRING": where.replace(f":{port}/", ":9/")}
    ran = await signinwatch("quarantine", "purge", "--all", settings={**beside, **closed})
    assert (ran.status, "the storage account does not answer" in ran.err) == (1, True), ran.err


async def test_which_quarantine_is_meant(beside: dict[str, str], tmp_path: Path) -> None:
    """``--state`` is meant if said; else the service's own, also when it has a STATE__DIR."""
    await put(beside, b"beside")
    both = {**beside, "STATE__DIR": str(tmp_path)}
    ran = await signinwatch("quarantine", "purge", "--all", "--state", tmp_path, settings=both)
    assert ran.out == b"0 deleted\n", ran.err
    ran = await signinwatch("quarantine", "purge", "--all", settings=both)
    assert ran.out == b"1 deleted\n", ran.err
