"""The workbook and the watchlist: well formed, complete, and each tile runs on sample rows."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from producers.demo.rule import WATCHLIST, WATCHLIST_COLUMNS, Workspace
from schemas.events.times import iso
from schemas.rows.columns import FINDINGS_TABLE, HEALTH_TABLE, VERDICTS_TABLE
from tests.deployment import kql
from tests.deployment.rows import NOON, at, finding

WORKBOOK: dict[str, Any] = orjson.loads((kql.SENTINEL / "workbook.json").read_bytes())
TILES = [item for item in WORKBOOK["items"] if item["type"] == 3]
QUERIES = kql.read_tiles()
VISUALIZATIONS = {"table", "barchart", "linechart", "piechart", "map"}


def test_it_is_a_notebook() -> None:
    """Of the version that the portal reads; names tell the items apart."""
    assert WORKBOOK["version"] == "Notebook/1.0"
    assert {item["type"] for item in WORKBOOK["items"]} == {1, 3, 9}
    names = [item["name"] for item in WORKBOOK["items"]]
    assert len(names) == len(set(names))
    (parameters,) = (item for item in WORKBOOK["items"] if item["type"] == 9)
    kinds = {one["name"]: one["type"] for one in parameters["content"]["parameters"]}
    assert kinds == {"TimeRange": 4, "Severities": 2}


@pytest.mark.parametrize("item", TILES, ids=lambda item: item["name"])
def test_a_tile_is_complete(item: dict[str, Any]) -> None:
    """It asks the workspace, over the chosen time, and leaves no parameter unfilled."""
    content = item["content"]
    assert content["version"] == "KqlItem/1.0"
    assert content["queryType"] == 0
    assert content["resourceType"] == "microsoft.operationalinsights/workspaces"
    assert content["timeContextFromParameter"] == "TimeRange"
    assert content["visualization"] in VISUALIZATIONS
    assert content["title"]
    filled = kql.filled_tile(item)
    assert not re.search(r"\{\w+(:\w+)?\}", filled)
    columns = set(kql.check_shipped()[f"workbook/{item['name']}"]["columns"])
    settings = content.get("mapSettings", {})
    shown = {settings[key] for key in ("locInfoColumn", "sizeSettings") if key in settings}
    shown |= {one["columnMatch"] for one in content.get("gridSettings", {}).get("formatters", [])}
    assert shown <= columns


def test_what_the_workbook_shows() -> None:
    """Every tile that was promised; findings come from the saved function alone."""
    assert set(QUERIES) >= set(
        "findings-over-time map addresses accounts applications reputations behaviors techniques "
        "quota cache latency instances troubles exceptions muted waiting feeds".split()
    )
    for name, query in QUERIES.items():
        assert FINDINGS_TABLE not in query, name


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    """Return a workspace with a finding, a verdict, and a report on the service's health."""
    row = finding(
        "198.18.0.1",
        "ann@contoso.com",
        at("11:00"),
        Application="Portal",
        Behaviors=["http:scan", "ssh:bruteforce"],
        MitreTechniques=["T1110"],
        IntelCountry="FR",
        SignInCountry="DE",
    )
    other = finding("198.18.0.1", "bob@contoso.com", at("11:10"), Outcome="PasswordAccepted")
    head = {"TimeGenerated": iso(at("11:55")), "Instance": "one", "Version": "1"}
    measured = {
        "quota_left": (90, {"period": "2026-01"}),
        "cache_hit_share": (0.75, None),
        "waiting": (7, None),
        "dropped": (2, {"reason": "too old"}),
        "lag": (5, {"partition": "0"}),
        "feed_age_seconds": (7_200, {"feed": "sekoia"}),
        "ready": (1, None),
        "last_error": (1, {"code": "feed-down", "part": "sekoia", "detail": "no answer"}),
    }
    health = [
        {**head, "Metric": metric, "Value": float(value), "Detail": detail}
        for metric, (value, detail) in measured.items()
    ]
    verdict = {"TimeGenerated": iso(at("11:00")), "IPAddress": "198.18.0.1", "Verdict": "malicious"}
    rows = {FINDINGS_TABLE: [row, other], HEALTH_TABLE: health, VERDICTS_TABLE: [verdict]}
    ended = {"SearchKey": "old", "Address": "198.18.0.1", "Action": "mute", "Expires": "2020-01-01"}
    return kql.make_workspace(rows, [ended])


EXPECTED: dict[str, dict[str, Any]] = {
    "findings-over-time": {"Findings": 1, "Severity": "High"},
    "map": {"Country": "FR", "Findings": 1},
    "outcomes": {"Outcome": "Success", "Findings": 1},
    "addresses": {"IPAddress": "198.18.0.1", "Findings": 2, "Successes": 1, "Accounts": 2},
    "accounts": {"Account": "ann@contoso.com", "Findings": 1, "Successes": 1},
    "applications": {"Application": "Portal", "Findings": 1},
    "reputations": {"Reputation": "malicious", "AddressClass": "hosting", "Findings": 2},
    "behaviors": {"Behavior": "ssh:bruteforce", "IPAddresses": 1},
    "techniques": {"Technique": "T1110", "Findings": 1},
    "sources": {"Source": "sekoia", "Findings": 2},
    "rules": {"Rule": "password", "Findings": 1},
    "latency": {"p50": 12.5, "p95": 12.5, "max": 12.5},
    "ingestion": {"p50": 60, "p95": 60},
    "exceptions": {"Exception": "old", "State": "expired"},
    "instances": {"Instance": "one", "LastReady": at("11:55").replace(tzinfo=None)},
    "troubles": {"Code": "feed-down", "Detail": "no answer"},
    "quota": {"LookupsLeft": 90, "Period": "2026-01"},
    "cache": {"Percent": 75},
    "waiting": {"Metric": "dropped", "SignIns": 2},
    "lag": {"Messages": 5},
    "feeds": {"Feed": "sekoia", "Hours": 2},
    "verdicts": {"Verdict": "malicious", "IPAddresses": 1},
}


@pytest.mark.parametrize("name", sorted(set(QUERIES) - {"muted"}))
def test_a_tile_shows_what_is_there(workspace: Workspace, name: str) -> None:
    """A row with the expected values is among those of the tile."""
    told = workspace.query(QUERIES[name], NOON)
    expected = EXPECTED[name].items()
    assert any(all(row[key] == value for key, value in expected) for row in told), told


def test_the_watchlist_has_the_columns_that_the_function_reads() -> None:
    """And an example that does nothing, by which an empty list keeps its columns."""
    watchlist = orjson.loads((kql.SENTINEL / "watchlist.json").read_bytes())
    function = kql.read_functions()["SignInExceptions"]
    assert watchlist["alias"] == WATCHLIST
    assert f'_GetWatchlist("{WATCHLIST}")' in function
    read = set(re.findall(r'column_ifexists\("(\w+)"', function)) - {"SearchKey"}
    assert read == set(watchlist["columns"]) - {watchlist["itemsSearchKey"]}
    assert read == set(WATCHLIST_COLUMNS) - {"SearchKey"}
    (example,) = watchlist["rows"]
    assert list(example) == watchlist["columns"]
    assert example[watchlist["itemsSearchKey"]]
    assert example["Expires"] < "2026"
