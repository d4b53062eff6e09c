"""The command ``signinwatch redact``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console

from consumers.commands import console as screens

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.commands.redact.command import Redacted


@click.command("redact")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--out", required=True, metavar="PATH", help="The new recording; gzipped if .gz; - is stdout."
)
@click.option(
    "--key",
    envvar="SIGNINWATCH_REDACT_KEY",
    help="A long secret, for the same pseudonyms in every run; better set SIGNINWATCH_REDACT_KEY, "
    "as others may see arguments. Default: random, and forgotten.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.pass_obj
def redact_command(
    config: Path | None, files: tuple[str, ...], out: str, key: str | None, force: bool
) -> None:
    """Make a recording safe to share: same shape, no real name or address.

    FILE is NDJSON, the same gzipped, or Event Hubs Capture Avro; - is standard input. Every text
    that could tell a person, device, place or company is replaced, the same by the same, and
    addresses keep their networks. Times, countries, networks' AS numbers, results and risk stay.
    """
    from consumers.commands.redact.command import redact, require_new, tables_of
    from consumers.inputs.recording import sizes_of

    require_new(files, out, force=force)
    tables = tables_of(config)
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        told = redact(files, out, key, tables, advance)
    _tell(told)
    if told.notes:
        raise SystemExit(1)


def _tell(told: Redacted) -> None:
    lines = [f"{told.messages:,} messages with {told.records:,} records redacted."]
    for count, what in (
        (told.unreadable_messages, "messages were unreadable and were replaced whole."),
        (told.unreadable_records, "records were unreadable and were replaced whole."),
    ):
        if count:
            lines.append(f"{count:,} {what}")
    if told.names:
        lines.append(f"Kept names of columns, to look through: {', '.join(told.names)}.")
    for line in (*lines, *told.notes):
        click.echo(f"signinwatch: {screens.plain(line, 100_000)}", err=True)
