"""Shows the answer of a replay in the format that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from consumers.commands import console as screens
from consumers.commands.answer.groups import grouped
from consumers.commands.answer.screen import (
    MAX_DETAILS,
    alerts_table,
    details_table,
    groups_table,
)
from consumers.commands.formats import Format, Result, deliver, screen_console
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from consumers.commands.answer.findings_log import FindingsLog
    from consumers.commands.answer.groups import Answer
    from consumers.commands.answer.times import Times
    from consumers.commands.formats import Target
    from consumers.commands.replay.job import ReplayResult
    from schemas.rows.findings import FindingRow

MAX_ALERTED = 5_000
"""Findings over which the shipped rules are evaluated: their joins take the square of it."""
_WITH_ALERTS = (Format.TABLE, Format.HTML, Format.JSON)
"""Formats that show alerts; evaluating the rules takes seconds."""
MAX_NAMED_FILES = 3
Alerts = list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a replay."""

    files: Sequence[str]
    result: ReplayResult
    log: FindingsLog
    times: Times
    details: bool


def show(shown: Shown, target: Target, *, quiet: bool, only_summary: bool) -> None:
    """Show the answer and the summary.

    *quiet* keeps standard output for what is machine-readable; *only_summary* says that it has it
    already.
    """
    notes = list(shown.result.notes)
    if not only_summary or target.path is not None:
        answer = grouped(shown.log.rows())
        alerts = _alerts(shown.log, notes) if target.format in _WITH_ALERTS else None
        deliver(_result(shown, answer, alerts, notes, target.format), target)
    screen_console(stderr=quiet).print(screens.summary_panel(shown.result.summary, notes))


def _result(
    shown: Shown, answer: Answer, alerts: Alerts, notes: Sequence[str], format_: Format
) -> Result:
    """Return the answer with what the format needs of it."""
    log, summary = shown.log, shown.result.summary
    rows: list[dict[str, Any]] = []
    if format_ is Format.MARKDOWN:  # for people: a finding has too many columns
        rows = [it.as_row("IPAddress", "Accounts") for it in answer.addresses]
    elif format_ not in (Format.TABLE, Format.HTML):
        rows = log.worst(len(log))
    return Result(
        title=f"Findings in {_names(shown.files)}",
        rows=rows,
        screen=_screen(shown, answer, alerts) if format_ is Format.TABLE else (),
        document=_document(rows, answer, alerts, summary, notes),
        page=_page(shown, answer, alerts, notes) if format_ is Format.HTML else None,
        sarif=_sarif(rows) if format_ is Format.SARIF else None,
    )


def _screen(shown: Shown, answer: Answer, alerts: Alerts) -> list[RenderableType]:
    if not len(shown.log):
        return []
    parts: list[RenderableType] = [
        groups_table(answer.addresses, shown.times, by="IP address"),
        groups_table(answer.accounts, shown.times, by="Account"),
    ]
    if shown.details:
        worst = shown.log.worst(MAX_DETAILS)
        parts.append(details_table(worst, len(shown.log), shown.times))
    if alerts:
        parts.append(alerts_table(alerts))
    return parts


def _document(
    rows: Sequence[FindingRow],
    answer: Answer,
    alerts: Alerts,
    summary: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    return {
        "summary": summary,
        "notes": notes,
        "addresses": [it.as_row("IPAddress", "Accounts") for it in answer.addresses],
        "accounts": [it.as_row("Account", "IPAddresses") for it in answer.accounts],
        "alerts": alerts,
        "findings": rows,
    }


def _page(shown: Shown, answer: Answer, alerts: Alerts, notes: Sequence[str]) -> str:
    from consumers.commands.answer.report import MAX_FINDINGS, ReportInput, report_page

    now = datetime.now(shown.times.zone)
    return report_page(
        ReportInput(
            title=f"Sign-ins in {_names(shown.files)}",
            made=f"Made by signinwatch {version('signinwatch')} on {now:%Y-%m-%d %H:%M}",
            summary=shown.result.summary,
            notes=notes,
            answer=answer,
            findings=shown.log.worst(MAX_FINDINGS),
            total=len(shown.log),
            alerts=alerts,
            times=shown.times,
        )
    )


def _sarif(rows: Sequence[FindingRow]) -> Mapping[str, Any]:
    from consumers.commands.answer.sarif import sarif_log

    return sarif_log(rows, version("signinwatch"))


def _alerts(log: FindingsLog, notes: list[str]) -> Alerts:
    """Return what the shipped rules raise; None, with a note, where they are not evaluated."""
    from producers.demo.rule import alerts, require_parts

    if not len(log):
        return []
    try:
        require_parts()
    except ConfigurationError:
        notes.append(
            "With the extra demo installed, this also shows the alerts that Microsoft Sentinel "
            "would have raised."
        )
        return None
    if len(log) > MAX_ALERTED:
        notes.append(
            f"The rules of Microsoft Sentinel were not evaluated: over {MAX_ALERTED:,} findings; "
            "narrow them down with filters."
        )
        return None
    return alerts(list(log.rows()), datetime.now(UTC))


def _names(files: Sequence[str]) -> str:
    from pathlib import Path

    names = [Path(name).name or name for name in files[:MAX_NAMED_FILES]]
    more = f" and {len(files) - MAX_NAMED_FILES} more" if len(files) > MAX_NAMED_FILES else ""
    return ", ".join("standard input" if name == "-" else name for name in names) + more
