"""Why there is no token, told the same by every part that needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from tests.servers.azurite import ACCOUNT
from tests.servers.entra import SECRET, refused_by_entra
from tests.servers.loopback import Loopback
from tests.servers.tls import fronts
from tests.support.command import signinwatch
from tests.support.corporate_network import BLOB, HUB, LOGS, TABLE, Company, open_company
from tests.support.feed_commands import BAD
from tests.support.service_process import Running, until
from tests.support.site import open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite

PARTS = {
    "checkpoint container": ("checkpoint-refused", "CHECKPOINT__ACCOUNT_URL"),
    "event hub signins": ("hub-refused", "EVENTHUB__NAMESPACE"),
    "ledger": ("ledger-refused", "STATE__ACCOUNT_URL"),
    "ingestion SignInWatchFindings_CL": ("findings-held-back", "LOGS__ENDPOINT"),
    "ingestion SignInWatchHealth_CL": ("findings-held-back", "LOGS__ENDPOINT"),
    "Sentinel indicators": ("findings-held-back", "SENTINEL__URL"),
}
ROLES = ("the role", "firewall", "does not exist")
"""What is not the matter where there is no token."""


@pytest.fixture
async def company(tmp_path: Path, azurite: Azurite) -> AsyncIterator[Company]:
    """Return a site where every part of Azure is reached with an identity."""
    async with open_company(azurite, tmp_path) as one:
        for name in ("EVENTHUB", "CHECKPOINT", "STATE"):
            del one.settings[f"{name}__CONNECTION_STRING"]
        one.settings |= {
            "EVENTHUB__NAMESPACE": HUB,
            "CHECKPOINT__ACCOUNT_URL": f"https://{BLOB}/{ACCOUNT}",
            "STATE__ACCOUNT_URL": f"https://{TABLE}/{ACCOUNT}",
            "SENTINEL__WORKSPACE_ID": "00000000-0000-0000-0000-000000000000",
            "SENTINEL__URL": f"https://{LOGS}",
        }
        yield one


async def _checked(company: Company, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    for name, value in company.environment.items():
        monkeypatch.setenv(name, value)
    ran = await signinwatch("check", "--json", settings=company.settings)
    assert ran.status == 1, ran.err
    assert SECRET not in ran.err + ran.out.decode()
    return {line["check"]: line for line in map(orjson.loads, ran.out.splitlines())}


def _told_otherwise(lines: dict[str, dict[str, Any]], *wanted: str) -> dict[str, str]:
    """Return the parts that do not tell the cause, with their setting and code, or tell more."""
    return {
        part: lines[part]["text"]
        for part, (code, setting) in PARTS.items()
        if lines[part]["code"] != code
        or any(word not in lines[part]["text"] for word in (setting, *wanted))
        or any(word in lines[part]["text"] for word in ROLES)
    }


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (refused_by_entra(7000222), ("AADSTS7000222", "expired", "AZURE_CLIENT_SECRET")),
        (refused_by_entra(7000215), ("AADSTS7000215", "wrong")),
        (refused_by_entra(700016, "unauthorized_client"), ("AADSTS700016", "AZURE_CLIENT_ID")),
        (refused_by_entra(50049), ("AADSTS50049",)),
        ((401, {"error": "invalid_client"}), ("HTTP 401", "AZURE_CLIENT_SECRET")),
        ((503, {}), ("HTTP 503", "busy")),
    ],
)
async def test_entra_refuses(
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, dict[str, Any]],
    told: tuple[str, ...],
) -> None:
    """The number of the cause and its fix; nothing of keys, roles or firewalls."""
    company.entra.refusal = answer
    assert _told_otherwise(await _checked(company, monkeypatch), *told) == {}


async def test_nobody_is_there(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """No managed identity, no variables, no az: not "there is no event hub of that name"."""
    company.environment = {
        name: value for name, value in company.environment.items() if not name.startswith("AZURE")
    }
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    lines = await _checked(company, monkeypatch)
    assert _told_otherwise(lines, "no credential", "AZURE_CLIENT_ID", "az login") == {}


REFUSALS = {400: "assign", 404: "assign", 410: "repeated", 429: "repeated", 500: "repeated"}


@pytest.mark.parametrize(
    ("machine", "status"),
    [
        *((False, status) for status in REFUSALS),
        *((True, status) for status in REFUSALS if status != 410),  # repeated for 70 seconds
    ],
)
async def test_a_managed_identity_refuses(
    company: Company,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    *,
    machine: bool,
) -> None:
    """As Container Apps and App Service answer, or a virtual machine."""
    monkeypatch.setenv("PATH", "/nowhere")
    for name in [name for name in company.environment if name.startswith("AZURE")]:
        del company.environment[name]

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"statusCode": status, "message": "a message"}, status=status)

    async with Loopback(answer) as server:
        company.environment |= (
            {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.url}
            if machine
            else {"IDENTITY_ENDPOINT": server.url, "IDENTITY_HEADER": "a-header"}
        )
        lines = await _checked(company, monkeypatch)
    assert _told_otherwise(lines, "managed identity", f"HTTP {status}", REFUSALS[status]) == {}


@pytest.mark.parametrize("command", [("lookup", BAD), ("feeds", "status"), ("feeds", "sync")])
async def test_commands_tell_it_too(
    company: Company, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """In one line, within seconds, and nothing else."""
    company.entra.refusal = refused_by_entra(7000222)
    company.settings |= {"FEEDS__A__URL": f"https://{LOGS}/root", "FEEDS__A__COLLECTION": "c"}
    for name, value in company.environment.items():
        monkeypatch.setenv(name, value)
    ran = await signinwatch(*command, settings=company.settings)
    assert ran.status in (1, 2)
    assert "AADSTS7000222" in ran.err, ran.err
    assert "Traceback" not in ran.err
    assert SECRET not in ran.err


@pytest.mark.parametrize(
    ("cloud", "scopes"),
    [
        ("public", ("https://monitor.azure.com/.default", "https://management.azure.com/.default")),
        (
            "usgov",
            ("https://monitor.azure.us/.default", "https://management.usgovcloudapi.net/.default"),
        ),
    ],
)
async def test_tokens_are_for_the_cloud(
    company: Company, monkeypatch: pytest.MonkeyPatch, cloud: str, scopes: tuple[str, str]
) -> None:
    """Ingestion and indicators have scopes of their own in each; storage and hubs have one."""
    company.settings["CLOUD"] = cloud
    await _checked(company, monkeypatch)
    storage, hubs = "https://storage.azure.com/.default", "https://eventhubs.azure.net//.default"
    assert company.entra.given.keys() == {*scopes, storage, hubs}


async def test_the_service_tells_it_too(company: Company, azurite: Azurite) -> None:
    """In the body of /readyz, until the secret is renewed."""
    async with open_site(azurite.connection_string) as site:
        company.settings |= {
            name: site.settings[name]
            for name in ("CHECKPOINT__CONNECTION_STRING", "STATE__CONNECTION_STRING")
            if name in site.settings
        }
        company.settings |= {"STATE__CONNECTION_STRING": azurite.connection_string}
        del company.settings["CHECKPOINT__ACCOUNT_URL"], company.settings["STATE__ACCOUNT_URL"]
        company.entra.refusal = refused_by_entra(7000222)
        async with Running(company.settings, environment=company.environment) as service:

            async def told() -> bool:
                reason = (await service.reasons()).get("hub-refused", {})
                return "AADSTS7000222" in str(reason.get("detail"))

            await until(told, "the cause", 60.0)
            await service.terminate()
    assert SECRET not in service.errors


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "credentials of its own"), (404, "AMQP over WebSocket"), (503, "does not reach it")],
)
async def test_a_websocket_handshake_is_refused(
    company: Company, monkeypatch: pytest.MonkeyPatch, status: int, told: str
) -> None:
    """What stands before the hub is told by its status, not as a missing hub."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="404 not-found unauthorized")

    async with (
        Loopback(answer) as server,
        fronts(company.authority, {HUB: int(server.url.rpartition(":")[2])}) as ports,
    ):
        company.proxy.routes[f"{HUB}:443"] = ports[HUB]
        lines = await _checked(company, monkeypatch)
    hub = lines["event hub signins"]
    assert hub["code"] == "hub-unreachable"
    assert told in hub["text"]
    assert f"HTTP {status}" in hub["text"]
