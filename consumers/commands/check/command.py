"""The command ``signinwatch check``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.settings import Settings


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def check_command(config: Path | None, as_json: bool) -> None:
    """Try every configured connection and permission; say what works and how to mend the rest.

    Spends at most one lookup. Writes one test row to each table (in findings with Origin "test").
    """
    from consumers.settings import load_settings

    settings = load_settings(config)
    raise SystemExit(asyncio.run(_check(settings, as_json=as_json)))


async def _check(settings: Settings, *, as_json: bool) -> int:
    from consumers.commands.check.connections import check

    failed = 0
    async for one in check(settings):
        failed += one.code is not None
        code = one.code.value if one.code else None
        if as_json:
            line = {"check": one.name, "ok": code is None, "code": code, "text": one.text}
            click.echo(orjson.dumps(line).decode())
        else:
            Console(soft_wrap=True).print(screens.check_line(one.name, one.text, code))
    return 1 if failed else 0
