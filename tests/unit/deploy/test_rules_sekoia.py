"""The rule on Sekoia.io's indicators, run on sample rows; without the faults of the stock rule.

``ingestion_time()``, the watchlist and ``column_ifexists`` are put in their place here, and only
type-check as they are shipped; all else runs.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from producers.demo.rule import INGESTED, alerts_of
from schemas.events.times import iso
from schemas.rows.columns import FINDINGS_TABLE
from tests.deployment import kql
from tests.deployment.rows import NOON, at, finding, run_rule

if TYPE_CHECKING:
    from datetime import datetime

    from schemas.rows.findings import FindingRow

RULE = kql.read_yaml("rules")["SekoiaIndicator"]
RUNS = (NOON, at("13:00"))
"""They take what was ingested from 10:30 and from 11:30 to 12:30."""


class Case(NamedTuple):
    """A sign-in's address, what stands in its way, and the runs in which it alerts."""

    address: str
    runs: tuple[bool, bool] = (True, False)
    ingested: datetime = at("11:00")
    table: str = "SigninLogs"
    result: str = "0"
    happened: datetime | None = None


CASES = {
    "address": Case("198.18.0.1"),
    "next run": Case("198.18.0.1", (False, True), at("11:30")),
    "not yet": Case("198.18.0.1", (False, False), at("12:30")),
    "before": Case("198.18.0.1", (False, False), at("10:29:59")),
    "ingested two days late": Case("198.18.0.1", happened=at("11:00", days=-2)),
    "token": Case("198.18.0.1", table="AADNonInteractiveUserSignInLogs"),
    "right password": Case("198.18.0.1", result="50076"),
    "wrong password": Case("198.18.0.1", (False, False), result="50126"),
    "network": Case("198.18.77.3"),
    "other network": Case("198.18.78.3", (False, False)),
    "v6 upper case": Case("2001:DB8::A"),
    "v6 spelt out": Case("2001:0db8:0:0:0:0:0:a"),
    "v6 network": Case("2001:db8:feed:1::5"),
    "v6 elsewhere": Case("2001:db8:fee0::5", (False, False)),
    "mapped": Case("::ffff:198.18.0.1"),
    "of a packet": Case("198.18.0.2"),
    "empty": Case("", (False, False)),
    "unreadable": Case("somewhere", (False, False)),
    "ended": Case("198.18.1.1", (False, False)),
    "withdrawn": Case("198.18.1.2", (False, False)),
    "deleted": Case("198.18.1.3", (False, False)),
    "of another feed": Case("198.18.1.4", (False, False)),
    "little confidence": Case("198.18.1.5", (False, False)),
    "no confidence told": Case("198.18.1.6"),
    "known by a finding": Case("198.18.0.1", (False, False)),
    "muted": Case("198.18.0.1", (False, False)),
    "muted by address": Case("198.18.77.9", (False, False)),
    "capped": Case("198.18.0.1"),
    "nothing known": Case("198.18.9.9", (False, False)),
}


def _account(name: str) -> str:
    return f"{name.replace(' ', '.')}@contoso.com"


def _sign_in(name: str, case: Case) -> FindingRow:
    return {
        "TimeGenerated": iso(case.happened or at("10:59")),
        INGESTED: iso(case.ingested),
        "Id": name,
        "IPAddress": case.address,
        "UserPrincipalName": _account(name).title(),
        "UserId": "11111111-2222-3333-4444-555555555555",
        "AppDisplayName": "Portal",
        "AppId": "app",
        "ResultType": case.result,
    }


def _indicator(value: str, told: datetime | None = None, **columns: Any) -> FindingRow:
    told = told or at("09:00", days=-3)
    key = "ipv6-addr:value" if ":" in value else "ipv4-addr:value"
    return {
        "TimeGenerated": iso(told),
        INGESTED: iso(told),
        "Id": f"indicator--{value}",
        "ObservableKey": key,
        "ObservableValue": value,
        "Confidence": 80,
        "IsActive": True,
        "IsDeleted": False,
        "SourceSystem": "Sekoia.io",
        **columns,
    }


INDICATORS = [
    _indicator("198.18.0.1", ValidUntil=iso(at("00:00", days=9))),
    _indicator("198.18.0.1", at("09:00", days=-1)),
    _indicator("198.18.77.0/24"),
    _indicator("2001:DB8::000A"),
    _indicator("2001:db8:feed::/48"),
    _indicator("198.18.0.2", ObservableKey="network-traffic:src_ref.value"),
    _indicator("198.18.1.1", ValidUntil=iso(at("11:00"))),
    _indicator("198.18.1.2"),
    _indicator("198.18.1.2", at("09:00"), IsActive=False),
    _indicator("198.18.1.3", IsDeleted=True),
    _indicator("198.18.1.4", SourceSystem="Other"),
    _indicator("198.18.1.5", Confidence=29),
    _indicator("198.18.1.6", Confidence=None),
    _indicator("", ObservableKey="ipv4-addr:value"),
    _indicator("somewhere", ObservableKey="domain-name:value"),
]


