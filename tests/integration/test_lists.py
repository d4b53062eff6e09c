"""Lists as local sources: what they say, how they are kept, and servers that misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from consumers.settings import CrowdSecSettings, ListSettings, Settings
from consumers.settings.model import LapiSettings
from consumers.wiring.local_sources import SourceManager
from tests.recorded import OTHER_V4, V4, V6
from tests.servers.crowdsec import CrowdSec
from tests.servers.lapi import LAPI_KEY, Lapi
from tests.servers.lists import ListServer
from tests.support.command import Ran, crowdsec_at, findings_in, replay, signinwatch
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = {
    "redirect": "redirects are not followed",
    "429": "pulled too often",
    "truncated": "no response",
    "html": "sends a web page",
    "empty": "holds no address",
    "junk": "lines without an address",
    "endless": "beyond 33,554,432 bytes",
}


def listed(url: str, name: str = "OWN", **more: str) -> dict[str, str]:
    """Return the settings of a list."""
    return {f"LISTS__{name}__{key}": value for key, value in {"URL": f"{url}/list", **more}.items()}


async def judged(
    tmp_path: Path, records: list[dict[str, Any]], **settings: str
) -> tuple[Ran, dict[str, dict[str, Any]]]:
    """Replay records without lookups; return the last finding of each event."""
    recording, path = tmp_path / "recording.ndjson", tmp_path / "found.jsonl"
    recording.write_bytes(lines(*map(message, records)))
    state = str(tmp_path / "state")
    ran = await replay(recording, "--findings", path, "--quota", "0", "--state", state, **settings)
    assert ran.status == 0, ran.err
    return ran, {finding["EventId"]: finding for finding in findings_in(path)}


async def test_a_list_with_a_reputation_finds(tmp_path: Path) -> None:
    """Addresses and networks, in text with comments or CSV; with a class as well."""
    served = ListServer(
        ["# bad", f"{V4},x,1", f'"{V6}"; y', "93.184.216.0/24", "10.0.0.1", "0.0.0.0/0"]
    )
    records = [row(V4, Id="a"), row(V6, Id="b"), row(OTHER_V4, Id="c"), row("9.9.9.10", Id="d")]
    async with served.server() as server:
        settings = listed(server.url, REPUTATION="malicious", CLASS="vpn")
        _, found = await judged(tmp_path, records, **settings)
        assert found.keys() == {"a", "b", "c"}
        for finding in found.values():
            assert (finding["Severity"], finding["Sources"]) == ("High", ["own"])
            assert finding["AddressClass"] == "vpn"
        status = await signinwatch(
            "feeds", "status", "--json", "--state", tmp_path / "state", settings=settings
        )
    assert b"network is too wide" in status.out


async def test_a_class_list_makes_no_finding(tmp_path: Path) -> None:
    """It says what the address is; only a success through Tor is at least Medium."""
    served = ListServer([V4])
    records = [row(V4, Id="a"), row(V4, Id="failed", ResultType="50126"), row(OTHER_V4, Id="b")]
    async with served.server() as server:
        _, found = await judged(tmp_path, records, **listed(server.url, CLASS="hosting"))
        assert found == {}
        (tmp_path / "tor").mkdir()
        _, found = await judged(tmp_path / "tor", records, **listed(server.url, "TOR"))
    assert found.keys() == {"a"}
    assert (found["a"]["Severity"], found["a"]["AddressClass"]) == ("Medium", "tor")
    assert found["a"]["Sources"] == ["tor"]


async def test_a_changed_password_of_a_list_or_engine_is_used(tmp_path: Path) -> None:
    """Without a restart: the reader of keys tells of it."""
    served, engine = ListServer([V4], password="new"), Lapi()
    async with served.server() as server, engine.server() as lapi:

        def settings(password: str, key: str) -> Settings:
            listed = ListSettings(
                url=f"{server.url}/list",
                username="reader",
                password=SecretStr(password),
                reputation="malicious",
            )
            engine = LapiSettings(url=lapi.url, api_key=SecretStr(key))
            return Settings(lists={"own": listed}, crowdsec=CrowdSecSettings(lapi=engine))

        sources = SourceManager(settings("old", "old"), tmp_path)
        assert len(await sources.bring_up_to_date()) == 2
        assert sources.use_passwords(settings("old", "old")) == []
        assert set(sources.use_passwords(settings("new", LAPI_KEY))) == {"own", "crowdsec-lapi"}
        assert await sources.bring_up_to_date() == []
        await sources.close()


@pytest.mark.parametrize(("relay", "other"), [(V4, OTHER_V4), (OTHER_V4, V4)])
async def test_a_relay_is_looked_up_last(tmp_path: Path, relay: str, other: str) -> None:
    """What a list counts to a relay waits behind everything else."""
    served, crowdsec = ListServer([relay]), CrowdSec()
    recording = tmp_path / "recording.ndjson"
    recording.write_bytes(lines(message(row(V4)), message(row(OTHER_V4))))
    async with served.server() as server, crowdsec.server() as cti:
        settings = listed(server.url, CLASS="relay") | crowdsec_at(cti.url)
        await replay(recording, "--quota", "1", **settings)
    assert crowdsec.asked == {other: 1}


async def test_a_list_is_read_when_it_has_changed(tmp_path: Path) -> None:
    """Unchanged, it is not sent again; what is gone ends, what is new counts."""
    served = ListServer([V4, OTHER_V4])
    records = [row(V4, Id="a"), row(OTHER_V4, Id="b"), row(V6, Id="c")]
    async with served.server() as server:
        settings = listed(server.url, REPUTATION="suspicious")
        _, found = await judged(tmp_path, records, **settings)
        assert found.keys() == {"a", "b"}
        served.lines = [V4, V6]
        sync = await signinwatch(
            "feeds", "sync", "--json", "--state", tmp_path / "state", settings=settings
        )
        assert sync.status == 0, sync.err
        later = [{**record, "Id": f"{record['Id']}+"} for record in records]
        for record in later:
            record["CreatedDateTime"] = record["TimeGenerated"] = "2098-01-01T00:00:00Z"
        _, found = await judged(tmp_path, later, **settings)
        assert found.keys() == {"c", "a+", "c+"}, "c is matched late"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_server_that_misbehaves_leaves_the_last_good_copy(
    tmp_path: Path, fault: str
) -> None:
    """And is told, with what to do."""
    served = ListServer([V4])
    async with served.server() as server:
        settings = listed(server.url, REPUTATION="malicious")
        _, found = await judged(tmp_path, [row(V4, Id="a")], **settings)
        assert found.keys() == {"a"}
        served.manner = fault
        sync = await signinwatch("feeds", "sync", "--state", tmp_path / "state", settings=settings)
        assert sync.status != 0
        assert FAULTS[fault] in " ".join((sync.out.decode() + sync.err).split())
        _, found = await judged(tmp_path, [row(V4, Id="b")], **settings)
    assert found.keys() == {"b"}


async def test_a_list_that_shrinks_at_once_is_not_believed(tmp_path: Path) -> None:
    """A moved column, or a file cut at a line's end."""
    served = ListServer([f"81.2.{n}.9" for n in range(200)])
    async with served.server() as server:
        settings = listed(server.url, REPUTATION="malicious")
        _, found = await judged(tmp_path, [row("81.2.7.9", Id="a")], **settings)
        served.lines = served.lines[:3]
        sync = await signinwatch("feeds", "sync", "--state", tmp_path / "state", settings=settings)
        assert "shrank from 200 to 3" in " ".join((sync.out.decode() + sync.err).split())
        _, found = await judged(tmp_path, [row("81.2.7.9", Id="b")], **settings)
    assert found.keys() == {"b"}


