"""Evaluate the shipped rules locally, in a small workspace that runs KQL.

DuckDB replaces Log Analytics. Three features that only Log Analytics has are substituted:
``ingestion_time()`` is a column of the rows, a watchlist is a table, and its columns are assumed to
exist (``column_ifexists``). All other KQL runs as shipped.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import ConfigurationError
from schemas.events.times import parse_time
from schemas.rows.columns import FINDINGS_TABLE, TABLES
from schemas.rows.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.rows.findings import FindingRow

INGESTED = "_IngestionTime"
"""The column for ``ingestion_time()``; a text like all times of a row."""
WATCHLIST = "SignInWatchExceptions"
WATCHLIST_COLUMNS = tuple(
    "SearchKey Address Account Application AsNumber Action SeverityCap Expires Owner Reason".split()
)
RULES = (
    "SuspiciousSignIn",
    "FirstSuccessAfterFailures",
    "PasswordAccepted",
    "BackgroundSignIn",
    "ManyAccountsFailing",
    "UnclearSignIn",
)
"""The shipped rules that read findings; each finding belongs to at most one."""
FUNCTIONS = ("SignInExceptions", "SignInFindings", "SignInFindingsForRules")
"""The saved functions, each before its callers."""
_SETTLED = timedelta(minutes=2)
"""Rules leave the last minute to the next run, so the demo evaluates slightly later."""
_SQL_TYPES = {
    "string": "VARCHAR",
    "datetime": "TIMESTAMP",
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "real": "DOUBLE",
    "dynamic": "JSON",
}
_IF_EXISTS = re.compile(r'column_ifexists\("(\w+)", ""\)')
_FILLED_IN = re.compile(r"\{\{(\w+)\}\}")


class Workspace:
    """Tables in memory and saved functions, queried with KQL.

    ConfigurationError if the extra ``demo`` is not installed.
    """

    def __init__(self, functions: Mapping[str, str], exceptions: Iterable[FindingRow] = ()) -> None:
        try:
            import duckdb_kql

            self._connection = duckdb_kql.connect()
        except ImportError:
            raise _missing() from None
        self._run_query = duckdb_kql.query
        self._functions = [
            f"function _GetWatchlist(alias: string) {{ {WATCHLIST} }}",
            *(
                f"function {name}() {{\n{_put_in_place(text)}\n}}"
                for name, text in functions.items()
            ),
        ]
        self.table(WATCHLIST, dict.fromkeys(WATCHLIST_COLUMNS, "string"), exceptions)

    def table(self, name: str, columns: Mapping[str, str], rows: Iterable[FindingRow]) -> None:
        """Create a table of *columns* (name to Log Analytics type) with *rows*.

        Times are texts, as in uploaded rows. A row without ``_IngestionTime`` was ingested at its
        TimeGenerated. A missing text is empty, as in Kusto.
        """
        kinds = {**columns, INGESTED: "datetime"}
        head = ", ".join(f'"{column}" {_SQL_TYPES[kind]}' for column, kind in kinds.items())
        self._connection.execute(f'CREATE TABLE "{name}" ({head})')
        values = [
            {column: _value(kind, _found(row, column)) for column, kind in kinds.items()}
            for row in rows
        ]
        form = orjson.dumps([{column: _SQL_TYPES[kind] for column, kind in kinds.items()}])
        # A statement with a parameter: value by value, a few hundred rows take a second.
        self._connection.execute(
            f'INSERT INTO "{name}" SELECT unnest(from_json(?, ?), recursive := true)',
            [orjson.dumps(values).decode(), form.decode()],
        )

    def evaluate_once(self, function: str, now: datetime) -> None:
        """Evaluate a saved function, and have later queries read its rows: it takes seconds."""
        found = self._run_query(
            self._connection, f"{function}()", query_now=now, functions=self._functions
        )
        found.create(f"_{function}")
        self._functions = [f"function {function}() {{ _{function} }}"]

    def query(self, query: str, now: datetime) -> list[dict[str, Any]]:
        """Return the rows of *query* at the time *now*; lists and objects are parsed."""
        found = self._run_query(
            self._connection, _put_in_place(query), query_now=now, functions=self._functions
        )
        names = found.columns
        dynamic = {name for name, kind in zip(names, found.types, strict=True) if _is_json(kind)}
        return [
            {
                name: orjson.loads(value) if name in dynamic and value is not None else value
                for name, value in zip(names, row, strict=True)
            }
            for row in found.fetchall()
        ]


def _missing() -> ConfigurationError:
    return ConfigurationError(
        "the rule is evaluated by parts that are not installed: pip install 'signinwatch[demo]'"
    )


def _put_in_place(text: str) -> str:
    return _IF_EXISTS.sub(r"\1", text).replace("ingestion_time()", INGESTED)


def _is_json(kind: object) -> bool:
    return str(kind) == "JSON"


def _found(row: FindingRow, column: str) -> Any:
    return row.get(column, row.get("TimeGenerated") if column == INGESTED else None)


def _value(kind: str, value: Any) -> Any:
    if kind == "string":
        return value or ""
    if kind == "datetime":
        timestamp = parse_time(value)
        return timestamp.replace(tzinfo=None).isoformat() if timestamp else None
    return value


def require_parts() -> None:
    """Raise ConfigurationError if the extra ``demo`` is not installed, without loading it."""
    if not all(find_spec(name) for name in ("duckdb", "duckdb_kql", "yaml")):
        raise _missing()


def packaged_functions() -> dict[str, str]:
    """Return the text of each saved function, each before its callers."""
    folder = resources.files("producers.demo").joinpath("sentinel")
    return {name: folder.joinpath(f"{name}.kql").read_text("utf-8") for name in FUNCTIONS}


def packaged_rules() -> dict[str, dict[str, Any]]:
    """Return the shipped rules that read findings, by name.

    ConfigurationError if the extra ``demo`` is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise _missing() from None
    folder = resources.files("producers.demo").joinpath("sentinel")
    return {
        name: yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text("utf-8")) for name in RULES
    }


