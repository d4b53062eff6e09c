"""Keys that change while the service runs: they are read again, from where settings come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.settings import Settings

log = structlog.get_logger()


class KeyReload:
    """Looks whether a key is another one now, and has it used."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        lookups: LookupQueue | None,
        use_passwords: Callable[[Settings], Sequence[str]] = lambda _: (),
    ) -> None:
        """*load* reads the settings anew: environment file, mounted files, TOML.

        *use_passwords* has feeds go on with theirs, and returns those that got another one.
        """
        self._key = settings.crowdsec.api_key
        self._load = load
        self._lookups = lookups
        self._use_passwords = use_passwords

    async def reload_if_changed(self) -> None:
        """Go on with other keys, if there are any. A file that is half written waits."""
        try:
            settings = self._load()
        except ConfigurationError as error:
            log.debug("settings cannot be read again", why=str(error))
            return
        for feed in self._use_passwords(settings):
            log.info("another password is used from now on", feed=feed)
        key = settings.crowdsec.api_key
        if key is None or self._lookups is None or key == self._key:
            return
        self._key = key
        self._lookups.paid_lookup.use_key(key.get_secret_value())
        log.info("another CrowdSec key is used from now on")
