"""The Logs query API as documented: rows within a time, their limits, and faults on request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from tests.servers.loopback import Loopback

WORKSPACE = "11111111-2222-4333-8444-555555555555"
_QUERY = re.compile(
    r"\['(\w+)'\] \| where TimeGenerated >= datetime\((\S+)\) and TimeGenerated < datetime\((\S+)\)"
    r"( \| summarize Rows = count\(\) by Hour = bin\(TimeGenerated, 1h\) \| order by Hour asc)?"
)
Fault = Callable[[int], web.Response | None]


def error(status: int, code: str = "Failed", inner: str = "") -> web.Response:
    """Return an error in the service's form."""
    found: dict[str, Any] = {"code": code, "message": "told by the server"}
    if inner:
        found["innererror"] = {"code": "SemanticError", "innererror": {"code": inner}}
    return web.json_response({"error": found}, status=status)


@dataclass
class LogsQuery:
    """The state of the service: tables of rows, and the most rows that a query returns."""

    tables: dict[str, list[dict[str, Any]]]
    most: int = 500_000
    silent: bool = False
    """Whether a result that is cut does not tell so, against the documentation."""
    fault: Fault = lambda _: None
    requests: int = 0
    queries: Counter[str] = field(default_factory=Counter)
    tokens: set[str] = field(default_factory=set)

    def server(self) -> Loopback:
        """Return a server."""
        return Loopback(self._take)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.tokens.add(request.headers.get("Authorization", ""))
        if request.path != f"/v1/workspaces/{WORKSPACE}/query":
            return error(404, "WorkspaceNotFoundError")
        fault = self.fault(self.requests)
        if fault is not None:
            return fault
        body = orjson.loads(await request.read())
        read = _QUERY.fullmatch(body["query"])
        assert read is not None, body["query"]
        table, counting = read[1], read[4] is not None
        self.queries["counts" if counting else "rows"] += 1
        if table not in self.tables:
            return error(400, "BadArgumentError", "SEM0100")
        start, end = datetime.fromisoformat(read[2]), datetime.fromisoformat(read[3])
        rows = [row for row in self.tables[table] if start <= _time(row) < end]
        return self._counts(rows) if counting else self._rows(rows)

    def _counts(self, rows: list[dict[str, Any]]) -> web.Response:
        hours = Counter(_time(row).replace(minute=0, second=0, microsecond=0) for row in rows)
        columns = [{"name": "Hour", "type": "datetime"}, {"name": "Rows", "type": "long"}]
        found = [[hour.isoformat(), count] for hour, count in sorted(hours.items())]
        return _answer(columns, found)

    def _rows(self, rows: list[dict[str, Any]]) -> web.Response:
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["TimeGenerated"]
        columns = [
            {"name": name, "type": "datetime" if name == "TimeGenerated" else "string"}
            for name in names
        ]
        found = [[row.get(name) for name in names] for row in rows]
        cut = len(found) > self.most
        return _answer(columns, found[: self.most], partial=cut and not self.silent)


def _answer(
    columns: list[dict[str, str]], rows: list[list[Any]], *, partial: bool = False
) -> web.Response:
    body: dict[str, Any] = {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": rows}]}
    if partial:
        inner = {"code": "-2133196797", "message": "more than the limit"}
        body["error"] = {"code": "PartialError", "message": "cut", "innererror": inner}
    return web.json_response(body)


def _time(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["TimeGenerated"]).astimezone(UTC)
