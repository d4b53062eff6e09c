"""The command ``signinwatch lookup``."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import state_option

if TYPE_CHECKING:
    from pathlib import Path


@click.command("lookup")
@click.argument("addresses", nargs=-1, required=True, metavar="IP...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--explain", is_flag=True, help="Show cache, age, rank and why, next asking.")
@click.option("--cached", is_flag=True, help="Ask nobody; show what the ledger knows.")
@state_option
@click.pass_obj
def lookup_command(
    config: Path | None,
    addresses: tuple[str, ...],
    as_json: bool,
    explain: bool,
    cached: bool,
    state: Path | None,
) -> None:
    """Show the verdicts on addresses."""
    from consumers.commands.lookup import look_up
    from consumers.ledger.sqlite.schema import clock_of
    from consumers.settings import load_settings
    from consumers.wiring.replay import StateFolder
    from consumers.wiring.shared_ledger import is_shared

    settings = load_settings(config)
    kept = place = state or settings.state.dir
    if cached and kept is not None and clock_of(kept) is None:
        kept = None  # looking must not make a ledger
    shown = partial(look_up, settings, texts=addresses, cached=cached, explain=explain)
    if place is None and is_shared(settings):
        rows = asyncio.run(shown(None, place=settings.state.scratch))
    else:
        with StateFolder(kept) as folder:
            rows = asyncio.run(shown(folder, place=place or settings.state.scratch))
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
    else:
        Console().print(screens.verdicts_table(rows, explain))
    if not cached and any(row["Verdict"] == "unanswered" for row in rows):
        raise SystemExit(1)
