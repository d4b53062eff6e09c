"""``signinwatch check``: test every connection and permission."""

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
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line.")
@click.pass_obj
def check_command(config: Path | None, as_json: bool) -> None:
    """Test every configured connection and permission.

    Shows what works and how to fix the rest. Spends at most one lookup. Writes one test row to
    each table (findings: Origin "test").
    """
    from consumers.settings import load_settings

    settings = load_settings(config)
    raise SystemExit(asyncio.run(_check(settings, as_json=as_json)))


async def _check(settings: Settings, *, as_json: bool) -> int:
    from consumers.commands.check.connections import check

    failed = 0
    async for result in check(settings):
        failed += result.code is not None
        code = result.code.value if result.code else None
        if as_json:
            line = {"check": result.name, "ok": code is None, "code": code, "text": result.text}
            click.echo(orjson.dumps(line).decode())
        else:
            Console(soft_wrap=True).print(screens.check_line(result.name, result.text, code))
    return 1 if failed else 0
