"""What people see: tables, a summary, and progress. Text from events is never interpreted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.rows.findings import FindingRow

Advance = Callable[[int, str], None]
"""Moves a progress bar on by so much, and tells what is going on."""

COLOURS = {"High": "bold red", "Medium": "yellow", "Low": "cyan", "Informational": "dim"}
VERDICT_COLOURS = {"malicious": "bold red", "suspicious": "yellow", "benign": "green"}
WIDE = 130
"""Columns of a terminal that has room for reasons."""


def plain(value: object, longest: int = 60) -> Text:
    """Return *value* as text that a terminal shows and does not obey."""
    text = "" if value is None else str(value)
    if not text.isprintable():
        text = "".join(one if one.isprintable() else "�" for one in text)
    return Text(text if len(text) <= longest else text[: longest - 1] + "…")


def findings_table(rows: Sequence[FindingRow], total: int, width: int) -> Table:
    """Return a table of findings, in the order given; a wide terminal shows more columns."""
    title = f"{total:,} findings" if total == len(rows) else f"{len(rows):,} worst of {total:,}"
    table = Table(title=f"{title} (times are UTC)", box=box.SIMPLE_HEAD, title_justify="left")
    wide = width >= WIDE
    for name in ("Severity", "When", "Account", "Address", "Outcome"):
        table.add_column(name, no_wrap=name not in ("Address", "Outcome"), overflow="fold")
    if wide:
        table.add_column("Table", no_wrap=True)
        table.add_column("Why")
    for row in rows:
        cells = [
            Text(row["Severity"], style=COLOURS.get(row["Severity"], "")),
            plain(row["EventTime"][5:16].replace("T", " ")),
            plain(row["Account"], 60 if wide else max(12, width - 66)),
            plain(row["IPAddress"]),
            plain(row["Outcome"]),
        ]
        if wide:
            why = row["MatchReason"].partition(": ")[2] or row["MatchReason"]
            cells += [plain(row["SourceTable"]), plain(why, 120)]
        table.add_row(*cells)
    return table


def alerts_table(alerts: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of alerts, in the order given, each with the reasons it was raised for."""
    title = f"{len(alerts):,} alerts"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", show_lines=False)
    table.add_column("Severity", no_wrap=True)
    table.add_column("Alert", overflow="fold")
    table.add_column("Sign-ins", justify="right")
    table.add_column("Reasons")
    for alert in alerts:
        table.add_row(
            Text(alert["severity"], style=COLOURS.get(alert["severity"], "")),
            plain(alert["title"], 200),
            f"{alert['count']:,}",
            plain(alert["reasons"].partition(": ")[2] or alert["reasons"], 220),
        )
    return table


def addresses_table(rows: Sequence[FindingRow], stories: Mapping[str, str]) -> Table:
    """Return a table with one line for each bad address and its story, the worst first."""
    groups: dict[str, list[FindingRow]] = {}
    for row in rows:
        groups.setdefault(row["IPAddress"], []).append(row)
    order = list(COLOURS)
    worst = {
        one: min(order.index(row["Severity"]) for row in group) for one, group in groups.items()
    }
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Worst", no_wrap=True)
    table.add_column("Address", overflow="fold", max_width=22)
    table.add_column("Findings", justify="right")
    table.add_column("What happened")
    for address in sorted(groups, key=lambda one: (worst[one], -len(groups[one]))):
        severity = order[worst[address]]
        table.add_row(
            Text(severity, style=COLOURS[severity]),
            plain(address),
            f"{len(groups[address]):,}",
            plain(stories.get(address, "not planted"), 200),
        )
    return table


def summary_panel(summary: Mapping[str, Any], notes: Sequence[str]) -> Panel:
    """Return what went through, for people."""
    told = Text()
    told.append(f"{summary['signins']:,}", style="bold")
    told.append(f" sign-ins in {summary['records']:,} records of {summary['messages']:,} messages")
    told.append(f", from {summary['distinct_ips']:,} addresses.\n")
    told.append(f"{summary['lookups']:,}", style="bold")
    told.append(f" addresses asked of CrowdSec in {summary['requests']:,} requests; ")
    told.append(f"{summary['cache_hits']:,}", style="bold")
    told.append(" sign-ins answered from the ledger")
    own = summary["own_network"]
    told.append(f"; {own:,} from networks of your own.\n" if own else ".\n")
    told.append(f"{summary['findings']:,}", style="bold")
    severities = ", ".join(
        f"{summary['findings_by_severity'][one]:,} {one}"
        for one in COLOURS
        if summary["findings_by_severity"].get(one)
    )
    told.append(f" findings{': ' + severities if severities else ''}.\n")
    told.append(f"{summary['unanswered']:,}", style="bold red" if summary["unanswered"] else "bold")
    told.append(f" sign-ins unanswered, {summary['skipped']:,} records skipped")
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in summary["skipped_by_reason"].items()
    )
    told.append(f" ({reasons})" if reasons else "")
    told.append(f", {summary['rejected']:,} unreadable, in {summary['seconds']:,.1f} s.")
    parts = [told, *(Text("! " + note, style="yellow") for note in notes)]
    return Panel(Group(*parts), title="Summary", title_align="left", border_style="dim")


