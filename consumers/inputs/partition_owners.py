"""Whether the partitions of a hub are read at all, by whomever, and whether ours get on."""

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
"""Seconds without a message taken, while some wait, after which a partition is told to stand."""
MAX_FAILED_ROUNDS = 3
"""Rounds of the balancing that may pass before its failure, or a partition without an owner, is
more than a passing state."""


class PartitionOwners:
    """Reports partitions that nobody reads, and those that get no further.

    The SDK swallows what goes wrong while partitions are divided, and then reads none. So what it
    listed last is looked at here: no request is made for it.
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
        """All partitions of the hub, once it has told them."""
        self.unowned: Sequence[str] = ()
        """Those that no instance has claimed lately."""
        self.hub = hub.name
        self._store = store
        self._health = health
        self._monotonic = monotonic
        self._now = now
        self._expiry = hub.settings.ownership_expiry
        self._patience = MAX_FAILED_ROUNDS * hub.settings.balance_interval
        self._failed = -math.inf
        self._since = monotonic()

    def balancing_failed(self, error: Exception) -> None:
        """Report an error of the balancing that is neither the hub's nor the store's."""
        self._failed = self._monotonic()
        self._health.report(
            Problem.BALANCING_FAILS,
            f"partitions of event hub {self.hub} cannot be divided among instances: "
            f"{type(error).__name__}",
            part=self.hub,
        )

    def check(self) -> None:
        """Report partitions without an owner, by what the balancing listed last."""
        now = self._monotonic()
        if now - self._failed > self._patience:
            self._health.resolve(Problem.BALANCING_FAILS, part=self.hub)
        self.unowned = self._without_owner(now)
        if not self.unowned:
            self._since = now
            self._health.resolve(Problem.PARTITIONS_UNOWNED, part=self.hub)
        elif now - self._since > self._expiry + self._patience:
            named = ", ".join(self.unowned[:8])
            self._health.report(
                Problem.PARTITIONS_UNOWNED,
                f"nobody reads partition {named} of event hub {self.hub}; see the other troubles, "
                "else start another instance",
                part=self.hub,
            )

    def _without_owner(self, now: float) -> list[str]:
        listing = self._store.listings.get(self.hub)
        if listing is None or now - listing.time > self._expiry + self._patience:
            return list(self.partitions)
        return listing.unowned(self.partitions, self._now(), self._expiry)

    def check_partition(self, claim: OwnedPartition, lag: int) -> None:
        """Report a partition of ours that is behind and gets no further, whatever holds it."""
        now = self._monotonic()
        if not lag or claim.last_sequence != claim.stalled_sequence:
            claim.stalled_sequence, claim.stalled_since = claim.last_sequence, now
            self._health.resolve(Problem.STREAM_STANDS, part=claim.name)
        elif now - claim.stalled_since > STALLED_SECONDS:
            minutes = (now - claim.stalled_since) / 60
            self._health.report(
                Problem.STREAM_STANDS,
                f"no message was taken for {minutes:.0f} minutes, and {lag:,} wait; see the other "
                "troubles for what holds it",
                part=claim.name,
            )

    def forget(self, claim: OwnedPartition) -> None:
        """Report no more of a partition that is not ours any more."""
        self._health.resolve(Problem.STREAM_STANDS, part=claim.name)
