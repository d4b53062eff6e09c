"""Converts the objects of a page to indicators, or counts why they are skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from consumers.sources.taxii.stix_objects import indicator_of
from schemas.intel.indicators import Indicator, WhySkipped
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_SAMPLE_LENGTH = 200
MAX_SECONDS_AHEAD = 300.0
"""How far a version may be ahead of the server's clock: producers have clocks of their own."""


@dataclass(slots=True)
class Skipped:
    """Objects that are not used as they are: counts by reason, and one object for each."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)

    def add(self, why: WhySkipped, item: object) -> None:
        """Count an object, and keep the first one for each reason."""
        self.counts[why.value] += 1
        if why.value not in self.samples and (sample := _sample(item)) is not None:
            self.samples[why.value] = sample

    def update(self, other: Skipped) -> None:
        """Add the counts of *other*; its samples are the newer ones."""
        self.counts.update(other.counts)
        self.samples.update(other.samples)


def _sample(item: object) -> str | None:
    """Return an object's id and pattern, bounded."""
    if not isinstance(item, dict):
        return clean_text(type(item).__name__, MAX_SAMPLE_LENGTH)
    named = (item.get("id") or item.get("type"), item.get("pattern"))
    parts = [clean_text(part, MAX_SAMPLE_LENGTH) for part in named if isinstance(part, str)]
    return clean_text(" ".join(part for part in parts if part), 2 * MAX_SAMPLE_LENGTH)


@dataclass(slots=True)
class SyncResult:
    """The result of a sync."""

    objects: int = 0
    pages: int = 0
    fresh: int = 0
    withdrawn: int = 0
    skipped: Skipped = field(default_factory=Skipped)
    notes: dict[str, None] = field(default_factory=dict)
    """What is wrong with the server's paging, in order."""


def converted(
    objects: Sequence[object], *, date: float, from_created: bool = False
) -> tuple[list[Indicator], list[Indicator], Skipped]:
    """Return indicators, lapsed indicators (without a usable address), and what was skipped.

    *date* is the server's clock: a version from after it is taken to be of then, so that it does
    not outlive later ones. See :func:`indicator_of` for *from_created*.
    """
    indicators: list[Indicator] = []
    lapsed: list[Indicator] = []
    skipped = Skipped()
    for item in objects:
        result = indicator_of(item, from_created=from_created)
        if isinstance(result, Indicator):
            if result.modified > date + MAX_SECONDS_AHEAD:
                skipped.add(WhySkipped.FROM_FUTURE, item)
            indicators.append(_dated(result, date))
            continue
        skipped.add(result, item)
        if isinstance(item, dict) and item.get("type") == "indicator":
            withdrawn = indicator_of({**item, "revoked": True})
            if isinstance(withdrawn, Indicator):
                lapsed.append(_dated(withdrawn, date))
    return indicators, lapsed, skipped


def _dated(indicator: Indicator, date: float) -> Indicator:
    """Return a version that is not from after the server's time."""
    ahead = indicator.modified > date + MAX_SECONDS_AHEAD
    return replace(indicator, modified=date) if ahead else indicator
