"""Tables, panels and progress on a terminal. Text from events is never interpreted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from schemas.values import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.rows.findings import FindingRow

Advance = Callable[[int, str], None]
"""Advances a progress bar by a number of bytes and sets its description."""

COLOURS = {"High": "bold red", "Medium": "yellow", "Low": "cyan", "Informational": "dim"}
VERDICT_COLOURS = {"malicious": "bold red", "suspicious": "yellow", "benign": "green"}
PANEL_WIDTH = 80
"""Columns of a panel, on a terminal that has as many."""


def plain(value: object, longest: int = 60) -> Text:
    """Return *value* as text without control characters, cut to *longest* characters."""
    return Text(printable(value, longest))


def addresses_table(rows: Sequence[FindingRow], stories: Mapping[str, str]) -> Table:
    """Return a table with one line for each malicious IP and its story, most severe first."""
    groups: dict[str, list[FindingRow]] = {}
    for row in rows:
        groups.setdefault(row["IPAddress"], []).append(row)
    order = list(COLOURS)
    highest = {
        address: min(order.index(row["Severity"]) for row in group)
        for address, group in groups.items()
    }
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Severity", no_wrap=True)
    table.add_column("IP address", overflow="fold", max_width=22)
    table.add_column("Findings", justify="right")
    table.add_column("What happened")
    for address in sorted(groups, key=lambda key: (highest[key], -len(groups[key]))):
        severity = order[highest[address]]
        table.add_row(
            Text(severity, style=COLOURS[severity]),
            plain(address),
            f"{len(groups[address]):,}",
            plain(stories.get(address, "not seeded"), 200),
        )
    return table


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the singular or the plural."""
    if number == 1:
        return f"1 {what}"
    if what.endswith("ry"):
        return f"{number:,} {what[:-1]}ies"
    return f"{number:,} {what}{'es' if what.endswith('s') else 's'}"


def summary_panel(summary: Mapping[str, Any], notes: Sequence[str]) -> Panel:
    """Return the summary of a replay as a panel."""
    text = Text()
    text.append(counted(summary["signins"], "sign-in"), style="bold")
    text.append(f" in {counted(summary['records'], 'record')}")
    text.append(f", from {counted(summary['distinct_ips'], 'IP address')}.\n")
    text.append(f"{summary['lookups']:,}", style="bold")
    text.append(f" looked up in CrowdSec in {counted(summary['requests'], 'request')}; ")
    text.append(counted(summary["cache_hits"], "sign-in"), style="bold")
    text.append(" answered from the ledger")
    own = summary["own_network"]
    text.append(f"; {own:,} from trusted networks.\n" if own else ".\n")
    text.append(counted(summary["findings"], "finding"), style="bold")
    severities = ", ".join(
        f"{summary['findings_by_severity'][severity]:,} {severity}"
        for severity in COLOURS
        if summary["findings_by_severity"].get(severity)
    )
    text.append(f"{': ' + severities if severities else ''}.\n")
    style = "bold red" if summary["unanswered"] else "bold"
    text.append(counted(summary["unanswered"], "sign-in"), style=style)
    text.append(f" unanswered, {counted(summary['skipped'], 'record')} skipped")
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in summary["skipped_by_reason"].items()
    )
    text.append(f" ({reasons})" if reasons else "")
    text.append(f", {summary['rejected']:,} unreadable, in {summary['seconds']:,.1f} s.")
    parts = [text, *(Text("! " + note, style="yellow") for note in notes)]
    return Panel(
        Group(*parts), title="Summary", title_align="left", border_style="dim", width=PANEL_WIDTH
    )


def published_panel(figures: Mapping[str, Any]) -> Panel:
    """Return the figures of ``publish`` as a panel."""
    text = Text()
    text.append(f"{figures['messages']:,}", style="bold")
    text.append(f" messages with {figures['records']:,} records sent")
    text.append(f" ({figures['bytes'] / 1e6:,.1f} MB) in {figures['seconds']:,.1f} s: ")
    text.append(f"{figures['messages_per_second']:,.0f}", style="bold")
    text.append(" messages a second.")
    for count, what in (
        (figures["split"], "messages were too large and were split by record"),
        (figures["retries"], "attempts failed and were retried; a batch may have arrived twice"),
        (figures["unconfirmed"], "more messages were in flight and may have arrived"),
    ):
        if count:
            text.append(f"\n{count:,} {what}.")
    return Panel(text, title="Published", title_align="left", border_style="dim")


