"""Counts of what passed through the pipeline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from schemas.events.sign_in import count_without_time
from schemas.intel.verdicts import RECOGNISED_REPUTATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.decode import Decoded

log = structlog.get_logger()

MAX_NEW_REPUTATIONS = 20


@dataclass(slots=True)
class PipelineCounts:
    """Counts of the pipeline, named as in the summary."""

    exact: bool = True
    """Whether to store addresses, for exact counts of distinct addresses and of sign-ins that stay
    unanswered. Not for a long-running process."""
    messages: int = 0
    records: int = 0
    rejected: int = 0
    unreadable: int = 0
    """Messages without any readable record."""
    skipped: Counter[str] = field(default_factory=Counter)
    off: Counter[str] = field(default_factory=Counter)
    """The tables of records that were skipped because their table is not enabled."""
    signins: int = 0
    cache_hits: int = 0
    own_network: int = 0
    without_time: int = 0
    """Sign-ins whose record has no readable time."""
    unanswered: int = 0
    """With ``exact``, the sign-ins still unanswered; otherwise, those unanswered on arrival."""
    repeated: int = 0
    """Messages that arrived again after completion and were skipped."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Reasons why sign-ins were unanswered on arrival."""
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Verdicts by source and reputation."""
    new_reputations: Counter[str] = field(default_factory=Counter)
    """Verdicts with a reputation that is not known yet, by its word."""
    addresses: set[str] = field(default_factory=set)
    _unanswered: Counter[str] = field(default_factory=Counter)

    def decoded(self, decoded: Decoded) -> None:
        """Count a message."""
        self.messages += 1
        self.records += decoded.records
        self.signins += len(decoded.signins)
        self.without_time += count_without_time(decoded.signins)
        self.skipped += decoded.skips
        self.off += decoded.off
        self.rejected += decoded.rejected
        if decoded.rejected and not decoded.signins and not decoded.skips:
            self.unreadable += 1

    def seen(self, addresses: Iterable[str]) -> None:
        """Record distinct addresses."""
        if self.exact:
            self.addresses.update(addresses)

    def reputation_word(self, word: str | None) -> None:
        """Count a source's word for a reputation, if it is a new one."""
        if word is None or word.lower() in RECOGNISED_REPUTATIONS:
            return
        if word not in self.new_reputations:
            if len(self.new_reputations) >= MAX_NEW_REPUTATIONS:
                return
            log.warning("reputation is not known yet and counts as unknown", word=word)
        self.new_reputations[word] += 1

    def enqueued(self, address: str, signins: int) -> None:
        """Count sign-ins that were enqueued."""
        self.unanswered += signins
        if self.exact:
            self._unanswered[address] += signins

    def resolved_late(self, address: str, waiting: int | None) -> None:
        """Uncount sign-ins of an address as unanswered: one lookup has resolved it.

        *waiting* is their number; None for all that were counted in this run.
        """
        if self.exact:
            counted = self._unanswered[address]
            answered = counted if waiting is None else min(waiting, counted)
            self._unanswered[address] -= answered
            if not self._unanswered[address]:
                del self._unanswered[address]
            self.unanswered -= answered
            self.cache_hits += max(0, answered - 1)