def published_panel(figures: Mapping[str, Any]) -> Panel:
    """Return what was sent to an event hub, for people."""
    told = Text()
    told.append(f"{figures['messages']:,}", style="bold")
    told.append(f" messages with {figures['records']:,} records sent")
    told.append(f" ({figures['bytes'] / 1e6:,.1f} MB) in {figures['seconds']:,.1f} s: ")
    told.append(f"{figures['messages_per_second']:,.0f}", style="bold")
    told.append(" messages a second.")
    for count, what in (
        (figures["split"], "messages were too large and were split by their records"),
        (figures["retries"], "tries failed and were made again; a batch may have arrived twice"),
        (figures["unconfirmed"], "more messages were under way and may have arrived"),
    ):
        if count:
            told.append(f"\n{count:,} {what}.")
    return Panel(told, title="Published", title_align="left", border_style="dim")


def check_line(name: str, text: str, code: str | None) -> Text:
    """Return one line of ``check``."""
    line = Text("ok      ", style="green") if code is None else Text("FAILED  ", style="bold red")
    line.append(f"{name}: ", style="bold")
    line.append_text(plain(text, 1_000))
    if code is not None:
        line.append(f" [{code}]", style="dim")
    return line


def verdicts_table(rows: Sequence[Mapping[str, Any]], explain: bool) -> Table:
    """Return what is known of addresses, for ``lookup``."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("Address", "Verdict", "Score", "Class", "Until"):
        table.add_column(name, no_wrap=True, justify="right" if name == "Score" else "left")
    table.add_column("Why", overflow="fold")
    for row in rows:
        why = [row["Reason"], *row["Classifications"]]
        if explain:
            why += [_asked(row), f"{row['Waiting']} waiting"]
            if row["NextAsking"] is not None:
                why.append(f"next asking {row['NextAsking'][:16]}")
            if row["Rank"]:
                why.append(f"rank {row['Rank']:,} of {row['RankedAddresses']:,}")
            if row["RankParts"]:
                points = sorted(row["RankParts"].items(), key=lambda part: -abs(part[1]))
                told = ", ".join(f"{name} {value:+g}" for name, value in points)
                why.append(f"score {row['RankScore']:g}: {told}")
        table.add_row(
            plain(row["IPAddress"]),
            Text(row["Verdict"], style=VERDICT_COLOURS.get(row["Verdict"], "")),
            plain(row["Score"]),
            plain(row["AddressClass"]),
            plain(row["ExpiresTime"][:10] if row["ExpiresTime"] else None),
            plain("; ".join(why), 900),
        )
    return table


def _asked(row: Mapping[str, Any]) -> str:
    if row["Cached"]:
        return f"from the ledger, asked {_ago(row['AgeSeconds'])}"
    return "asked now" if row["Asked"] else "nobody was asked now"


def feeds_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return how feeds are, for ``feeds``."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("Feed", "Read (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("Indicators", "New"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("How it is", overflow="fold")
    for row in rows:
        skipped = sorted(row["skipped"].items(), key=lambda one: -one[1])
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in skipped)
        how = [row["trouble"] or "well", row["detail"], f"left out: {left_out}" if skipped else ""]
        table.add_row(
            plain(row["feed"]),
            plain((row["synced"] or "never")[:16].replace("T", " ")),
            f"{row['indicators']:,}" if row["indicators"] is not None else "",
            f"{row['fresh']:,}" if row["fresh"] is not None else "",
            Text.assemble(
                (str(plain("; ".join(one for one in how if one), 900)), "" if row["ok"] else "red")
            ),
        )
    return table


def _ago(seconds: int | None) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds is not None and seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def quarantine_table(items: Sequence[Any]) -> Table:
    """Return what is kept aside."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{len(items):,} kept aside", title_justify="left")
    for name in ("Id", "When (UTC)", "Kind", "Reason", "Where", "Bytes"):
        table.add_column(name, overflow="fold")
    for item in items:
        when = f"{item.time:%Y-%m-%d %H:%M:%S}"
        cells = (item.id, when, item.kind, item.reason, item.position, f"{len(item.body):,}")
        table.add_row(*(plain(cell, 100) for cell in cells))
    return table


@contextmanager
def progress_bar(console: Console, total: int | None) -> Iterator[Advance]:
    """Show progress on a terminal, nothing elsewhere; gives a function that advances it."""
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("reading", total=total)

        def advance(read: int, told: str) -> None:
            bar.advance(task, read)
            if told:
                bar.update(task, description=told)

        yield advance
