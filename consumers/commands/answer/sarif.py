"""Findings as SARIF 2.1.0, for tools that collect the results of checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consumers.commands.answer.groups import OUTCOME_LABELS, reason_of
from consumers.commands.formats import cell_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from schemas.rows.findings import FindingRow

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"High": "error", "Medium": "warning", "Low": "note", "Informational": "none"}
_SECURITY = {"High": "8.0", "Medium": "5.0", "Low": "2.0", "Informational": "0.0"}
_PROPERTIES = (
    "EventTime", "Account", "IPAddress", "Outcome", "Severity", "Reputation", "Sources",
    "Application", "SignInCountry", "SourceTable", "EventId", "Stories",
)  # fmt: skip


def sarif_log(rows: Iterable[FindingRow], version: str) -> Mapping[str, Any]:
    """Return a log with one result for each finding; its rule is the line of the policy."""
    rules: dict[str, dict[str, Any]] = {}
    results = []
    for row in rows:
        name = str(row["MatchReason"]).partition(": ")[0][:100]
        rules.setdefault(
            name,
            {
                "id": name,
                "shortDescription": {"text": f"Policy line {name}"},
                "properties": {"security-severity": _SECURITY[row["Severity"]]},
            },
        )
        results.append(_result(row, name, list(rules).index(name)))
    driver = {"name": "signinwatch", "version": version, "rules": list(rules.values())}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver},
            "results": results}]}  # fmt: skip


def _result(row: FindingRow, rule: str, index: int) -> dict[str, Any]:
    account, address = cell_text(row["Account"])[:200], cell_text(row["IPAddress"])
    said = (
        f"{row['Severity']}: {OUTCOME_LABELS[row['Outcome']]} of {account} from {address}. "
        f"{cell_text(reason_of(row))[:1_000]}"
    )
    return {
        "ruleId": rule,
        "ruleIndex": index,
        "level": _LEVELS[row["Severity"]],
        "message": {"text": said},
        "locations": [
            {
                "logicalLocations": [
                    {"name": account, "kind": "account"},
                    {"name": address, "kind": "address"},
                ]
            }
        ],
        "partialFingerprints": {"findingId/v1": row["FindingId"]},
        "properties": {name: row[name] for name in _PROPERTIES if row[name] not in (None, [])},
    }
