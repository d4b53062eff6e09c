"""Hunting queries: complete as files, and each finds what it says on sample rows.

``ingestion_time()``, the watchlist and ``column_ifexists`` are put in their place for the run.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from producers.demo.rule import INGESTED
from schemas.events.times import iso
from schemas.rows.columns import FINDINGS_TABLE, VERDICTS_TABLE, row_error
from tests.deployment import kql
from tests.deployment.rows import NOON, at, finding

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.rows.findings import FindingRow

HUNTING = kql.read_yaml("hunting")


def _ask(
    name: str, rows: dict[str, list[FindingRow]], exceptions: list[FindingRow] | None = None
) -> Any:
    return kql.make_workspace(rows, exceptions or []).query(HUNTING[name]["query"], NOON)


def _log(told: datetime, **columns: Any) -> FindingRow:
    return {"TimeGenerated": iso(told), INGESTED: iso(told), **columns}


def _sign_in(told: datetime, event: str, address: str, **columns: Any) -> FindingRow:
    return _log(
        told,
        Id=event,
        IPAddress=address,
        **{"UserPrincipalName": "Ann@contoso.com", "ResultType": "0", **columns},
    )


@pytest.mark.parametrize("name", HUNTING)
def test_a_query_is_complete(name: str) -> None:
    """What Sentinel's repository wants of a hunting query; its entities are columns."""
    query = HUNTING[name]
    assert uuid.UUID(query["id"])
    assert query["name"]
    assert query["description"]
    assert query["tactics"]
    assert len(query["query"]) <= 10_000
    assert re.fullmatch(r"\d+\.\d+\.\d+", query["version"])
    columns = kql.check_shipped()[f"hunting/{name}"]["columns"]
    for entity in query["entityMappings"]:
        assert 1 <= len(entity["fieldMappings"]) <= 3
        assert {field["columnName"] for field in entity["fieldMappings"]} <= set(columns)


def test_past_sign_ins() -> None:
    """Bad by the latest verdict, in any spelling of the address, and named by no finding."""

    def verdict(address: str, word: str, told: datetime) -> FindingRow:
        row: FindingRow = {
            "TimeGenerated": iso(told),
            "IPAddress": address,
            "Verdict": word,
            "Sources": [],
            "Classifications": [],
            "AddressClass": "tor",
        }
        assert row_error(row, VERDICTS_TABLE) is None
        return row

    rows = {
        VERDICTS_TABLE: [
            verdict("198.18.0.1", "unknown", at("08:00")),
            verdict("198.18.0.1", "malicious", at("09:00")),
            verdict("2001:db8::1", "suspicious", at("09:00")),
            verdict("198.18.0.2", "malicious", at("08:00")),
            verdict("198.18.0.2", "benign", at("09:00")),
        ],
        "SigninLogs": [
            _sign_in(at("10:00", days=-10), "1", "198.18.0.1"),
            _sign_in(at("11:00", days=-10), "2", "198.18.0.1", ResultType="50126"),
            _sign_in(at("10:00", days=-15), "3", "198.18.0.1", UserPrincipalName="old"),
            _sign_in(at("10:00"), "4", "198.18.0.2"),
            _sign_in(at("10:00"), "5", "198.18.0.1", UserPrincipalName="known"),
            _sign_in(at("10:00"), "6", ""),
        ],
        "AADNonInteractiveUserSignInLogs": [_sign_in(at("10:00"), "7", "2001:DB8:0::1")],
        FINDINGS_TABLE: [finding("198.18.0.1", "known", at("10:00"), event="5")],
    }
    told = _ask("PastSignIns", rows)
    assert [
        (row["Account"], row["IPAddress"], row["SignIns"], row["Successes"]) for row in told
    ] == [("ann@contoso.com", "198.18.0.1", 2, 1), ("ann@contoso.com", "2001:DB8:0::1", 1, 1)]


