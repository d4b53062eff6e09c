"""The shipped KQL: read, checked by the Kusto language service, and run on sample rows.

The language service (npm, Node.js) is the authority on what Kusto accepts: names, types, arguments.
It does not know Log Analytics' own limits. duckdb-kql shows what a query returns; see
:mod:`producers.demo.rule` for the three things that are put in their place there.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import orjson
import yaml

from producers.demo.rule import WATCHLIST_COLUMNS, Workspace
from schemas.rows.columns import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.rows.findings import FindingRow

ROOT = Path(__file__).parent.parent.parent
SENTINEL = ROOT / "deploy" / "sentinel"
KUSTO = Path(__file__).parent / "kusto"

MICROSOFT_TABLES = {
    "SigninLogs": "TimeGenerated:datetime, Id:string, IPAddress:string, UserPrincipalName:string, "
    "UserId:string, AppDisplayName:string, AppId:string, ResultType:string, SessionId:string, "
    "UniqueTokenIdentifier:string, LocationDetails:dynamic",
    "AADNonInteractiveUserSignInLogs": "TimeGenerated:datetime, Id:string, IPAddress:string, "
    "UserPrincipalName:string, UserId:string, AppDisplayName:string, AppId:string, "
    "ResultType:string, SessionId:string, UniqueTokenIdentifier:string, LocationDetails:string",
    "ThreatIntelIndicators": "TimeGenerated:datetime, Id:string, ObservableKey:string, "
    "ObservableValue:string, Pattern:string, Confidence:int, IsActive:bool, IsDeleted:bool, "
    "ValidFrom:datetime, ValidUntil:datetime, SourceSystem:string, Tags:string",
    "MicrosoftGraphActivityLogs": "TimeGenerated:datetime, IPAddress:string, UserId:string, "
    "SignInActivityId:string, RequestMethod:string, RequestUri:string, ResponseStatusCode:int",
    "OfficeActivity": "TimeGenerated:datetime, UserId:string, ClientIP:string, "
    "OfficeWorkload:string, Operation:string, ResultStatus:string",
    "AuditLogs": "TimeGenerated:datetime, InitiatedBy:dynamic, OperationName:string, Result:string",
}
"""Columns of Microsoft's tables that our queries use, by the documentation of Azure Monitor."""

PARAMETERS = {
    "{TimeRange:grain}": "1h",
    "{Severities}": "'High','Medium','Low','Informational'",
}
"""What the workbook's parameters put into its queries."""

_CALLS = re.compile(r"\b(\w+)\(")


class Checked(TypedDict):
    """What the language service says of a query."""

    complaints: list[str]
    columns: dict[str, str]


def read_yaml(folder: str) -> dict[str, dict[str, Any]]:
    """Return the files of ``rules`` or ``hunting``, by file name without its ending."""
    return {
        path.stem: yaml.safe_load(path.read_text("utf-8"))
        for path in sorted((SENTINEL / folder).glob("*.yaml"))
    }


def read_functions() -> dict[str, str]:
    """Return the saved functions, each after those that it calls."""
    texts = {path.stem: path.read_text("utf-8") for path in (SENTINEL / "functions").glob("*.kql")}
    ordered: dict[str, str] = {}
    while len(ordered) < len(texts):
        ready = [
            name
            for name in sorted(texts)
            if name not in ordered and not (_calls(texts[name]) & set(texts)) - set(ordered)
        ]
        assert ready, "functions call each other in a circle"
        ordered.update((name, texts[name]) for name in ready)
    return ordered


def _calls(text: str) -> set[str]:
    return set(_CALLS.findall(re.sub(r"(?m)^//.*$", "", text)))


def read_tiles() -> dict[str, str]:
    """Return the workbook's queries by the name of their tile, parameters put in."""
    items = orjson.loads((SENTINEL / "workbook.json").read_bytes())["items"]
    return {item["name"]: filled_tile(item) for item in items if item["type"] == 3}


def filled_tile(item: Mapping[str, Any]) -> str:
    """Return the query of a tile as the workbook would send it."""
    query: str = item["content"]["query"]
    for parameter, value in PARAMETERS.items():
        query = query.replace(parameter, value)
    return query


def own_tables() -> dict[str, str]:
    """Return our tables as the language service wants them declared."""
    return {
        table: ", ".join(
            f"{column.name}:{'bool' if column.kind == 'boolean' else column.kind}"
            for column in columns
        )
        for table, columns in TABLES.items()
    }


def check(
    queries: Mapping[str, str], tables: Mapping[str, str], functions: Mapping[str, str]
) -> dict[str, Checked]:
    """Ask the language service of all *queries* at once; it takes more than a second to start."""
    columns = ", ".join(f"{name}: string" for name in WATCHLIST_COLUMNS)
    known = {name: ["()", text] for name, text in functions.items()}
    known["_GetWatchlist"] = ["(alias: string)", f"datatable({columns}) []"]
    program = subprocess.run(
        ["node", str(KUSTO / "kql_check.js")],  # noqa: S607 - as the tests' Node.js is found
        input=orjson.dumps({"tables": tables, "functions": known, "queries": queries}),
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert program.returncode == 0, program.stderr.decode()[:2_000]
    answers: dict[str, Checked] = orjson.loads(program.stdout)
    return answers


def shipped_queries() -> dict[str, str]:
    """Return every query that we ship, named by its folder and file."""
    found = {f"functions/{name}": text for name, text in read_functions().items()}
    for folder in ("rules", "hunting"):
        for name, content in read_yaml(folder).items():
            found[f"{folder}/{name}"] = content["query"]
    return found | {f"workbook/{name}": text for name, text in read_tiles().items()}


@cache
def check_shipped() -> dict[str, Checked]:
    """Return what the language service says of every query that we ship; asked once a test run.

    Parallel workers of one run share the answer: the first asks, the others wait for it.
    """
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return _check_shipped()
    with (KUSTO / "node_modules" / ".answers.json").open("a+b") as shared:
        fcntl.flock(shared, fcntl.LOCK_EX)
        shared.seek(0)
        told = orjson.loads(shared.read() or b"{}")
        if told.get("run") != run:
            told = {"run": run, "answers": _check_shipped()}
            shared.truncate(0)
            shared.write(orjson.dumps(told))
        answers: dict[str, Checked] = told["answers"]
        return answers


def _check_shipped() -> dict[str, Checked]:
    return check(shipped_queries(), {**own_tables(), **MICROSOFT_TABLES}, read_functions())


def make_workspace(
    rows: Mapping[str, Iterable[FindingRow]], exceptions: Iterable[FindingRow] = ()
) -> Workspace:
    """Return a workspace with the saved functions and all tables, *rows* in those named."""
    workspace = Workspace(read_functions(), exceptions)
    for table, declared in {**own_tables(), **MICROSOFT_TABLES}.items():
        columns = dict(one.split(":") for one in declared.split(", "))
        kinds = {name: "boolean" if kind == "bool" else kind for name, kind in columns.items()}
        workspace.table(table, kinds, rows.get(table, ()))
    return workspace