async def test_a_blocklist_in_pages_with_a_password(tmp_path: Path) -> None:
    """As CrowdSec's integrations serve it."""
    served = ListServer([f"81.{n // 250}.{n % 250}.9" for n in range(12_000)], paged=True)
    served.password = "s3cret"
    async with served.server() as server:
        access = {"USERNAME": "reader", "PASSWORD": "s3cret"}
        settings = listed(server.url, "CROWDSEC-BLOCKLIST", **access)
        _, found = await judged(tmp_path, [row("81.47.249.9", Id="last")], **settings)
        assert found["last"]["Sources"] == ["crowdsec-blocklist"]
        assert [request["page"] for request in served.requests] == ["1", "2"]
        settings["LISTS__CROWDSEC-BLOCKLIST__PASSWORD"] = "wrong"
        sync = await signinwatch("feeds", "sync", "--state", tmp_path / "state", settings=settings)
        assert "not accepted" in sync.out.decode() + sync.err
        assert "wrong" not in sync.out.decode() + sync.err


async def test_the_guard_holds_for_lists(tmp_path: Path) -> None:
    """Resolvers, Microsoft's sign-in ranges and the company's own egress."""
    served = ListServer(["8.8.8.8", "20.190.128.0/18", V4])
    records = [row("8.8.8.8", Id="a"), row("20.190.130.1", Id="b"), row(V4, Id="own")]
    async with served.server() as server:
        settings = listed(server.url, REPUTATION="malicious")
        _, found = await judged(tmp_path, records, TRUSTED_NETWORKS=f"{V4}/32", **settings)
    assert {event: it["Severity"] for event, it in found.items()} == {"own": "Informational"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"LISTS__X__CLASS": "tor"}, "LISTS__X__URL: not set"),
        ({"LISTS__X__URL": "https://x.example/l"}, "LISTS__X__REPUTATION: not set"),
        (
            {
                "LISTS__X__URL": "https://x.example/l",
                "LISTS__X__FILE": "/l",
                "LISTS__X__CLASS": "vpn",
            },
            "LISTS__X__FILE: set together",
        ),
        ({"LISTS__CROWDSEC__FILE": "/l", "LISTS__CROWDSEC__CLASS": "vpn"}, "invalid name"),
        ({"LISTS__X__URL": "http://x.example/l", "LISTS__X__CLASS": "vpn"}, "use https://"),
        ({"LISTS__X__FILE": "/l", "LISTS__X__CLASS": "castle"}, "LISTS__X__CLASS"),
        ({"LISTS__AZURE__PRESET": "azure"}, "LISTS__AZURE__URL: not set"),
    ],
)
async def test_settings_that_are_wrong(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    """One line that names the setting."""
    ran = await signinwatch("feeds", "sync", "--state", tmp_path, settings=settings)
    assert ran.status == 2
    assert text in ran.err
