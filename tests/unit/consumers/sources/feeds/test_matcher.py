"""What feeds say of an address at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.feeds import matcher as feeds_module
from consumers.sources.feeds.indicator_store import FeedState, IndicatorStore
from consumers.sources.feeds.matcher import MAX_FEED_VERDICTS, FeedMatcher, FeedRules
from schemas.intel.indicators import Indicator
from schemas.intel.verdicts import Reputation
from tests.contracts.support_ledger import A, B, C

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schemas.intel.verdicts import Verdict

WIDE, NARROW = "81.2.0.0/16", "81.2.69.0/24"
BAD = ("malicious-activity",)


class World:
    """A store, and feeds that follow it."""

    def __init__(self, folder: Path, **rules: FeedRules) -> None:
        self.store = IndicatorStore(folder)
        self.rules = {"one": FeedRules(), "two": FeedRules(), **rules}
        self.feeds = FeedMatcher(self.store, self.rules)
        self.feeds.load()
        self.step = 0

    def add(self, name: str, *keys: str, feed: str = "one", **more: Any) -> None:
        """Take in the next version of an indicator."""
        self.step += 1
        values = {"modified": float(self.step), "types": BAD, **more}
        one = Indicator(id=name, keys=keys, **values)
        state = FeedState(steps=self.step)
        self.feeds.applied(self.store.apply(feed, [(self.step, [one])], state, now=0.0))

    def ids(self, address: str = A, moment: float | None = 100.0) -> list[str]:
        """Return the ids of the indicators that speak."""
        return [one.intel.indicator["id"] for one in self.words(address, moment)]

    def words(self, address: str = A, moment: float | None = 100.0) -> list[Verdict]:
        """Return the words, of a feed that was asked before and of one that was not."""
        words = self.feeds.verdicts_of(address, moment)
        fresh = FeedMatcher(self.store, self.rules)
        fresh.load()
        assert fresh.verdicts_of(address, moment) == words
        return words


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return a world; the feed ``weak`` has rules."""
    one = World(tmp_path, weak=FeedRules(30, 50.0))
    yield one
    one.store.close()


def test_nothing_is_said_of_what_nobody_names(world: World) -> None:
    """Neither before nor after something is named."""
    assert world.ids() == []
    world.add("i", B)
    assert (world.ids(), world.feeds.matching([A, B])) == ([], [B])


@pytest.mark.parametrize(
    ("moment", "speaks"),
    [(9.999, False), (10.0, True), (19.999, True), (20.0, False), (None, True)],
)
def test_the_window_is_that_of_the_event(world: World, moment: float | None, speaks: bool) -> None:
    """Its beginning is in it, its end is not."""
    world.add("i", A, valid_from=10.0, valid_until=20.0)
    assert world.ids(A, moment) == (["i"] if speaks else [])


def test_a_word_tells_where_it_is_from(world: World) -> None:
    """Feed, key, times, and the indicator as evidence."""
    world.add("i", NARROW, confidence=75, labels=("proxy:vpn",), valid_until=200.0)
    (word,) = world.words()
    assert (word.source, word.reputation, word.time, word.expires) == (
        "one",
        Reputation.MALICIOUS,
        1.0,
        200.0,
    )
    assert (word.intel.ip_range, word.intel.confidence) == (NARROW, "high")
    assert (word.address_class.value, word.intel.indicator["names"]) == ("vpn", NARROW)


def test_the_most_exact_key_of_a_feed_speaks(world: World) -> None:
    """For each feed by itself; where it is silent at that time, the next one does."""
    world.add("wide", WIDE)
    world.add("narrow", NARROW, valid_until=150.0)
    world.add("exact", A, valid_until=120.0)
    world.add("other", WIDE, feed="two")
    assert world.ids(A, 100.0) == ["exact", "other"]
    assert world.ids(A, 120.0) == ["narrow", "other"]
    assert world.ids(A, 150.0) == ["wide", "other"] or world.ids(A, 150.0) == ["other", "wide"]
    assert set(world.ids("81.2.1.1")) == {"wide", "other"}


def test_one_indicator_with_an_address_and_its_network(world: World) -> None:
    """It speaks once."""
    world.add("i", A, NARROW, WIDE)
    assert [one.intel.indicator["names"] for one in world.words()] == [A]


def test_confidence_counts_by_feed(world: World) -> None:
    """What is below the minimum says nothing, and hides nothing; what has none passes."""
    world.add("weak", A, feed="weak", confidence=29, modified=90.0)
    world.add("enough", NARROW, feed="weak", confidence=30, modified=90.0)
    assert world.ids() == ["enough"]
    world.add("none", A, feed="weak", modified=90.0)
    assert world.ids() == ["none"]
    world.add("same", A, feed="one", confidence=1)
    assert set(world.ids()) == {"none", "same"}
    assert [one.reputation.value for one in world.feeds.verdicts_of(A, 100.0)] == [
        "malicious",
        "suspicious",
    ]


@pytest.mark.parametrize(
    ("more", "moment", "speaks"),
    [
        ({}, 149.9, True),
        ({}, 150.0, False),
        ({}, None, True),
        ({"valid_until": 400.0}, 300.0, True),
        ({"valid_from": 120.0}, 169.9, True),
        ({"valid_from": 120.0}, 170.0, False),
    ],
)
def test_endless_ones_are_believed_for_a_while(
    world: World, more: dict[str, Any], moment: float | None, speaks: bool
) -> None:
    """From when they were modified, or are valid; those with an end until then."""
    world.add("i", A, feed="weak", modified=100.0, **more)
    assert bool(world.ids(A, moment)) == speaks