def check_line(name: str, text: str, code: str | None) -> Text:
    """Return the line of one ``check`` result."""
    line = Text("ok      ", style="green") if code is None else Text("FAILED  ", style="bold red")
    line.append(f"{name}: ", style="bold")
    line.append_text(plain(text, 1_000))
    if code is not None:
        line.append(f" [{code}]", style="dim")
    return line


def verdicts_table(rows: Sequence[Mapping[str, Any]], explain: bool) -> Table:
    """Return the verdicts on IP addresses, for ``lookup``."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("IP address", "Verdict", "Score", "Class", "Valid until"):
        table.add_column(name, no_wrap=True, justify="right" if name == "Score" else "left")
    table.add_column("Details", overflow="fold")
    for row in rows:
        details = [row["Reason"], *row["Classifications"]]
        if explain:
            details += [_origin(row), f"{row['Waiting']} sign-ins waiting"]
            if row["NextAsking"] is not None:
                due = row["NextAsking"]
                details.append(f"next lookup: {'due' if due == 'now' else due[:16]}")
            if row["Rank"]:
                details.append(f"rank {row['Rank']:,} of {row['RankedAddresses']:,}")
            if row["RankParts"]:
                points = sorted(row["RankParts"].items(), key=lambda part: -abs(part[1]))
                breakdown = ", ".join(f"{name} {value:+g}" for name, value in points)
                details.append(f"score {row['RankScore']:g}: {breakdown}")
        table.add_row(
            plain(row["IPAddress"]),
            Text(row["Verdict"], style=VERDICT_COLOURS.get(row["Verdict"], "")),
            plain(row["Score"]),
            plain(row["AddressClass"]),
            plain(row["ExpiresTime"][:10] if row["ExpiresTime"] else None),
            plain("; ".join(details), 900),
        )
    return table


def _origin(row: Mapping[str, Any]) -> str:
    if row["Cached"]:
        return f"from the ledger, looked up {_ago(row['AgeSeconds'])}"
    return "looked up now" if row["Asked"] else "not looked up now"


def feeds_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the status of feeds and replica, for ``feeds``."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("Feed", "Last read (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("Indicators", "New"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("Status", overflow="fold")
    for row in rows:
        skipped = sorted(row["skipped"].items(), key=lambda reason: -reason[1])
        counts = ", ".join(f"{count:,} {reason}" for reason, count in skipped)
        undecided = sum(item["decision"] is None for item in row.get("capped", ()))
        status = [
            row["trouble"] or "ok",
            row["detail"],
            f"skipped: {counts}" if skipped else "",
            *row.get("notes", ()),
            f"{counted(undecided, 'indicator')} capped; see --json" if undecided else "",
        ]
        table.add_row(
            plain(row["feed"]),
            plain((row["synced"] or "never")[:16].replace("T", " ")),
            f"{row['indicators']:,}" if row["indicators"] is not None else "",
            f"{row['fresh']:,}" if row["fresh"] is not None else "",
            Text(plain("; ".join(filter(None, status)), 900).plain, "" if row["ok"] else "red"),
        )
    return table


def _ago(seconds: int | None) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds is not None and seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def quarantine_table(items: Sequence[Any]) -> Table:
    """Return the quarantined items as a table."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{len(items):,} quarantined", title_justify="left")
    for name in ("ID", "Time (UTC)", "Kind", "Reason", "Position", "Bytes"):
        table.add_column(name, overflow="fold")
    for item in items:
        time = f"{item.time:%Y-%m-%d %H:%M:%S}"
        cells = (item.id, time, item.kind, item.reason, item.position, f"{len(item.body):,}")
        table.add_row(*(plain(cell, 100) for cell in cells))
    return table


@contextmanager
def progress_bar(console: Console, total: int | None) -> Iterator[Advance]:
    """Show a progress bar if *console* is a terminal; yield a function that advances it."""
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("of"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("reading", total=total)

        def advance(read: int, description: str) -> None:
            bar.advance(task, read)
            if description:
                bar.update(task, description=description)

        yield advance
