"""One feed alone, and many accounts: findings go at once, capped until CrowdSec was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.crowdsec import CrowdSec
from tests.servers.crowdsec import item as crowdsec_item
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import crowdsec_at, findings_in, replay
from tests.support.feed_commands import BAD, OTHER, feed_at, recording
from tests.support.service_process import Running, until
from tests.support.sign_ins import message, row
from tests.support.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import web

    from tests.servers.azurite import Azurite

PEOPLE = [f"user{n}@example.net" for n in range(6)]
NETWORK = "[ipv4-addr:value ISSUBSET '81.2.69.0/24']"


async def found(
    folder: Path, crowdsec: CrowdSec, *named: str, quota: int = 1_000, **settings: str
) -> dict[str, list[str]]:
    """Replay a take-over of six accounts; return the severities of each, in order of writing."""
    taxii, path = TaxiiServer(), folder / "found"
    taxii.add(*map(indicator, named or (BAD,)))
    events = recording(folder, *(row(BAD, account) for account in PEOPLE))
    async with taxii.server() as server, crowdsec.server() as cti:
        ran = await replay(
            events, "--findings", path, "--quota", str(quota),
            **feed_at(server), **crowdsec_at(cti.url), **settings,
        )  # fmt: skip
    assert ran.status == 0, ran.err
    severities: dict[str, list[str]] = {}
    for one in findings_in(path):
        severities.setdefault(one["Account"], []).append(one["Severity"])
    return severities


async def test_a_take_over_is_high_in_the_end(tmp_path: Path) -> None:
    """Three accounts at once; the others as soon as CrowdSec knows nothing else, asked once."""
    crowdsec = CrowdSec()
    severities = await found(tmp_path, crowdsec)
    assert crowdsec.asked == {BAD: 1}
    assert [severities[account] for account in PEOPLE] == [
        *[["High"]] * 3,
        *[["Medium", "High"]] * 3,
    ]


async def test_who_disagrees_keeps_it_lower(tmp_path: Path) -> None:
    """CrowdSec calls it benign: the sources contradict each other, and a person decides."""
    crowdsec = CrowdSec()
    crowdsec.items[BAD] = crowdsec_item(BAD, "benign")
    severities = await found(tmp_path, crowdsec)
    assert [severities[account][-1] for account in PEOPLE[3:]] == ["Medium"] * 3
    assert crowdsec.asked == {BAD: 1}


async def test_a_network_is_asked_about_once(tmp_path: Path) -> None:
    """An indicator is one word, whatever it names."""
    crowdsec = CrowdSec()
    taxii, path = TaxiiServer(), tmp_path / "found"
    taxii.add(indicator(NETWORK))
    rows = [row(f"81.2.69.{n}", f"user{n}@example.net") for n in range(1, 9)]
    async with taxii.server() as server, crowdsec.server() as cti:
        ran = await replay(
            recording(tmp_path, *rows),
            "--findings",
            path,
            **feed_at(server),
            **crowdsec_at(cti.url),
        )
    assert ran.status == 0, ran.err
    assert crowdsec.asked.total() == 1
    last = {one["Account"]: one["Severity"] for one in findings_in(path)}
    assert last == {one["UserPrincipalName"]: "High" for one in rows}


@pytest.mark.parametrize("quota", [0, 19])
async def test_without_a_lookup_to_spend_nothing_is_capped(tmp_path: Path, quota: int) -> None:
    """None at all, or less than one by the share of 5 %: the feed is believed."""
    crowdsec = CrowdSec()
    severities = await found(tmp_path, crowdsec, quota=quota)
    assert [severities[account][-1] for account in PEOPLE] == ["High"] * 6
    assert not crowdsec.asked


async def test_an_outage_is_no_second_opinion(tmp_path: Path) -> None:
    """Without an answer the feed is believed, at the latest at the end."""
    crowdsec = CrowdSec()

    def broken(_: int) -> web.Response | str | None:
        return "reset"

    crowdsec.fault = broken
    severities = await found(tmp_path, crowdsec)
    assert [severities[account][-1] for account in PEOPLE] == ["High"] * 6


async def test_never_for_our_own_egress(tmp_path: Path) -> None:
    """It is informational anyway."""
    crowdsec = CrowdSec()
    severities = await found(tmp_path, crowdsec, TRUSTED_NETWORKS=f"{BAD}/32")
    assert {one for written in severities.values() for one in written} == {"Informational"}
    assert not crowdsec.asked


async def test_two_feeds_agree(tmp_path: Path) -> None:
    """Then nobody is asked."""
    crowdsec, path = CrowdSec(), tmp_path / "found"
    first, second = TaxiiServer(), TaxiiServer()
    for feed in (first, second):
        feed.add(indicator(BAD), indicator(OTHER))
    events = recording(tmp_path, *(row(BAD, account) for account in PEOPLE))
    async with first.server() as one, second.server() as two, crowdsec.server() as cti:
        settings = feed_at(one) | feed_at(two, "mine") | crowdsec_at(cti.url)
        ran = await replay(events, "--findings", path, **settings)
    assert ran.status == 0, ran.err
    assert [one["Severity"] for one in findings_in(path)] == ["High"] * 6
    assert not crowdsec.asked


@pytest.mark.parametrize("shared", [False, True])
async def test_in_the_service(tmp_path: Path, azurite: Azurite, *, shared: bool) -> None:
    """Within seconds, with either ledger."""
    taxii = TaxiiServer()
    taxii.add(indicator(BAD))
    state = None if shared else tmp_path / "state"
    async with open_site(azurite.connection_string, state) as site, taxii.server() as server:

        def severities() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {account: set() for account in PEOPLE}
            for one in site.ingestion.rows:
                if one["IPAddress"] == BAD:
                    found[one["Account"]].add(one["Severity"])
            return found

        async with Running({**site.settings, **feed_at(server)}) as service:
            site.broker.publish("signins", 0, message(*(row(BAD, account) for account in PEOPLE)))
            await until(
                lambda: all("High" in found for found in severities().values()), "the answer"
            )
            assert await service.terminate() == 0
        assert site.crowdsec.asked[BAD] == 1
    assert [severities()[account] for account in PEOPLE[3:]] == [{"Medium", "High"}] * 3
