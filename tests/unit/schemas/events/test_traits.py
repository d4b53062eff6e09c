"""The traits that stories read: the fast path gives what the details give."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.tables import load_tables
from schemas.events.traits import traits_of, traits_of_details, way_of
from schemas.events.user_agents import user_agent_of
from tests.bench.measurements.data import addresses, messages
from tests.recorded.entra import diagnostic, row, user

if TYPE_CHECKING:
    from schemas.events.sign_in import SignIn

NOW = datetime(2031, 5, 6, tzinfo=UTC)
DECODER = Decoder(load_tables(["all"], with_traits=True))
PLACE = {
    "city": "Köln",
    "countryOrRegion": "DE",
    "geoCoordinates": {"latitude": 50.9, "longitude": 6.9},
}
RECORDS: dict[str, dict[str, Any]] = {
    "row": row("SigninLogs", "a", LocationDetails=PLACE, AutonomousSystemNumber=3209),
    "texts": row(
        "AADNonInteractiveUserSignInLogs",
        "b",
        LocationDetails=orjson.dumps(PLACE).decode(),
        DeviceDetail='{"deviceId":"d-1","isCompliant":true}',
        SessionId="s-1",
    ),
    "nested": diagnostic("SignInLogs", user("c", sessionId="s-2", userAgent="axios/1.7")),
    "device code": diagnostic("SignInLogs", user("d", authenticationProtocol="deviceCode")),
    "umlaut": row("SigninLogs", "e", UserPrincipalName="jürgen@example.net"),
    "control character": row("SigninLogs", "f", SessionId="s\u202e3"),
    "spaces": row("SigninLogs", "g", UserAgent=" Edge "),
    "dash": row("SigninLogs", "h", SessionId="-"),
    "no country": row("SigninLogs", "i", LocationDetails=None, Location="DE"),
    "number for a text": row("SigninLogs", "j", SessionId=7),
    "broken object": row("SigninLogs", "k", DeviceDetail="{", LocationDetails="[1]"),
    "year one": row("SigninLogs", "l", CreatedDateTime="0001-01-01T00:00:00Z"),
    "names in another case": {
        name.lower() if name != "Type" else name: value
        for name, value in row("SigninLogs", "m", SessionId="s-4").items()
    },
    "no such position": row(
        "SigninLogs",
        "n",
        LocationDetails={**PLACE, "geoCoordinates": {"latitude": 500, "longitude": "x"}},
    ),
}


def read(record: dict[str, Any]) -> SignIn:
    """Decode one record."""
    (signin,) = DECODER.decode(orjson.dumps({"records": [record]})).signins
    return signin


@pytest.mark.parametrize("name", RECORDS)
def test_both_ways_of_reading_give_the_same(name: str) -> None:
    """Whatever is in the fields."""
    signin = read(RECORDS[name])
    traits, _ = traits_of(signin, None, NOW)
    assert traits == traits_of_details(signin.details(enqueued=None, fallback_time=NOW))


@pytest.mark.parametrize("kind", ["flat", "nested"])
def test_plain_records_are_read_on_the_fast_path(kind: str) -> None:
    """As exports and diagnostic settings write them; no details are needed."""
    for message in messages(kind, addresses(200)):
        for signin in DECODER.decode(message.body).signins:
            traits, details = traits_of(signin, None, NOW)
            assert details is None
            assert traits == traits_of_details(signin.details(enqueued=None, fallback_time=NOW))


def test_a_position_is_read_from_the_object_with_the_country() -> None:
    """Two numbers in degrees, from an object or its text."""
    for name in ("row", "texts"):
        traits, _ = traits_of(read(RECORDS[name]), None, NOW)
        assert (traits.country, traits.position) == ("DE", (50.9, 6.9))


@pytest.mark.parametrize(
    ("protocol", "client", "expected"),
    [
        ("deviceCode", "Browser", "device code"),
        ("ropc", "", "password grant (ROPC)"),
        ("none", "IMAP4", "legacy (IMAP4)"),
        ("", "Authenticated SMTP", "legacy (Authenticated SMTP)"),
        ("oAuth2", "Browser", ""),
        ("", "Mobile Apps and Desktop clients", ""),
    ],
)
def test_protocols_that_need_no_second_factor(protocol: str, client: str, expected: str) -> None:
    """Those of which stories speak."""
    assert way_of(protocol, client) == expected


@pytest.mark.parametrize(
    ("text", "name", "script"),
    [
        ("python-requests/2.32.3", "script python", True),
        ("axios/1.7.9", "script axios", True),
        ("Go-http-client/2.0", "script go-http-client", True),
        (
            "Mozilla/5.0 (Windows NT; Windows NT 10.0) WindowsPowerShell/5.1",
            "script powershell",
            True,
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/132.0.0.0 Safari/537.36 Edg/132.0.0.0",
            "edg windows",
            False,
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) Version/18.2 Mobile/15E148 Safari/604.1",
            "safari iphone",
            False,
        ),
        ("Windows-AzureAD-Authentication-Provider/1.0", "authentication-provider windows", False),
        ("ContosoScanner/3", "contososcanner", False),
        ("", "", False),
    ],
)
def test_programs_without_their_versions(text: str, name: str, script: bool) -> None:
    """A browser keeps its name when it is updated; tools are scripts."""
    assert user_agent_of(text) == (name, script)
