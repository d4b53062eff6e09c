"""``signinwatch check``: one line each, with how to mend; nothing is told to work that does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from azure.storage.blob.aio import ContainerClient

from tests.integration import test_misconfigured as wrong
from tests.recorded import V4, V6
from tests.servers.lapi import LAPI_KEY, Lapi
from tests.servers.lists import ListServer
from tests.servers.loopback import Loopback
from tests.servers.replica import mmdb
from tests.support.command import signinwatch
from tests.support.service_process import Running, until
from tests.support.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite


@pytest.fixture
async def site(tmp_path: Path, azurite: Azurite) -> AsyncIterator[Site]:
    """Return peers on loopback."""
    async with open_site(azurite.connection_string, tmp_path / "state") as one:
        yield one


async def _checked(site: Site) -> tuple[int, dict[str, dict[str, Any]]]:
    ran = await signinwatch("check", "--json", settings=site.settings)
    lines = [orjson.loads(line) for line in ran.out.splitlines()]
    assert "AccountKey" not in ran.err + ran.out.decode()
    return ran.status, {line["check"]: line for line in lines}


async def test_all_is_well(site: Site) -> None:
    """Everything works; one lookup is spent, told, and kept for the next time."""
    status, lines = await _checked(site)
    assert status == 0, lines
    assert len(lines) == 8
    assert all(line["ok"] for line in lines.values())
    assert "1 lookup spent" in lines["CrowdSec key"]["text"]
    assert site.crowdsec.asked.total() == 1
    assert [one["Origin"] for one in site.ingestion.rows] == ["test"]
    assert {name: len(rows) for name, rows in site.ingestion.reports.items()} == {
        "Verdicts_CL": 1,
        "Health_CL": 1,
    }
    ran = await signinwatch("check", settings=site.settings)
    assert ran.status == 0
    assert len(ran.out.splitlines()) == 8


async def test_what_the_ledger_can_answer_costs_nothing(site: Site) -> None:
    """A second check spends no lookup; another key is tested again."""
    for _ in range(3):
        status, lines = await _checked(site)
        assert status == 0, lines
    assert "no lookup spent" in lines["CrowdSec key"]["text"]
    assert site.crowdsec.asked.total() == 1
    site.settings["CROWDSEC__API_KEY"] = "another"
    status, lines = await _checked(site)
    assert (status, lines["CrowdSec key"]["code"]) == (1, "key-refused")


async def test_nothing_known_proves_no_key(site: Site) -> None:
    """A server that knows nothing and accepts every key is not CrowdSec."""

    async def nothing(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "IP address information not found"}, status=404)

    status, lines = await _checked(site)
    assert status == 0, lines  # the same answer of a server that knows its keys
    async with Loopback(nothing) as server:
        site.settings["CROWDSEC__URL"] = f"{server.url}/v2"
        for _ in range(2):
            status, lines = await _checked(site)
            key = lines["CrowdSec key"]
            assert (status, key["code"]) == (1, "source-down")
            assert "CROWDSEC__URL" in key["text"]


async def test_without_a_ledger_no_key_is_tested(site: Site) -> None:
    """The ledger counts lookups; that it fails is told once, as what it is."""
    wrong._no_table_service(site)
    _, lines = await _checked(site)
    assert lines["CrowdSec key"]["text"].startswith("not tested")
    assert not site.crowdsec.asked


async def test_the_quarantine_is_tried(site: Site) -> None:
    """Nothing of it stays."""
    await _checked(site)
    async with ContainerClient.from_connection_string(
        site.storage, site.settings["CHECKPOINT__CONTAINER"], api_version="2019-07-07"
    ) as container:
        assert [name async for name in container.list_blob_names()] == []


CASES = [
    (wrong._other_hub, "event hub sigins", "hub-missing", "EVENTHUB__NAME"),
    (wrong._other_group, "consumer group nobody", "partition-silent", "CONSUMER_GROUP"),
    (wrong._other_key, "event hub signins", "hub-refused", "EVENTHUB__CONNECTION_STRING"),
    (wrong._key_without_listen, "consumer group $Default", "partition-silent", "listen"),
    (wrong._no_hub, "event hub signins", "hub-unreachable", "EVENTHUB__CONNECTION_STRING"),
    (wrong._no_container, "checkpoint container", "checkpoint-missing", "CHECKPOINT__CREATE"),
    (wrong._other_storage_key, "checkpoint container", "checkpoint-refused", "CHECKPOINT__"),
    (wrong._no_storage, "checkpoint container", "checkpoint-unreachable", "CHECKPOINT__"),
    (wrong._table_key, "ledger", "ledger-refused", "STATE__"),
    (wrong._no_table_service, "ledger", "ledger-unreachable", "STATE__"),
    (wrong._other_rule, "ingestion SignInWatchFindings_CL", "findings-held-back", "RULE_ID"),
    (wrong._no_ingestion, "ingestion SignInWatchHealth_CL", "findings-held-back", "ENDPOINT"),
    (wrong._crowdsec_key, "CrowdSec key", "key-refused", "CROWDSEC__API_KEY"),
]


@pytest.mark.parametrize(("break_it", "name", "code", "named"), CASES)
async def test_what_is_wrong_is_told(
    site: Site, break_it: object, name: str, code: str, named: str
) -> None:
    """By its code, with the setting to mend; exit status 1; the rest is tried all the same."""
    assert callable(break_it)
    break_it(site)
    status, lines = await _checked(site)
    assert (status, lines[name]["ok"], lines[name]["code"]) == (1, False, code), lines
    assert named in lines[name]["text"]
    assert len(lines) == 8


async def test_beside_a_running_service(site: Site) -> None:
    """A group that is being read is well; a directory that is in use says so."""
    async with Running(site.settings) as service:
        await until(service.ready, "ready")

        async def reading() -> bool:
            return b"checkpoint_age_seconds{" in (await service.get("/metrics"))[1]

        await until(reading, "partitions")
        status, lines = await _checked(site)
    assert status == 1
    assert "being read by the service" in lines["consumer group $Default"]["text"]
    assert lines["ledger"]["code"] == "state-in-use"


async def test_what_is_not_configured_is_told(site: Site) -> None:
    """Nothing is passed over in silence."""
    site.settings.clear()
    status, lines = await _checked(site)
    assert status == 1
    assert {line["code"] for line in lines.values()} == {"not-configured"}
    assert len(lines) == 7


async def test_lists_engine_and_mmdb_are_tried(site: Site, tmp_path: Path) -> None:
    """Each says what it has; the engine's stream, and a list that is pulled daily, are not read."""
    engine, served, database = Lapi(), ListServer([V4, V6]), tmp_path / "geo.mmdb"
    database.write_bytes(mmdb({f"{V4}/32": {"is_tor_exit_node": True}}))
    (tmp_path / "empty.txt").write_bytes(b"\n")
    async with engine.server() as lapi, served.server() as lists:
        site.settings |= {
            "CROWDSEC__LAPI__URL": lapi.url,
            "CROWDSEC__LAPI__API_KEY": LAPI_KEY,
            "LISTS__OWN__URL": f"{lists.url}/list",
            "LISTS__OWN__CLASS": "hosting",
            "LISTS__EMPTY__FILE": str(tmp_path / "empty.txt"),
            "LISTS__EMPTY__CLASS": "vpn",
            "LISTS__CROWDSEC-BLOCKLIST__URL": f"{lists.url}/pulled-daily",
            "MMDB__GEO__FILE": str(database),
            "MMDB__GONE__FILE": str(tmp_path / "gone.mmdb"),
        }
        _, lines = await _checked(site)
        site.settings["CROWDSEC__LAPI__API_KEY"] = "another"
        _, again = await _checked(site)
    assert lines["list own"]["text"] == "readable, with 2 entries"
    assert (lines["list empty"]["ok"], lines["MMDB gone"]["ok"]) == (False, False)
    assert "one pull a day" in lines["list crowdsec-blocklist"]["text"]
    assert lines["MMDB geo"]["ok"], lines
    assert (lines["CrowdSec engine"]["ok"], again["CrowdSec engine"]["ok"]) == (True, False)
    assert "cscli bouncers add" in again["CrowdSec engine"]["text"]
    assert engine.asked == [], "the stream was not read"
    assert len(served.requests) == 2, "the other list was not read"
