"""Killed at the worst moment: between upload and the deletion of what waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers.azurite import Azurite
from tests.servers.faults import RESET, FaultyWay
from tests.support.command import signinwatch
from tests.support.service_process import Running, until
from tests.support.site import open_site

if TYPE_CHECKING:
    from pathlib import Path


async def test_between_upload_and_deletion(azurite: Azurite, tmp_path: Path) -> None:
    """The finding may come twice, under one FindingId; nothing waits for ever."""
    key_file = tmp_path / "key"
    key_file.write_text("not-yet-the-key")
    way = FaultyWay(azurite.table_port)
    async with open_site(azurite.connection_string) as site, way.server() as server:
        good = site.settings.pop("CROWDSEC__API_KEY")
        table_port = int(server.url.rpartition(":")[2])
        site.settings |= {
            "CROWDSEC__API_KEY_FILE": str(key_file),
            "CROWDSEC__TIMEOUT": "1",
            "STATE__CONNECTION_STRING": Azurite.connection_string_at(azurite.blob_port, table_port),
        }
        site.publish(bad=6, good=6, each=3)

        def cut_off(_number: int, _rows: list[Any]) -> None:
            way.fault = lambda _: RESET  # the ledger is gone the moment the upload arrives

        site.ingestion.fault = cut_off
        async with Running(site.settings) as service:

            async def waiting() -> bool:
                return await site.all_checkpointed() and not site.ingestion.rows

            await until(waiting, "sign-ins that wait in the ledger")
            key_file.write_text(good)
            await until(lambda: bool(site.ingestion.rows), "the first upload")
            service.kill()
        way.fault = lambda _: None
        site.ingestion.fault = lambda *_: None
        async with Running(site.settings) as service:
            await until(site.found, "every finding")

            async def nothing_waits() -> bool:
                ran = await signinwatch("check", settings=site.settings)
                return b" 0 sign-ins wait" in ran.out

            await until(nothing_waits, "an empty ledger of waiting sign-ins")
            assert await service.terminate() == 0
        assert site.one_id_each()
        assert len(site.ingestion.rows) > len(site.planted), "what was uploaded came again"
