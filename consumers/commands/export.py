"""``signinwatch export``: read sign-in tables of the workspace into a recording.

A folder gets one compressed file for each slice of time that is complete, named after it. So an
export that was interrupted goes on where it ended, and ``replay FOLDER`` reads it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.options import PATH, require_table, write_summary
from schemas.errors import ConfigurationError, WorkspaceFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from consumers.commands.console import Advance
    from consumers.inputs.workspace import Row, WorkspaceClient
    from consumers.settings import Settings

SLICE_ROWS = 20_000
"""Rows that a slice should have: what is in memory at a time, and lost by an interruption."""
HOUR = timedelta(hours=1)
MIN_SLICE = timedelta(seconds=1)
_SPAN = re.compile(r"(\d{1,5})([dhm])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_NAME_TIME = "%Y%m%dT%H%M%S%fZ"

Span = tuple[datetime, datetime]
"""A slice of time, from its start to before its end."""
Slice = tuple[Span, int | None]
"""A slice, and the rows that it had when they were counted; None if they were not."""


@click.command("export")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    help="A table to read; may be repeated. Default: those that SIGNINWATCH_TABLES enables.",
)
@click.option(
    "--since", default="30d", show_default=True, help="Where to begin: 30d, 12h, or a time."
)
@click.option("--until", help="Where to end, in the same way. Default: now.")
@click.option(
    "--workspace",
    metavar="GUID",
    help="The workspace ID. Default: SIGNINWATCH_SENTINEL__WORKSPACE_ID.",
)
@click.option("--output", type=PATH, required=True, metavar="DIR", help="Folder to write to.")
@click.option("--summary", help="Write the figures as one JSON object to a file, or -.")
@click.pass_obj
def export_command(
    config: Path | None,
    tables: tuple[str, ...],
    since: str,
    until: str | None,
    workspace: str | None,
    output: Path,
    summary: str | None,
) -> None:
    """Export sign-in tables of the Log Analytics workspace.

    Writes a folder of compressed JSON that replay and plan read. Log in with `az login` first.
    The same command again goes on where it was interrupted. Queries are split so that the limits
    of the service cut nothing.
    """
    from consumers.settings import load_settings

    settings = load_settings(config)
    now = datetime.now(UTC)
    span = (_time("--since", since, now), _time("--until", until, now) if until else now)
    if span[0] >= span[1]:
        raise ConfigurationError("--since: must be before --until")
    chosen = _chosen_tables(settings, tables)
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"--output {output}: is not a directory")
    console = Console(stderr=True)
    results = asyncio.run(_export(settings, workspace, chosen, span, output, console))
    figures = {result.table: result.summary() for result in results}
    write_summary(summary, figures)
    if summary != "-":
        console.print(_results_table(results))
    for result in results:
        if result.missing:
            click.echo(f"signinwatch: {result.table}: not in this workspace", err=True)
    if not any(result.rows for result in results):
        click.echo("signinwatch: no rows in this time", err=True)


@dataclass(slots=True)
class TableResult:
    """What was read of a table. Rows of earlier runs are in files that were kept."""

    table: str
    rows: int = 0
    files: int = 0
    kept: int = 0
    """Files of earlier runs that cover a part of the time."""
    bytes: int = 0
    counted: int = 0
    """Rows to read when they were counted."""
    missing: bool = False

    def summary(self) -> dict[str, Any]:
        """Return the figures for ``--summary``."""
        return {
            "rows": self.rows,
            "files": self.files,
            "kept_files": self.kept,
            "bytes": self.bytes,
            "missing": self.missing,
        }


def _time(option: str, text: str, now: datetime) -> datetime:
    """Return a time given as such, or as a time before now. Raises ConfigurationError."""
    from schemas.events.times import parse_time

    if span := _SPAN.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    time = parse_time(text.strip()) or parse_time(f"{text.strip()}T00:00:00Z")
    if time is None:
        raise ConfigurationError(f"{option} {text}: must be like 30d, 12h, 2026-11-01 or a time")
    return time


def _chosen_tables(settings: Settings, tables: Sequence[str]) -> list[str]:
    """Return the tables to read: those given, else the enabled ones that the workspace may have."""
    from schemas.events.tables import load_tables

    known = load_tables(settings.tables, settings.own_tables).by_type
    names = {key: form.table or key for key, form in known.items()}
    if not tables:
        return [names[key] for key, form in known.items() if form.enabled]
    for name in tables:
        require_table(settings, name)
    return [names[name.lower()] for name in dict.fromkeys(tables)]


async def _export(
    settings: Settings,
    workspace_id: str | None,
    tables: Sequence[str],
    span: Span,
    folder: Path,
    console: Console,
) -> list[TableResult]:
    from consumers.wiring.workspace import open_workspace

    async with AsyncExitStack() as stack:
        workspace = open_workspace(settings, workspace_id)
        stack.push_async_callback(workspace.close)
        results = [TableResult(table) for table in tables]
        planned = [await _planned(workspace, result, span, folder) for result in results]
        total = sum(result.counted for result in results)
        advance = stack.enter_context(screens.progress_bar(console, total))
        for result, slices in zip(results, planned, strict=True):
            await TableExport(workspace, result, folder, advance).run(slices)
        return results


async def _planned(
    workspace: WorkspaceClient, result: TableResult, span: Span, folder: Path
) -> list[Slice]:
    """Return the slices to read."""
    covered = _covered(folder, result.table)
    found: list[Slice] = []
    for gap in _without(span, covered):
        counts = await workspace.count_hourly(result.table, *gap)
        if counts is None:
            result.missing = True
            return []
        result.counted += sum(rows for _, rows in counts)
        found += _slices(gap, counts)
    result.kept = sum(1 for start, end in covered if start < span[1] and end > span[0])
    return found


def _covered(folder: Path, table: str) -> list[Span]:
    """Return the slices whose files are there, in order."""
    spans = []
    for path in folder.glob(f"{table}-*.ndjson.gz"):
        start, _, end = (
            path.name.removeprefix(f"{table}-").removesuffix(".ndjson.gz").partition("-")
        )
        try:
            spans.append((_of_name(start), _of_name(end)))
        except ValueError:
            continue  # somebody else's file
    return sorted(spans)


def _of_name(text: str) -> datetime:
    return datetime.strptime(text, _NAME_TIME).replace(tzinfo=UTC)


def _without(span: Span, covered: Iterable[Span]) -> list[Span]:
    """Return the parts of a span that no covered one holds."""
    start, end = span
    left = []
    for begin, until in covered:
        if until <= start or begin >= end:
            continue
        if begin > start:
            left.append((start, begin))
        start = max(start, until)
    return [*left, (start, end)] if start < end else left


def _slices(gap: Span, counts: Sequence[tuple[datetime, int]]) -> list[Slice]:
    """Join hours to slices of about :data:`SLICE_ROWS` rows; split an hour that has more."""
    start, end = gap
    slices: list[Slice] = []
    rows = 0
    for hour, count in counts:
        begin, until = max(hour, start), min(hour + HOUR, end)
        if rows and rows + count > SLICE_ROWS:
            slices.append(((start, begin), rows))
            start, rows = begin, 0
        rows += count
        if rows > SLICE_ROWS:  # an hour of its own
            parts = -(-rows // SLICE_ROWS)
            step = (until - start) / parts
            edges = [start + step * number for number in range(parts)] + [until]
            slices += [(part, None) for part in pairwise(edges)]
            start, rows = until, 0
    if start < end:
        slices.append(((start, end), rows))
    return slices


@dataclass(slots=True)
class TableExport:
    """Reads slices of a table into files."""

    workspace: WorkspaceClient
    result: TableResult
    folder: Path
    advance: Advance

    async def run(self, slices: Sequence[Slice]) -> None:
        """Read slices in order. Raises WorkspaceFailed for rows that no split can get."""
        table = self.result.table
        left = deque(slices)
        while left:
            (start, end), counted = left.popleft()
            if counted is None:
                counts = await self.workspace.count_hourly(table, start, end)
                counted = sum(rows for _, rows in counts or ())
            found = await self.workspace.rows(table, start, end)
            if not found.cut and len(found.rows) >= counted:
                self._write(found.rows, start, end)
                self.advance(len(found.rows), f"{table} {end:%Y-%m-%d %H:%M}")
            elif end - start >= MIN_SLICE:
                middle = start + (end - start) / 2
                left.extendleft([((middle, end), None), ((start, middle), None)])
            else:
                raise WorkspaceFailed(
                    f"{table}: the service returns fewer than the {counted:,} rows of one second "
                    f"from {start.isoformat()}; export that time by another way"
                )

    def _write(self, rows: Sequence[Row], start: datetime, end: datetime) -> None:
        """Write a slice. The file has its name once it is complete."""
        import orjson
        from isal import igzip

        table = self.result.table
        lines = b"".join(
            orjson.dumps(
                {name: value for name, value in row.items() if value not in (None, "")}
                | {"Type": table},
                option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE,
            )
            for row in rows
        )
        name = f"{table}-{start.strftime(_NAME_TIME)}-{end.strftime(_NAME_TIME)}.ndjson.gz"
        body = igzip.compress(lines, compresslevel=1)
        unfinished = self.folder / f"{name}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(body)
            unfinished.replace(self.folder / name)
        except OSError as error:
            raise ConfigurationError(f"--output {self.folder}: {error.strerror}") from None
        self.result.rows += len(rows)
        self.result.files += 1
        self.result.bytes += len(body)


def _results_table(results: Sequence[TableResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Table", no_wrap=True)
    for name in ("Rows", "Files", "Kept files", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        if not result.missing:
            table.add_row(
                result.table,
                f"{result.rows:,}",
                f"{result.files:,}",
                f"{result.kept:,}",
                f"{result.bytes / 1e6:,.1f}",
            )
    return table
