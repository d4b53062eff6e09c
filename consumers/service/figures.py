"""Figures of the running service, read from its metrics; and what they were minutes ago. Pure."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas import metrics as m

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.metrics import Metric, Sample

WINDOW_SECONDS = 600.0
"""Seconds over which throughput and latency are calculated."""
MIN_WINDOW_SECONDS = 5.0
"""Seconds below which a rate means nothing."""
MAX_REMEMBERED_TOTALS = 64

Buckets = list[tuple[float, float]]
"""How many findings took up to how many seconds; the last has all, and infinite seconds."""


class Figures:
    """The values of all metrics at a time."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {}
        for sample in samples:
            self._values.setdefault(sample.metric.name, {})[sample.labels] = sample.value

    def total(self, metric: Metric) -> float:
        """Return the sum over all labels; 0 without a value."""
        return sum(self.by_labels(metric).values())

    def by_labels(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """Return the values by their labels."""
        return self._values.get(metric.name, {})


@dataclass(frozen=True, slots=True)
class ActivityTotals:
    """What has been counted since the start of the process."""

    signins: float = 0.0
    findings: float = 0.0
    lookups: float = 0.0
    delays: Sequence[tuple[float, float]] = ()
    """See :data:`Buckets`."""

    @classmethod
    def of(cls, figures: Figures, delays: Buckets) -> ActivityTotals:
        """Return the totals in *figures*."""
        return cls(
            figures.total(m.SIGNINS), figures.total(m.FINDINGS), figures.total(m.LOOKUPS), delays
        )

    def since(self, before: ActivityTotals) -> ActivityTotals:
        """Return what was counted after *before*."""
        earlier = dict(before.delays)
        return ActivityTotals(
            self.signins - before.signins,
            self.findings - before.findings,
            self.lookups - before.lookups,
            [(seconds, count - earlier.get(seconds, 0.0)) for seconds, count in self.delays],
        )


@dataclass(frozen=True, slots=True)
class Activity:
    """What was done in the last *seconds*."""

    seconds: float
    totals: ActivityTotals

    @property
    def signins_per_second(self) -> float:
        """Return the throughput."""
        return self.totals.signins / self.seconds

    def latency(self, share: float) -> float | None:
        """Return the seconds within which *share* of the findings were accepted.

        It is the upper bound of a bucket; infinite beyond the last bucket, None without findings.
        """
        delays = self.totals.delays
        if not delays or delays[-1][1] <= 0:
            return None
        wanted = share * delays[-1][1]
        return next((seconds for seconds, count in delays if count >= wanted), math.inf)


class RecentActivity:
    """Remembers totals for a while, so that rates can be calculated."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, ActivityTotals]] = deque(maxlen=MAX_REMEMBERED_TOTALS)

    def record(self, now: float, totals: ActivityTotals) -> None:
        """Remember the totals at *now*, in seconds of a monotonic clock."""
        self._marks.append((now, totals))
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW_SECONDS:
            self._marks.popleft()

    def until(self, now: float, totals: ActivityTotals) -> Activity | None:
        """Return what was done from the oldest remembered time to *now*; None if that is short."""
        if not self._marks or now - self._marks[0][0] < MIN_WINDOW_SECONDS:
            return None
        began, before = self._marks[0]
        return Activity(now - began, totals.since(before))
