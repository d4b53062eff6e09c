"""What went through the pipeline, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.decode import Decoded


@dataclass(slots=True)
class PipelineCounts:
    """What went through; words as in the summary."""

    exact: bool = True
    """Whether to remember addresses, to tell how many were distinct and how many sign-ins are
    unanswered in the end. Not for a process that lives for months."""
    messages: int = 0
    records: int = 0
    rejected: int = 0
    unreadable: int = 0
    """Messages of which nothing could be read."""
    skipped: Counter[str] = field(default_factory=Counter)
    signins: int = 0
    cache_hits: int = 0
    own_network: int = 0
    unanswered: int = 0
    """With ``exact`` those that still are; else those that were when they came."""
    repeated: int = 0
    """Messages that came again after they had been settled, and were left out."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why sign-ins were unanswered when they came."""
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answers by source and kind."""
    addresses: set[str] = field(default_factory=set)
    _unanswered: Counter[str] = field(default_factory=Counter)

    def decoded(self, decoded: Decoded) -> None:
        """Count a message."""
        self.messages += 1
        self.records += decoded.records
        self.signins += len(decoded.signins)
        self.skipped += decoded.skips
        self.rejected += decoded.rejected
        if decoded.rejected and not decoded.signins and not decoded.skips:
            self.unreadable += 1

    def seen(self, addresses: Iterable[str]) -> None:
        """Note distinct addresses."""
        if self.exact:
            self.addresses.update(addresses)

    def enqueued(self, address: str, signins: int) -> None:
        """Count sign-ins that wait."""
        self.unanswered += signins
        if self.exact:
            self._unanswered[address] += signins

    def resolved_late(self, address: str, waiting: int | None) -> None:
        """Take back what was counted as unanswered in this run; one lookup answered it.

        *waiting* of them, or all.
        """
        if self.exact:
            counted = self._unanswered[address]
            answered = counted if waiting is None else min(waiting, counted)
            self._unanswered[address] -= answered
            if not self._unanswered[address]:
                del self._unanswered[address]
            self.unanswered -= answered
            self.cache_hits += max(0, answered - 1)
