"""``--format`` and ``--output``: the same words on every command that shows a result."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from rich.console import Console

from consumers.commands.console import plain
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

Command = TypeVar("Command", bound=Callable[..., Any])
PIPED_WIDTH = 1_000
"""Columns of a table that is not shown on a terminal, so that nothing is cut or folded."""
_MAX_CELL = 30_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters by which a spreadsheet takes a text for a formula."""
_SUFFIXES = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".md": "markdown",
    ".html": "html", ".htm": "html", ".sarif": "sarif", ".txt": "table",
}  # fmt: skip


class Format(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"
    SARIF = "sarif"


def format_options(command: Command) -> Command:
    """Add ``--format``, ``--output`` and ``--force`` to a command."""
    for option in (
        click.option("--force", is_flag=True, help="Overwrite existing files."),
        click.option(
            "-o", "--output", metavar="PATH", help="File to write the result to; - is the screen."
        ),
        click.option(
            "-f",
            "--format",
            "format_",
            type=click.Choice([it.value for it in Format]),
            help="Format of the result. Default: by the name of the file, else table.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes, and how."""

    format: Format
    path: Path | None
    """None for standard output."""

    @property
    def on_screen(self) -> bool:
        """Whether people read it at once."""
        return self.format is Format.TABLE and self.path is None


def target_of(format_: str | None, output: str | None, *, force: bool, as_json: bool) -> Target:
    """Return the target of a command's options; *as_json* is the older ``--json``.

    Raises ConfigurationError if the file exists and is not to be overwritten.
    """
    path = None if output in (None, "-") else Path(output or "")
    if format_ is None and path is not None:
        format_ = _SUFFIXES.get(path.suffix.lower())
    if format_ is None:
        format_ = "jsonl" if as_json else "table"
    if path is not None:
        refuse_to_overwrite("--output", path, force=force)
    return Target(Format(format_), path)


def refuse_to_overwrite(option: str, path: Path, *, force: bool) -> None:
    """Raise ConfigurationError if a file exists, unless *force*; an empty one may be written."""
    try:
        exists = path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise ConfigurationError(f"{option} {path}: {error.strerror}") from None
    if exists and not force:
        raise ConfigurationError(f"{option} {path}: exists; use --force to overwrite it")


@dataclass(frozen=True, slots=True)
class Result:
    """What a command shows."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    """What jsonl, csv and markdown have; by column."""
    screen: Sequence[RenderableType]
    """What people see on a terminal."""
    document: Any = None
    """What json has, if that is more than the rows."""
    page: str | None = None
    """What html has, if that is more than a table."""
    sarif: Mapping[str, Any] | None = None


def screen_console(*, stderr: bool = False) -> Console:
    """Return the console of standard output, which is wide if it is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr)
    width = get_terminal_size((PIPED_WIDTH, 0)).columns  # what COLUMNS says comes first
    return Console(stderr=stderr, width=width)


def deliver(result: Result, target: Target) -> None:
    """Write a result. Raises ConfigurationError if it has no such format or cannot be written."""
    if target.on_screen:
        console = screen_console()
        for part in result.screen:
            console.print(part)
        return
    text = as_text(result, target.format)
    if target.path is None:
        click.echo(text, nl=False)
        return
    try:
        target.path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output {target.path}: {error.strerror}") from None


def as_text(result: Result, format_: Format) -> str:
    """Return a result in a format, ending in a newline unless it is empty."""
    match format_:
        case Format.JSON:
            document = result.rows if result.document is None else result.document
            return _indented(document)
        case Format.JSONL:
            return "".join(f"{orjson.dumps(row).decode()}\n" for row in result.rows)
        case Format.CSV:
            return _csv(result.rows)
        case Format.MARKDOWN:
            return _markdown(result)
        case Format.HTML:
            from consumers.commands.html import table_page

            return result.page or table_page(result.title, result.rows)
        case Format.SARIF:
            if result.sarif is None:
                raise ConfigurationError("--format sarif: is for findings; use json")
            return _indented(result.sarif)
        case Format.TABLE:
            return _as_screen(result.screen)


def _indented(document: Any) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n"


def _as_screen(parts: Iterable[RenderableType]) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=PIPED_WIDTH)
    for part in parts:
        console.print(part)
    return stream.getvalue()


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows, in the order in which they come first."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return RFC 4180 with a line of names. A text that looks like a formula gets an apostrophe."""
    if not rows:
        return ""
    stream = io.StringIO(newline="")
    names = columns_of(rows)
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_cell(row.get(name)) for name in names])
    return stream.getvalue()


def _csv_cell(value: Any) -> str:
    text = cell_text(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def cell_text(value: Any) -> str:
    """Return a value as one text: lists by commas, objects as JSON, no control characters."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(it, str | int | float) for it in value):
        value = ", ".join(map(str, value))
    elif isinstance(value, list | dict):
        value = orjson.dumps(value).decode() if value else ""
    return str(plain(value, _MAX_CELL))


def _markdown(result: Result) -> str:
    names = [
        name
        for name in columns_of(result.rows)
        if any(cell_text(row.get(name)) for row in result.rows)
    ]
    lines = [f"## {_escaped(result.title)}", ""]
    if names:
        lines += [_line(names), _line(["---"] * len(names))]
    lines += [_line([_escaped(cell_text(row.get(name))) for name in names]) for row in result.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it stands."""
    for char in "\\`*_{}[]<>|#!":
        text = text.replace(char, f"\\{char}")
    return text


def forgive_encodings() -> None:
    """Replace characters that the terminal's encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="replace")
