"""Applies what local sources list anew, or no more, while the service runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from schemas.errors import LedgerFailed

if TYPE_CHECKING:
    import asyncio

    from consumers.pipeline.retro_match import RetroMatch
    from consumers.service.reports import Reports
    from schemas.metrics import Sample

log = structlog.get_logger()


class RunningSources(Protocol):
    """The local sources of the service; see ``consumers.wiring.local_sources.SourceManager``."""

    synced: asyncio.Event
    """Set whenever a source may have changed."""

    def take_removed(self) -> set[str]:
        """Return the addresses and networks that no feed lists any more since the last call."""

    async def wait_until_attempted(self, seconds: float) -> None:
        """Wait up to *seconds* until every feed was tried once."""

    def samples(self) -> list[Sample]:
        """Return the metrics that are available."""


class SourceChanges:
    """Follows the changes of local sources."""

    def __init__(
        self, sources: RunningSources, retro_match: RetroMatch, reports: Reports | None
    ) -> None:
        self._sources = sources
        self._retro_match = retro_match
        self._reports = reports

    async def follow(self) -> None:
        """Apply changes each time a source has been synced, until cancelled."""
        while True:
            await self._sources.synced.wait()
            self._sources.synced.clear()
            removed = self._sources.take_removed()
            try:
                if self._reports is not None and (gone := self._reports.filter_reported(removed)):
                    await self._retro_match.retract(gone)
                await self._retro_match.catch_up()
            except LedgerFailed as error:  # goes on from the cursor the next time
                log.warning("earlier sign-ins could not be matched", why=str(error))
