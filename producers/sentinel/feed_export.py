"""Passes chosen feeds on to Sentinel, page by page, from where an earlier process ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schemas.durations import DAY_SECONDS
from schemas.errors import SinkHeldBack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schemas.intel.indicators import Indicator
    from schemas.ledger_ports import Ledger

EXPORT_BATCH = 1_000
"""Indicators between two notes of how far we are."""
EXPORT_LEASE_SECONDS = 900.0
"""Seconds for which one instance passes a feed on."""


class FeedUploader(Protocol):
    """See :class:`producers.sentinel.judged_addresses.IndicatorExport`."""

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Mapping[str, Indicator] | None = None
    ) -> None:
        """Pass on what changed; SinkHeldBack if it was not taken."""


class Steps(Protocol):
    """How far a feed has been read."""

    @property
    def steps(self) -> int:
        """The number of the last step."""


class IndicatorChanges(Protocol):
    """The part of the store of indicators that tells what came since."""

    def state(self, feed: str) -> Steps:
        """Return how far a feed has been read."""

    def since(self, feed: str, step: int, most: int) -> tuple[int, list[Indicator]]:
        """Return what came after *step*, about *most*, and the last step of it."""


class FeedExport:
    """One feed. What is passed on is noted in the ledger, which instances share."""

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
        """Take the parts.

        *valid* is for how long, in seconds, Sentinel believes an indicator without an end.
        """
        self._feed = feed
        self._claim = f"passing {feed}"
        self._store = store
        self._taker = taker
        self._ledger = ledger
        self._valid = valid
        self._now = now
        self._shared = shared

    async def export_if_due(self) -> None:
        """Pass on what is new, and now and then again what has no end. Never raises for Sentinel.

        What is not taken is tried again the next time.
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
            return  # the watch was told
        finally:
            if self._shared:
                await self._ledger.release([self._claim])

    async def _mine(self) -> bool:
        """Claim the work, or renew the claim; tell whether it is ours to do."""
        if not self._shared:
            return True
        return (
            self._claim
            in (await self._ledger.acquire([self._claim], EXPORT_LEASE_SECONDS)).acquired
        )

    async def _due(self) -> bool:
        """Tell whether what has no end has to be told again, before Sentinel forgets it."""
        note = await self._ledger.get_value(f"renewed {self._feed}")
        if note is None:
            await self._ledger.put_value(f"renewed {self._feed}", repr(self._now()))
            return False
        return self._now() - float(note) > min(self._valid / 3, 7 * DAY_SECONDS)

    async def _pass_on(self, name: str, *, endless: bool) -> None:
        """Pass on what came after the step that the note *name* tells; the note follows."""
        step = int(await self._ledger.get_value(name) or 0)
        if not self._shared and 0 < self._store.state(self._feed).steps < step:
            step = 0  # the indicators were lost and read anew
        while True:
            last, found = self._store.since(self._feed, step, EXPORT_BATCH)
            if last == step:
                return
            wanted = [
                one
                for one in found
                if not endless or (one.valid_until is None and not one.withdrawn)
            ]
            await self._taker.feed_changes(self._feed, wanted)
            step = last
            await self._ledger.put_value(name, str(step))
            if not await self._mine():
                return
