"""Feeds and replica, asked together: what they know, when they speak, and why they are silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from consumers.enrichment.local_sources import LocalMatch, LocalSources
from consumers.sources.crowdsec.replica import UNREADABLE_LOOKUP, ReplicaLookup
from schemas.intel.indicators import Indicator, verdict_of
from schemas.intel.merge import merge_verdicts
from schemas.intel.verdicts import REPLICA, AddressClass, Intel, Reputation, Verdict, WhyUnanswered
from schemas.ports import SourceVerdict
from tests.contracts.support_ledger import A, B, C

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILT = 1_772_000_000.0
OWN = SourceVerdict(Reputation.MALICIOUS, Intel(score=5), AddressClass.TOR)
AROUND = SourceVerdict(Reputation.UNKNOWN, Intel(ip_range_24="81.2.69.0/24"), AddressClass.UNKNOWN)


@dataclass
class Feed:
    """A feed that speaks from one moment to another."""

    named: dict[str, tuple[float, float]] = field(default_factory=dict)

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """See the protocol."""
        return [one for one in addresses if one in self.named]

    def verdicts_of(self, address: str, moment: float | None) -> list[Verdict]:
        """See the protocol."""
        start, end = self.named[address]
        if moment is not None and not start <= moment < end:
            return []
        return [
            verdict_of("sekoia", address, Indicator(id="i", modified=1.0, labels=("malicious",)))
        ]


@dataclass
class Replica:
    """A replica that holds some addresses."""

    held: dict[str, ReplicaLookup] = field(default_factory=dict)
    built: float | None = BUILT

    def find(self, address: str) -> ReplicaLookup:
        """See the protocol."""
        assert self.built is not None
        return self.held.get(address, ReplicaLookup())


FEED = Feed({A: (10.0, 20.0)})


def sources(words: list[Verdict]) -> list[str]:
    """Return who speaks."""
    return [one.source for one in words]


# --- one of them ---


def test_nobody() -> None:
    """Nothing is known."""
    free = LocalSources(None, None)
    assert free.match([A, B]) == {}
    assert free.reason_not_looked_up is WhyUnanswered.NO_SOURCE


def test_feeds_alone() -> None:
    """They name addresses, at some times, and never answer for all."""
    free = LocalSources(FEED, None)
    known = free.match([A, B])
    assert known == {A: LocalMatch(in_feed=True)}
    moments = (9.9, 10.0, 19.9, 20.0, None)
    assert [sources(free.verdicts_of(A, known[A], one)) for one in moments] == [
        [],
        ["sekoia"],
        ["sekoia"],
        [],
        ["sekoia"],
    ]
    assert free.verdicts_of(B, LocalMatch(), 15.0) == []
    assert free.reason_not_looked_up is WhyUnanswered.NOT_NAMED


@pytest.mark.parametrize("moment", [0.0, 15.0, None])
def test_the_replica_alone(moment: float | None) -> None:
    """Its silence is an answer, too."""
    free = LocalSources(
        None, Replica({A: ReplicaLookup(exact=OWN), B: ReplicaLookup(network=AROUND)})
    )
    known = free.match([A, B, C])
    assert list(known) == [A, B, C]
    assert all(one.conclusive and not one.in_feed for one in known.values())
    (word,) = free.verdicts_of(A, known[A], moment)
    assert (word.source, word.reputation, word.address_class) == (
        REPLICA,
        Reputation.MALICIOUS,
        AddressClass.TOR,
    )
    assert (word.time, word.expires, word.intel) == (BUILT, float("inf"), OWN.intel)
    (word,) = free.verdicts_of(B, known[B], moment)
    assert (word.reputation, word.intel) == (Reputation.UNKNOWN, AROUND.intel)
    (word,) = free.verdicts_of(C, known[C], moment)
    assert (word.reputation, word.source, word.intel) == (Reputation.UNKNOWN, REPLICA, Intel())
    assert free.reason_not_looked_up is WhyUnanswered.NO_REPLICA


def test_beyond_the_replica_the_paid_api_is_asked() -> None:
    """Where the settings say so: of what it does not hold itself."""
    replica = Replica({A: ReplicaLookup(exact=OWN), B: ReplicaLookup(network=AROUND)})
    free = LocalSources(None, replica, ask_beyond=True)
    known = free.match([A, B, C])
    assert known == {A: known[A]}
    assert known[A].conclusive


@pytest.mark.parametrize("feeds", [None, FEED])
@pytest.mark.parametrize("ask_beyond", [False, True])
def test_a_replica_that_is_not_there_yet(feeds: Feed | None, ask_beyond: bool) -> None:
    """It is not asked, and is why nobody answers."""
    free = LocalSources(feeds, Replica(built=None), ask_beyond=ask_beyond)
    assert free.match([A, B]) == ({A: LocalMatch(in_feed=True)} if feeds else {})
    assert free.reason_not_looked_up is WhyUnanswered.NO_REPLICA


# --- both ---


def test_both_are_heard() -> None:
    """The replica's word at any time, the feed's at its own."""
    free = LocalSources(FEED, Replica({A: ReplicaLookup(exact=OWN)}))
    known = free.match([A, B])
    assert (known[A].in_feed, known[A].conclusive) == (True, True)
    assert (known[B].in_feed, known[B].conclusive) == (False, True)
    assert sources(free.verdicts_of(A, known[A], 15.0)) == [REPLICA, "sekoia"]
    assert sources(free.verdicts_of(A, known[A], 25.0)) == [REPLICA]
    assert sources(free.verdicts_of(B, known[B], 15.0)) == [REPLICA]
    assert free.reason_not_looked_up is WhyUnanswered.NO_REPLICA


@pytest.mark.parametrize("held", [ReplicaLookup(network=AROUND), ReplicaLookup()])
def test_what_a_feed_names_beyond_the_replica(held: ReplicaLookup) -> None:
    """The paid API is asked while the feed is silent; what is around the address is told too."""
    free = LocalSources(FEED, Replica({A: held}), ask_beyond=True)
    known = free.match([A])
    assert not known[A].conclusive
    around = [REPLICA] if held.network else []
    assert sources(free.verdicts_of(A, known[A], 15.0)) == [*around, "sekoia"]
    assert free.verdicts_of(A, known[A], 25.0) == []
    assert sources(free.verdicts_of(A, known[A], None)) == [*around, "sekoia"]


def test_when_the_replicas_silence_was_told() -> None:
    """When the replica was made, like all that it says."""
    free = LocalSources(FEED, Replica())
    known = free.match([A])
    assert merge_verdicts(free.verdicts_of(A, known[A], 15.0)).rated == BUILT


@pytest.mark.parametrize("ask_beyond", [False, True])
def test_what_the_replica_cannot_read_is_no_answer(ask_beyond: bool) -> None:
    """Damage must never look like an address of which nothing bad is known."""
    free = LocalSources(
        FEED, Replica({A: UNREADABLE_LOOKUP, B: UNREADABLE_LOOKUP}), ask_beyond=ask_beyond
    )
    known = free.match([A, B])
    assert known.keys() == {A}, "the feed is heard"
    assert not known[A].conclusive
    if not ask_beyond:
        assert free.reason_not_looked_up is WhyUnanswered.NO_REPLICA
