"""Converts the objects of a page to indicators, or counts why they are skipped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consumers.sources.taxii.stix_objects import indicator_of
from schemas.intel.indicators import Indicator

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class SyncResult:
    """The result of a sync."""

    objects: int = 0
    pages: int = 0
    fresh: int = 0
    withdrawn: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def converted(
    objects: Sequence[object], *, from_created: bool = False
) -> tuple[list[Indicator], list[Indicator], Counter[str]]:
    """Return indicators, lapsed indicators (without a usable address), and skipped by reason.

    See :func:`indicator_of` for *from_created*.
    """
    indicators: list[Indicator] = []
    lapsed: list[Indicator] = []
    skipped: Counter[str] = Counter()
    for item in objects:
        result = indicator_of(item, from_created=from_created)
        if isinstance(result, Indicator):
            indicators.append(result)
            continue
        skipped[result.value] += 1
        if isinstance(item, dict) and item.get("type") == "indicator":
            withdrawn = indicator_of({**item, "revoked": True})
            if isinstance(withdrawn, Indicator):
                lapsed.append(withdrawn)
    return indicators, lapsed, skipped
