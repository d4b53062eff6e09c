"""The whole way of indicators, from verdicts to Sentinel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.settings import SentinelSettings
from producers.sentinel.judged_addresses import IndicatorExport
from schemas.health import Problem
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import Intel, Reputation, Verdict
from tests.contracts.support_ledger import Clock, Told, instances
from tests.servers.threat_intelligence import ThreatIntelligence
from tests.support.indicator_upload import NOW, Time, uploading
from tests.support.sign_ins import address

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite


def judged(sharing: IndicatorExport, one: str, said: Reputation = Reputation.MALICIOUS) -> None:
    """Tell of a verdict."""
    expires = NOW + 30 * 86_400
    intel = Intel(score=4)
    verdict = Verdict(reputation=said, source="crowdsec", time=NOW, expires=expires, intel=intel)
    sharing.record_verdict(one, merge_verdicts([verdict]), NOW)


async def test_verdicts_reach_sentinel_and_survive_a_restart(tmp_path: Path) -> None:
    """A missing role holds them back; a restart uploads none of them twice."""
    service, health, time, clock = ThreatIntelligence(), Told(), Time(), Clock()
    clock.time = NOW
    service.fault = lambda *_: web.Response(status=403)
    addresses = [address(n) for n in range(250)]
    store = SqliteLedger(tmp_path, clock, waiting_per_address=5)
    async with uploading(service, time) as upload:

        def new() -> IndicatorExport:
            settings = SentinelSettings()
            return IndicatorExport(
                upload, store, clock, settings, health=health, monotonic=time.monotonic
            )

        sharing = new()
        for one in addresses:
            judged(sharing, one)
        await sharing.flush()
        assert health.troubles == {Problem.INDICATORS_HELD_BACK}
        assert "Microsoft Sentinel Contributor" in health.details[-1]
        service.fault = lambda *_: None
        time.time += 60
        service.requests.clear()
        await sharing.flush()
        assert health.troubles == set()
        assert service.requests == [100, 100, 50]
        assert len(service.active(NOW)) == 250
        sharing = new()
        for one in addresses[1:]:
            judged(sharing, one)
        judged(sharing, addresses[0], Reputation.BENIGN)
        await sharing.flush()
    await store.close()
    assert service.requests == [100, 100, 50, 1]
    assert len(service.active(NOW)) == 249
    assert len(service.objects) == 250


async def test_two_instances_share_what_they_know(azurite: Azurite) -> None:
    """One uploads, the other does not, and withdraws; both at once agree in the end."""
    service, time, clock = ThreatIntelligence(), Time(), Clock()
    clock.time = NOW
    async with (
        uploading(service, time) as upload,
        instances(azurite.connection_string, clock, 2) as stores,
    ):
        one, two = (IndicatorExport(upload, store, clock, SentinelSettings()) for store in stores)
        judged(one, address(1))
        await one.flush()
        judged(two, address(1))
        await two.flush()
        assert service.uploads.total() == 1
        judged(two, address(1), Reputation.BENIGN)
        await two.flush()
        assert service.active(NOW) == set()
        judged(one, address(2))
        judged(two, address(2))
        await asyncio.gather(one.flush(), two.flush())
        third = IndicatorExport(upload, stores[0], clock, SentinelSettings())
        judged(third, address(1), Reputation.BENIGN)
        judged(third, address(2))
        sent = service.uploads.total()
        await third.flush()
        assert service.uploads.total() == sent
    assert len(service.active(NOW)) == 1
