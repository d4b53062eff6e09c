"""The Azure cloud: derived from the endpoints, and never mixed."""

from __future__ import annotations

import pytest

from consumers.settings import Settings, cloud_of
from schemas.errors import ConfigurationError

STORAGE = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;"


def _settings(**groups: object) -> Settings:
    return Settings.model_validate(groups)


@pytest.mark.parametrize(
    ("groups", "cloud"),
    [
        ({}, "public"),
        ({"cloud": "usgov"}, "usgov"),
        ({"eventhub": {"namespace": "n.servicebus.usgovcloudapi.net"}}, "usgov"),
        ({"eventhub": {"namespace": "N.ServiceBus.UsGovCloudApi.net"}}, "usgov"),
        ({"eventhub": {"connection_string": "Endpoint=sb://n.servicebus.windows.net/"}}, "public"),
        (
            {"eventhub": {"connection_string": "Endpoint=sb://n.servicebus.usgovcloudapi.net/;x"}},
            "usgov",
        ),
        (
            {
                "checkpoint": {
                    "connection_string": f"{STORAGE}EndpointSuffix=core.usgovcloudapi.net"
                }
            },
            "usgov",
        ),
        (
            {
                "state": {
                    "connection_string": f"{STORAGE}TableEndpoint=https://a.table.core."
                    "usgovcloudapi.net/"
                }
            },
            "usgov",
        ),
        ({"logs": {"endpoint": "https://n.usgovvirginia-1.ingest.monitor.azure.us"}}, "usgov"),
        ({"logs": {"endpoint": "http://127.0.0.1:9"}}, "public"),
        ({"logs": {"endpoint": "https://ingest.example.net"}, "cloud": "usgov"}, "usgov"),
    ],
)
def test_the_endpoints_tell_the_cloud(groups: dict[str, object], cloud: str) -> None:
    """In whatever setting, with a name of one's own saying nothing."""
    assert cloud_of(_settings(**groups)).name == cloud


@pytest.mark.parametrize(
    ("groups", "named", "other"),
    [
        (
            {"cloud": "public", "logs": {"endpoint": "https://n.ingest.monitor.azure.us"}},
            "LOGS__ENDPOINT",
            "CLOUD",
        ),
        (
            {
                "eventhub": {"namespace": "n.servicebus.windows.net"},
                "checkpoint": {"account_url": "https://a.blob.core.usgovcloudapi.net"},
            },
            "CHECKPOINT__ACCOUNT_URL",
            "EVENTHUB__NAMESPACE",
        ),
        ({"eventhub": {"namespace": "n.servicebus.chinacloudapi.cn"}}, "NAMESPACE", "supported"),
        (
            {"state": {"connection_string": f"{STORAGE}EndpointSuffix=core.chinacloudapi.cn"}},
            "STATE__CONNECTION_STRING",
            "supported",
        ),
        ({"sentinel": {"url": "https://api.ti.sentinel.azure.cn"}}, "SENTINEL__URL", "supported"),
    ],
)
def test_other_clouds_are_refused(groups: dict[str, object], named: str, other: str) -> None:
    """In one sentence that names the setting; never its secret."""
    with pytest.raises(ConfigurationError) as caught:
        cloud_of(_settings(**groups))
    text = str(caught.value)
    assert named in text
    assert other in text
    assert "a2V5" not in text