@cache
def _told(run: int) -> tuple[dict[str, Any], ...]:
    rows: dict[str, list[FindingRow]] = {"ThreatIntelIndicators": INDICATORS}
    for name, case in CASES.items():
        rows.setdefault(case.table, []).append(_sign_in(name, case))
    known = _account("known by a finding")
    rows[FINDINGS_TABLE] = [finding("198.18.0.1", known, at("11:40"), event="known by a finding")]
    exceptions = [
        {
            "SearchKey": "1",
            "Action": "mute",
            "Address": "198.18.0.0/24",
            "Account": _account("muted"),
        },
        {
            "SearchKey": "2",
            "Action": "mute",
            "Account": _account("address"),
            "Expires": "2020-01-01",
        },
        {"SearchKey": "3", "Action": "mute", "Account": _account("address"), "AsNumber": "1"},
    ]
    exceptions.append({"SearchKey": "5", "Action": "mute", "Address": "198.18.77.9"})
    exceptions.append(
        {"SearchKey": "4", "Action": "cap", "SeverityCap": "Low", "Account": _account("capped")}
    )
    return tuple(run_rule(RULE, rows, RUNS[run], exceptions))


@pytest.mark.parametrize("run", [0, 1])
def test_it_alerts_on_what_an_active_indicator_names(run: int) -> None:
    """Each case by its account, which it has for itself."""
    told = [row["Account"] for row in _told(run)]
    expected = [_account(name) for name, case in CASES.items() if case.runs[run]]
    assert sorted(told) == sorted(expected)


def test_it_waits_for_no_network_twice() -> None:
    """An address in a network is found by the network's own indicator."""
    by_account = {row["Account"]: row for row in _told(0)}
    network = by_account[_account("network")]
    assert network["IndicatorValue"] == "198.18.77.0/24"
    assert network["Severity"] == "High"
    assert by_account[_account("capped")]["Severity"] == "Low"
    unsure = by_account[_account("no confidence told")]
    assert unsure["Severity"] == "Medium"
    assert "confidence not provided" in unsure["Reasons"]
    assert by_account[_account("right password")]["Outcome"] == "PasswordAccepted"
    (alert,) = alerts_of(RULE, [network])
    assert alert["title"] == (
        f"Suspicious sign-in for {network['Account']} from 198.18.77.3 (Sekoia.io)"
    )
    assert ("CloudApplication", {"Name": "Portal"}) in alert["entities"]


@pytest.mark.parametrize("order", [("Portal", "Printer"), ("Printer", "Portal")])
@pytest.mark.parametrize(
    ("conditions", "cap", "severities"),
    [
        ({"Application": "Printer"}, "Informational", ["High"]),
        ({"Application": "Printer"}, "Low", ["High"]),
        ({"Address": "198.18.0.0/24"}, "Medium", ["Medium"]),
        ({"Address": "198.18.0.0/24"}, "Informational", []),
    ],
)
def test_a_cap_counts_for_the_sign_ins_that_it_fits(
    order: tuple[str, str], conditions: dict[str, str], cap: str, severities: list[str]
) -> None:
    """An alert of several takes the highest severity of one; informational is no alert."""
    case = Case("198.18.0.1")
    rows = [
        {
            **_sign_in("cap", case),
            "Id": application,
            "AppDisplayName": application,
            "TimeGenerated": iso(at(f"10:5{minute}")),
        }
        for minute, application in enumerate(order)
    ]
    line = {"SearchKey": "1", "Action": "cap", "SeverityCap": cap, **conditions}
    told = run_rule(
        RULE, {"ThreatIntelIndicators": INDICATORS, "SigninLogs": rows}, RUNS[0], [line]
    )
    assert [row["Severity"] for row in told] == severities


def test_codes_of_a_right_password_are_those_of_the_outcomes() -> None:
    """The rule and the service agree on what a right password is."""
    from schemas.events.outcomes import ENTRA_CODES, Outcome

    codes = sorted(c for c, (o, _) in ENTRA_CODES.items() if o is Outcome.PASSWORD_ACCEPTED)
    listed = ", ".join(f'"{code}"' for code in codes)
    assert f"let ValidPasswordCodes = dynamic([{listed}]);" in RULE["query"]
