"""``signinwatch config``: what is set, a file to begin with, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from consumers.commands import console as screens
from consumers.commands.options import PATH
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@click.group("config")
def config_group() -> None:
    """Show, begin or check the settings. Connects to nothing."""


@config_group.command("show")
@click.option("--all", "everything", is_flag=True, help="Also settings that have their default.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
@click.pass_obj
def config_show(config: Path | None, everything: bool, as_json: bool) -> None:
    """Show the settings in effect and where each comes from.

    Shows those that differ from their default. A secret is shown as (set).
    """
    from consumers.settings.effective import setting_rows

    _print_rows(setting_rows(config, everything=everything), as_json=as_json)


def _print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
    elif rows:
        Console().print(_table(rows))
    else:
        click.echo("Every setting has its default; --all shows them.")


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("Setting", no_wrap=True)
    for name in ("Value", "Source"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(screens.plain(_text(value), 1_000) for value in row.values()))
    return table


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    return orjson.dumps(value).decode()


@config_group.command("init")
@click.argument("path", type=PATH, default="signinwatch.toml")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def config_init(path: Path, force: bool) -> None:
    """Write a TOML file to begin with, every setting explained and commented out.

    PATH is signinwatch.toml by default; - is standard output. Only you can read the new file, as
    it may get passwords.
    """
    from consumers.settings.starter import starter_file

    if str(path) == "-":
        click.echo(starter_file(), nl=False)
        return
    try:
        path.touch(0o600, exist_ok=force)
        path.write_text(starter_file(), "utf-8")
    except FileExistsError:
        raise ConfigurationError(f"{path}: already exists; use --force to overwrite it") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    click.echo(f"{path} written; edit it, then run: signinwatch --config {path} config check")


@config_group.command("check")
@click.pass_context
def config_check(context: click.Context) -> None:
    """Read the settings and report all problems at once, one a line.

    Connects to nothing: 'signinwatch check' tests connections and permissions. Exits with 2 if
    there is a problem. What a command needs beyond valid settings, it says itself.
    """
    from consumers.commands.config_problems import problems_of_settings
    from consumers.settings.effective import number_set

    problems = problems_of_settings(context.obj)
    for problem in problems:
        text = screens.plain(" ".join(problem.split()), 1_000)
        click.echo(f"signinwatch: {text}", err=True)
    if problems:
        context.exit(2)
    number = screens.counted(number_set(context.obj), "setting")
    click.echo(f"{number}, no problems; 'signinwatch check' tests the connections")
