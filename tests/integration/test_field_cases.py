"""What records from the field mean, seen from the outside: a replay and its findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.recorded import V4
from tests.recorded.providers import CLOUD_APP, DUO, GOOGLE, PRINCIPAL_RISK
from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at, findings_in, replay

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "00000000-0000-0000-0000-000000000000"
ADA, ADAS_ID = "ada@example.net", "0a0a0a0a-1111-2222-3333-444455556666"


def sign_in(event: str, code: int, minute: int = 0, **more: Any) -> dict[str, Any]:
    """Return a sign-in of diagnostic settings."""
    time = f"2026-03-02T08:{minute:02}:00Z"
    own = {"id": event, "userPrincipalName": ADA, "createdDateTime": time, "ipAddress": V4, **more}
    return {
        "time": time,
        "category": "SignInLogs",
        "resultType": str(code),
        "callerIpAddress": V4,
        "properties": own,
    }


def graph(event: str, minute: int = 0, **more: Any) -> dict[str, Any]:
    """Return an activity of Microsoft Graph, which names people by object id alone."""
    return {
        "time": f"2026-03-02T08:{minute:02}:00Z",
        "category": "MicrosoftGraphActivityLogs",
        "callerIpAddress": V4,
        "properties": {"requestId": event, "userId": ADAS_ID, "responseStatusCode": 200, **more},
    }


@dataclass(frozen=True, slots=True)
class Case:
    """Records, and what the rows of their findings must hold, in order."""

    records: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    summary: dict[str, Any] = field(default_factory=dict)


CASES = {
    "a prompt, then the success of the same sign-in": Case(
        [sign_in("1", 50074), sign_in("1", 0, 1)],
        [{"Outcome": "PasswordAccepted"}, {"Outcome": "Success", "Severity": "High"}],
    ),
    "a wrong password, then the success": Case(
        [sign_in("1", 50126), sign_in("1", 0, 1)], [{"Outcome": "Failure"}, {"Outcome": "Success"}]
    ),
    "expired tokens of twelve colleagues": Case(
        [sign_in(str(n), 700082, n, userPrincipalName=f"p{n}@example.net") for n in range(12)],
        [{"Outcome": "Interrupted"}] * 12,
    ),
    "one person by object id, then by both names": Case(
        [graph("g"), sign_in("s", 0, 1, userId=ADAS_ID)],
        [{"AccountsFromAddress": 1}, {"AccountsFromAddress": 1, "Account": ADA}],
    ),
    "one person by both names, then by object id": Case(
        [sign_in("s", 0, userId=ADAS_ID), graph("g", 1)],
        [{"AccountsFromAddress": 1}, {"AccountsFromAddress": 1}],
    ),
    "a spray of names that do not exist": Case(
        [
            sign_in(str(n), 50034, n, userPrincipalName=f"p{n}@example.net", userId=NOBODY)
            for n in range(3)
        ],
        [{"AccountsFromAddress": n, "AccountObjectId": None} for n in (1, 2, 3)],
    ),
    "a session that goes on in Graph": Case(
        [graph("g", C_Sid="sid-1", C_DeviceId="dev-1")],
        [{"SessionId": "sid-1", "DeviceId": "dev-1", "EventTimeSource": "envelope"}],
    ),
    "a device code": Case(
        [
            sign_in(
                "1",
                0,
                authenticationProtocol="deviceCode",
                incomingTokenType="none",
                resourceId="00000003-0000-0000-c000-000000000000",
                authenticationDetails=[{"authenticationMethod": "Password"}],
            )
        ],
        [
            {
                "AuthenticationProtocol": "deviceCode",
                "AuthenticationMethods": ["Password"],
                "IncomingTokenType": "none",
                "ResourceId": "00000003-0000-0000-c000-000000000000",
                "EventTimeSource": "record",
            }
        ],
    ),
    "no time": Case(
        [{"Type": "SigninLogs", "Id": "1", "UserPrincipalName": ADA, "IPAddress": V4}],
        [{"EventTime": None, "EventTimeSource": "none"}],
        {"without_time": 1},
    ),
    "a risk of a service principal": Case(
        [PRINCIPAL_RISK],
        [{"SourceTable": "AADServicePrincipalRiskEvents", "AccountType": "ServicePrincipal"}],
    ),
    "a cloud application": Case(
        [CLOUD_APP],
        [
            {"Reputation": "suspicious", "Sources": ["entra"], "Severity": "Medium"},
            {
                "SourceTable": "CloudAppEvents",
                "Account": ADA,
                "Sources": ["crowdsec", "entra"],
                "EntraDetections": ["anonymousProxy"],
            },
        ],
    ),
    "Google Workspace": Case(
        [GOOGLE],
        [
            {
                "Outcome": "Failure",
                "ClientAppUsed": "google_password",
                "ResultDescription": "login_failure_invalid_password",
                "AuthenticationMethods": ["password"],
            }
        ],
    ),
    "Duo": Case(
        [DUO],
        [
            {
                "Outcome": "PasswordAccepted",
                "Application": "VPN",
                "ResultDescription": "user_marked_fraud",
                "SignInCity": "Berlin",
            }
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_case_from_the_field(tmp_path: Path, name: str) -> None:
    """Each record once, as it is found in exports, with every table on."""
    case = CASES[name]
    recording, found = tmp_path / "recording.ndjson", tmp_path / "found.jsonl"
    recording.write_bytes(b"\n".join(orjson.dumps({"records": [one]}) for one in case.records))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(V4)
    async with crowdsec.server() as server:
        ran = await replay(recording, "--findings", found, TABLES="all", **crowdsec_at(server.url))
    assert ran.status == 0, ran.err
    rows = findings_in(found)
    assert [
        {name: row[name] for name in one} for row, one in zip(rows, case.rows, strict=True)
    ] == (case.rows)
    assert case.summary.items() <= ran.summary.items()
    assert len({row["FindingId"] for row in rows}) == len({row["EventId"] for row in rows})
