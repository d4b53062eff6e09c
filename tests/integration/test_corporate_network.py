"""In a company's network: all peers behind its proxy, with certificates of its own authority."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob.aio import ContainerClient

from consumers.wiring.azure import transports
from tests.servers.entra import SECRET, TOKEN
from tests.servers.proxy import Proxy
from tests.support.command import replay, signinwatch
from tests.support.corporate_network import (
    BLOB,
    CTI,
    HUB,
    LOGIN,
    LOGS,
    NAMES,
    PASSWORD,
    QUOTED,
    Company,
    open_company,
)
from tests.support.service_process import Running, until
from tests.support.sign_ins import address, lines, message, row
from tests.support.site import open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite

SECONDS = 60.0
SECRETS = (PASSWORD, QUOTED, SECRET, TOKEN, "AccountKey", "SharedAccessKey=")


@pytest.fixture
async def company(tmp_path: Path, azurite: Azurite) -> AsyncIterator[Company]:
    """Return a site whose peers are reachable through a proxy alone."""
    async with open_company(azurite, tmp_path) as one:
        yield one


@pytest.fixture
def recording(tmp_path: Path, company: Company) -> Path:
    """Return 20 sign-ins from 20 addresses, 3 of them bad."""
    company.site.crowdsec.serve_bad(*(address(n) for n in range(3)))
    path = tmp_path / "recording.ndjson"
    path.write_bytes(lines(message(*(row(address(n)) for n in range(20)))))
    return path


def started(company: Company) -> Running:
    """Return a service that tells all it can."""
    settings = company.settings | {"SERVICE__DRAIN": "5"}
    return Running(settings, arguments=("--verbose",), environment=company.environment)


def only_crowdsec(company: Company) -> dict[str, str]:
    """Return the settings that a replay needs."""
    return {
        name: value
        for name, value in company.settings.items()
        if name.startswith("CROWDSEC__") or name == "CA_BUNDLE"
    }


async def reason(service: Running, code: str) -> str:
    """Wait until *code* is told; return its detail."""

    async def told() -> bool:
        return code in await service.reasons()

    await until(told, code, SECONDS)
    return str((await service.reasons())[code]["detail"])


def hides_secrets(text: str) -> bool:
    """Tell whether none of the secrets can be read."""
    return not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("password", [False, True])
async def test_everything_goes_through_the_proxy(company: Company, password: bool) -> None:
    """Findings arrive; hub, storage, CrowdSec, ingestion and identity, all by name."""
    if password:
        company.with_password()
        company.environment["https_proxy"] = company.environment.pop("HTTPS_PROXY")
    company.site.publish(bad=20, good=180)
    async with started(company) as service:
        await until(service.ready, "ready")
        await until(company.site.found, "all findings")
        await until(company.site.all_checkpointed, "checkpoints")
        assert await service.terminate() == 0
    assert hides_secrets(service.errors)
    assert company.site.one_id_each()
    assert company.carried() == set(NAMES)
    assert not company.proxy.refused
    assert company.entra.given.keys() == {"https://monitor.azure.com/.default"}
    assert company.site.ingestion.tokens == {f"Bearer {TOKEN}"}


async def test_kept_connections_are_used_again(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA bundle does not cost a tunnel and a handshake for each request."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    container = ContainerClient.from_connection_string(
        company.settings["CHECKPOINT__CONNECTION_STRING"],
        "nothing",
        transport=transports(company.bundle)(),
    )
    async with container:
        assert [await container.exists() for _ in range(5)] == [False] * 5
    assert company.proxy.carried == {f"{BLOB}:443": 1}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (None, "ledger-unreachable"),  # nobody is trusted, and the ledger is needed first
        (BLOB, "checkpoint-unreachable"),
        (HUB, "hub-unreachable"),
        (CTI, "source-down"),
        (LOGS, "findings-held-back"),
        (LOGIN, "findings-held-back"),
    ],
)
async def test_an_authority_that_is_not_trusted(
    company: Company, name: str | None, code: str
) -> None:
    """Each peer is told of, with the setting that mends it."""
    if name is None:
        del company.settings["CA_BUNDLE"]
    else:
        company.distrust(name)
    company.site.publish(bad=8, good=0)
    async with started(company) as service:
        detail = await reason(service, code)
        assert "certificate is not trusted" in detail
        assert "SIGNINWATCH_CA_BUNDLE" in detail
        assert ("Entra ID" in detail) == (name == LOGIN)
        await service.terminate()
    assert hides_secrets(service.errors)
    assert "Unclosed" not in service.errors
    assert not company.site.ingestion.rows


async def test_a_host_of_no_proxy_is_reached_directly(company: Company) -> None:
    """The made-up name resolves nowhere, so that the hub is out of reach; others are not."""
    company.environment["no_proxy"] = f"elsewhere.example.net, {HUB}"
    async with started(company) as service:
        assert "name cannot be resolved" in await reason(service, "hub-unreachable")
        await service.terminate()
    assert HUB not in company.carried() | set(company.proxy.refused)
    assert BLOB in company.carried()


async def test_a_proxy_that_is_down_refuses_and_is_well_again(company: Company) -> None:
    """A clear reason for each, and nothing has to be started anew."""
    company.with_password()
    await company.proxy.stop()
    company.site.publish(bad=8, good=0)
    async with started(company) as service:
        assert "proxy of HTTPS_PROXY is unreachable" in await reason(service, "ledger-unreachable")
        company.proxy.credentials = "another:password"
        await company.proxy.start()

        async def refused() -> bool:
            return "407" in await reason(service, "ledger-unreachable")

        await until(refused, "407", SECONDS)
        company.with_password()
        await until(company.site.found, "all findings")
        await company.proxy.stop()
        await company.proxy.start()
        company.site.publish(bad=8, good=0, start=1_000)
        await until(company.site.found, "findings after lost connections")
        await until(service.ready, "ready")
        assert await service.terminate() == 0
    assert hides_secrets(service.errors)
    assert "Unclosed" not in service.errors


async def test_loopback_is_never_proxied(tmp_path: Path, azurite: Azurite) -> None:
    """Proxies for everything, and peers on this machine: the proxy hears nothing."""
    async with (
        open_site(azurite.connection_string, tmp_path / "state") as site,
        Proxy({}) as proxy,
    ):
        site.publish(bad=8, good=8)
        environment = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url}
        async with Running(site.settings, environment=environment) as service:
            await until(site.found, "all findings")
            await until(site.all_checkpointed, "checkpoints")
            assert await service.terminate() == 0
    assert not proxy.carried
    assert not proxy.refused


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_replay_asks_through_the_proxy(
    company: Company, recording: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """With a password, and with a proxy that is written without its scheme."""
    company.with_password()
    told = company.environment["HTTPS_PROXY"].replace("http://", scheme)
    monkeypatch.setenv("HTTPS_PROXY", told)
    monkeypatch.setenv("NO_PROXY", "*.example.net")
    ran = await replay(recording, "--spend", **only_crowdsec(company))
    assert (ran.status, ran.summary["findings"], ran.summary["lookups"]) == (0, 3, 20), ran.err
    assert company.carried() == {CTI}
    assert hides_secrets(ran.err)


async def test_what_was_paid_for_is_kept(
    company: Company, recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same command twice finds the same and asks nothing; another key has paid for nothing."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    settings = only_crowdsec(company)
    runs = [await replay(recording, "--spend", **settings) for _ in range(2)]
    asked = [(ran.summary["lookups"], ran.summary["requests"] > 0) for ran in runs]
    assert asked == [(20, True), (0, False)], runs[1].err
    assert [ran.summary["findings"] for ran in runs] == [3, 3]
    assert company.site.crowdsec.asked.total() == 20
    ran = await replay(recording, "--spend", "--forget-paid", **settings)
    assert (ran.status, "--forget-paid" in ran.err) == (2, True)
    addresses = [str(address) for address in company.site.crowdsec.asked]
    deleted = await signinwatch(
        "forget", "--yes", *addresses, "--state", str(tmp_path), settings=settings
    )
    assert "20" in deleted.out.decode(), deleted.err
    again = await replay(recording, "--spend", **settings)
    assert again.summary["lookups"] == 20


def _refuses(company: Company) -> dict[str, str]:
    company.proxy.refusing = 503
    return {}


def _wants_password(company: Company) -> dict[str, str]:
    company.with_password()
    company.proxy.credentials = "another:password"
    return {"HTTPS_PROXY": company.environment["HTTPS_PROXY"]}


def _is_not_used(_: Company) -> dict[str, str]:
    return {"NO_PROXY": "*.example.test"}


@pytest.mark.parametrize("change", [_refuses, _wants_password, _is_not_used])
async def test_what_never_left_does_not_count(
    company: Company, recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Any
) -> None:
    """Addresses that a proxy kept us from asking about cost no quota: they are asked later."""
    for name, value in {"HTTPS_PROXY": company.proxy.url, **change(company)}.items():
        monkeypatch.setenv(name, value)
    settings = only_crowdsec(company)
    options = ("--state", tmp_path / "state", "--quota", "20", "--spend")
    ran = await replay(recording, *options, **settings)
    assert (company.site.crowdsec.requests, ran.summary["lookups"]) == (0, 0), ran.err
    assert hides_secrets(ran.err + ran.out.decode())
    company.proxy.refusing = company.proxy.credentials = None
    monkeypatch.setenv("NO_PROXY", "")
    again = await replay(recording, *options, **settings)
    assert again.summary["lookups"] == 20, again.err


@pytest.mark.parametrize("proxy", ["https://p.example.net:3128", "socks5://u:pw@h:1", "http://:1"])
async def test_a_proxy_that_cannot_be_used_is_refused(
    company: Company, recording: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """One line at the start, instead of going around the proxy in silence."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    ran = await signinwatch("replay", recording, settings=only_crowdsec(company))
    assert (ran.status, len(ran.err.strip().splitlines())) == (2, 1), ran.err
    assert "HTTPS_PROXY" in ran.err
    assert proxy not in ran.err


async def test_a_bundle_that_holds_no_certificate_is_refused(
    company: Company, recording: Path
) -> None:
    """A binary certificate, say."""
    await asyncio.to_thread(company.bundle.write_bytes, b"\x30\x82")
    ran = await signinwatch("replay", recording, settings=only_crowdsec(company))
    assert ran.status == 2
    assert "SIGNINWATCH_CA_BUNDLE" in ran.err
