"""Reloads keys that change while the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import SecretStr

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.settings import Settings, SettingsReader

log = structlog.get_logger()


class KeyReload:
    """Checks whether a key or password has changed, and applies the new one."""

    def __init__(
        self,
        settings: Settings,
        reader: SettingsReader,
        lookups: LookupQueue | None,
        paid_key: Callable[[Settings], SecretStr | None],
        use_passwords: Callable[[Settings], Sequence[str]] = lambda _: (),
    ) -> None:
        """*reader* has read the *settings*: environment file, mounted files, TOML.

        *paid_key* returns the key of the paid source.
        *use_passwords* applies the passwords of feeds and returns the feeds that changed.
        """
        self._paid_key = paid_key
        self._key = paid_key(settings)
        self._reader = reader
        self._lookups = lookups
        self._use_passwords = use_passwords

    async def reload_if_changed(self) -> None:
        """Apply changed keys. Unreadable settings, e.g. half-written files, are retried later."""
        try:
            settings = self._reader.read_if_changed()
        except ConfigurationError as error:
            log.debug("settings cannot be read again", why=str(error))
            return
        if settings is None:
            return
        for feed in self._use_passwords(settings):
            log.info("feed password reloaded", feed=feed)
        key = self._paid_key(settings)
        if key is None or self._lookups is None or key == self._key:
            return
        self._key = key
        self._lookups.paid_lookup.use_key(key.get_secret_value())
        log.info("key reloaded", source=self._lookups.paid_lookup.source.name)
