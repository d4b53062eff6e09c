"""The always-on service among real peers: hub, storage, CrowdSec, ingestion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.service_process import Running, until
from tests.support.sign_ins import address, message, row
from tests.support.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite


@pytest.fixture(params=["directory", "table"])
async def site(
    request: pytest.FixtureRequest, tmp_path: Path, azurite: Azurite
) -> AsyncIterator[Site]:
    """Return peers on loopback, with either ledger."""
    state = tmp_path / "state" if request.param == "directory" else None
    async with open_site(azurite.connection_string, state) as one:
        yield one


async def test_from_hub_to_findings_and_on_after_a_restart(site: Site) -> None:
    """All is found once, asked once and checkpointed; a restart goes on where it ended."""
    site.publish(bad=20, good=180)
    async with Running(site.settings) as service:
        await until(service.ready, "ready")
        await until(site.found, "all findings")
        site.publish(bad=5, good=15, start=1_000)
        await until(site.found, "findings of what came later")
        await until(site.all_checkpointed, "checkpoints")
        assert await service.terminate() == 0
    assert site.one_id_each()
    assert len(site.ingestion.rows) == 25
    assert {one["Origin"] for one in site.ingestion.rows} == {"live"}
    assert (site.crowdsec.asked.total(), len(site.crowdsec.asked)) == (220, 220)
    site.publish(bad=3, good=0, start=2_000)
    async with Running(site.settings) as service:
        await until(site.found, "findings after the restart")
        assert await service.terminate() == 0
        assert "warning" not in service.errors
    assert len(site.ingestion.rows) == 28
    assert set(site.crowdsec.asked.values()) == {1}


async def test_endpoints_and_reports_tell_how_it_is(site: Site) -> None:
    """The same figures under /metrics and in the health table; verdicts when they change."""
    site.publish(bad=4, good=36)
    site.broker.publish("signins", 0, b"\xff not JSON")
    site.settings["SERVICE__REPORT_INTERVAL"] = "1"
    async with Running(site.settings) as service:
        await until(site.found, "findings")
        assert (await service.get("/healthz"))[0] == 200

        async def all_in() -> bool:
            return await service.metric("messages") == 5 and await service.metric("findings") == 4

        await until(all_in, "figures")
        expected = {
            "signins": 40, "records": 41, "rejected": 1, "lookups": 40, "verdicts": 40,
            "quarantined": 1, "findings_refused": 0, "finding_seconds_count": 4, "ready": 1,
        }  # fmt: skip
        assert {name: await service.metric(name) for name in expected} == expected
        assert await service.metric("verdicts", kind="malicious") == 4

        def reported() -> bool:
            return any(
                (one["Metric"], one["Value"]) == ("signins", 40.0)
                for one in site.ingestion.reports["Health_CL"]
            )

        await until(reported, "health rows")
        await service.terminate()
    verdicts = site.ingestion.reports["Verdicts_CL"]
    assert len({one["IPAddress"] for one in verdicts}) == len(verdicts) == 40
    assert sum(one["Verdict"] == "malicious" for one in verdicts) == 4


async def test_a_drain_settles_what_it_can_and_leaves_the_rest(site: Site) -> None:
    """SIGTERM while CrowdSec hangs: in time, exit 0, and what was not settled comes again."""
    site.publish(bad=0, good=4, start=9_000, each=1)
    site.settings["SERVICE__DRAIN"] = "8"
    async with Running(site.settings) as service:
        await until(lambda: site.crowdsec.asked.total() == 4, "first questions")
        settled = site.ends()
        await until(site.all_checkpointed, "checkpoints")
        site.crowdsec.fault = lambda _: "hang"
        site.publish(bad=8, good=8)
        requests = site.crowdsec.requests
        await until(lambda: site.crowdsec.requests > requests, "questions under way")
        assert await service.terminate(8.5) == 0
    assert await site.checkpoints() == settled
    site.crowdsec.fault = lambda _: None
    async with Running(site.settings) as service:
        await until(site.found, "findings after the restart")
        await service.terminate()
    assert site.one_id_each()


async def test_a_drain_waits_for_what_is_under_way(site: Site) -> None:
    """What has been asked is judged, delivered and checkpointed before the end."""
    site.crowdsec.delay = 2.0
    site.publish(bad=8, good=8)
    async with Running(site.settings) as service:
        await until(lambda: site.crowdsec.requests > 0, "a question under way")
        assert not site.ingestion.rows
        assert await service.terminate() == 0
    taken = {row["EventId"] for row in site.ingestion.rows}
    assert taken
    assert await site.checkpoints()
    site.crowdsec.delay = 0.0
    async with Running(site.settings) as service:
        await until(service.ready, "ready")
        await until(site.found, "what had not been taken")
        assert await service.terminate() == 0
    assert len(site.ingestion.rows) == 8, "nothing comes again"
    assert set(site.crowdsec.asked.values()) == {1}


async def test_nothing_is_dropped_while_the_sink_is_down(site: Site) -> None:
    """Kill -9 between verdict and upload: the next start sends what was not accepted."""
    site.ingestion.fault = lambda *_: web.Response(status=503)
    site.publish(bad=6, good=30)
    async with Running(site.settings) as service:
        await until(lambda: site.ingestion.statuses[503] > 1, "uploads that fail")
        assert len(site.crowdsec.asked) == 36
        service.kill()
    assert site.ingestion.rows == []
    site.ingestion.fault = lambda *_: None
    async with Running(site.settings) as service:
        await until(site.found, "findings after the restart")
        assert await service.terminate() == 0
    assert site.one_id_each()
    assert set(site.crowdsec.asked.values()) == {1}, "answers survive the kill"


async def test_a_refused_key_degrades_and_a_new_one_is_read(site: Site, tmp_path: Path) -> None:
    """Sign-ins wait, health tells which key and since when, and a mounted file mends it."""
    key_file = tmp_path / "key"
    key_file.write_text("a-bad-key\n")
    good = site.settings.pop("CROWDSEC__API_KEY")
    site.settings["CROWDSEC__API_KEY_FILE"] = str(key_file)
    site.publish(bad=5, good=5)
    async with Running(site.settings) as service:

        async def told() -> bool:
            return "key-refused" in await service.reasons()

        await until(told, "the reason", 30)
        reason = (await service.reasons())["key-refused"]
        assert reason["part"] == "crowdsec"
        assert "CROWDSEC__API_KEY" in reason["detail"]
        assert not await service.ready()
        await until(site.all_checkpointed, "sign-ins to wait durably")
        key_file.write_text(good)
        await until(site.found, "findings with the new key")
        await until(service.ready, "ready again")
        assert await service.terminate() == 0
        assert good not in service.errors
        assert "a-bad-key" not in service.errors


async def test_what_is_folded_is_not_lost(site: Site) -> None:
    """Killed after the checkpoint: every failure is told of, by itself or in a counted row."""
    site.settings["POLICY__FINDINGS_PER_HOUR"] = "5"
    bad = address(77)
    site.crowdsec.serve_bad(bad)
    for number in range(10):
        rows = [row(bad, ResultType="50126") for _ in range(5)]
        site.broker.publish("signins", number % 4, message(*rows))
    async with Running(site.settings) as service:
        await until(site.all_checkpointed, "checkpoints")
        service.kill()

    def told() -> int:
        rows = {one["FindingId"]: one for one in site.ingestion.rows}
        return sum(
            (one["Evidence"] or {}).get("folded", {"signIns": 1})["signIns"]
            for one in rows.values()
        )

    assert told() == 50