def test_only_some_words_of_a_feed_are_told(world: World) -> None:
    """The worst and newest ones."""
    for n in range(MAX_FEED_VERDICTS + 3):
        world.add(f"s{n}", A, types=())
    for n in range(2):
        world.add(f"m{n}", A)
    world.add("other", A, feed="two")
    ids = [one.intel.indicator["id"] for one in world.words() if one.source == "one"]
    assert ids == ["m1", "m0", "s7", "s6", "s5"]
    assert len(world.words()) == MAX_FEED_VERDICTS + 1


def test_benign_ones_and_feeds_without_rules_are_silent(world: World) -> None:
    """They are no reason for a finding."""
    world.add("benign", A, types=("benign",))
    world.add("safe", A, types=(), labels=("safe",))
    world.add("stranger", A, feed="removed from the settings")
    assert world.words() == []
    world.add("bad", WIDE)
    assert world.ids() == ["bad"]


def test_what_changes_is_heard_at_once(world: World) -> None:
    """Whatever was asked before: a new one, a new version, a withdrawal, sweeping, all anew."""
    world.add("i", A)
    assert (world.ids(), world.ids(C)) == (["i"], [])
    world.add("j", A, feed="two")
    assert set(world.ids()) == {"i", "j"}
    world.add("i", C)
    assert (world.ids(), world.ids(C)) == (["j"], ["i"])
    world.add("j", feed="two", withdrawn=True)
    assert world.ids() == []
    assert world.feeds.matching([A, C]) == [C]
    world.add("i", C, valid_until=110.0)
    assert world.ids(C, 105.0) == ["i"]
    world.feeds.drop(world.store.purge_expired(1e9))
    assert (world.ids(C, 105.0), len(world.feeds.index)) == ([], 0)
    world.add("k", NARROW)
    assert world.ids() == ["k"]
    world.store.forget_feed("one")
    world.feeds.load()
    assert (world.ids(), len(world.feeds.index)) == ([], 0)


def test_the_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was forgotten is asked again."""
    monkeypatch.setattr(feeds_module, "MAX_CACHED_ADDRESSES", 3)
    world.add("i", NARROW)
    for n in range(10):
        assert world.feeds.verdicts_of(f"81.2.69.{n}", 100.0)
        assert len(world.feeds._cached) <= 3


def test_an_address_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not asked for every sign-in."""
    world.add("i", A)
    asked = []
    naming = world.store.naming

    def counted(keys: list[str]) -> Any:
        asked.append(keys)
        return naming(keys)

    monkeypatch.setattr(world.store, "naming", counted)
    for moment in (1.0, 100.0, None):
        assert world.feeds.verdicts_of(A, moment)
    assert asked == [[A]]


def test_a_begin_that_moves_un_names_nothing(world: World) -> None:
    """Versions of an indicator begin when the first one did, whichever order they come in."""
    for name, begins in (("forth", (10.0, 50.0, 90.0)), ("back", (90.0, 50.0, 10.0))):
        for begin in begins:
            world.add(name, A if name == "forth" else B, valid_from=begin)
    assert world.ids(A, 20.0) == ["forth"]
    assert world.ids(B, 20.0) == ["back"]
    assert world.ids(A, 9.0) == []


@pytest.mark.parametrize(
    "later",
    [
        {"confidence": 20},
        {"types": ("benign",)},
        {"valid_until": 5.0},
        {"types": ("anomalous-activity",)},
    ],
    ids=["less confidence", "benign", "a shorter end", "another type"],
)
def test_what_was_true_at_the_time_stays_true(world: World, later: dict[str, Any]) -> None:
    """A version that says less counts from when it was made."""
    world.add("x", A, feed="weak", modified=100.0, confidence=80, valid_until=500.0)
    world.add(
        "x", A, feed="weak", modified=200.0, **{"confidence": 80, "valid_until": 500.0, **later}
    )
    words = world.words(A, 150.0)
    assert [one.reputation for one in words] == [Reputation.MALICIOUS]
    after = [one.reputation for one in world.words(A, 250.0)]
    assert after == ([Reputation.SUSPICIOUS] if "anomalous" in str(later) else [])


def test_many_versions_are_bounded_and_told_once(world: World) -> None:
    """The same versions again change nothing, and old ones are let go."""
    for _ in range(2):
        for number in range(1, 9):
            world.add("x", A, modified=100.0 * number, confidence=90 - number)
    (kept,) = [one for _, _, one in world.store.naming([A])]
    assert [one.confidence for one in kept.past] == [85, 84, 83]


def test_a_withdrawal_un_names_the_past(world: World) -> None:
    """It says that it never was true."""
    world.add("x", A, modified=100.0, confidence=80)
    world.add("x", A, modified=200.0, withdrawn=True)
    assert world.ids(A, 150.0) == []


def test_within_a_page_the_earliest_begin_counts(world: World) -> None:
    """Two versions of one indicator may come together."""
    versions = [
        Indicator(id="x", keys=(A,), modified=2.0, valid_from=60.0, types=BAD),
        Indicator(id="x", keys=(A,), modified=1.0, valid_from=10.0, types=BAD),
    ]
    for given in (versions, versions[::-1]):
        (fresh,) = world.store.fresh("one", given)
        assert (fresh.modified, fresh.valid_from) == (2.0, 10.0)
