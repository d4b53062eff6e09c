"""What is read from lists as they are written."""

from __future__ import annotations

import orjson
import pytest

from consumers.sources.lists.parsing import read_list
from schemas.errors import FeedFailed

AWS = {
    "syncToken": "1",
    "prefixes": [{"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2"}],
    "ipv6_prefixes": [{"ipv6_prefix": "2600:1f69:7400::/40"}],
}
GCP = {"prefixes": [{"ipv4Prefix": "34.1.208.0/20"}, {"ipv6Prefix": "2600:1900::/28"}]}
AZURE = {"values": [{"properties": {"addressPrefixes": ["4.145.74.52/30", "2603:1000::/47"]}}]}
RELAY = b"172.224.224.0/31,GB,GB-EN,London,\n2a02:26f7:b000::/64,GB,GB-EN,Leeds,\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"81.2.69.160\n2a02:8108::5\n", ["81.2.69.160", "2a02:8108::5"]),
        (b"\xef\xbb\xbf# note\r\n; note\r\n// note\r\n81.2.69.160\r\n\r\n", ["81.2.69.160"]),
        (b"81.2.69.160 # seen today\n81.2.69.160\n", ["81.2.69.160"]),
        (b"address,since\n81.2.69.160,2026\n", ["81.2.69.160"]),
        (b"name;81.2.69.0/24;x\n", ["81.2.69.0/24"]),
        (b'["81.2.69.160", "x"]', ["81.2.69.160"]),
        (RELAY, ["172.224.224.0/31", "2a02:26f7:b000::/64"]),
    ],
)
def test_texts(body: bytes, expected: list[str]) -> None:
    """The first field of a line that is an address."""
    assert read_list(body) == expected


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        (AWS, {"3.5.140.0/22", "2600:1f69:7400::/40"}),
        (GCP, {"34.1.208.0/20", "2600:1900::/28"}),
        (AZURE, {"4.145.74.52/30", "2603:1000::/47"}),
    ],
)
def test_ranges_of_clouds(ranges: object, expected: set[str]) -> None:
    """By the names that the providers use."""
    assert set(read_list(orjson.dumps(ranges))) == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "holds no address"),
        (b"# nothing\n", "holds no address"),
        (b"<html>81.2.69.160</html>", "sends a web page"),
        (b'{"prefixes": [{"ip_prefix": "3.5.140.0/22"', "broken JSON"),
        (b'{"prefixes": []}', "holds no address"),
        (b"a,b\nc,d\ne,f\n81.2.69.160\n", "3 lines without an address"),
    ],
)
def test_what_is_no_list(body: bytes, text: str) -> None:
    """It is refused, so that the last good copy stays."""
    with pytest.raises(FeedFailed, match=text):
        read_list(body)
