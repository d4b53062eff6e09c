"""Checks that every partition of a hub has an owner, and that our own make progress."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumers.inputs.checkpoint_store import CheckpointStore
    from consumers.inputs.eventhub_client import EventHub
    from consumers.inputs.partition import OwnedPartition
    from schemas.health import HealthReporter

STALLED_SECONDS = 180.0
"""Seconds without progress, while messages wait, after which a partition counts as stalled."""
MAX_FAILED_ROUNDS = 3
"""Load-balancing rounds before a failure, or a partition without an owner, is reported."""


class PartitionOwners:
    """Reports partitions without an owner, and our partitions that are stalled.

    The SDK swallows errors of load balancing and then reads no partition. So this checks the
    ownership that the SDK listed last; it makes no requests of its own.
    """

    def __init__(
        self,
        hub: EventHub,
        store: CheckpointStore,
        health: HealthReporter,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.partitions: Sequence[str] = ()
        """All partitions of the hub, once known."""
        self.unowned: Sequence[str] = ()
        """Partitions that no instance has claimed recently."""
        self.hub = hub.name
        self._store = store
        self._health = health
        self._monotonic = monotonic
        self._now = now
        self._expiry = hub.settings.ownership_expiry
        self._patience = MAX_FAILED_ROUNDS * hub.settings.balance_interval
        self._failed_at = -math.inf
        self._all_owned_at = monotonic()

    def balancing_failed(self, error: Exception) -> None:
        """Report a load-balancing error that is neither the hub's nor the store's."""
        self._failed_at = self._monotonic()
        self._health.report(
            Problem.BALANCING_FAILS,
            f"load balancing of event hub {self.hub}'s partitions fails: {type(error).__name__}",
            part=self.hub,
        )

    def check(self) -> None:
        """Report partitions without an owner, from the last ownership listing."""
        now = self._monotonic()
        if now - self._failed_at > self._patience:
            self._health.resolve(Problem.BALANCING_FAILS, part=self.hub)
        self.unowned = self._find_unowned(now)
        if not self.unowned:
            self._all_owned_at = now
            self._health.resolve(Problem.PARTITIONS_UNOWNED, part=self.hub)
        elif now - self._all_owned_at > self._expiry + self._patience:
            names = ", ".join(self.unowned[:8])
            self._health.report(
                Problem.PARTITIONS_UNOWNED,
                f"no instance reads partition {names} of event hub {self.hub}. Check the other "
                "problems first; if there are none, start another instance",
                part=self.hub,
            )

    def _find_unowned(self, now: float) -> list[str]:
        listing = self._store.listings.get(self.hub)
        if listing is None or now - listing.time > self._expiry + self._patience:
            return list(self.partitions)
        return listing.unowned(self.partitions, self._now(), self._expiry)

    def check_partition(self, owned: OwnedPartition, lag: int) -> None:
        """Report one of our partitions if it lags and makes no progress, whatever the cause."""
        now = self._monotonic()
        if not lag or owned.last_sequence != owned.stalled_sequence:
            owned.stalled_sequence, owned.stalled_since = owned.last_sequence, now
            self._health.resolve(Problem.STREAM_STANDS, part=owned.name)
        elif now - owned.stalled_since > STALLED_SECONDS:
            minutes = (now - owned.stalled_since) / 60
            self._health.report(
                Problem.STREAM_STANDS,
                f"no message was processed for {minutes:.0f} minutes, and {lag:,} are waiting. "
                "Check the other problems for the cause",
                part=owned.name,
            )

    def forget(self, owned: OwnedPartition) -> None:
        """Resolve the problems of a partition that we no longer own."""
        self._health.resolve(Problem.STREAM_STANDS, part=owned.name)
