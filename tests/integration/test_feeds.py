"""Feeds and replica from the outside: what they know is found, and costs no lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from producers.demo import load_demo
from producers.demo.stand_in import CrowdSecStandIn
from tests.servers.crowdsec import CrowdSec, item
from tests.servers.medallion import PASSWORD as MEDALLION_PASSWORD
from tests.servers.medallion import USER as MEDALLION_USER
from tests.servers.medallion import Medallion
from tests.servers.replica import KEY as REPLICA_KEY
from tests.servers.replica import ReplicaHosts, mmdb
from tests.servers.taxii import TaxiiServer, indicator, revoked
from tests.support.command import crowdsec_at, findings_in, replay
from tests.support.feed_commands import (
    BAD,
    CLEAN,
    OTHER,
    feed_at,
    found,
    one_line,
    recording,
    stored,
    told,
)
from tests.support.sign_ins import START, row

if TYPE_CHECKING:
    from pathlib import Path


ONLY_OF_CROWDSEC = ("Behaviors", "Classifications", "FalsePositives", "MitreTechniques", "Cves")
DEMO = load_demo()
KNOWN = sorted(DEMO.crowdsec)
IN_RANGE, SIX = "185.220.101.7", "2a02:8108:1:2::5"


async def test_what_feeds_name_is_found_without_a_lookup(tmp_path: Path) -> None:
    """Addresses, lists, networks and IPv6; the rest is unanswered, never clean."""
    taxii = TaxiiServer()
    taxii.add(
        indicator(BAD),
        indicator(f"[ipv4-addr:value IN ('{OTHER}', '8.8.8.8')]", confidence=40),
        indicator("[ipv4-addr:value ISSUBSET '185.220.101.0/24']", labels=["proxy:tor"]),
        indicator("[ipv6-addr:value = '2A02:8108:0001:0002:0000::5']"),
        indicator(f"[ipv4-addr:value = '{CLEAN}' AND domain-name:value = 'a.example']"),
    )
    events = recording(tmp_path, *map(row, (BAD, OTHER, IN_RANGE, SIX, CLEAN)))
    path = tmp_path / "found"
    async with taxii.server() as server:
        ran = await replay(events, "--findings", path, **feed_at(server))
    rows = found(ran, path)
    assert {one: rows[one]["Reputation"] for one in rows} == {
        BAD: "malicious",
        OTHER: "suspicious",
        IN_RANGE: "malicious",
        SIX: "malicious",
    }
    assert rows[BAD]["Sources"] == ["sekoia"]
    assert rows[BAD]["Confidence"] == "high"
    assert {rows[BAD][name] for name in ONLY_OF_CROWDSEC} == {None}
    assert rows[IN_RANGE]["AddressClass"] == "tor"
    assert rows[IN_RANGE]["IpRange"] == "185.220.101.0/24"
    told = rows[BAD]["Evidence"]["sekoia"]["indicators"][0]
    assert (told["id"], told["names"]) == (indicator(BAD)["id"], BAD)
    assert (ran.summary["lookups"], ran.summary["cache_hits"]) == (0, 4)
    assert ran.summary["unanswered"] == 1
    assert "no feed names it" in one_line(ran.err)


async def test_the_window_of_validity_is_that_of_the_event(tmp_path: Path) -> None:
    """Before its beginning and from its end on an indicator says nothing."""
    taxii = TaxiiServer()
    window = {"valid_from": "2026-03-02T09:00:00Z", "valid_until": "2026-03-02T10:00:00Z"}
    taxii.add(indicator(BAD, **window))
    moments = ["08:59:59.999", "09:00:00", "09:59:59.999", "10:00:00"]
    rows = [row(BAD, CreatedDateTime=f"2026-03-02T{one}Z") for one in moments]
    path = tmp_path / "found"
    async with taxii.server() as server:
        ran = await replay(recording(tmp_path, *rows), "--findings", path, **feed_at(server))
    assert ran.status == 0, ran.err
    assert [one["EventId"] for one in findings_in(path)] == [rows[1]["Id"], rows[2]["Id"]]
    assert ran.summary["unanswered"] == 2


async def test_outside_the_window_the_paid_api_is_asked(tmp_path: Path) -> None:
    """An indicator that has ended is no answer."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    taxii.add(indicator(BAD, valid_until="2026-03-01T00:00:00Z"), indicator(OTHER))
    path = tmp_path / "found"
    events = recording(tmp_path, row(BAD), row(OTHER))
    async with taxii.server() as server, crowdsec.server() as cti:
        settings = {**feed_at(server), **crowdsec_at(cti.url)}
        ran = await replay(events, "--findings", path, **settings)
    assert found(ran, path).keys() == {OTHER}
    assert crowdsec.asked == {BAD: 1}


