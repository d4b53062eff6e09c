"""A site inside a company: every peer has a made-up https name and lies behind the proxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.servers.azurite import ACCOUNT, KEY
from tests.servers.entra import Entra
from tests.servers.proxy import Proxy
from tests.servers.tls import Authority, fronts
from tests.support.command import crowdsec_at, logs_at
from tests.support.site import Site, open_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.azurite import Azurite

CTI = "cti.example.test"
BLOB = f"{ACCOUNT}.blob.example.test"
TABLE = f"{ACCOUNT}.table.example.test"
LOGS = "logs.ingest.example.test"
HUB = "hub.servicebus.example.test"
LOGIN = "login.example.test"
NAMES = (CTI, BLOB, TABLE, LOGS, HUB, LOGIN)
USER, PASSWORD = "a-user", "p@ss/word:1"
QUOTED = "a-user:p%40ss%2Fword%3A1"


@dataclass
class Company:
    """All of it; ``settings`` name the peers, ``environment`` the proxy and the identity."""

    site: Site
    entra: Entra
    proxy: Proxy
    bundle: Path
    settings: dict[str, str]
    environment: dict[str, str]
    authority: Authority
    strangers: dict[str, int]
    """Ports, by name, of fronts whose certificates nobody here trusts."""

    def distrust(self, name: str) -> None:
        """Have one peer show a certificate of an authority that is not in the bundle."""
        self.proxy.routes[f"{name}:443"] = self.strangers[name]

    def forbid(self, name: str) -> None:
        """Have the proxy let nobody through to one peer."""
        del self.proxy.routes[f"{name}:443"]

    def with_password(self) -> None:
        """Have the proxy ask for credentials, and send them."""
        self.proxy.credentials = f"{USER}:{PASSWORD}"
        self.environment["HTTPS_PROXY"] = self.proxy.url.replace("//", f"//{QUOTED}@")

    def carried(self) -> set[str]:
        """Return the names to which the proxy has carried anything."""
        return {target.removesuffix(":443") for target in self.proxy.carried}


@asynccontextmanager
async def open_company(azurite: Azurite, folder: Path) -> AsyncIterator[Company]:
    """Start all of it. *folder* takes the CA bundle."""
    authority, entra = Authority(), Entra()
    async with (
        open_site(azurite.connection_string) as site,
        entra.server() as login,
    ):
        behind = {
            CTI: _port(site.settings["CROWDSEC__URL"]),
            BLOB: azurite.blob_port,
            TABLE: azurite.table_port,
            LOGS: _port(site.settings["LOGS__ENDPOINT"]),
            HUB: site.broker.websocket_port,
            LOGIN: _port(login.url),
        }
        async with (
            fronts(authority, behind) as ports,
            fronts(Authority(), behind) as strangers,
            Proxy({f"{name}:443": port for name, port in ports.items()}) as proxy,
        ):
            bundle = authority.write_bundle(folder / "company-ca.pem")
            settings = site.settings | _peers() | {"CA_BUNDLE": str(bundle)}
            environment = {
                "HTTPS_PROXY": proxy.url,
                "HTTP_PROXY": "http://127.0.0.1:9",
                **Entra.environment(f"https://{LOGIN}"),
            }
            yield Company(site, entra, proxy, bundle, settings, environment, authority, strangers)


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _peers() -> dict[str, str]:
    """Return the settings that name the peers; the names resolve nowhere."""
    storage = (
        f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=https://{BLOB}/{ACCOUNT};TableEndpoint=https://{TABLE}/{ACCOUNT};"
    )
    return {
        "EVENTHUB__CONNECTION_STRING": (
            f"Endpoint=sb://{HUB}/;SharedAccessKeyName=k;SharedAccessKey=v"
        ),
        "EVENTHUB__TRANSPORT": "websocket",
        "CHECKPOINT__CONNECTION_STRING": storage,
        "STATE__CONNECTION_STRING": storage,
        **crowdsec_at(f"https://{CTI}"),
        **logs_at(f"https://{LOGS}"),
    }
