"""What the objects of a page are to us: indicators, or nothing, with a reason."""

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
    """What came of a sync."""

    objects: int = 0
    pages: int = 0
    fresh: int = 0
    withdrawn: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def converted(
    objects: Sequence[object],
) -> tuple[list[Indicator], list[Indicator], Counter[str]]:
    """Return indicators, those to be withdrawn if they are held, and why others are left out.

    To be withdrawn is an indicator of which this version names no address that we could match.
    """
    indicators: list[Indicator] = []
    lapsed: list[Indicator] = []
    skipped: Counter[str] = Counter()
    for one in objects:
        found = indicator_of(one)
        if isinstance(found, Indicator):
            indicators.append(found)
            continue
        skipped[found.value] += 1
        if isinstance(one, dict) and one.get("type") == "indicator":
            withdrawn = indicator_of({**one, "revoked": True})
            if isinstance(withdrawn, Indicator):
                lapsed.append(withdrawn)
    return indicators, lapsed, skipped