@pytest.mark.parametrize(
    ("word", "more", "reputation"),
    [
        ("malicious", {}, "malicious"),
        ("suspicious", {}, "malicious"),
        ("unknown", {}, "malicious"),
        ("benign", {}, "suspicious"),
        ("safe", {}, "suspicious"),
        (
            "malicious",
            {"classifications": {"false_positives": [{"name": "cdn:x_exit_node"}]}},
            "suspicious",
        ),
    ],
)
async def test_all_sources_are_heard_and_the_worst_counts(
    tmp_path: Path, word: str, more: dict[str, Any], reputation: str
) -> None:
    """Where CrowdSec calls it harmless, a feed's malicious address counts as suspicious."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    crowdsec.items[BAD] = item(BAD, word, **more)
    path = tmp_path / "found"
    state = tmp_path / "state"
    async with taxii.server() as server, crowdsec.server() as cti:
        settings = {**feed_at(server, INTERVAL="0.001"), **crowdsec_at(cti.url)}
        first = recording(tmp_path, row(BAD), name="first")
        assert (await replay(first, "--state", state, **settings)).status == 0
        taxii.add(indicator(BAD))
        second = recording(tmp_path, row(BAD), name="second")
        ran = await replay(second, "--state", state, "--findings", path, **settings)
    (finding,) = [one for one in findings_in(path) if one["Origin"] == "replay"]
    assert finding["Reputation"] == reputation
    assert set(finding["Evidence"]) == {"crowdsec", "sekoia"}
    known = {"sekoia"} if word == "unknown" else {"sekoia", "crowdsec"}
    assert set(finding["Sources"]) == known
    assert crowdsec.asked == {BAD: 1}
    assert ran.summary["lookups"] == 0


async def test_what_a_feed_says_too_weakly_is_left_out(tmp_path: Path) -> None:
    """The minimum confidence counts at the match; an indicator without any passes."""
    taxii = TaxiiServer()
    without = indicator(CLEAN)
    del without["confidence"]
    taxii.add(indicator(BAD, confidence=69), indicator(OTHER, confidence=70), without)
    path = tmp_path / "found"
    events = recording(tmp_path, *map(row, (BAD, OTHER, CLEAN)))
    async with taxii.server() as server:
        settings = feed_at(server, MIN_CONFIDENCE="70")
        ran = await replay(events, "--findings", path, **settings)
    assert found(ran, path).keys() == {OTHER, CLEAN}
    assert ran.summary["unanswered"] == 1, "what is too weak is no answer"


async def test_a_free_source_that_names_our_own_network_is_heard(tmp_path: Path) -> None:
    """Trusted networks spare lookups, not findings."""
    taxii, crowdsec = TaxiiServer(), CrowdSec()
    taxii.add(indicator(BAD))
    path = tmp_path / "found"
    events = recording(tmp_path, row(BAD), row(OTHER))
    async with taxii.server() as server, crowdsec.server() as cti:
        settings = {**feed_at(server), **crowdsec_at(cti.url), "TRUSTED_NETWORKS": "81.2.69.0/24"}
        ran = await replay(events, "--findings", path, **settings)
    assert found(ran, path).keys() == {BAD}
    assert (ran.summary["own_network"], sum(crowdsec.asked.values())) == (1, 0)


async def test_a_revocation_of_a_later_sync_ends_it(tmp_path: Path) -> None:
    """Indicators and cursors are kept between runs; what is revoked is gone at once."""
    taxii = TaxiiServer(manner="sekoia")
    taxii.add(indicator(BAD), indicator(OTHER))
    state, path = tmp_path / "state", tmp_path / "found"
    async with taxii.server() as server:
        settings = feed_at(server)
        (report,) = await told("feeds", "sync", "--state", state, **settings)
        assert (report["feed"], report["indicators"], report["fresh"]) == ("sekoia", 2, 2)
        taxii.revoke(indicator(BAD))
        (report,) = await told("feeds", "sync", "--state", state, **settings)
        assert (report["indicators"], report["fresh"], report["ok"]) == (1, 1, True)
        assert "next" in taxii.queries[-1], "it goes on where it ended"
        requests = taxii.requests
        events = recording(tmp_path, row(BAD), row(OTHER))
        ran = await replay(events, "--state", state, "--findings", path, **settings)
        assert taxii.requests == requests, "the feed is not due"
    assert found(ran, path).keys() == {OTHER}


async def test_a_sync_finds_what_went_by_before(tmp_path: Path) -> None:
    """A late finding has the same id as if the indicator had been there in time."""
    taxii = TaxiiServer()
    path, late = tmp_path / "found", tmp_path / "late"
    state = tmp_path / "state"
    events = recording(tmp_path, row(BAD), row(OTHER), row(IN_RANGE))
    nothing = recording(tmp_path, name="nothing")
    async with taxii.server() as server:
        settings = feed_at(server, INTERVAL="0.001")
        ran = await replay(events, "--state", state, "--findings", path, **settings)
        assert found(ran, path) == {}
        taxii.add(indicator(BAD), indicator("[ipv4-addr:value = '185.220.101.0/24']"))
        ran = await replay(nothing, "--state", state, "--findings", late, **settings)
        assert ran.status == 0, ran.err
        rows = found(ran, late)
        again = tmp_path / "again"
        ran = await replay(events, "--findings", again, **settings)
        in_time = found(ran, again)
    assert rows.keys() == in_time.keys() == {BAD, IN_RANGE}
    for one in rows:
        assert rows[one]["Origin"] == "late"
        same = ("FindingId", "EventId", "EventTime", "Account", "Outcome", "Severity", "Reputation")
        assert [rows[one][name] for name in same] == [in_time[one][name] for name in same]


async def test_the_replica_answers_everything(tmp_path: Path) -> None:
    """With it the paid API is not asked, unless the settings say so of what it does not hold."""
    records = {
        "81.2.69.160/32": {"reputation": "malicious", "ip_range_24": "81.2.69.0/24"},
        "93.184.216.34/32": {"reputation": "benign"},
    }
    hosts = ReplicaHosts(body=mmdb(records))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(OTHER)
    events = recording(tmp_path, *map(row, (BAD, OTHER, CLEAN)))
    path, beyond = tmp_path / "found", tmp_path / "beyond"
    async with hosts.serve() as url:
        replica = {"CROWDSEC__REPLICA": "true"}
        settings = {"CROWDSEC__URL": url, "CROWDSEC__API_KEY": REPLICA_KEY, **replica}
        ran = await replay(events, "--findings", path, **settings)
        assert found(ran, path).keys() == {BAD}
        row_found = found(ran, path)[BAD]
        assert (row_found["Sources"], row_found["Severity"]) == (["crowdsec-replica"], "High")
        counts = ("lookups", "requests", "cache_hits", "unanswered")
        assert [ran.summary[one] for one in counts] == [0, 0, 3, 0]
        more = {"CROWDSEC__LOOK_UP_BEYOND_REPLICA": "true"}
        state = tmp_path / "state"
        (report,) = await told("feeds", "sync", "--state", state, **settings)
        assert report["ok"], report
    async with crowdsec.server() as cti:
        settings = {**crowdsec_at(cti.url), **replica, **more}
        ran = await replay(events, "--state", state, "--findings", beyond, **settings)
    assert found(ran, beyond).keys() == {BAD, OTHER}
    assert crowdsec.asked == {OTHER: 1}


@pytest.fixture
async def demo_in_full(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return the demo's recording, and reputations by FindingId as the paid API tells them."""
    events, path = tmp_path / "demo.ndjson.gz", tmp_path / "by-the-api"
    events.write_bytes(DEMO.recording.read_bytes())
    async with CrowdSecStandIn(DEMO.crowdsec) as url:
        settings = {"CROWDSEC__URL": url, "CROWDSEC__API_KEY": "a"}
        ran = await replay(events, "--findings", path, **settings)
    assert ran.status == 0, ran.err
    return events, {one["FindingId"]: one["Reputation"] for one in findings_in(path)}


