"""Which known name was probably meant by an unknown one."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NEAR = 0.8
"""Similarity, 0 to 1, from which a name is worth suggesting."""
PART_OF_NAME = 0.85
"""Similarity of a name that begins or ends like the unknown one."""
MIN_PART = 3
MAX_COMPARED = 100
"""Characters that are compared: names come from outside and can have any length."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that *name* probably means, None if none is near.

    Case and punctuation do not count. The first of equally near names is returned.
    """
    given = _letters(name)
    scored = [(_similarity(given, _letters(candidate)), candidate) for candidate in known]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return best if score >= NEAR else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name[:MAX_COMPARED])).lower()


def _similarity(given: str, known: str) -> float:
    ratio = SequenceMatcher(None, given, known).ratio()
    if len(given) >= MIN_PART and (known.startswith(given) or known.endswith(given)):
        return max(ratio, PART_OF_NAME + ratio * (1 - PART_OF_NAME))
    return ratio
