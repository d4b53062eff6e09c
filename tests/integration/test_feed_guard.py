"""What no feed may cause: findings about what everybody uses, whole networks, or our own egress."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from consumers.pipeline.judge import OwnEgress
from consumers.sources.feeds.guard import FeedGuard
from schemas.intel.verdicts import Intel, Reputation, Verdict
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import findings_in, replay
from tests.support.feed_commands import BAD, OTHER, feed_at, recording
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path

RESOLVER, ENTRA, GSA, WARP = "8.8.8.8", "20.190.159.23", "151.206.3.4", "104.28.7.7"
SIX = "2603:1027:1::9"


async def severities(
    tmp_path: Path, *patterns: str, addresses: tuple[str, ...], **settings: str
) -> tuple[dict[str, str], str]:
    """Return the severities of findings by address, and what was logged."""
    taxii = TaxiiServer()
    taxii.add(*map(indicator, patterns))
    path = tmp_path / "found"
    events = recording(tmp_path, *map(row, addresses))
    async with taxii.server() as server:
        ran = await replay(events, "--findings", path, **feed_at(server), **settings)
    assert ran.status == 0, ran.err
    return {one["IPAddress"]: one["Severity"] for one in findings_in(path)}, ran.err


@pytest.mark.parametrize("address", [RESOLVER, ENTRA, GSA, WARP, SIX])
async def test_what_everybody_uses_is_no_finding(tmp_path: Path, address: str) -> None:
    """Named alone or as part of a network, and it is told; other addresses are found as ever."""
    kind = "ipv6" if ":" in address else "ipv4"
    named = f"[{kind}-addr:value = '{address}']"
    found, told = await severities(tmp_path, named, BAD, addresses=(address, BAD))
    assert found == {BAD: "High"}
    assert "which no feed may name" in told


async def test_a_network_of_our_own_choice(tmp_path: Path) -> None:
    """Beside the shipped list."""
    found, told = await severities(
        tmp_path, BAD, OTHER, addresses=(BAD, OTHER), GUARD__NEVER_NAMED=f"{OTHER}/32"
    )
    assert found == {BAD: "High"}
    assert "GUARD__NEVER_NAMED" in told


@pytest.mark.parametrize(
    ("network", "widest", "finds"),
    [
        ("81.2.0.0/16", None, True),
        ("81.0.0.0/8", None, False),
        ("81.2.0.0/15", None, False),
        ("81.0.0.0/8", "8", True),
        ("81.2.69.0/24", "25", False),
    ],
)
async def test_a_network_that_is_too_wide(
    tmp_path: Path, network: str, widest: str | None, finds: bool
) -> None:
    """Is a mistake more often than a fact."""
    settings = {"FEEDS__SEKOIA__WIDEST": widest} if widest else {}
    pattern = f"[ipv4-addr:value ISSUBSET '{network}']"
    found, told = await severities(tmp_path, pattern, addresses=("81.2.69.160",), **settings)
    assert (found != {}, "wider than WIDEST allows" in told) == (finds, not finds)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "High"),
        ({"TRUSTED_NETWORKS": f"{BAD}/32"}, "Informational"),
        ({"TRUSTED_NETWORKS": f"{BAD}/32", "FEEDS__SEKOIA__TRUSTED_TOO": "true"}, "High"),
    ],
)
async def test_our_own_egress(tmp_path: Path, settings: dict[str, str], expected: str) -> None:
    """One feed alone makes at most an informational finding of it."""
    found, _ = await severities(tmp_path, BAD, addresses=(BAD,), **settings)
    assert found == {BAD: expected}


async def test_the_feed_of_the_paid_source_is_a_feed(tmp_path: Path) -> None:
    """It has the name of the source that is looked up, and counts as one vendor with it."""
    taxii, path = TaxiiServer(), tmp_path / "found"
    taxii.add(indicator(BAD))
    events = recording(tmp_path, row(BAD))
    async with taxii.server() as server:
        feed = feed_at(server, "crowdsec")
        ran = await replay(events, "--findings", path, TRUSTED_NETWORKS=f"{BAD}/32", **feed)
    assert ran.status == 0, ran.err
    assert [one["Severity"] for one in findings_in(path)] == ["Informational"]


def _said(**sources: str) -> list[Verdict]:
    """Return verdicts: a feed's has an indicator, that of a source which rates has none."""
    return [
        Verdict(
            source=name.replace("_", "-"),
            reputation=Reputation(said),
            time=0.0,
            expires=9e9,
            intel=Intel(indicator={} if name.startswith("crowdsec") else {"id": name}),
        )
        for name, said in sources.items()
    ]


@pytest.mark.parametrize(
    ("said", "doubtful"),
    [
        ({"sekoia": "malicious"}, True),
        ({"sekoia": "malicious", "mine": "suspicious"}, False),
        ({"sekoia": "malicious", "mine": "benign"}, True),
        ({"crowdsec_replica": "malicious", "blocklist": "malicious"}, True),
        ({"crowdsec": "malicious", "blocklist": "malicious"}, True),
        ({"crowdsec": "malicious", "sekoia": "malicious"}, False),
        ({"crowdsec": "malicious"}, False),
        ({"sure": "malicious"}, False),
    ],
)
def test_another_vendor_must_agree(said: dict[str, Any], doubtful: bool) -> None:
    """CrowdSec's API, replica and lists are one."""
    own = OwnEgress(["81.2.69.0/24"], believed=["sure"], vendors={"blocklist": "crowdsec"})
    assert own.is_doubtful("81.2.69.160", _said(**said)) is doubtful
    assert not own.is_doubtful("93.184.216.34", _said(**said))


def test_the_shipped_list_names_no_residential_network() -> None:
    """What is on it is for good: each part is checked by an address that must stay findable."""
    guard = FeedGuard()
    free = ("81.2.69.160", "185.220.101.7", "45.66.77.88", "104.15.0.1", "172.72.0.1", "20.190.1.1")
    reasons = Counter(guard.refusal(address, address, 16) for address in free)
    assert reasons == {None: len(free)}
