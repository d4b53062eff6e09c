"""``signinwatch run``: the service, from its settings to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.settings import load_settings
from consumers.wiring_run import open_service

if TYPE_CHECKING:
    from pathlib import Path


async def run(config: Path | None, findings: str | None) -> None:
    """Serve until SIGTERM or SIGINT. ConfigurationError for what a person must mend first."""
    settings = load_settings(config)
    async with open_service(settings, lambda: load_settings(config), findings) as service:
        await service.run()
