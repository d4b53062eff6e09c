"""Local sources: threat intelligence feeds and the CrowdSec replica. A match costs no lookup.

Local sources are always checked first. A feed lists only malicious addresses, so no match means
nothing. The replica holds everything that CrowdSec knows, so no match means that the address is
unknown, unless the settings enable paid lookups of addresses that the replica does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schemas.intel.verdicts import REPLICA, AddressClass, Intel, Reputation, Verdict, WhyUnanswered
from schemas.ports import SourceVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.sources.crowdsec.replica import ReplicaLookup

NO_EXPIRY = float("inf")


class IndicatorMatcher(Protocol):
    """The part of the feeds that a match needs."""

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that match any indicator, valid at any time."""

    def verdicts_of(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return the feeds' verdicts that are valid at *timestamp*; at any time if None."""


class ClassReader(Protocol):
    """The part of the lists of networks that a match needs."""

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that match any list."""

    def class_verdicts(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return what the lists say of the kind of network, at a timestamp or at any time."""


class ReplicaReader(Protocol):
    """The part of the replica that a match needs."""

    @property
    def built(self) -> float | None:
        """When CrowdSec built the replica; None if no replica is loaded."""

    def find(self, address: str) -> ReplicaLookup:
        """Return what the replica holds on an address and on its network."""


@dataclass(frozen=True, slots=True)
class LocalMatch:
    """What the local sources hold on an address."""

    verdicts: tuple[Verdict, ...] = ()
    """Verdicts that are valid at any time: those of the replica."""
    in_feed: bool = False
    """Whether a feed lists the address, perhaps for another time."""
    conclusive: bool = False
    """Whether the match makes a lookup unnecessary, at any time."""


_IN_FEED = LocalMatch(in_feed=True)


class LocalSources:
    """Feeds and replica, matched together."""

    def __init__(
        self,
        feeds: IndicatorMatcher | None,
        replica: ReplicaReader | None,
        *,
        ask_beyond: bool = False,
        classes: Sequence[ClassReader] = (),
    ) -> None:
        """If *ask_beyond* is true, addresses that the replica does not hold are looked up.

        *classes* say what kind of network an address belongs to, and nothing else.
        """
        self._classes = classes
        self._feeds = feeds
        self._replica = replica
        self._look_up_unmatched = ask_beyond

    def match(self, addresses: Sequence[str]) -> dict[str, LocalMatch]:
        """Return the matches by address; addresses without a match are left out."""
        in_feeds = set(self._feeds.matching(addresses)) if self._feeds is not None else set()
        replica = self._replica
        if replica is None or replica.built is None:
            return dict.fromkeys(in_feeds, _IN_FEED)
        found = {}
        for address in addresses:
            verdicts, conclusive = self._match_replica(replica, address)
            if conclusive or address in in_feeds:
                found[address] = LocalMatch(verdicts, address in in_feeds, conclusive)
        return found

    def class_verdicts(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return what lists say of the kind of network of an address, and nothing else."""
        return [
            verdict
            for reader in self._classes
            if reader.matching([address])
            for verdict in reader.class_verdicts(address, timestamp)
        ]

    def classes_of(self, address: str) -> frozenset[AddressClass]:
        """Return the kinds of network that lists count an address among."""
        return frozenset(it.address_class for it in self.class_verdicts(address, None))

    def of_class(self, addresses: Sequence[str], wanted: AddressClass) -> dict[str, Verdict]:
        """Return the addresses that a list counts among a class, with what it says."""
        return {
            address: verdict
            for reader in self._classes
            for address in reader.matching(addresses)
            for verdict in reader.class_verdicts(address, None)
            if verdict.address_class is wanted
        }

    @property
    def reason_not_looked_up(self) -> WhyUnanswered:
        """Reason for no verdict if local sources do not match and no lookup is possible."""
        if self._replica is not None and (
            self._replica.built is None or not self._look_up_unmatched
        ):
            return WhyUnanswered.NO_REPLICA
        return WhyUnanswered.NO_SOURCE if self._feeds is None else WhyUnanswered.NOT_NAMED

    def verdicts_of(
        self, address: str, match: LocalMatch, timestamp: float | None
    ) -> list[Verdict]:
        """Return the verdicts that are valid at *timestamp*; at any time if None."""
        fed = self._feeds.verdicts_of(address, timestamp) if match.in_feed and self._feeds else []
        if match.conclusive or fed:
            return [*match.verdicts, *fed]
        return []

    def _match_replica(
        self, replica: ReplicaReader, address: str
    ) -> tuple[tuple[Verdict, ...], bool]:
        """Return the replica's verdicts, and whether they are conclusive."""
        lookup = replica.find(address)
        if not lookup.readable:
            return (), False
        built = replica.built or 0.0
        if lookup.exact is not None:
            return (_verdict_of(lookup.exact, built),), True
        verdicts = (_verdict_of(lookup.network, built),) if lookup.network is not None else ()
        if self._look_up_unmatched:
            return verdicts, False
        return verdicts or (_verdict_of(_NOT_IN_REPLICA, built),), True


def _verdict_of(found: SourceVerdict, built: float) -> Verdict:
    return Verdict(
        reputation=found.reputation,
        source=REPLICA,
        time=built,
        expires=NO_EXPIRY,
        address_class=found.address_class,
        intel=found.intel,
    )


_NOT_IN_REPLICA = SourceVerdict(Reputation.UNKNOWN, Intel(), AddressClass.UNKNOWN)
