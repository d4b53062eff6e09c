"""The command ``signinwatch forget``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click
from rich import box
from rich.console import Console
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.options import state_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.commands.forget import Deleted, Stores
    from consumers.commands.forget_matching import Wanted
    from consumers.settings import Settings


@click.command("forget")
@click.argument("texts", nargs=-1, required=True, metavar="ACCOUNT|IP...")
@state_option
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@click.pass_obj
def forget_command(
    config: Path | None, texts: tuple[str, ...], state: Path | None, yes: bool
) -> None:
    """Delete what is kept of accounts and addresses, in the ledger and the quarantine.

    ACCOUNT is a user principal name, in any case; IP an address in any spelling. In the directory
    of --state; else in that of STATE__DIR, or in the ledger's table, and beside the checkpoints.
    """
    from consumers.commands.forget import Stores, forget, notes_on
    from consumers.commands.forget_matching import Wanted
    from consumers.settings import load_settings

    wanted = Wanted.of(texts)
    settings = load_settings(config)
    stores = Stores.of(settings, state)
    if not yes and sys.stdin.isatty():
        click.confirm(_question(settings, stores, wanted), abort=True, err=True)
    told = asyncio.run(forget(settings, stores, wanted))
    console = Console()
    console.print(_table(told))
    for note in notes_on(stores):
        console.print(screens.plain(note, 1_000), soft_wrap=True)


def _question(settings: Settings, stores: Stores, wanted: Wanted) -> str:
    places = "; ".join(str(screens.plain(one, 1_000)) for one in stores.names(settings))
    numbers = [(len(wanted.accounts), "account"), (len(wanted.addresses), "address")]
    whom = " and ".join(
        f"{number} {what}{'' if number == 1 else 'es' if what.endswith('s') else 's'}"
        for number, what in numbers
        if number
    )
    return f"Delete what is kept of {whom}, for good? From {places}"


def _table(told: Sequence[Deleted]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Where", overflow="fold")
    table.add_column("What", overflow="fold")
    table.add_column("Deleted", justify="right")
    for one in told:
        table.add_row(screens.plain(one.store, 300), screens.plain(one.what), f"{one.number:,}")
    return table
