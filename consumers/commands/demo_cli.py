"""The command ``signinwatch demo``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from consumers.commands.options import PATH
from schemas.errors import ConfigurationError


@click.command("demo")
@click.option(
    "--findings",
    type=PATH,
    default=Path("signinwatch-demo-findings.jsonl"),
    show_default=True,
    help="File for the findings.",
)
def demo_command(findings: Path) -> None:
    """Show the whole job on embedded parts: no account, no network."""
    from consumers.commands.demo import run_demo

    if str(findings) == "-" or findings.is_dir() or not findings.resolve().parent.is_dir():
        raise ConfigurationError(
            f"--findings {findings}: a file is needed, in a folder that exists"
        )
    raise SystemExit(run_demo(findings, Console(stderr=True), Console()))
