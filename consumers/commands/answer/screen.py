"""The answer of a replay on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from consumers.commands.answer.fitted import FittedColumn, FittedTable
from consumers.commands.answer.groups import OUTCOME_LABELS, mfa_of, network_of, reason_of
from consumers.commands.console import COLOURS, counted, plain

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from consumers.commands.answer.groups import Group
    from consumers.commands.answer.times import Times
    from schemas.rows.findings import FindingRow

MAX_GROUPS = 50
"""Addresses or accounts that are listed."""
MAX_DETAILS = 1_000
"""Findings that are listed one by one."""
_WITHOUT_PLURAL = ("Interrupted", "Unknown")
_GROUP_ORDER = (
    *("Severity", "IP address", "Account", "Findings", "Outcomes", "First to last", "Accounts"),
    *("IP addresses", "Country", "Network", "Application", "MFA", "Why"),
)
_DETAIL_ORDER = (
    *("Severity", "Time", "Account", "IP address", "Outcome", "Country", "Network"),
    *("Application", "MFA", "Table", "Finding", "Why"),
)


def groups_table(
    groups: Sequence[Group], times: Times, *, by: str, most: int = MAX_GROUPS
) -> FittedTable:
    """Return a table of the first groups *by* ``IP address`` or ``Account``."""
    shown = groups[:most]
    others = "Accounts" if by == "IP address" else "IP addresses"
    more = f", the worst {len(shown):,} shown" if len(shown) < len(groups) else ""
    columns = [
        FittedColumn("Severity", [_severity(group.severity) for group in shown]),
        FittedColumn(
            by, [plain(group.name, 60) for group in shown], flexible=0 if by == "IP address" else 24
        ),
        FittedColumn("Findings", [f"{group.findings:,}" for group in shown], right=True),
        FittedColumn("Outcomes", [outcomes(group.outcomes) for group in shown], flexible=14),
        FittedColumn("Why", [_first(group.reasons, 200) for group in shown], flexible=24),
        FittedColumn("First to last", [times.period(group.first, group.last) for group in shown]),
        FittedColumn("Country", [_several(group.countries, 3) for group in shown]),
        FittedColumn(others, [_several(group.others, 1) for group in shown]),
        FittedColumn("Network", [_first(group.networks, 40) for group in shown]),
        FittedColumn("Application", [_first(group.applications, 40) for group in shown]),
        FittedColumn("MFA", [_several(group.mfa, 2) for group in shown]),
    ]
    title = counted(len(groups), "IP address" if by == "IP address" else "account")
    return FittedTable(f"{title}{more}", columns, _GROUP_ORDER)


def details_table(rows: Sequence[FindingRow], total: int, times: Times) -> FittedTable:
    """Return a table of findings in the given order."""
    title = counted(total, "finding")
    if total != len(rows):
        title = f"{len(rows):,} most severe of {title}"
    columns = [
        FittedColumn("Severity", [_severity(row["Severity"]) for row in rows]),
        FittedColumn("IP address", [row["IPAddress"] for row in rows]),
        FittedColumn("Time", [times.minute(row["EventTime"]) for row in rows]),
        FittedColumn("Account", [plain(row["Account"], 60) for row in rows]),
        FittedColumn("Outcome", [OUTCOME_LABELS[row["Outcome"]] for row in rows]),
        FittedColumn("Why", [plain(reason_of(row), 300) for row in rows], flexible=24),
        FittedColumn(
            "Country", [row["SignInCountry"] or row["IntelCountry"] or "" for row in rows]
        ),
        FittedColumn("Application", [plain(row["Application"], 40) for row in rows]),
        FittedColumn("MFA", [mfa_of(row) or "" for row in rows]),
        FittedColumn("Network", [plain(network_of(row), 40) for row in rows]),
        FittedColumn("Table", [plain(row["SourceTable"], 40) for row in rows]),
        FittedColumn("Finding", [row["FindingId"][:12] for row in rows]),
    ]
    return FittedTable(f"{title} (times in {times.name})", columns, _DETAIL_ORDER)


def alerts_table(alerts: Sequence[Mapping[str, Any]]) -> FittedTable:
    """Return a table of alerts with their reasons, in the given order."""
    reasons = (alert["reasons"].partition(": ")[2] or alert["reasons"] for alert in alerts)
    columns = [
        FittedColumn("Severity", [_severity(alert["severity"]) for alert in alerts]),
        FittedColumn("Alert", [plain(alert["title"], 200) for alert in alerts], flexible=40),
        FittedColumn("Sign-ins", [f"{alert['count']:,}" for alert in alerts], right=True),
        FittedColumn("Reasons", [plain(reason, 220) for reason in reasons], flexible=30),
    ]
    title = f"{counted(len(alerts), 'alert')} in Microsoft Sentinel"
    return FittedTable(title, columns, ("Severity", "Alert", "Sign-ins", "Reasons"))


def outcomes(counts: Counter[str]) -> str:
    """Return counts by outcome in words, nearest to success first."""
    return ", ".join(
        f"{counts[name]:,} {label}" if name in _WITHOUT_PLURAL else counted(counts[name], label)
        for name, label in OUTCOME_LABELS.items()
        if counts[name]
    )


def _severity(severity: str) -> Text:
    shown = "Info" if severity == "Informational" else severity
    return Text(shown, style=COLOURS.get(severity, ""))


def _first(counts: Counter[str], longest: int) -> Text:
    common = counts.most_common(1)
    return plain(common[0][0] if common else "", longest)


def _several(counts: Counter[str], most: int) -> Text:
    names = [str(plain(name, 40)) for name, _ in counts.most_common(most)]
    more = f" +{len(counts) - most:,}" if len(counts) > most else ""
    return plain(", ".join(names) + more, 140)
