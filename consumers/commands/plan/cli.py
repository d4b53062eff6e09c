"""The command ``signinwatch plan``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import require_outputs
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from consumers.commands.plan.traffic import Planned


@click.command("plan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--html", metavar="FILE", help="Write one self-contained page.")
@click.option("--json", "as_object", metavar="FILE", help="Write one JSON object; - is stdout.")
@click.pass_obj
def plan_command(
    config: Path | None, files: tuple[str, ...], html: str | None, as_object: str | None
) -> None:
    """Tell what the sign-ins of recordings cost, under each CrowdSec plan.

    FILE is NDJSON, the same gzipped, or Event Hubs Capture Avro; - is standard input. Several are
    read one after another, in the order of their time. Asks nobody, and needs no key.
    """
    from consumers.commands.plan.command import plan
    from consumers.commands.plan.console import plan_screen
    from consumers.inputs.recording import require_recording, sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    for name in files:
        require_recording(name)
    if html == "-":
        raise ConfigurationError("--html -: a file is needed")
    require_outputs(files, {"--html": html, "--json": as_object})
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        planned = asyncio.run(plan(settings, files, advance))
    _write(planned, html, as_object)
    console = console if as_object == "-" else Console()
    console.print(plan_screen(planned, console.width))


def _write(planned: Planned, html: str | None, as_object: str | None) -> None:
    from consumers.commands.plan.html import plan_page
    from consumers.commands.plan.report import as_json

    if html is not None:
        _write_file("--html", html, plan_page(planned).encode())
    if as_object is not None:
        text = orjson.dumps(as_json(planned))
        if as_object == "-":
            click.echo(text.decode())
        else:
            _write_file("--json", as_object, text + b"\n")


def _write_file(option: str, name: str, content: bytes) -> None:
    try:
        Path(name).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{option} {name}: {error.strerror}") from None