def filled_in(form: str, row: Mapping[str, Any]) -> str:
    """Return *form* with each ``{{Column}}`` replaced by its value, as Sentinel does."""
    return _FILLED_IN.sub(lambda item: str(row[item[1]]), form)


def alerts_of(rule: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the alert that *rule* creates for each row of its query.

    An alert has ``title``, ``description``, ``severity``, ``entities`` (a list of pairs of entity
    type and identifiers) and ``details``.
    """
    override = rule["alertDetailsOverride"]
    severity = override.get("alertSeverityColumnName")
    return [
        {
            "title": filled_in(override["alertDisplayNameFormat"], row),
            "description": filled_in(override["alertDescriptionFormat"], row),
            "severity": row[severity] if severity else rule["severity"],
            "entities": _entities(rule, row),
            "details": {key: row[name] for key, name in rule["customDetails"].items()},
        }
        for row in rows
    ]


def _entities(rule: Mapping[str, Any], row: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    found = []
    for mapping in rule.get("entityMappings", ()):
        result = {
            field["identifier"]: str(row[field["columnName"]])
            for field in mapping["fieldMappings"]
            if row[field["columnName"]]
        }
        if result:
            found.append((mapping["entityType"], result))
    return found


def alerts(findings: Sequence[FindingRow], now: datetime) -> list[dict[str, Any]]:
    """Return the alerts of the shipped rules for *findings*, the most severe first.

    Each has ``rule``, ``title``, ``severity``, ``count`` (sign-ins), ``entities`` and ``reasons``.
    The rules ignore replayed findings; here they count as live, within one run, which the caller
    should state. *now* is later than any row's TimeGenerated. ConfigurationError if the extra
    ``demo`` is not installed.
    """
    stamp = now.astimezone(UTC).isoformat()
    live = [
        {**row, INGESTED: stamp, "Origin": "live" if row["Origin"] == "replay" else row["Origin"]}
        for row in findings
    ]
    rules = packaged_rules()
    workspace = Workspace(packaged_functions())
    columns = {column.name: column.kind for column in TABLES[FINDINGS_TABLE]}
    workspace.table(FINDINGS_TABLE, columns, live)
    settled = now + _SETTLED
    workspace.evaluate_once(FUNCTIONS[-1], settled)
    raised = [
        {
            "rule": name,
            "title": alert["title"],
            "severity": alert["severity"],
            "count": alert["details"].get("SignIns", alert["details"].get("Attempts")),
            "entities": alert["entities"],
            "reasons": alert["description"],
        }
        for name, rule in rules.items()
        for alert in alerts_of(rule, workspace.query(rule["query"], settled))
    ]
    return sorted(
        raised,
        key=lambda alert: (-Severity(alert["severity"]).rank, -alert["count"], alert["title"]),
    )