async def test_the_replica_alone_finds_what_the_paid_api_finds(
    tmp_path: Path, demo_in_full: tuple[Path, dict[str, str]]
) -> None:
    """On a recording whose truth is known, without a lookup."""
    events, truth = demo_in_full
    records = {f"{one}/{128 if ':' in one else 32}": stored(DEMO.crowdsec[one]) for one in KNOWN}
    hosts = ReplicaHosts(body=mmdb(records))
    path = tmp_path / "found"
    async with hosts.serve() as url:
        settings = {"CROWDSEC__URL": url, "CROWDSEC__API_KEY": REPLICA_KEY}
        settings["CROWDSEC__REPLICA"] = "true"
        ran = await replay(events, "--findings", path, **settings)
    assert ran.status == 0, ran.err
    rows = findings_in(path)
    assert {one["FindingId"]: one["Reputation"] for one in rows} == truth
    assert {one["IPAddress"] for one in rows} == DEMO.planted.keys()
    assert (ran.summary["lookups"], ran.summary["unanswered"]) == (0, 0)


async def test_a_feed_alone_finds_every_planted_address(
    tmp_path: Path, demo_in_full: tuple[Path, dict[str, str]]
) -> None:
    """Those that CrowdSec calls bad, named by indicators of the same confidence."""
    events, truth = demo_in_full
    taxii = TaxiiServer(manner="crowdsec", collection="real-time-feeds", page_size=7)
    for address in KNOWN:
        word = DEMO.crowdsec[address]["reputation"]
        if word in ("malicious", "suspicious"):
            taxii.add(indicator(address, labels=[word], confidence=80 if word[0] == "m" else 40))
    path = tmp_path / "found"
    async with taxii.server() as server:
        settings = feed_at(server, "crowdsec", COLLECTION="real-time-feeds")
        ran = await replay(events, "--findings", path, **settings)
    assert ran.status == 0, ran.err
    found_ids = {one["FindingId"]: one["Reputation"] for one in findings_in(path)}
    bad = {one for one in KNOWN if DEMO.crowdsec[one]["reputation"] in ("malicious", "suspicious")}
    assert bad & DEMO.planted.keys()
    by_feed = {one["IPAddress"] for one in findings_in(path)}
    assert bad & DEMO.planted.keys() <= by_feed <= bad
    assert {one: found_ids[one] for one in truth if one in found_ids}.items() <= truth.items()
    assert ran.summary["lookups"] == 0


