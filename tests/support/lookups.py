"""Lookups over a source that fails as told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.enrichment.budget import Budget
from consumers.enrichment.lookup_queue import LookupQueue, LookupRequest
from consumers.enrichment.paid_lookup import Lifetimes, PaidLookup
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.service.health import Health
from schemas.errors import (
    SourceFailed,
)
from schemas.intel.verdicts import (
    AddressClass,
    Answer,
    Intel,
    Reputation,
    Unanswered,
    WhyUnanswered,
)
from schemas.ports import SourceVerdict
from schemas.run_mode import LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Fault = Exception | None


class Source:
    """A source that counts and fails as told."""

    name = "crowdsec"
    settings = "CROWDSEC"

    def __init__(self, fault: Callable[[int, Sequence[str]], Fault] = lambda *_: None) -> None:
        self.batch_size = 3
        self.asked: Counter[str] = Counter()
        self.requests = 0
        self.sizes: list[int] = []
        self.together = self.most_together = 0
        self._fault = fault

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Answer "unknown", or fail."""
        self.requests += 1
        self.sizes.append(len(addresses))
        self.together += 1
        self.most_together = max(self.most_together, self.together)
        await asyncio.sleep(0)
        self.together -= 1
        if (fault := self._fault(self.requests, addresses)) is not None:
            if not (isinstance(fault, SourceFailed) and not fault.counted):
                self.asked.update(addresses)
            raise fault
        self.asked.update(addresses)
        return dict.fromkeys(
            addresses, SourceVerdict(Reputation.UNKNOWN, Intel(), AddressClass.UNKNOWN)
        )

    def use_key(self, key: str) -> None:
        """Any key will do."""

    async def close(self) -> None:
        """Nothing is open."""


class Setup:
    """Lookups over a source, with what they delivered."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        quota: int = 100,
        *,
        degrade: bool = False,
        repeat_failed_after: float = LIVE.repeat_failed_after,
    ) -> None:
        clock = WallClock(replace(LIVE, repeat_failed_after=repeat_failed_after))
        self.time = 1_000.0
        """The monotonic clock."""
        self.source = source
        self.ledger = SqliteLedger(folder, clock, waiting_per_address=5, keep=False)
        self.memory = VerdictCache(self.ledger, clock)
        self.budget = Budget(self.ledger, clock, key="k", quota=quota, reset_day=1, paced=False)
        self.delivered: dict[str, Answer] = {}
        self.health = Health()
        self.lookups = LookupQueue(
            PaidLookup(
                source,
                self.budget,
                clock,
                lifetimes=Lifetimes(100.0, 100.0, 100.0, 100.0),
                concurrency=4,
                health=self.health,
                degrade=degrade,
                monotonic=lambda: self.time,
            ),
            clock,
            self.memory,
        )

    def enqueue(self, *addresses: str) -> None:
        """Request lookups."""
        self.lookups.enqueue(map(LookupRequest, addresses))

    async def ask(self, *addresses: str) -> dict[str, Answer]:
        """Ask and wait until all is done."""
        results = await self.lookups.look_up_all(addresses)
        self.delivered.update({result.request.address: result.answer for result in results})
        return self.delivered

    def reasons(self) -> set[WhyUnanswered]:
        """Return why addresses are unanswered."""
        return {one.why for one in self.delivered.values() if isinstance(one, Unanswered)}

    async def close(self) -> None:
        """Let go of the state."""
        await self.lookups.close()
        await self.ledger.close()
