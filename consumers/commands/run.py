"""``signinwatch run``: the service, from its settings to its end."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from consumers.settings import load_settings
from consumers.wiring.service import open_service

if TYPE_CHECKING:
    from pathlib import Path


def calm_garbage_collector() -> None:
    """Let it look less often, and not at what stays for good: it costs a tenth of the work."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def run(config: Path | None, findings: str | None) -> None:
    """Serve until SIGTERM or SIGINT. ConfigurationError for what a person must mend first."""
    settings = load_settings(config)
    calm_garbage_collector()
    async with open_service(settings, lambda: load_settings(config), findings) as service:
        await service.run()
