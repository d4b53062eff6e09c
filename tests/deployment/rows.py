"""Rows for trying the rules on, and the way in which Sentinel runs a rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from producers.demo.rule import INGESTED
from schemas.events.times import iso, parse_time
from schemas.rows.columns import SCHEMA_VERSION, row_error
from schemas.rows.findings import finding_id
from tests.deployment.kql import make_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schemas.rows.findings import FindingRow

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
"""The day on which all happens."""


def at(clock: str, *, days: int = 0) -> datetime:
    """Return a moment of the day, ``HH:MM`` or ``HH:MM:SS``, *days* later."""
    return datetime.fromisoformat(f"{NOON.date()}T{clock}+00:00") + timedelta(days=days)


def finding(
    address: str,
    account: str,
    ingested: datetime,
    *,
    event: str = "",
    told: datetime | None = None,
    happened: datetime | None = None,
    **columns: Any,
) -> FindingRow:
    """Return a row of the findings table: a High success, but for *columns*.

    It was made (*told*) and happened a minute before it was *ingested* unless said otherwise.
    """
    table = columns.get("SourceTable", "SigninLogs")
    event = event or f"{account} {ingested.isoformat()}"
    told = told or ingested - timedelta(minutes=1)
    outcome = columns.get("Outcome", "Success")
    row: FindingRow = {
        "TimeGenerated": iso(told),
        "FindingId": finding_id(table, event, address),
        "EventTime": iso(happened or told),
        "EventTimeSource": "record",
        "EventId": event,
        "SourceTable": table,
        "IPAddress": address,
        "Account": account,
        "Outcome": outcome,
        "SignInSucceeded": None if outcome == "Unknown" else outcome == "Success",
        "Reputation": "malicious",
        "Severity": "High",
        "Sources": ["crowdsec", "sekoia"],
        "MatchReason": "malicious-success: success from a malicious address",
        "Origin": "live",
        "DelaySeconds": 12.5,
        "SchemaVersion": SCHEMA_VERSION,
        "AddressClass": "hosting",
        "AccountsFromAddress": 3,
        **columns,
    }
    assert row_error(row) is None, row_error(row)
    return {**row, INGESTED: iso(ingested)}


def run_rule(
    rule: Mapping[str, Any],
    rows: Mapping[str, Iterable[FindingRow]],
    now: datetime,
    exceptions: Sequence[FindingRow] = (),
    *,
    delayed: bool = False,
) -> list[dict[str, Any]]:
    """Return what *rule*'s query gives in the run of the moment *now*.

    As in the service, it sees the rows of its period by TimeGenerated; and those only that were
    ingested by then, unless the run is *delayed*, in which case rows that came meanwhile are seen.
    """
    seen = {table: [*filter(_seen(rule, now, delayed), of)] for table, of in rows.items()}
    return make_workspace(seen, exceptions).query(rule["query"], now)


def _seen(rule: Mapping[str, Any], now: datetime, delayed: bool) -> Any:
    period = rule.get("queryPeriod", "1m")
    unit = {"m": "minutes", "h": "hours", "d": "days"}[period[-1]]
    begin = now - timedelta(**{unit: int(period[:-1])})

    def seen(row: FindingRow) -> bool:
        told, ingested = parse_time(row["TimeGenerated"]), parse_time(row[INGESTED])
        assert told is not None
        assert ingested is not None
        return delayed or (begin < told <= now and ingested < now)

    return seen
