"""The rules on findings, run on sample rows: what alerts, what stays silent, and how often.

Everything runs as shipped but for three things of Log Analytics that duckdb-kql lacks, which are
put in their place (see :mod:`producers.demo.rule`): ``ingestion_time()`` is a column here, the
watchlist a table, and ``column_ifexists`` takes its column to be there. That leg only type-checks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from producers.demo.rule import alerts_of
from schemas.rows.columns import FINDINGS_TABLE
from tests.deployment import kql
from tests.deployment.rows import run_rule
from tests.deployment.scenarios import RUNS, SCENARIOS

RULES = kql.read_yaml("rules")
OWNERS = (
    "SuspiciousSignIn PasswordAccepted ManyAccountsFailing FirstSuccessAfterFailures "
    "BackgroundSignIn UnclearSignIn"
).split()
SUCCESS, AFTER = "SuspiciousSignIn", "FirstSuccessAfterFailures"


ROWS = [row for one in SCENARIOS.values() for row in one.rows]
EXCEPTIONS = [row for one in SCENARIOS.values() for row in one.exceptions]


@cache
def _told(name: str, run: int, *, delayed: bool = False) -> tuple[dict[str, Any], ...]:
    found = run_rule(RULES[name], {FINDINGS_TABLE: ROWS}, RUNS[run], EXCEPTIONS, delayed=delayed)
    return tuple(found)


def _of(scenario: str, told: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    addresses = {row["IPAddress"] for row in SCENARIOS[scenario].rows}
    return [row for row in told if row["IPAddress"] in addresses]


@pytest.mark.parametrize("run", [0, 1])
@pytest.mark.parametrize("name", OWNERS)
def test_rule_alerts_where_it_should_and_nowhere_else(name: str, run: int) -> None:
    """Every scenario against every rule; an alert for an account and address at most."""
    told = _told(name, run)
    found = {scenario: [row["Severity"] for row in _of(scenario, told)] for scenario in SCENARIOS}
    expected = {
        scenario: [one] if (one := SCENARIOS[scenario].expected.get(name, ("", ""))[run]) else []
        for scenario in SCENARIOS
    }
    assert found == expected
    assert sum(map(len, found.values())) == len(told)


def test_scenarios_have_addresses_of_their_own() -> None:
    """Else one could answer for another; and every rule is asked for at least one alert."""
    seen: set[str] = set()
    for scenario in SCENARIOS.values():
        addresses = {row["IPAddress"] for row in scenario.rows}
        assert not addresses & seen
        seen |= addresses
    assert {name for one in SCENARIOS.values() for name in one.expected} == set(OWNERS)


def test_a_run_that_starts_late_alerts_alike() -> None:
    """What was ingested after the moment for which it runs is left to the next run."""
    in_time, late = _told(SUCCESS, 0), _told(SUCCESS, 0, delayed=True)
    worse = {row["IPAddress"] for row in SCENARIOS["got worse"].rows}
    assert {row["IPAddress"] for row in late} == {row["IPAddress"] for row in in_time} - worse
    assert {row["IPAddress"] for row in _told(SUCCESS, 1, delayed=True)} >= worse
    assert _of("failures ingested later", late)


def test_an_alert_counts_its_sign_ins() -> None:
    """One alert, the number in it, entities and link from the row."""
    rule = RULES[SUCCESS]
    (row,) = _of("several sign-ins", _told(SUCCESS, 0))
    (alert,) = alerts_of(rule, [row])
    account, address = row["Account"], row["IPAddress"]
    assert alert["title"] == f"Suspicious sign-in for {account} from {address}"
    assert alert["details"]["SignIns"] == 3
    assert alert["details"]["Outcome"] == "Success"
    assert alert["details"]["MFA"] == "not recorded"
    assert alert["severity"] == "High"
    assert alert["entities"][0] == (
        "Account",
        {"FullName": account, "Name": account.split("@")[0], "UPNSuffix": "contoso.com"},
    )
    assert ("IP", {"Address": address}) in alert["entities"]
    for word in (account, address, "malicious", "crowdsec, sekoia", "Sign-ins in this alert: 3."):
        assert word in alert["description"]


def test_the_variant_of_one_minute_takes_what_two_rules_take() -> None:
    """It stands for the rule on successes and the one on successes after failures."""
    told = run_rule(
        RULES["SuspiciousSignInNRT"], {FINDINGS_TABLE: ROWS}, RUNS[0], EXCEPTIONS, delayed=True
    )
    found = {row["IPAddress"] for row in told}
    for name in (SUCCESS, AFTER):
        for run in (0, 1):
            assert {row["IPAddress"] for row in _told(name, run)} <= found
    for scenario in ("replayed", "tested", "muted by address", "right password", "informational"):
        assert not _of(scenario, tuple(told))


def test_muted_findings_are_counted_not_hidden() -> None:
    """The workbook's tile tells how much an exception mutes or caps."""
    workspace = kql.make_workspace({FINDINGS_TABLE: ROWS}, EXCEPTIONS)
    tile = kql.read_tiles()["muted"]
    told = {row["Exceptions"]: row for row in workspace.query(tile, RUNS[1])}
    assert told["address"]["Muted"] == 1
    assert told["cap"]["Capped"] == 1
    assert told["cap"]["Muted"] == 0
    assert not {"exception that ended", "end that cannot be read"} & set(told)
    ends = {
        row["Exception"]: row["State"]
        for row in workspace.query(kql.read_tiles()["exceptions"], RUNS[1])
    }
    assert ends["no end"] == "no expiry"
    assert ends["exception that ended"] == "expired"
    assert ends["end that cannot be read"] == "invalid expiry date: not applied"
    assert "address" not in ends
