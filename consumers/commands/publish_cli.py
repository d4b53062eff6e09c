"""The command ``signinwatch publish``."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import click
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import require_outputs, write_summary
from schemas.errors import ConfigurationError, HubFailed

if TYPE_CHECKING:
    from pathlib import Path


@click.command("publish")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Messages a second, kept evenly. Default: as fast as it goes.",
)
@click.option("--hub", help="The event hub, where EVENTHUB__NAME has several.")
@click.option(
    "--partition",
    type=click.IntRange(min=0),
    metavar="N",
    help="Send to this partition alone. Default: all in turn.",
)
@click.option("--summary", help="Where one JSON object with the figures goes: a file or -.")
@click.pass_obj
def publish_command(
    config: Path | None,
    files: tuple[str, ...],
    rate: float | None,
    hub: str | None,
    partition: int | None,
    summary: str | None,
) -> None:
    """Send recordings to the event hub, as they are.

    FILE is NDJSON, the same gzipped, or Event Hubs Capture Avro; - is standard input. To send one
    twice is harmless: the same event gives the same FindingId.
    """
    from consumers.commands.publish import Publish, publish
    from consumers.inputs.recording import sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    if rate is not None and not math.isfinite(rate):
        raise ConfigurationError("--rate: must be a number of messages a second")
    require_outputs(files, {"--summary": summary})
    console = Console(stderr=True)
    plan = Publish(files, rate, hub, partition)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        told = asyncio.run(publish(settings, plan, advance))
    figures = told.summary()
    write_summary(summary, figures)
    console.print(screens.published_panel(figures))
    for note in told.notes:
        click.echo(f"signinwatch: {screens.plain(note, 1_000)}", err=True)
    if told.failure is not None:
        raise HubFailed(told.failure, again=False)
    if told.interrupted:
        click.echo("signinwatch: interrupted", err=True)
    if not told.complete:
        raise SystemExit(1)
