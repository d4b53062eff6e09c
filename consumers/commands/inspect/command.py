"""``signinwatch inspect``: what an export holds. Keeps nothing and connects to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from consumers.commands import console as screens
from consumers.commands.formats import (
    Format,
    Result,
    deliver,
    format_options,
    screen_console,
    target_of,
)
from consumers.commands.options import (
    require_outputs,
    require_table,
    table_option,
    timezone_option,
)
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.commands.inspect.figures import ExportFigures
    from consumers.settings import Settings


@click.command("inspect")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@format_options
@table_option
@timezone_option
@click.pass_obj
def inspect_command(
    config: Path | None,
    files: tuple[str, ...],
    format_: str | None,
    output: str | None,
    force: bool,
    table: str | None,
    timezone: str | None,
) -> None:
    """Show what an export holds.

    FILE is an export of any kind, as for replay, a folder or a pattern; - reads standard input.
    Shows the kind of each file, the period, tables, accounts, IP addresses, countries, networks and
    outcomes, and what is skipped or unreadable, and where. Needs no key, connects to nothing, and
    keeps nothing. Exits with 1 if nothing at all could be recognised.
    """
    from consumers.commands.answer.times import times_in
    from consumers.commands.inspect.figures import document_of, rows_of
    from consumers.commands.inspect.screen import screen_of
    from consumers.inputs.recording import expand_names
    from consumers.settings import load_settings

    settings = load_settings(config)
    names = expand_names(files)
    times = times_in(timezone)
    target = target_of(format_, output, force=force, as_json=False)
    if target.format is Format.SARIF:
        raise ConfigurationError("--format sarif: is for findings; use json")
    require_outputs(names, {"--output": None if target.path is None else str(target.path)})
    require_table(settings, table)
    figures = _read(settings, names, table)
    document = document_of(figures)
    deliver(
        Result(
            title="What the export holds",
            rows=rows_of(document),
            screen=screen_of(document, times),
            document=document,
        ),
        target,
    )
    raise SystemExit(1 if figures.nothing_recognised else 0)


def _read(settings: Settings, names: Sequence[str], table: str | None) -> ExportFigures:
    from consumers.commands.inspect.figures import ExportFigures
    from consumers.commands.inspect.reading import ExportReader
    from consumers.inputs.recording import require_recording, sizes_of
    from consumers.wiring.pipeline import make_decoder

    for name in names:
        require_recording(name)
    figures = ExportFigures()
    reader = ExportReader(make_decoder(settings), figures, table)
    with screens.progress_bar(screen_console(stderr=True), sizes_of(names)) as advance:
        for name in names:
            reader.read(name, advance)
    return figures
