"""The commands of feeds: what they show, and how they tell of trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from tests.servers.crowdsec import CrowdSec
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import crowdsec_at, replay, signinwatch
from tests.support.feed_commands import BAD, OTHER, feed_at, found, one_line, recording, told
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path


async def test_lookup_shows_the_word_of_each_source(tmp_path: Path) -> None:
    """The ledger, then feeds, then the paid API, which is not asked of what a feed names."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    taxii.add(indicator(BAD, labels=["botnet:example"]))
    crowdsec.serve_bad(OTHER)
    state = tmp_path / "state"
    async with taxii.server() as server, crowdsec.server() as cti:
        settings = {**feed_at(server), **crowdsec_at(cti.url)}
        await told("feeds", "sync", "--state", state, **settings)
        rows = await told("lookup", BAD, OTHER, "--state", state, **settings)
        shown = await signinwatch("lookup", BAD, "--state", state, settings=settings)
    by_address = {one["IPAddress"]: one for one in rows}
    assert by_address[BAD]["Verdict"] == "malicious"
    assert by_address[BAD]["Sources"] == ["sekoia"]
    assert by_address[BAD]["Evidence"]["sekoia"]["indicators"][0]["labels"] == ["botnet:example"]
    assert by_address[OTHER]["Sources"] == ["crowdsec"]
    assert crowdsec.asked == {OTHER: 1}
    assert b"sekoia: malicious" in b" ".join(shown.out.split())


async def test_status_tells_age_and_size_and_what_was_left_out(tmp_path: Path) -> None:
    """Without asking anybody, and before anything was read."""
    taxii = TaxiiServer(manner="crowdsec", collection="real-time-feeds")
    taxii.add(indicator(BAD), indicator("[domain-name:value = 'a.example']"))
    state = tmp_path / "state"
    async with taxii.server() as server:
        settings = feed_at(server, "crowdsec")
        del settings["FEEDS__CROWDSEC__COLLECTION"]
        (before,) = await told("feeds", "status", "--state", state, **settings)
        assert (before["indicators"], before["trouble"]) == (0, "never read")
        await told("feeds", "sync", "crowdsec", "--state", state, **settings)
        requests = taxii.requests
        (after,) = await told("feeds", "status", "--state", state, **settings)
        assert taxii.requests == requests
    assert after["ok"]
    assert (after["feed"], after["indicators"]) == ("crowdsec", 1)
    assert after["synced"].startswith("20")
    assert sum(after["skipped"].values()) == 2  # the identity, and the domain


async def test_trouble_is_told_in_a_line_and_nothing_is_lost(tmp_path: Path) -> None:
    """A wrong password: exit status 1, a mend, no secret, and the old indicators stay in use."""
    taxii = TaxiiServer()
    taxii.add(indicator(BAD))
    state, path = tmp_path / "state", tmp_path / "found"
    async with taxii.server() as server:
        settings = feed_at(server, INTERVAL="0.001")
        await told("feeds", "sync", "--state", state, **settings)
        wrong = {**settings, "FEEDS__SEKOIA__PASSWORD": "not-the-key"}
        ran = await signinwatch("feeds", "sync", "--state", state, settings=wrong)
        assert ran.status == 1
        assert b"password" in ran.out
        assert "not-the-key" not in ran.err + ran.out.decode()
        events = recording(tmp_path, row(BAD))
        ran = await replay(events, "--state", state, "--findings", path, **wrong)
    assert found(ran, path).keys() == {BAD}
    assert "sekoia" in ran.err
    assert "not-the-key" not in ran.err


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"FEEDS__ACME__COLLECTION": "a"}, "FEEDS__ACME__URL"),
        ({"FEEDS__ACME__URL": "https://feeds.example"}, "FEEDS__ACME__COLLECTION"),
        ({"FEEDS__SEKOIA__INTERVAL": "60"}, "FEEDS__SEKOIA__PASSWORD"),
        ({"FEEDS__ACME__URL": "http://feeds.example"}, "FEEDS__ACME__URL"),
        ({"FEEDS__ACME__URL": "https://feeds.example/?key=a"}, "FEEDS__ACME__URL"),
        ({"FEEDS__ACME__URL": "https://feeds.example/root#a"}, "FEEDS__ACME__URL"),
        ({"CROWDSEC__REPLICA": "true"}, "CROWDSEC__API_KEY"),
    ],
)
async def test_what_is_missing_is_named(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    """Wrong settings end a command with status 2 and one line."""
    commands: list[list[str | Path]] = [
        ["feeds", "sync", "--state", tmp_path],
        ["replay", recording(tmp_path)],
    ]
    for command in commands:
        ran = await signinwatch(*command, settings=settings)
        assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
        assert named in ran.err


async def test_what_is_no_public_address_is_explained_too(tmp_path: Path) -> None:
    """One such address does not cost the whole table."""
    for more in (["--explain"], ["--explain", "--json"]):
        ran = await signinwatch(
            "lookup", "--cached", *more, "nope", "10.0.0.1", "--state", tmp_path
        )
        assert (ran.status, ran.err) == (0, "")
    private = orjson.loads(ran.out.splitlines()[1])
    assert (private["Cached"], private["Asked"], private["NextAsking"]) == (False, False, None)


async def test_lookup_sees_feeds_without_a_ledger_and_beside_a_replays(tmp_path: Path) -> None:
    """After a sync alone, which makes no ledger, and by what holds today, whatever was replayed."""
    taxii = TaxiiServer()
    taxii.add(indicator(BAD))
    state = tmp_path / "state"
    async with taxii.server() as server:
        settings = feed_at(server)
        await told("feeds", "sync", "--state", state, **settings)
        (synced,) = await told("lookup", BAD, "--cached", "--state", state, **settings)
        assert not list(state.glob("ledger*"))
        events, path = recording(tmp_path, row(BAD)), tmp_path / "found"
        await replay(events, "--state", state, "--findings", path, **settings)
        (replayed,) = await told("lookup", BAD, "--cached", "--state", state, **settings)
    assert (synced["Verdict"], replayed["Verdict"]) == ("malicious", "malicious")


async def test_lookup_tells_who_was_asked(tmp_path: Path) -> None:
    """A feed that was never read has not said that it does not name an address."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    taxii.add(indicator(BAD))
    state = tmp_path / "state"
    async with taxii.server() as server, crowdsec.server() as cti:
        settings = feed_at(server)
        (unread,) = await told("lookup", OTHER, "--explain", "--state", state, **settings)
        await told("feeds", "sync", "--state", state, **settings)
        (silent,) = await told("lookup", OTHER, "--explain", "--state", state, **settings)
        settings |= crowdsec_at(cti.url)
        rows = await told("lookup", BAD, OTHER, "--explain", "--state", state, **settings)
        (again,) = await told("lookup", OTHER, "--explain", "--state", state, **settings)
        shown = await signinwatch("lookup", BAD, "--explain", "--state", state, settings=settings)
    assert unread["Reason"] == "never read: sekoia; run `signinwatch feeds sync`"
    assert silent["Reason"] == "no feed names it, and there is no other source"
    assert (unread["Asked"], silent["Asked"], silent["NextAsking"]) == (False, False, None)
    assert [(one["Asked"], one["NextAsking"] is None) for one in rows] == [
        (False, True),
        (True, False),
    ]
    assert (again["Cached"], again["Asked"]) == (True, False)
    assert "not looked up now; 0 sign-ins waiting" in one_line(shown.out.decode())
