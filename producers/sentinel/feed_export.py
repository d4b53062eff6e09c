"""Uploads selected feeds to Sentinel in pages, and resumes where an earlier process ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.durations import DAY_SECONDS
from schemas.errors import SinkHeldBack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.intel.indicators import Indicator
    from schemas.ledger_ports import Ledger

EXPORT_BATCH = 1_000
"""Indicators between two updates of the stored position."""
EXPORT_LEASE_SECONDS = 900.0
"""Duration of the lease by which an instance uploads a feed."""


class FeedUploader(Protocol):
    """See :class:`producers.sentinel.judged_addresses.IndicatorExport`."""

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Mapping[str, Indicator] | None = None
    ) -> None:
        """Upload changes; SinkHeldBack if they were not accepted."""


class Steps(Protocol):
    """Read position of a feed."""

    @property
    def steps(self) -> int:
        """The number of the last step."""


class IndicatorChanges(Protocol):
    """The part of the indicator store that returns changes."""

    def state(self, feed: str) -> Steps:
        """Return the read position of a feed."""

    def since(self, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        """Return about *most* changes after *step*, and the step of the last one."""


class FeedExport:
    """Exports one feed. The position is stored in the ledger, which instances share."""

    def __init__(
        self,
        feed: str,
        store: IndicatorChanges,
        taker: FeedUploader,
        ledger: Ledger,
        *,
        valid: float,
        now: Callable[[], float],
        shared: bool,
    ) -> None:
        """Give an indicator without an end a validity of *valid* seconds."""
        self._feed = feed
        self._claim = f"passing {feed}"
        self._store = store
        self._taker = taker
        self._ledger = ledger
        self._valid = valid
        self._now = now
        self._shared = shared

    async def export_if_due(self) -> None:
        """Upload changes, and periodically renew indicators without an end.

        Never raises an error of Sentinel; the next call retries.
        """
        if not await self._mine():
            return
        try:
            await self._pass_on(f"passed {self._feed}", endless=False)
            if await self._due():
                await self._pass_on(f"repassed {self._feed}", endless=True)
                await self._ledger.put_value(f"repassed {self._feed}", "0")
                await self._ledger.put_value(f"renewed {self._feed}", repr(self._now()))
        except SinkHeldBack:
            return  # already reported as a health problem
        finally:
            if self._shared:
                await self._ledger.end_lease(self._claim)

    async def _mine(self) -> bool:
        """Acquire or renew the lease; return True if this instance holds it."""
        if not self._shared:
            return True
        return await self._ledger.take_lease(self._claim, EXPORT_LEASE_SECONDS)

    async def _due(self) -> bool:
        """Return True if indicators without an end need renewal before Sentinel expires them."""
        note = await self._ledger.get_value(f"renewed {self._feed}")
        if note is None:
            await self._ledger.put_value(f"renewed {self._feed}", repr(self._now()))
            return False
        return self._now() - float(note) > min(self._valid / 3, 7 * DAY_SECONDS)

    async def _pass_on(self, name: str, *, endless: bool) -> None:
        """Upload the changes after the position stored under *name*, and advance it."""
        step = int(await self._ledger.get_value(name) or 0)
        if not self._shared and 0 < self._store.state(self._feed).steps < step:
            step = 0  # the indicator store was lost and filled again
        while True:
            last, found = self._store.since(self._feed, step, EXPORT_BATCH)
            if last == step:
                return
            wanted = [
                indicator
                for indicator in found
                if not endless or (indicator.valid_until is None and not indicator.withdrawn)
            ]
            await self._taker.feed_changes(self._feed, wanted)
            step = last
            await self._ledger.put_value(name, str(step))
            if not await self._mine():
                return