async def test_a_real_taxii_server_is_followed(tmp_path: Path) -> None:
    """First sync, news, a revocation, a wrong password: medallion, by the command."""
    state = tmp_path / "state"
    first = [indicator(f"81.2.{n}.1") for n in range(25)]
    dated = [(f"2026-01-02T00:00:{n:02}.000000Z", one) for n, one in enumerate(first)]
    async with Medallion(dated, page_size=10) as medallion:
        settings = {
            "FEEDS__REAL__URL": medallion.url,
            "FEEDS__REAL__COLLECTION": medallion.collection,
            "FEEDS__REAL__USERNAME": MEDALLION_USER,
            "FEEDS__REAL__PASSWORD": MEDALLION_PASSWORD,
        }
        sync = ("feeds", "sync", "--state", state)
        (report,) = await told(*sync, **settings)
        assert (report["indicators"], report["ok"]) == (25, True), report
        gone = revoked(first[0], "2026-02-01T00:00:00.000Z")
        await medallion.add(indicator("81.2.99.1"), gone)
        (report,) = await told(*sync, **settings)
        assert (report["indicators"], report["fresh"]) == (25, 2), report
        wrong = {**settings, "FEEDS__REAL__PASSWORD": "wrong"}
        (report,) = await told(*sync, **wrong)
        assert not report["ok"]
        assert report["indicators"] == 25


async def test_what_the_replica_cannot_tell_is_not_clean(tmp_path: Path) -> None:
    """A file of IPv4 alone: sign-ins from IPv6 are unanswered, with a reason."""
    hosts = ReplicaHosts(body=mmdb({f"{BAD}/32": {"reputation": "malicious"}}, version=4))
    path = tmp_path / "found"
    async with hosts.serve() as url:
        settings = {"CROWDSEC__URL": url, "CROWDSEC__API_KEY": REPLICA_KEY}
        settings["CROWDSEC__REPLICA"] = "true"
        events = recording(tmp_path, *map(row, (BAD, OTHER, SIX)))
        ran = await replay(events, "--findings", path, **settings)
    assert found(ran, path).keys() == {BAD}
    assert (ran.summary["unanswered"], ran.summary["cache_hits"]) == (1, 2)
    assert "the CrowdSec replica is missing or cannot be read" in one_line(ran.err)


def test_the_recordings_begin_when_the_indicators_hold() -> None:
    """Indicators of the tests are valid from 2026 on."""
    assert START.year == 2026