def test_what_a_session_did() -> None:
    """By session, token, or account and address; after the finding; not of muted ones."""
    found = finding(
        "198.18.0.1",
        "ann@contoso.com",
        at("08:01"),
        happened=at("08:00"),
        SessionId="s1",
        UniqueTokenIdentifier="t1",
    )
    muted = finding("198.18.0.9", "bob@contoso.com", at("08:01"), SessionId="s9")
    failed = finding("198.18.0.8", "cy@contoso.com", at("08:01"), SessionId="s8", Outcome="Failure")
    graph = {"RequestMethod": "GET", "RequestUri": "/me/messages", "ResponseStatusCode": 200}
    office = {
        "UserId": "Ann@contoso.com",
        "OfficeWorkload": "Exchange",
        "ResultStatus": "Succeeded",
    }
    rows = {
        FINDINGS_TABLE: [found, muted, failed],
        "SigninLogs": [
            _sign_in(at("08:00"), "1", "198.18.0.1", SessionId="s1", AppDisplayName="Mail"),
            _sign_in(at("07:59"), "2", "198.18.0.1", SessionId="s1", AppDisplayName="before"),
            _sign_in(at("08:30"), "3", "203.0.113.1", SessionId="s1", AppDisplayName="moved on"),
            _sign_in(at("08:30"), "4", "203.0.113.1", SessionId="s9", AppDisplayName="muted"),
            _sign_in(at("08:30"), "5", "203.0.113.1", SessionId="", AppDisplayName="elsewhere"),
            _sign_in(at("08:30"), "6", "203.0.113.1", SessionId="s8", AppDisplayName="failed"),
        ],
        "MicrosoftGraphActivityLogs": [_log(at("09:00"), SignInActivityId="t1", **graph)],
        "OfficeActivity": [
            _log(at("09:30"), Operation="New-InboxRule", ClientIP="198.18.0.1:443", **office),
            _log(at("09:31"), Operation="other address", ClientIP="198.18.0.2:443", **office),
        ],
        "AuditLogs": [
            _log(
                at("10:00"),
                InitiatedBy={
                    "user": {"userPrincipalName": "ann@contoso.com", "ipAddress": "198.18.0.1"}
                },
                OperationName="Add member",
                Result="success",
            )
        ],
    }
    told = _ask(
        "SessionAfterFinding", rows, [{"SearchKey": "1", "Action": "mute", "Address": "198.18.0.9"}]
    )
    assert [(row["Activity"], sorted(row["MatchedBy"])) for row in told] == [
        ("Sign-in: Mail", ["account and IP address", "session"]),
        ("Sign-in: moved on", ["session"]),
        ("GET /me/messages", ["token"]),
        ("Exchange: New-InboxRule", ["account and IP address"]),
        ("Add member", ["account and IP address"]),
    ]


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("198.18.0.1", "198.18.0.1"),
        ("2001:db8::1", "2001:DB8:0::1"),
        ("2001:db8:1:2:3:4:5:6789", "2001:db8:1:2:3:4:5:6789"),
        ("2001:db8::1", "[2001:db8::1]:443"),
        ("2001:db8::1", "[2001:db8::1]"),
    ],
)
def test_addresses_of_office_activity(address: str, written: str) -> None:
    """With and without a port, which an IPv6 address has only behind brackets."""
    done = {
        "UserId": "ann@contoso.com",
        "OfficeWorkload": "Exchange",
        "ResultStatus": "Succeeded",
        "Operation": "New-InboxRule",
    }
    rows = {
        FINDINGS_TABLE: [finding(address, "ann@contoso.com", at("08:01"), happened=at("08:00"))],
        "OfficeActivity": [_log(at("09:30"), ClientIP=written, **done)],
    }
    (told,) = _ask("SessionAfterFinding", rows)
    assert (told["Activity"], told["MatchedBy"]) == (
        "Exchange: New-InboxRule",
        ["account and IP address"],
    )


def test_new_country() -> None:
    """Countries of earlier successes are known; the finding's own sign-in does not count."""
    place = {"countryOrRegion": "FR"}
    rows = {
        FINDINGS_TABLE: [
            finding("198.18.0.1", "ann@contoso.com", at("11:00"), SignInCountry="FR"),
            finding("198.18.0.2", "ann@contoso.com", at("11:00"), IntelCountry="BR"),
            finding("198.18.0.3", "bob@contoso.com", at("11:00"), SignInCountry="FR"),
        ],
        "SigninLogs": [
            _sign_in(at("10:00", days=-3), "1", "203.0.113.1", LocationDetails=place),
            _sign_in(
                at("11:30"),
                "2",
                "198.18.0.3",
                UserPrincipalName="bob@contoso.com",
                LocationDetails=place,
            ),
            _sign_in(
                at("10:00"), "3", "x", ResultType="50126", LocationDetails={"countryOrRegion": "BR"}
            ),
        ],
    }
    told = {(row["Account"], row["Country"]) for row in _ask("NewCountry", rows)}
    assert told == {("ann@contoso.com", "BR"), ("bob@contoso.com", "FR")}


def test_not_alerted() -> None:
    """What no rule tells is found here, with the reason."""
    rows = [
        finding("198.18.0.1", "a", at("11:00")),
        finding("198.18.0.2", "a", at("11:00"), Severity="Informational"),
        finding("198.18.0.3", "a", at("11:00"), Outcome="Failure", Severity="Low"),
        finding("198.18.0.4", "a", at("11:00")),
    ]
    told = _ask(
        "NotAlerted",
        {FINDINGS_TABLE: rows},
        [{"SearchKey": "why", "Action": "mute", "Address": "198.18.0.4"}],
    )
    assert {row["IPAddress"]: row["Rule"] for row in told} == {
        "198.18.0.2": "shown",
        "198.18.0.3": "failures",
        "198.18.0.4": "muted",
    }
