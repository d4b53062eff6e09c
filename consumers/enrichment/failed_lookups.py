"""Addresses whose failed lookup may have counted: when and how they are looked up again.

The source may fail because of one address. So the requests are halved with each failure, until the
address fails alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumers.enrichment.budget import Budget
    from schemas.ports import Clock

MAX_POSTPONED_SECONDS = 6 * 3_600.0
MAX_REMEMBERED_FAILURES = 50_000
"""Addresses of failed requests kept in memory."""
MAX_REPEATED_SHARE = 0.05
"""Share of the lookups left in the period that an instance may spend on repeating them in batches.
Beyond, each address is looked up again by itself."""


@dataclass(slots=True)
class _Failures:
    """Failed requests for an address that may have counted."""

    requests: int = 0
    alone: int = 0
    """Those for no other address; those of one outage count once."""
    successes: int = -1
    """Successful requests at the time of the last of these."""


class FailedLookups:
    """Remembers failures by address, as long as the process runs."""

    def __init__(self, budget: Budget, clock: Clock) -> None:
        self._budget = budget
        self._clock = clock
        self._failed: dict[str, _Failures] = {}
        self._successes = 0
        self._repeated = 0
        self._repeated_in = ""
        self._postponed_until: float | None = None

    def __contains__(self, address: str) -> bool:
        """Return True if a request for this address failed and may have counted."""
        return address in self._failed

    def record_success(self, addresses: Iterable[str]) -> None:
        """Record a successful request."""
        self._successes += 1
        for address in addresses:
            self._failed.pop(address, None)

    def record_failure(self, addresses: Sequence[str]) -> float:
        """Record a failed request; return until when its addresses are postponed."""
        if len(self._failed) >= MAX_REMEMBERED_FAILURES:
            self._failed.clear()
        alone = len(addresses) == 1
        longest = max(self._count(address, alone=alone) for address in addresses)
        until = self._clock.now() + longest
        self._postponed_until = min(self._postponed_until or until, until)
        return until

    def _count(self, address: str, *, alone: bool) -> float:
        """Count a failure; return the seconds before the address is looked up again."""
        failures = self._failed.setdefault(address, _Failures())
        failures.requests += 1
        if alone and failures.successes != self._successes:
            failures.alone += 1
            failures.successes = self._successes
        seconds = self._clock.mode.repeat_failed_after * 4.0 ** min(max(failures.alone - 1, 0), 8)
        return min(seconds, MAX_POSTPONED_SECONDS)

    def take_due(self) -> bool:
        """Return True once when postponed addresses are due. In a recording they never are."""
        if self._postponed_until is None or self._clock.mode.by_events:
            return False
        if self._clock.now() < self._postponed_until:
            return False
        self._postponed_until = None
        return True

    def parts_of(self, addresses: Iterable[str], batch_size: int) -> list[list[str]]:
        """Divide failed addresses into parts that are looked up together again."""
        by_size: defaultdict[int, list[str]] = defaultdict(list)
        for address in addresses:
            by_size[max(1, batch_size >> self._failed[address].requests)].append(address)
        parts: list[list[str]] = []
        for size, of_size in by_size.items():
            for start in range(0, len(of_size), size):
                part = of_size[start : start + size]
                if len(part) > 1 and self._may_repeat(len(part)):
                    parts.append(part)
                else:
                    parts += [[address] for address in part]
        return parts

    def _may_repeat(self, lookups: int) -> bool:
        if self._repeated_in != self._budget.period:
            self._repeated_in, self._repeated = self._budget.period, 0
        if self._repeated + lookups > MAX_REPEATED_SHARE * self._budget.left:
            return False
        self._repeated += lookups
        return True
