"""The command ``signinwatch run``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run")
@click.option("--findings", help="Where findings go instead of Azure: a file of JSON lines, or -.")
@click.pass_obj
def run_command(config: Path | None, findings: str | None) -> None:
    """Judge sign-ins as they come from Event Hubs, until SIGTERM or SIGINT."""
    from consumers.commands.run import run

    asyncio.run(run(config, findings))
