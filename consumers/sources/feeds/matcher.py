"""All feeds in use: what they name, at which time, and how they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

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
"""Addresses of which the indicators are remembered."""
MAX_FEED_VERDICTS = 5
"""Indicators of one feed that are told of one address."""
NO_FINDING = (Reputation.UNKNOWN, Reputation.BENIGN)
"""What an indicator says that is no reason for a finding."""

Named = tuple[str, str, Indicator]
"""A feed, the key that it uses, and the indicator."""


@dataclass(frozen=True, slots=True)
class FeedRules:
    """How the words of a feed are taken."""

    least_confidence: int = 0
    longest: float | None = None
    """Seconds for which an indicator without an end is believed, from when it was modified."""


@dataclass(slots=True)
class FeedMatcher:
    """Match addresses; only feeds that *rules* names are heard. See the port ``Naming``."""

    store: IndicatorStore
    rules: Mapping[str, FeedRules]
    index: AddressIndex = field(default_factory=AddressIndex)
    _remembered: dict[str, list[Named]] = field(default_factory=dict)

    def load(self) -> None:
        """Read the keys of everything that is kept."""
        self.index = AddressIndex()
        for key in self.store.all_keys():
            self.index.add(key)
        self._remembered.clear()

    def applied(self, applied: ApplyResult) -> None:
        """Follow what a page changed in the store."""
        for key in applied.keys:
            self.index.add(key)
        self.drop(applied.gone)

    def drop(self, gone: Collection[str]) -> None:
        """Follow what the store has forgotten."""
        for key in gone:
            self.index.discard(key)
        self._remembered.clear()

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return those addresses that any indicator names, at whatever time."""
        return self.index.matching(addresses)

    def verdicts_of(self, address: str, moment: float | None) -> list[Verdict]:
        """Return what the feeds say of an address at a time; at any time for None.

        Of each feed, the indicators count that name it most exactly; those below the feed's
        minimum, and benign ones, are no reason for a finding and are left out.
        """
        found: list[Verdict] = []
        exactness: dict[str, int] = {}
        told: dict[str, int] = {}
        for feed, key, indicator in self._named(address):
            if not self._speaks(feed, indicator, moment):
                continue
            if exactness.setdefault(feed, _length(key)) > _length(key):
                continue
            told[feed] = told.get(feed, 0) + 1
            if told[feed] <= MAX_FEED_VERDICTS:
                least = self.rules[feed].least_confidence
                found.append(verdict_of(feed, key, indicator, least))
        return found

    def _speaks(self, feed: str, indicator: Indicator, moment: float | None) -> bool:
        rules = self.rules.get(feed)
        if rules is None or reputation_of(indicator, rules.least_confidence) in NO_FINDING:
            return False
        if moment is None:
            return True
        if indicator.valid_until is None and rules.longest is not None:
            since = max(indicator.modified, indicator.valid_from)
            if moment >= since + rules.longest:
                return False
        return indicator.valid_at(moment)

    def _named(self, address: str) -> list[Named]:
        """Return all indicators that name an address, the most exact first, then the worst."""
        found = self._remembered.get(address)
        if found is None:
            try:
                found = self.store.naming(self.index.keys_of(address))
            except LedgerFailed as error:
                log.warning("what feeds say cannot be read", why=str(error))
                return []  # then others are asked
            found.sort(key=_weight)
            if len(self._remembered) >= MAX_CACHED_ADDRESSES:
                self._remembered.clear()
            self._remembered[address] = found
        return found


def _length(key: str) -> int:
    """Return the length of a key's prefix."""
    _, slash, length = key.partition("/")
    return int(length) if slash else 128


def _weight(named: Named) -> tuple[int, bool, float]:
    _, key, indicator = named
    malicious = reputation_of(indicator) is Reputation.MALICIOUS
    return -_length(key), not malicious, -indicator.modified
