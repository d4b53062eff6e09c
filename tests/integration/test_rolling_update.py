"""One revision takes over from another: on one ledger, each with a disk of its own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.servers.taxii import TaxiiServer, indicator
from tests.support.feed_commands import feed_at
from tests.support.service_process import Running, until
from tests.support.sign_ins import address, message, row
from tests.support.site import open_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.azurite import Azurite

ADDRESSES = 40
SCARCE, AMPLE = "300", "100000"
"""Lookups a month: a day's share of the first is ten."""


@pytest.mark.parametrize("killed", [False, True], ids=["terminated", "killed"])
async def test_nothing_is_lost_with_the_old_ones_disk(
    azurite: Azurite, tmp_path: Path, killed: bool
) -> None:
    """Every lookup is in the ledger's count, every waiting sign-in is judged by the new one."""
    taxii = TaxiiServer()
    taxii.add(indicator(address(9_999)))
    old_disk, new_disk = tmp_path / "old", tmp_path / "new"
    async with open_site(azurite.connection_string) as site, taxii.server() as feed:
        common = {**site.settings, **feed_at(feed), "CROWDSEC__MANUAL_SHARE": "0"}
        scarce = {**common, "CROWDSEC__MONTHLY_QUOTA": SCARCE, "CROWDSEC__BATCH_SIZE": "1"}
        site.crowdsec.serve_bad(*(address(number) for number in range(ADDRESSES)))
        async with Running({**scarce, "STATE__SCRATCH": str(old_disk)}) as old:
            for number in range(ADDRESSES):
                site.broker.publish("signins", number % 4, message(row(address(number))))
            await until(site.all_checkpointed, "all settled, or waiting")
            await until(lambda: site.crowdsec.asked.total() > 0, "some are looked up")
            assert site.crowdsec.asked.total() < ADDRESSES, "the others wait for their turn"
            async with Running({**scarce, "STATE__SCRATCH": str(new_disk)}) as new:
                await until(new.ready, "the new one ready beside the old one")
                if killed:
                    old.kill()
                else:
                    assert await old.terminate() == 0
                shutil.rmtree(old_disk)
                site.broker.publish("signins", 0, message(row(address(9_999))))
                await until(
                    lambda: any(one["IPAddress"] == address(9_999) for one in site.ingestion.rows),
                    "the new one reads on, and knows the feed",
                )

                async def counted() -> bool:
                    left = await new.metric("quota_left")
                    return left is not None and int(SCARCE) - left >= site.crowdsec.asked.total()

                await until(counted, "every lookup in the ledger's count")
                assert site.crowdsec.asked.total() < ADDRESSES
                assert await new.terminate() == 0
        ample = {**common, "CROWDSEC__MONTHLY_QUOTA": AMPLE, "STATE__SCRATCH": str(new_disk)}
        async with Running(ample) as last:
            await until(
                lambda: (
                    {one["IPAddress"] for one in site.ingestion.rows}
                    >= {address(number) for number in range(ADDRESSES)}
                ),
                "what waited is judged",
            )
            assert await last.terminate() == 0
    assert set(site.crowdsec.asked.values()) == {1}
    assert len({one["FindingId"] for one in site.ingestion.rows}) == ADDRESSES + 1
