"""The service with feeds: matched in the stream, found late, shared by instances and Sentinel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.servers.taxii import TaxiiServer, indicator, revoked
from tests.servers.threat_intelligence import WORKSPACE, ThreatIntelligence
from tests.support.command import signinwatch
from tests.support.feed_commands import feed_at
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


def told(site: Site, number: int) -> list[dict[str, Any]]:
    """Return the findings about an address."""
    return [one for one in site.ingestion.rows if one["IPAddress"] == address(number)]


async def test_matched_in_the_stream_and_found_late(site: Site) -> None:
    """Named before: no lookup. Named after it went by: found within seconds, told to be late."""
    taxii = TaxiiServer()
    taxii.add(indicator(address(1)))
    async with taxii.server() as server:
        settings = {**site.settings, **feed_at(server, INTERVAL="0.5")}
        async with Running(settings) as service:
            site.broker.publish("signins", 0, message(row(address(1)), row(address(2))))
            await until(lambda: bool(told(site, 1)), "the finding of what a feed names")
            await until(lambda: site.crowdsec.asked == {address(2): 1}, "the question")
            await until(site.all_checkpointed, "checkpoints")
            assert not told(site, 2)
            taxii.add(indicator(address(2)))
            await until(lambda: bool(told(site, 2)), "the late finding")
            assert await service.terminate() == 0
            assert "warning" not in service.errors
    (in_time,), (late,) = told(site, 1), told(site, 2)
    assert (in_time["Origin"], late["Origin"]) == ("live", "late")
    assert late["Sources"] == in_time["Sources"] == ["sekoia"]
    assert late["Account"] == "ada@example.net"
    assert site.crowdsec.asked == {address(2): 1}


async def test_what_waits_is_found_when_a_feed_names_it(site: Site) -> None:
    """Without lookups left it would wait on; the finding has all that the record told."""
    taxii = TaxiiServer()
    site.settings["CROWDSEC__MONTHLY_QUOTA"] = "1"
    site.settings["CROWDSEC__MANUAL_SHARE"] = "0.9"
    async with taxii.server() as server:
        settings = {**site.settings, **feed_at(server, INTERVAL="0.5")}
        async with Running(settings) as service:
            rows = [row(address(n), UserAgent="curl/8", ResultType="0") for n in range(1, 4)]
            site.broker.publish("signins", 0, message(*rows))

            await until(site.all_checkpointed, "checkpoints")
            numbers = [n for n in range(1, 4) if address(n) not in site.crowdsec.asked]
            taxii.add(indicator(address(numbers[0])))
            await until(lambda: bool(told(site, numbers[0])), "the finding")
            assert await service.terminate() == 0
    (finding,) = told(site, numbers[0])
    assert (finding["Origin"], finding["UserAgent"]) == ("late", "curl/8")


@pytest.mark.timeout(240)  # figures are taken every half minute
async def test_instances_read_a_feed_together(azurite: Azurite) -> None:
    """One reads it, both match; what comes late is found; a command's sync is followed too."""
    taxii = TaxiiServer(page_size=10)
    taxii.add(*(indicator(address(n)) for n in range(35)))
    async with open_site(azurite.connection_string) as site, taxii.server() as server:
        settings = {**site.settings, **feed_at(server, INTERVAL="3600")}
        async with Running(settings) as one, Running(settings) as other:
            await until(one.ready, "ready")
            await until(other.ready, "ready")

            async def read(service: Running) -> bool:
                return await service.metric("feed_indicators", feed="sekoia") == 35

            await until(lambda: read(one), "the feed in one")
            await until(lambda: read(other), "the feed in the other")
            assert taxii.requests <= 5, "one instance reads it"
            for n in range(20, 40):
                site.broker.publish("signins", n % 4, message(row(address(n))))
            await until(lambda: len(site.ingestion.rows) >= 15, "findings")
            await until(site.all_checkpointed, "checkpoints")
            taxii.add(indicator(address(36)))
            ran = await signinwatch("feeds", "sync", "--json", settings=settings)
            assert ran.status == 0, ran.err + ran.out.decode()
            assert orjson.loads(ran.out)["fresh"] == 1
            await until(lambda: bool(told(site, 36)), "the late finding of what a command read")
            assert (await one.terminate(), await other.terminate()) == (0, 0)
    ids = [one["FindingId"] for one in site.ingestion.rows]
    assert len(set(ids)) == 16
    assert {one["Origin"] for one in told(site, 36)} == {"late"}


async def test_sentinel_is_told_of_what_is_judged_and_of_chosen_feeds(site: Site) -> None:
    """Addresses that CrowdSec calls malicious, and a feed's indicators; the unchosen one is not."""
    sekoia, acme, sentinel = TaxiiServer(), TaxiiServer(), ThreatIntelligence()
    sekoia.add(indicator(address(100)))
    acme.add(indicator(address(200)))
    async with sekoia.server() as one, acme.server() as other, sentinel.server() as api:
        settings = {
            **site.settings,
            **feed_at(one, TO_SENTINEL="true", INTERVAL="0.5"),
            **feed_at(other, "acme"),
            "SENTINEL__WORKSPACE_ID": WORKSPACE,
            "SENTINEL__URL": api.url,
        }
        site.crowdsec.serve_bad(address(1))
        async with Running(settings) as service:
            rows = [row(address(n)) for n in (1, 2, 100, 200)]
            site.broker.publish("signins", 0, message(*rows))

            def patterns() -> set[str]:
                return {kept["pattern"] for kept in sentinel.objects.values()}

            expected = {f"[ipv4-addr:value = '{address(n)}']" for n in (1, 100)}
            await until(lambda: patterns() == expected, "both indicators")
            assert await service.terminate() == 0
    assert patterns() == expected


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "feeds alone"])
async def test_the_table_of_verdicts_follows_feeds(
    tmp_path: Path, azurite: Azurite, key: bool
) -> None:
    """Named, not named any more, and never named: a row each, whenever that changes."""
    taxii = TaxiiServer()
    taxii.add(indicator(address(1)))
    async with (
        taxii.server() as server,
        open_site(azurite.connection_string, tmp_path / "state") as site,
    ):
        settings = {**site.settings, **feed_at(server, INTERVAL="0.5")}
        if not key:
            del settings["CROWDSEC__API_KEY"]

        def verdicts(number: int) -> list[str]:
            rows = site.ingestion.reports["Verdicts_CL"]
            return [one["Verdict"] for one in rows if one["IPAddress"] == address(number)]

        async with Running(settings) as service:
            site.broker.publish("signins", 0, message(row(address(1)), row(address(2))))
            await until(lambda: verdicts(1) == ["malicious"], "the row of what a feed names")
            await until(lambda: bool(verdicts(2)), "the row of what nobody names")
            taxii.add(revoked(indicator(address(1)), "2031-01-01T00:00:00Z"))
            await until(lambda: verdicts(1)[1:] == ["unanswered"], "the row after that")
            assert await service.terminate() == 0
    assert verdicts(2) == ["unknown" if key else "unanswered"]
