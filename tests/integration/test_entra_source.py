"""Entra ID's own word as a source: for the user whom it names, and for others at the address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.recorded import OTHER_V4, V4, V6
from tests.support.command import Ran, findings_in, replay
from tests.support.sign_ins import lines, message, row

if TYPE_CHECKING:
    from pathlib import Path

ADA, BO = "ada@example.net", "bo@example.net"
CARRIER = 12576  # EE


async def judged(
    tmp_path: Path, records: list[dict[str, Any]], *arguments: str, **settings: str
) -> tuple[Ran, dict[str, dict[str, Any]]]:
    """Replay records one by one without any source; return the last finding of each event."""
    recording, path = tmp_path / "recording.ndjson", tmp_path / "found.jsonl"
    recording.write_bytes(lines(*map(message, records)))
    ran = await replay(
        recording, "--findings", path, "--quota", "0", *arguments, TABLES="all", **settings
    )
    assert ran.status == 0, ran.err
    return ran, {finding["EventId"]: finding for finding in findings_in(path)}


@pytest.mark.parametrize(
    ("words", "severity"),
    [
        (["unfamiliarFeatures"], "Medium"),
        ('["anonymizedIPAddress"]', "Medium"),
        ("maliciousIPAddress,unfamiliarFeatures", "High"),
        (["nationStateIP"], "High"),
    ],
)
async def test_the_user_whom_entra_names(tmp_path: Path, words: object, severity: str) -> None:
    """A list, a list in a text, or a text with commas; with a risk level or without."""
    named = row(V4, Id="named", RiskEventTypes_V2=words)
    other = row(OTHER_V4, BO, Id="other", RiskEventTypes_V2=[])
    _, found = await judged(tmp_path, [named, other])
    assert found.keys() == {"named"}
    finding = found["named"]
    assert (finding["Severity"], finding["Sources"]) == (severity, ["entra"])
    assert finding["EntraDetections"]


async def test_a_failure_is_no_success(tmp_path: Path) -> None:
    """It is a finding as of any other source."""
    failed = row(V4, Id="failed", ResultType="50126", RiskEventTypes_V2=["maliciousIPAddress"])
    _, found = await judged(tmp_path, [failed])
    assert found["failed"]["Severity"] == "Low"


async def test_what_is_cleared_up_says_nothing(tmp_path: Path) -> None:
    """Dismissed and remediated risks."""
    records = [
        row(V4, Id="a", RiskEventTypes_V2=["maliciousIPAddress"], RiskState="dismissed"),
        row(V4, Id="b", RiskEventTypes_V2=["maliciousIPAddress"], RiskState="remediated"),
    ]
    _, found = await judged(tmp_path, records)
    assert found == {}


async def test_a_bad_address_is_bad_for_others(tmp_path: Path) -> None:
    """For a day; at most Low at a carrier, Informational at home, and other words not at all."""
    records = [
        row(V4, Id="named", RiskEventTypes_V2=["maliciousIPAddress"]),
        row(V4, BO, Id="other"),
        row(
            OTHER_V4,
            Id="carrier named",
            RiskEventTypes_V2=["nationStateIP"],
            AutonomousSystemNumber=CARRIER,
        ),
        row(OTHER_V4, BO, Id="carrier other", AutonomousSystemNumber=CARRIER),
        row(V6, Id="own named", RiskEventTypes_V2=["maliciousIPAddress"]),
        row(V6, BO, Id="own other"),
        row("93.184.216.40", Id="unusual", RiskEventTypes_V2=["unfamiliarFeatures"]),
        row("93.184.216.40", BO, Id="unusual other"),
    ]
    _, found = await judged(tmp_path, records, TRUSTED_NETWORKS=f"{V6}/128")
    severities = {event: finding["Severity"] for event, finding in found.items()}
    assert severities == {
        "named": "High",
        "other": "High",
        "carrier named": "Medium",
        "carrier other": "Low",
        "own named": "High",
        "unusual": "Medium",
    }


async def test_a_risk_event_finds_its_earlier_sign_in(tmp_path: Path) -> None:
    """By the id of the request; one about the address finds all from there, and itself."""
    records = [
        row(V4, Id="sign-in", AutonomousSystemNumber=3209),
        row(V4, BO, Id="another", AutonomousSystemNumber=3209),
        {
            "Type": "AADUserRiskEvents",
            "TimeGenerated": row(V4)["TimeGenerated"],
            "Id": "risk",
            "IpAddress": V4,
            "UserPrincipalName": ADA,
            "RequestId": "sign-in",
            "RiskEventType": "unfamiliarFeatures",
            "RiskLevel": "medium",
            "RiskState": "atRisk",
        },
    ]
    settings = {"STATE__DIR": str(tmp_path / "state"), "FEEDS__OWN__URL": "http://127.0.0.1:9/t"}
    settings["FEEDS__OWN__COLLECTION"] = "none"
    state = str(tmp_path / "replayed")
    _, found = await judged(tmp_path, records, "--state", state, **settings)
    assert {event: it["Severity"] for event, it in found.items()} == {"sign-in": "Medium"}
    records[2] |= {"Id": "address", "RiskEventType": "maliciousIPAddress"}
    later = [{**record, "Id": record["Id"] + "+"} for record in records]
    later[2]["RequestId"] = "sign-in+"
    _, found = await judged(tmp_path, later, "--state", state + "2", **settings)
    assert found.keys() == {"sign-in+", "another+", "address+"}
    assert orjson.dumps(found["another+"]["Sources"]) == b'["entra"]'
