"""What costs nothing to know of an address: what feeds name, and what the CrowdSec replica holds.

These are asked first and always. A feed speaks of bad addresses only: that it does not name one
says nothing. The replica holds all that CrowdSec knows, so its silence is an answer: that nothing
is known; unless the settings want the paid API asked about what it does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict, WhyUnanswered
from schemas.ports import SourceVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.sources.crowdsec.replica import ReplicaLookup

REPLICA = "crowdsec-replica"
NO_EXPIRY = float("inf")


class IndicatorMatcher(Protocol):
    """Feeds, as a match needs them."""

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return those addresses that any indicator names, at whatever time."""

    def verdicts_of(self, address: str, moment: float | None) -> list[Verdict]:
        """Return what the feeds say of an address at a time; at any time for None."""


class ReplicaReader(Protocol):
    """The replica, as a match needs it."""

    @property
    def built(self) -> float | None:
        """When CrowdSec made it; None while there is none in use."""

    def find(self, address: str) -> ReplicaLookup:
        """Return what it says of an address itself, and of the network around it."""


@dataclass(frozen=True, slots=True)
class LocalMatch:
    """What free sources know of one address."""

    verdicts: tuple[Verdict, ...] = ()
    """Words that hold at any time: the replica's."""
    in_feed: bool = False
    """Whether a feed names it, perhaps at another time."""
    conclusive: bool = False
    """Whether that is all there is to ask, whatever the time."""


_IN_FEED = LocalMatch(in_feed=True)


class LocalSources:
    """Feeds and replica, asked together."""

    def __init__(
        self,
        feeds: IndicatorMatcher | None,
        replica: ReplicaReader | None,
        *,
        ask_beyond: bool = False,
    ) -> None:
        """With *ask_beyond*, what the replica does not hold is for the paid API."""
        self._feeds = feeds
        self._replica = replica
        self._ask_beyond = ask_beyond

    def match(self, addresses: Sequence[str]) -> dict[str, LocalMatch]:
        """Return what is known; addresses that nobody knows are left out."""
        named = set(self._feeds.matching(addresses)) if self._feeds is not None else set()
        replica = self._replica
        if replica is None or replica.built is None:
            return dict.fromkeys(named, _IN_FEED)
        found = {}
        for address in addresses:
            words, answers = self._of_replica(replica, address)
            if answers or address in named:
                found[address] = LocalMatch(words, address in named, answers)
        return found

    @property
    def reason_not_looked_up(self) -> WhyUnanswered:
        """Why an address that nobody knows here is unanswered, where nobody else is asked."""
        if self._replica is not None and (self._replica.built is None or not self._ask_beyond):
            return WhyUnanswered.NO_REPLICA
        return WhyUnanswered.NO_SOURCE if self._feeds is None else WhyUnanswered.NOT_NAMED

    def verdicts_of(self, address: str, known: LocalMatch, moment: float | None) -> list[Verdict]:
        """Return the words on an address that hold at *moment*; at any time for None."""
        fed = self._feeds.verdicts_of(address, moment) if known.in_feed and self._feeds else []
        if known.conclusive or fed:
            return [*known.verdicts, *fed]
        return []

    def _of_replica(self, replica: ReplicaReader, address: str) -> tuple[tuple[Verdict, ...], bool]:
        """Return the replica's words, and whether they are an answer."""
        looked = replica.find(address)
        if not looked.readable:
            return (), False
        built = replica.built or 0.0
        if looked.exact is not None:
            return (_word(looked.exact, built),), True
        words = (_word(looked.network, built),) if looked.network is not None else ()
        if self._ask_beyond:
            return words, False
        return words or (_word(_NOT_IN_REPLICA, built),), True


def _word(said: SourceVerdict, built: float) -> Verdict:
    return Verdict(
        reputation=said.reputation,
        source=REPLICA,
        time=built,
        expires=NO_EXPIRY,
        address_class=said.address_class,
        intel=said.intel,
    )


_NOT_IN_REPLICA = SourceVerdict(Reputation.UNKNOWN, Intel(), AddressClass.UNKNOWN)
