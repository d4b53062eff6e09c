"""What alerts show keeps Sentinel's sizes, whatever the sign-in and the sources say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from producers.demo.rule import alerts_of
from schemas.rows.columns import FINDING_COLUMNS, FINDINGS_TABLE, MAX_TEXT_LENGTH
from tests.deployment import kql
from tests.deployment.rows import at, finding, run_rule

RULES = kql.read_yaml("rules")
LONG = "é" * MAX_TEXT_LENGTH
"""Two bytes a character, as long as a row may hold."""
OUTCOMES = {
    "SuspiciousSignIn": ("SigninLogs", "Success"),
    "PasswordAccepted": ("SigninLogs", "PasswordAccepted"),
    "BackgroundSignIn": ("AADNonInteractiveUserSignInLogs", "Success"),
    "ManyAccountsFailing": ("SigninLogs", "Failure"),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_custom_details_fit_into_two_kilobytes(name: str) -> None:
    """Every text that comes from outside as long as can be; the description within 5 KB."""
    table, outcome = OUTCOMES[name]
    kept = {"FindingId", "EventId", "SourceTable", "Outcome", "Reputation", "Severity", "Origin"}
    kept |= {"IPAddress", "Account", "AddressClass", "Confidence", "AccountObjectId", "ReportUrl"}
    kept |= {"EventTimeSource"}
    texts: dict[str, Any] = {
        column.name: LONG
        for column in FINDING_COLUMNS
        if column.kind == "string" and column.name not in kept
    }
    lists: dict[str, Any] = dict.fromkeys(
        ("Sources", "Behaviors", "MitreTechniques"), ["é" * 90] * 50
    )
    rows = [
        finding(
            "198.18.0.7",
            f"{'m' * 100}{one}@contoso.com",
            at("11:56"),
            SourceTable=table,
            Outcome=outcome,
            DeviceCompliant=False,
            **texts,
            **lists,
        )
        for one in range(12)
    ]
    told = run_rule(RULES[name], {FINDINGS_TABLE: rows}, at("12:00"))
    alerts = alerts_of(RULES[name], told)
    assert alerts
    for alert in alerts:
        lists_of_texts = {key: [str(value)] for key, value in alert["details"].items()}
        assert len(orjson.dumps(lists_of_texts)) <= 2_048
        assert len(alert["title"].encode()) <= 256
        assert len(alert["description"].encode()) <= 5_120
    for row in told:
        assert len(row["Remediation"]) <= 1_000


def test_a_user_of_another_directory_is_no_user_of_entra() -> None:
    """Only an object id of Entra ID, and of a person, becomes an entity."""
    ids = {
        "198.18.0.1": ("SigninLogs", "11111111-2222-3333-4444-555555555555"),
        "198.18.0.2": ("OktaV2_CL", "00u077e658bNwI5d7"),
        "198.18.0.3": (
            "AADServicePrincipalSignInLogs",
            "11111111-2222-3333-4444-555555555556",
        ),
    }
    rows = [
        finding(address, "a@b.c", at("11:56"), SourceTable=table, AccountObjectId=object_id)
        for address, (table, object_id) in ids.items()
    ]
    told = {}
    for name in ("SuspiciousSignIn", "BackgroundSignIn"):
        for row in run_rule(RULES[name], {FINDINGS_TABLE: rows}, at("12:00")):
            told[row["IPAddress"]] = row["AadUserId"]
    assert told == {"198.18.0.1": ids["198.18.0.1"][1], "198.18.0.2": "", "198.18.0.3": ""}


def test_a_row_without_what_may_be_missing_is_told() -> None:
    """No device, no sources' lists, no page: the texts say so or leave it out."""
    row = finding("198.18.0.7", "service", at("11:56"))
    (told,) = run_rule(RULES["SuspiciousSignIn"], {FINDINGS_TABLE: [row]}, at("12:00"))
    assert told["AccountName"] == "service"
    assert told["AccountSuffix"] == ""
    assert "CrowdSec:" not in told["Reasons"]
    assert "Known behaviours" not in told["Reasons"]
    assert "Device: not recorded." in told["Reasons"]
    assert "Detected 12 s after the sign-in (live)." in told["Reasons"]
    full = finding(
        "198.18.0.7",
        "service",
        at("11:56"),
        ReportUrl="https://app.crowdsec.net/cti/198.18.0.7",
        Behaviors=["http:scan"],
        MitreTechniques=["T1110"],
        DeviceId="d1",
        DeviceCompliant=True,
        AuthenticationRequirement="singleFactorAuthentication",
    )
    (told,) = run_rule(RULES["SuspiciousSignIn"], {FINDINGS_TABLE: [full]}, at("12:00"))
    for text in (
        "Known behaviours: http:scan.",
        "MITRE ATT&CK: T1110.",
        "CrowdSec: https://app.crowdsec.net/cti/198.18.0.7 Sign-ins",
        "Device: d1, compliant.",
        "MFA: not required.",
    ):
        assert text in told["Reasons"]
