"""Matches addresses against the indicators of all configured feeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from consumers.sources.feeds.guard import DEFAULT_WIDEST, FeedGuard
from schemas.errors import LedgerFailed
from schemas.intel.address_index import AddressIndex
from schemas.intel.indicators import Indicator, reputation_of, verdict_of
from schemas.intel.verdicts import Reputation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from consumers.sources.feeds.indicator_store import ApplyResult, IndicatorStore
    from schemas.intel.verdicts import Verdict

log = structlog.get_logger()

MAX_CACHED_ADDRESSES = 20_000
"""Addresses whose indicators are cached."""
MAX_FEED_VERDICTS = 5
"""Verdicts per feed and address."""
NO_FINDING = (Reputation.UNKNOWN, Reputation.BENIGN)
"""Reputations that cause no finding."""

Match = tuple[str, str, Indicator]
"""A feed, the matching key, and the indicator."""


@dataclass(frozen=True, slots=True)
class FeedRules:
    """How the indicators of a feed are evaluated."""

    least_confidence: int = 0
    longest: float | None = None
    """Validity of an indicator without an end, in seconds since it was modified."""
    widest: int = DEFAULT_WIDEST
    """Shortest prefix length of an IPv4 network that the feed may name; twice that for IPv6."""
    from_created: bool = False
    """Whether indicators begin when they were created: their begin is when they were seen last."""


@dataclass(slots=True)
class FeedMatcher:
    """Match addresses against the feeds that have an entry in ``rules``."""

    store: IndicatorStore
    rules: Mapping[str, FeedRules]
    index: AddressIndex = field(default_factory=AddressIndex)
    guard: FeedGuard = field(default_factory=FeedGuard)
    disbelieved: dict[str, str] = field(default_factory=dict)
    """The last indicator of each feed that was not believed, and why."""
    _cached: dict[str, list[Match]] = field(default_factory=dict)

    def load(self) -> None:
        """Load the keys of all stored indicators."""
        self.index = AddressIndex()
        for key in self.store.all_keys():
            self.index.add(key)
        self._cached.clear()

    def applied(self, applied: ApplyResult) -> None:
        """Update the index with the changes of a page."""
        for key in applied.keys:
            self.index.add(key)
        self.drop(applied.gone)

    def drop(self, gone: Collection[str]) -> None:
        """Remove keys that have been deleted from the store."""
        for key in gone:
            self.index.discard(key)
        self._cached.clear()

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that match any indicator, valid or not."""
        return self.index.matching(addresses)

    def verdicts_of(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return the feeds' verdicts on an address at a timestamp, or at any time for None.

        For each feed, only the indicators with the most specific key are used. Benign indicators,
        and those below the feed's minimum confidence, cause no finding and are left out.
        """
        found: list[Verdict] = []
        prefix_length: dict[str, int] = {}
        counts: dict[str, int] = {}
        for feed, key, match in self._matches(address):
            indicator = self._applying(feed, match, timestamp)
            if indicator is None or not self._is_believed(feed, address, key):
                continue
            if prefix_length.setdefault(feed, _length(key)) > _length(key):
                continue
            counts[feed] = counts.get(feed, 0) + 1
            if counts[feed] <= MAX_FEED_VERDICTS:
                least = self.rules[feed].least_confidence
                found.append(verdict_of(feed, key, indicator, least))
        return found

    def class_verdicts(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return what lists say of the kind of network, and nothing else, of an address."""
        found: dict[str, Verdict] = {}
        for feed, key, indicator in self._matches(address):
            if timestamp is None or indicator.valid_at(timestamp):
                found.setdefault(feed, verdict_of(feed, key, indicator))
        return list(found.values())

    def _is_believed(self, feed: str, address: str, key: str) -> bool:
        why = self.guard.refusal(address, key, self.rules[feed].widest)
        if why is None:
            return True
        if feed not in self.disbelieved:
            log.warning("feed not believed", feed=feed, why=why)
        self.disbelieved[feed] = why
        return False

    def _applying(
        self, feed: str, indicator: Indicator, timestamp: float | None
    ) -> Indicator | None:
        """Return the worst version of an indicator that applies at a timestamp, or None."""
        rules = self.rules.get(feed)
        if rules is None:
            return None
        versions = [indicator] if timestamp is None else indicator.versions_at(timestamp)
        found = None
        for version in versions:
            if timestamp is not None and _has_faded(version, timestamp, rules.longest):
                continue
            reputation = reputation_of(version, rules.least_confidence)
            if reputation is Reputation.MALICIOUS:
                return version
            if reputation not in NO_FINDING:
                found = found or version
        return found

    def _matches(self, address: str) -> list[Match]:
        """Return all indicators that match an address: most specific first, then most severe."""
        found = self._cached.get(address)
        if found is None:
            try:
                found = self.store.naming(self.index.keys_of(address))
            except LedgerFailed as error:
                log.warning("feed verdicts unavailable, ledger failed", why=str(error))
                return []  # other sources are still looked up
            found.sort(key=_sort_key)
            if len(self._cached) >= MAX_CACHED_ADDRESSES:
                self._cached.clear()
            self._cached[address] = found
        return found


def _has_faded(indicator: Indicator, timestamp: float, longest: float | None) -> bool:
    """Return True if an indicator without an end is too old for an event at a timestamp."""
    if indicator.valid_until is not None or longest is None:
        return False
    return timestamp >= max(indicator.modified, indicator.valid_from) + longest


def _length(key: str) -> int:
    """Return the length of a key's prefix."""
    _, slash, length = key.partition("/")
    return int(length) if slash else 128


def _sort_key(match: Match) -> tuple[int, bool, float]:
    _, key, indicator = match
    malicious = reputation_of(indicator) is Reputation.MALICIOUS
    return -_length(key), not malicious, -indicator.modified
