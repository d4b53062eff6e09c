"""The HTML report of a replay: one file that loads nothing and runs no script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from consumers.commands.answer.charts import SEVERITIES, STYLE, country_map, timeline
from consumers.commands.answer.groups import OUTCOME_LABELS, mfa_of, network_of, reason_of
from consumers.commands.answer.screen import outcomes
from consumers.commands.console import counted
from consumers.commands.formats import cell_text
from consumers.commands.html import page, spanned
from consumers.html import Markup, definitions, table, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from consumers.commands.answer.groups import Answer, Group
    from consumers.commands.answer.times import Times
    from schemas.rows.findings import FindingRow

MAX_FINDINGS = 5_000
"""Findings in a report, the most severe ones."""
MAX_ROWS = 100
_EVIDENCE_LENGTH = 4_000
_STYLE = (
    STYLE
    + """
.cards { display: flex; flex-wrap: wrap; gap: .8rem; padding: 0; list-style: none; }
.cards li { background: var(--mark); padding: .6rem 1rem; border-radius: .4rem; min-width: 8rem; }
.cards strong { display: block; font-size: 1.4rem; }
details { border-bottom: 1px solid var(--line); padding: .3rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
"""
)
_SHOWN = (
    "FindingId", "EventTime", "EventId", "SourceTable", "Account", "AccountObjectId", "IPAddress",
    "Outcome", "ResultCode", "ResultDescription", "Reputation", "Sources", "MatchReason", "Stories",
    "Application", "ResourceName", "ClientAppUsed", "AuthenticationProtocol", "UserAgent",
    "AuthenticationRequirement", "ConditionalAccessStatus", "DeviceId", "DeviceCompliant",
    "RiskLevel", "EntraDetections", "SignInCountry", "SignInCity", "AddressClass", "IntelAsName",
    "NewCountry", "NewNetwork", "NewDevice", "SessionFirstNetwork", "AccountsFromAddress", "Score",
    "Behaviors", "Classifications", "MitreTechniques", "ReportUrl",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReportInput:
    """What a report is made of."""

    title: str
    made: str
    """When and by which version, as text."""
    summary: Mapping[str, Any]
    notes: Sequence[str]
    answer: Answer
    findings: Sequence[FindingRow]
    """The most severe ones, the worst first."""
    total: int
    alerts: Sequence[Mapping[str, Any]] | None
    """What the shipped rules raise; None if they were not evaluated."""
    times: Times


def report_page(given: ReportInput) -> str:
    """Return the page."""
    return page(f"signinwatch: {given.title}", _body(given), _STYLE)


def _body(given: ReportInput) -> Iterator[str]:
    yield f"<h1>{text(given.title)}</h1>"
    yield f'<p class="faint">{text(given.made)}. Times are in {text(given.times.name)}.</p>'
    yield _cards(given)
    yield from (f"<p><strong>{text(note)}</strong></p>" for note in given.notes)
    if not given.findings:
        yield "<p>No findings. Unanswered is not clean.</p>"
        return
    yield "<h2>Timeline</h2>"
    yield _timeline(given)
    yield "<h2>Countries</h2>"
    yield from _countries(given)
    yield "<h2>IP addresses</h2>"
    yield _groups(given.answer.addresses, given.times, "IP address", "Accounts")
    yield "<h2>Accounts</h2>"
    yield _groups(given.answer.accounts, given.times, "Account", "IP addresses")
    yield from _stories(given)
    if given.alerts is not None:
        yield "<h2>Alerts that Microsoft Sentinel would have raised</h2>"
        yield _alerts(given.alerts)
    yield "<h2>Findings</h2>"
    if given.total > len(given.findings):
        yield f"<p>The {len(given.findings):,} most severe of {given.total:,}.</p>"
    yield from (_finding(row, given.times) for row in given.findings)


def _cards(given: ReportInput) -> str:
    summary = given.summary
    figures = [
        (f"{given.total:,}", "findings"),
        *((f"{summary['findings_by_severity'].get(name, 0):,}", name) for name in SEVERITIES),
        (f"{len(given.answer.addresses):,}", "IP addresses with findings"),
        (f"{len(given.answer.accounts):,}", "accounts with findings"),
        (f"{summary['signins']:,}", f"sign-ins from {summary['distinct_ips']:,} IP addresses"),
        (f"{summary['lookups']:,}", "lookups in CrowdSec"),
        (f"{summary['unanswered']:,}", "sign-ins unanswered, which is not clean"),
    ]
    inner = "".join(
        f'<li class="{name if name in SEVERITIES else ""}"><strong>{text(figure)}</strong>'
        f"{text(name)}</li>"
        for figure, name in figures
    )
    return f'<ul class="cards">{inner}</ul>'


def _timeline(given: ReportInput) -> str:
    times = [
        (found, row["Severity"])
        for row in given.findings
        if (found := given.times.local(row["EventTime"])) is not None
    ]
    return timeline(times) or "<p>No finding has a time.</p>"


def _countries(given: ReportInput) -> Iterator[str]:
    counts: dict[str, tuple[int, str]] = {}
    for row in given.findings:  # the worst first
        code = str(row["SignInCountry"] or row["IntelCountry"] or "not recorded")
        count, worst = counts.get(code, (0, row["Severity"]))
        counts[code] = count + 1, worst
    yield country_map(counts)
    ordered = sorted(counts.items(), key=lambda it: -it[1][0])[:MAX_ROWS]
    yield table(
        "Findings by country",
        ("Country", "Findings", "Worst severity"),
        ((code, f"{count:,}", _severity(worst)) for code, (count, worst) in ordered),
        words=(0, 2),
    )


def _groups(groups: Sequence[Group], times: Times, by: str, others: str) -> str:
    lines = (
        (
            _linked(group.name, group.link if by == "IP address" else None),
            _severity(group.severity),
            f"{group.findings:,}",
            outcomes(group.outcomes),
            next((reason for reason, _ in group.reasons.most_common(1)), ""),
            times.period(group.first, group.last),
            _several(list(group.others)),
            _several(list(group.countries)),
            _several(list(group.networks)),
            _several(list(group.applications)),
            _several(list(group.mfa)),
        )
        for group in groups[:MAX_ROWS]
    )
    names = (by, "Severity", "Findings", "Outcomes", "Why", "First to last", others, "Country")
    heads = (*names, "Network", "Application", "MFA")
    return table(f"Findings by {by}", heads, lines, words=_all_but(heads, "Findings"))


def _stories(given: ReportInput) -> Iterator[str]:
    rows_with_stories = [row for row in given.findings if row["Stories"]]
    if not rows_with_stories:
        return
    yield "<h2>Stories</h2>"
    yield "<p>What sign-ins tell together, without any threat intelligence.</p>"
    lines = (
        (
            spanned(row["IPAddress"], "fixed"),
            _severity(row["Severity"]),
            ", ".join(row["Stories"]),
            row["Account"],
            given.times.minute(row["EventTime"]),
            reason_of(row),
        )
        for row in rows_with_stories[:MAX_ROWS]
    )
    heads = ("IP address", "Severity", "Story", "Account", "Time", "What was seen")
    yield table("Stories", heads, lines, words=range(len(heads)))


def _alerts(alerts: Sequence[Mapping[str, Any]]) -> str:
    if not alerts:
        return "<p>None.</p>"
    lines = (
        (
            alert["title"],
            _severity(alert["severity"]),
            alert["rule"],
            f"{alert['count']:,}",
            alert["reasons"],
        )
        for alert in alerts[:MAX_ROWS]
    )
    heads = ("Alert", "Severity", "Rule", "Sign-ins", "Reasons")
    return table("Alerts", heads, lines, words=_all_but(heads, "Sign-ins"))


def _finding(row: FindingRow, times: Times) -> str:
    head = (
        f'<span class="{row["Severity"]}">{row["Severity"]}</span> '
        f"{text(times.minute(row['EventTime']))} {text(row['Account'])} from "
        f"{text(row['IPAddress'])}: {text(OUTCOME_LABELS[row['Outcome']])}"
    )
    figures = {name: cell_text(row.get(name)) for name in _SHOWN}
    figures["Network"], figures["MFA"] = network_of(row) or "", mfa_of(row) or ""
    shown_figures = definitions((name, value) for name, value in figures.items() if value)
    evidence = orjson.dumps(row.get("Evidence"), option=orjson.OPT_INDENT_2).decode()
    shown = "\n".join(text(line) for line in evidence[:_EVIDENCE_LENGTH].splitlines())
    return f"<details><summary>{head}</summary>{shown_figures}<pre>{shown}</pre></details>"


def _severity(severity: str) -> Markup:
    return spanned(severity, severity)


def _linked(name: str, url: str | None) -> Markup:
    shown: object = name
    if url is not None and url.startswith("https://"):
        shown = Markup(f'<a href="{text(url)}" rel="noreferrer">{text(name)}</a>')
    return spanned(shown, "fixed")


def _all_but(heads: Sequence[str], number: str) -> list[int]:
    """Return the columns with words: all but the one of that name."""
    return [place for place, name in enumerate(heads) if name != number]


def _several(values: Sequence[str]) -> str:
    more = f" and {counted(len(values) - 3, 'other')}" if len(values) > 3 else ""
    return ", ".join(values[:3]) + more
