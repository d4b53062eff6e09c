"""Wrong settings: one clear line, or a clear reason within half a minute. Never silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.azurite import Azurite
from tests.servers.eventhub_state import Key
from tests.support.command import signinwatch
from tests.support.service_process import Running, until
from tests.support.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECONDS = 30.0


@pytest.fixture
async def site(tmp_path: Path, azurite: Azurite) -> AsyncIterator[Site]:
    """Return peers on loopback."""
    async with open_site(azurite.connection_string, tmp_path / "state") as one:
        yield one


NEEDED = [
    ("EVENTHUB__CONNECTION_STRING", None, "EVENTHUB__CONNECTION_STRING"),
    ("EVENTHUB__CONNECTION_STRING", "nonsense", "EVENTHUB__CONNECTION_STRING"),
    ("EVENTHUB__NAME", None, "EVENTHUB__NAME"),
    ("CHECKPOINT__CONTAINER", None, "CHECKPOINT__CONTAINER"),
    ("CHECKPOINT__CONTAINER", "cp", "CHECKPOINT__CONTAINER"),
    ("CHECKPOINT__CONTAINER", "check--points", "CHECKPOINT__CONTAINER"),
    ("CHECKPOINT__CONTAINER", "c" * 64, "CHECKPOINT__CONTAINER"),
    ("CHECKPOINT__CONNECTION_STRING", None, "CHECKPOINT__"),
    ("CHECKPOINT__CONNECTION_STRING", "nonsense", "CHECKPOINT__CONNECTION_STRING"),
    ("STATE__DIR", None, "STATE__DIR"),
    ("STATE__TABLE", "no-table", "STATE__TABLE"),
    ("LOGS__ENDPOINT", None, "LOGS__ENDPOINT"),
    ("LOGS__ENDPOINT", "http://example.net", "LOGS__ENDPOINT"),
    ("LOGS__RULE_ID", None, "LOGS__RULE_ID"),
    ("CROWDSEC__API_KEY", None, "CROWDSEC__API_KEY"),
]


@pytest.mark.parametrize(("setting", "value", "named"), NEEDED)
async def test_one_line_names_the_setting(
    site: Site, setting: str, value: str | None, named: str
) -> None:
    """Exit status 2 at the start; no secret is shown."""
    settings = dict(site.settings)
    if setting == "STATE__TABLE":
        del settings["STATE__DIR"]
        settings["STATE__CONNECTION_STRING"] = site.storage
    settings.pop(setting, None)
    if value is not None:
        settings[setting] = value
    ran = await signinwatch("run", settings=settings)
    lines = ran.err.strip().splitlines()
    assert (ran.status, len(lines)) == (2, 1), ran.err
    assert named in lines[0]
    assert "AccountKey" not in ran.err


def _other_hub(site: Site) -> None:
    site.settings["EVENTHUB__NAME"] = "sigins"


def _other_group(site: Site) -> None:
    site.settings["EVENTHUB__CONSUMER_GROUP"] = "nobody"


def _other_key(site: Site) -> None:
    site.settings["EVENTHUB__CONNECTION_STRING"] = site.broker.connection_string(key="wrong")


def _key_without_listen(site: Site) -> None:
    site.broker.state.keys["sender"] = Key("s", listen=False, send=True)
    site.settings["EVENTHUB__CONNECTION_STRING"] = site.broker.connection_string(name="sender")


def _no_hub(site: Site) -> None:
    text = site.settings["EVENTHUB__CONNECTION_STRING"]
    site.settings["EVENTHUB__CONNECTION_STRING"] = text.replace(str(site.broker.port), "9")


def _no_container(site: Site) -> None:
    site.settings["CHECKPOINT__CREATE"] = "false"


def _other_storage_key(site: Site) -> None:
    site.settings["CHECKPOINT__CONNECTION_STRING"] = site.storage.replace("Eby8", "AAAA")


def _no_storage(site: Site) -> None:
    site.settings["CHECKPOINT__CONNECTION_STRING"] = Azurite.connection_string_at(9, 9)


def _table_key(site: Site) -> None:
    del site.settings["STATE__DIR"]
    site.settings["STATE__CONNECTION_STRING"] = site.storage.replace("Eby8", "AAAA")


def _no_table_service(site: Site) -> None:
    del site.settings["STATE__DIR"]
    site.settings["STATE__CONNECTION_STRING"] = Azurite.connection_string_at(9, 9)


def _other_rule(site: Site) -> None:
    site.settings["LOGS__RULE_ID"] = "dcr-ffffffffffffffffffffffffffffffff"


def _no_ingestion(site: Site) -> None:
    site.settings["LOGS__ENDPOINT"] = "http://127.0.0.1:9"


def _crowdsec_key(site: Site) -> None:
    site.settings["CROWDSEC__API_KEY"] = "wrong"


REASONS = [
    (_other_hub, "hub-missing", "EVENTHUB__NAME"),
    (_other_group, "partition-silent", "EVENTHUB__CONSUMER_GROUP"),
    (_other_key, "hub-refused", "EVENTHUB__CONNECTION_STRING"),
    (_key_without_listen, "partition-silent", "right to listen"),
    (_no_hub, "hub-unreachable", "EVENTHUB__CONNECTION_STRING"),
    (_no_container, "checkpoint-missing", "CHECKPOINT__CONTAINER"),
    (_other_storage_key, "checkpoint-refused", "CHECKPOINT__CONNECTION_STRING"),
    (_no_storage, "checkpoint-unreachable", "CHECKPOINT__CONNECTION_STRING"),
    (_table_key, "ledger-refused", "STATE__"),
    (_no_table_service, "ledger-unreachable", "STATE__"),
    (_other_rule, "findings-held-back", "LOGS__RULE_ID"),
    (_no_ingestion, "findings-held-back", "LOGS__ENDPOINT"),
    (_crowdsec_key, "key-refused", "CROWDSEC__API_KEY"),
]


@pytest.mark.parametrize(("wrong", "code", "named"), REASONS)
async def test_a_reason_is_told_in_time(site: Site, wrong: object, code: str, named: str) -> None:
    """Not ready, with a code, and a word on what to mend."""
    assert callable(wrong)
    wrong(site)
    site.settings["SERVICE__DRAIN"] = "6"  # shorter than by default: nobody waits for nothing
    site.publish(bad=8, good=0, each=1)
    async with Running(site.settings) as service:

        async def told() -> bool:
            return code in await service.reasons()

        await until(told, f"{code}; last: {await service.reasons()}", SECONDS)
        assert named in (await service.reasons())[code]["detail"]
        assert not await service.ready()
        assert (await service.get("/healthz"))[0] == 200, "alive all the same"
        assert await service.terminate(7) == 0
        assert "AccountKey" not in service.errors
        assert "SharedAccessKey=" not in service.errors
    assert not site.ingestion.rows
