"""``signinwatch run``: the service, from its settings to its end."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run")
@click.option("--findings", help="Where findings go instead of Azure: a file of JSON lines, or -.")
@click.pass_obj
def run_command(config: Path | None, findings: str | None) -> None:
    """Judge sign-ins as they come from Event Hubs, until SIGTERM or SIGINT."""
    asyncio.run(run(config, findings))


def calm_garbage_collector() -> None:
    """Let it look less often, and not at what stays for good: it costs a tenth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def run(config: Path | None, findings: str | None) -> None:
    """Serve until SIGTERM or SIGINT. ConfigurationError for what a person must mend first."""
    from consumers.settings import load_settings
    from consumers.wiring.service import open_service

    settings = load_settings(config)
    calm_garbage_collector()
    async with open_service(settings, lambda: load_settings(config), findings) as service:
        await service.run()
