"""Keys that change while the service runs: they are read again, from where settings come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.lookup import Lookups
    from consumers.settings import Settings

log = structlog.get_logger()


class Keys:
    """Looks whether a key is another one now, and has it used."""

    def __init__(
        self, settings: Settings, load: Callable[[], Settings], lookups: Lookups | None
    ) -> None:
        """*load* reads the settings anew: environment file, mounted files, TOML."""
        self._key = settings.crowdsec.api_key
        self._load = load
        self._lookups = lookups

    async def look(self) -> None:
        """Go on with another CrowdSec key, if there is one. A file that is half written waits."""
        try:
            key = self._load().crowdsec.api_key
        except ConfigurationError as error:
            log.debug("settings cannot be read again", why=str(error))
            return
        if key is None or self._lookups is None or key == self._key:
            return
        self._key = key
        self._lookups.asker.use_key(key.get_secret_value())
        log.info("another CrowdSec key is used from now on")
