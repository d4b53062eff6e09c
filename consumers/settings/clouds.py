"""The Azure clouds: their hosts and token scopes, and which one the settings mean.

Hosts and scopes: Microsoft's "Compare Azure Government and global Azure" and the articles on the
Logs Ingestion, Logs query and Sentinel upload APIs. Event Hubs and Storage use one token audience
in all clouds.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumers.settings.model import Settings


class Cloud(NamedTuple):
    """One Azure cloud."""

    name: str
    authority: str
    """Host that gives tokens."""
    ingestion_scope: str
    """Token scope of the Logs Ingestion API."""
    upload_url: str
    """Sentinel's upload API for indicators."""
    upload_scope: str
    query_url: str
    """The Logs query API."""
    suffixes: tuple[str, ...]
    """Ends of the host names of this cloud's services."""


PUBLIC = Cloud(
    name="public",
    authority="login.microsoftonline.com",
    ingestion_scope="https://monitor.azure.com/.default",
    upload_url="https://api.ti.sentinel.azure.com",
    upload_scope="https://management.azure.com/.default",
    query_url="https://api.loganalytics.io",
    suffixes=(".windows.net", ".azure.com", ".loganalytics.io"),
)
USGOV = Cloud(
    name="usgov",
    authority="login.microsoftonline.us",
    ingestion_scope="https://monitor.azure.us/.default",
    upload_url="https://api.ti.sentinel.azure.us",
    upload_scope="https://management.usgovcloudapi.net/.default",
    query_url="https://api.loganalytics.us",
    suffixes=(".usgovcloudapi.net", ".azure.us", ".loganalytics.us"),
)
CLOUDS = {cloud.name: cloud for cloud in (PUBLIC, USGOV)}
_OTHER_SUFFIXES = (".chinacloudapi.cn", ".azure.cn", ".cloudapi.de", ".microsoft.scloud", ".ic.gov")
"""Clouds without Sentinel, or closed to the public."""
_HOST_IN_CONNECTION_STRING = re.compile(
    r"(?:^|;)\s*(?:\w*endpoint|endpointsuffix)\s*=\s*(?:\w+://)?([\w.-]+)", re.IGNORECASE
)


def cloud_of(settings: Settings) -> Cloud:
    """Return the cloud of CLOUD, else that of the endpoints, else the public one.

    Raises ConfigurationError for endpoints of another cloud, or of two clouds.
    """
    found = None if settings.cloud is None else ("CLOUD", CLOUDS[settings.cloud])
    for name, host in _hosts(settings):
        if host.endswith(_OTHER_SUFFIXES):
            raise ConfigurationError(
                f"SIGNINWATCH_{name}: {host} is in an Azure cloud that is not supported; use the "
                "public cloud or Azure Government (CLOUD=public or CLOUD=usgov)"
            )
        cloud = next((cloud for cloud in CLOUDS.values() if host.endswith(cloud.suffixes)), None)
        if cloud is None:
            continue  # this machine, a gateway, or a name of one's own
        if found is None:
            found = name, cloud
        elif found[1] is not cloud:
            raise ConfigurationError(
                f"SIGNINWATCH_{name}: {host} is in the cloud {cloud.name}, but {found[0]} means "
                f"{found[1].name}; all endpoints must be in one cloud"
            )
    return PUBLIC if found is None else found[1]


def authority_of(settings: Settings) -> str:
    """Return the host that gives tokens: AZURE_AUTHORITY_HOST, else that of the cloud."""
    return os.environ.get("AZURE_AUTHORITY_HOST") or cloud_of(settings).authority


def _hosts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the hosts of Azure that the settings name, with the setting."""
    hub, checkpoint, state = settings.eventhub, settings.checkpoint, settings.state
    urls = {
        "EVENTHUB__NAMESPACE": hub.namespace,
        "CHECKPOINT__ACCOUNT_URL": checkpoint.account_url,
        "STATE__ACCOUNT_URL": state.account_url,
        "LOGS__ENDPOINT": settings.logs.endpoint,
        "SENTINEL__URL": settings.sentinel.url,
        "SENTINEL__QUERY_URL": settings.sentinel.query_url,
    }
    for name, url in urls.items():
        if url is not None:
            yield name, (urlsplit(url if "//" in url else f"//{url}").hostname or "").lower()
    secrets = {
        "EVENTHUB__CONNECTION_STRING": hub.connection_string,
        "CHECKPOINT__CONNECTION_STRING": checkpoint.connection_string,
        "STATE__CONNECTION_STRING": state.connection_string,
    }
    for name, secret in secrets.items():
        if secret is not None:
            for host in _HOST_IN_CONNECTION_STRING.findall(secret.get_secret_value()):
                yield name, host.lower()
