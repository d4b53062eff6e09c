"""The file of indicators: versions, keys, what is news, steps, and sweeping."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.feeds.indicator_store import (
    KEEP_ENDED_SECONDS,
    ApplyResult,
    FeedState,
    IndicatorStore,
)
from schemas.intel.indicators import Indicator
from tests.contracts.support_ledger import A, B, C

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NET = "81.2.69.0/24"
NOW = 1_772_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IndicatorStore]:
    """Return a store."""
    one = IndicatorStore(tmp_path)
    yield one
    one.close()


def version(modified: float = 1.0, *keys: str, name: str = "i", **more: Any) -> Indicator:
    """Return a version of an indicator, that names A unless *keys* say otherwise."""
    return Indicator(id=name, modified=modified, keys=keys or (A,), **more)


def withdrawn(modified: float, *keys: str, name: str = "i") -> Indicator:
    """Return a version that takes an indicator back; without keys unless they are given."""
    return Indicator(id=name, modified=modified, keys=keys, withdrawn=True)


def apply(
    store: IndicatorStore,
    *indicators: Indicator,
    feed: str = "one",
    step: int = 1,
    now: float = 0.0,
    longest: float = math.inf,
) -> ApplyResult:
    """Take in a page, and return what it changed, without the conditions that it was read in."""
    steps = [(step, indicators)]
    told = store.apply(feed, steps, FeedState(steps=step, published=step), now=now, longest=longest)
    assert (told.now, told.longest) == (now, longest)
    return replace(told, now=0.0, longest=math.inf)


def naming(store: IndicatorStore, *keys: str) -> set[tuple[str, str, str, float]]:
    """Return feed, key, id and version of what names keys."""
    return {(feed, key, one.id, one.modified) for feed, key, one in store.naming(keys)}


# --- versions ---


def test_a_new_indicator(store: IndicatorStore) -> None:
    """It is found by each of its keys."""
    told = apply(store, version(1.0, A, B, NET))
    assert told == ApplyResult(new=1, keys={A, B, NET})
    assert naming(store, A, NET, C) == {("one", A, "i", 1.0), ("one", NET, "i", 1.0)}
    assert set(store.all_keys()) == {A, B, NET}
    assert store.naming([]) == []


def test_the_newest_version_wins(store: IndicatorStore) -> None:
    """In whatever order they come; the same one again is stale."""
    apply(store, version(2.0, A, B))
    assert apply(store, version(3.0, B, C)) == ApplyResult(changed=1, keys={C}, gone={A})
    for old in (2.0, 3.0, 1.0):
        assert apply(store, version(old, A)) == ApplyResult(stale=1)
    assert set(store.all_keys()) == {B, C}
    assert [one.modified for _, one in store.all_of("one")] == [3.0]


def test_several_versions_in_one_page(store: IndicatorStore) -> None:
    """The last one counts."""
    told = apply(store, version(2.0, B), version(1.0, A), version(3.0, C))
    assert (told.new, told.changed, told.stale) == (1, 1, 1)
    assert set(store.all_keys()) == {C}
    assert told.gone == {B}


def test_what_is_withdrawn_matches_nothing(store: IndicatorStore) -> None:
    """Its keys are kept in it, for who has to take them back; an older version changes nothing."""
    apply(store, version(1.0, A, B))
    assert apply(store, withdrawn(2.0)) == ApplyResult(changed=1, withdrawn=1, gone={A, B})
    assert (list(store.all_keys()), store.naming([A, B])) == ([], [])
    assert list(store.all_of("one")) == [(1, withdrawn(2.0, A, B))]
    assert apply(store, version(1.5)) == ApplyResult(stale=1)
    assert store.count_valid("one", 0.0) == 0


def test_a_withdrawal_with_keys_keeps_its_own(store: IndicatorStore) -> None:
    """They may be others than before."""
    apply(store, version(1.0, A))
    assert apply(store, withdrawn(2.0, B)).gone == {A}
    assert list(store.all_of("one")) == [(1, withdrawn(2.0, B))]
    assert list(store.all_keys()) == []


def test_a_withdrawal_of_what_was_never_seen(store: IndicatorStore) -> None:
    """It holds against an older version that comes late."""
    assert apply(store, withdrawn(2.0)) == ApplyResult(new=1, withdrawn=1)
    assert apply(store, version(1.0)) == ApplyResult(stale=1)
    assert list(store.all_keys()) == []


def test_what_was_withdrawn_may_come_back(store: IndicatorStore) -> None:
    """With a newer version; that is news."""
    apply(store, version(1.0))
    apply(store, withdrawn(2.0))
    assert apply(store, version(3.0)) == ApplyResult(changed=1, keys={A})
    assert naming(store, A) == {("one", A, "i", 3.0)}


def test_a_key_is_gone_when_nothing_names_it(store: IndicatorStore) -> None:
    """Not while another indicator, or another feed, does."""
    apply(store, version(name="i"), version(name="j"))
    apply(store, version(name="i"), feed="two")
    assert apply(store, withdrawn(2.0, name="i")).gone == set()
    assert apply(store, withdrawn(2.0, name="j")).gone == set()
    assert naming(store, A) == {("two", A, "i", 1.0)}
    assert apply(store, withdrawn(2.0, name="i"), feed="two").gone == {A}


def test_a_key_that_moves_within_a_page(store: IndicatorStore) -> None:
    """From one indicator to another: it is not gone, whichever comes first."""
    apply(store, version(1.0, A, name="i"), version(1.0, B, name="j"))
    told = apply(store, version(2.0, C, name="i"), version(2.0, A, name="j"))
    assert (told.keys, told.gone) == ({A, C}, {B})
    told = apply(store, version(3.0, A, name="i"), withdrawn(3.0, name="j"))
    assert (told.keys, told.gone) == ({A}, {C})


def test_fresh_are_new_ids_and_later_versions(store: IndicatorStore) -> None:
    """Of several of one id the last; of many at once too."""
    apply(store, *(version(5.0, name=str(n)) for n in range(900)))
    asked = [version(5.0 + (n % 2), name=str(n)) for n in range(1_000)]
    asked += [version(4.0, name="7"), version(9.0, name="8"), version(1.0, name="x")]
    found = {one.id: one.modified for one in store.fresh("one", asked)}
    expected = {str(n): 6.0 for n in range(1, 900, 2)} | {"8": 9.0, "x": 1.0}
    expected |= {str(n): 5.0 + (n % 2) for n in range(900, 1_000)}
    assert found == expected
    assert len(store.fresh("two", asked)) == 1_001


# --- what is news ---

BEFORE: dict[str, Any] = {
    "valid_from": 100.0,
    "valid_until": 500.0,
    "types": ("anomalous-activity",),
    "labels": ("scanner",),
    "confidence": 40,
}


@pytest.mark.parametrize(
    ("change", "news"),
    [
        ({}, False),
        ({"valid_until": 900.0}, False),
        ({"valid_until": None}, False),
        ({"valid_until": 300.0}, False),
        ({"valid_from": 101.0}, False),
        ({"valid_from": 99.0}, True),
        ({"labels": ("scanner", "malicious")}, True),
        ({"labels": ()}, True),
        ({"types": ("malicious-activity",)}, True),
        ({"confidence": 41}, True),
        ({"confidence": None}, True),
        ({"tlp": "red"}, False),
    ],
)
def test_what_is_news_of_a_known_address(
    store: IndicatorStore, change: dict[str, Any], news: bool
) -> None:
    """A feed that repeats itself, or lets it last longer, says nothing new of what went by."""
    apply(store, version(200.0, **BEFORE))
    told = apply(store, version(400.0, **{**BEFORE, **change}))
    assert told.keys == ({A} if news else set())
    assert told.changed == 1


@pytest.mark.parametrize(("now", "news"), [(499.0, False), (500.0, False), (500.1, True)])
def test_what_had_ended_is_news(store: IndicatorStore, now: float, news: bool) -> None:
    """It did not speak in between: up to when its new version was read."""
    apply(store, version(200.0, **BEFORE))
    told = apply(store, version(450.0, **{**BEFORE, "valid_until": 900.0}), now=now)
    assert told.keys == ({A} if news else set())


@pytest.mark.parametrize(
    ("longest", "news"), [(math.inf, False), (300.0, False), (299.9, True), (1.0, True)]
)
def test_what_was_not_believed_any_more_is_news(
    store: IndicatorStore, longest: float, news: bool
) -> None:
    """An endless one, by the feed's rules."""
    endless = {**BEFORE, "valid_until": None}
    apply(store, version(200.0, **endless))
    told = apply(store, version(450.0, **endless), now=500.0, longest=longest)
    assert told.keys == ({A} if news else set())


def test_another_key_of_a_known_indicator_is_news(store: IndicatorStore) -> None:
    """It alone."""
    apply(store, version(1.0, A))
    assert apply(store, version(2.0, A, B)).keys == {B}


# --- steps ---


def test_whole_steps_are_told(store: IndicatorStore) -> None:
    """About as many as are asked for; a version that is replaced moves to its new step."""
    for step in range(1, 6):
        some = [version(step, name=f"{step}-{n}") for n in range(3)]
        apply(store, *some, step=step)
    apply(store, version(9.0, name="2-0"), step=6)
    found = []
    last = 0
    while True:
        then, some = store.since("one", last, 4)
        if then == last:
            break
        found.append((then, sorted(one.id for one in some)))
        last = then
    assert found == [
        (2, ["1-0", "1-1", "1-2", "2-1", "2-2"]),
        (4, ["3-0", "3-1", "3-2", "4-0", "4-1", "4-2"]),
        (6, ["2-0", "5-0", "5-1", "5-2"]),
    ]
    assert store.since("two", 0, 4) == (0, [])
    steps = [step for step, _ in store.all_of("one")]
    assert steps == sorted(steps)
    assert len(steps) == store.count("one") == 15


def test_what_matches_no_more_is_no_extension(store: IndicatorStore) -> None:
    """A feed repeats itself: that goes to Sentinel again, and is not looked for again."""
    apply(store, version(1.0, **BEFORE), step=1)
    apply(store, version(2.0, **BEFORE), step=2)
    assert [store.since("one", 1, 9)[0], len(store.since("one", 1, 9)[1])] == [2, 1]
    assert store.extended_since("one", 1, 9) == (2, [])
    apply(store, version(3.0, **{**BEFORE, "labels": ("malicious",)}), step=3)
    assert len(store.extended_since("one", 2, 9)[1]) == 1


def test_steps_that_are_taken_back(store: IndicatorStore) -> None:
    """They match as before, come with no step, and get the one with which they come again."""
    for step in (1, 2, 3):
        apply(store, version(1.0, f"81.2.69.{step}", name=str(step)), step=step)
    store.unpublish("one", 1)
    assert len(list(store.all_keys())) == 3
    assert [found.id for _, found in store.all_of("one")] == ["1"]
    assert [found.id for found in store.since("one", 0, 9)[1]] == ["1"]
    again = version(1.0, "81.2.69.2", name="2")
    assert store.fresh("one", [again]) == [again]
    apply(store, again, step=2)
    assert [(step, found.id) for step, found in store.all_of("one")] == [(1, "1"), (2, "2")]
    assert store.fresh("one", [again]) == []
    assert [found.id for found in store.extended_since("one", 1, 9)[1]] == ["2"]


def test_a_step_larger_than_asked_for(store: IndicatorStore) -> None:
    """It comes whole."""
    apply(store, *(version(name=str(n)) for n in range(10)), step=7)
    last, some = store.since("one", 0, 1)
    assert (last, len(some)) == (7, 10)


# --- what is forgotten ---


def test_sweeping_forgets_what_ended_long_ago(store: IndicatorStore) -> None:
    """And tells the keys that nothing names any more."""
    apply(
        store,
        version(1.0, A, name="old", valid_until=NOW - KEEP_ENDED_SECONDS - 1.0),
        version(1.0, B, C, name="shares", valid_until=NOW - KEEP_ENDED_SECONDS - 1.0),
        version(1.0, C, name="edge", valid_until=NOW - KEEP_ENDED_SECONDS),
        version(1.0, NET, name="endless"),
        withdrawn(NOW - KEEP_ENDED_SECONDS - 1.0, name="gone"),
        withdrawn(NOW - KEEP_ENDED_SECONDS + 1.0, name="just gone"),
    )
    assert store.purge_expired(NOW) == {A, B}
    assert {one.id for _, one in store.all_of("one")} == {"edge", "endless", "just gone"}
    assert set(store.all_keys()) == {C, NET}
    assert store.purge_expired(NOW) == set()
    assert store.purge_expired(NOW + 2.0) == {C}


def test_sweeping_much(store: IndicatorStore) -> None:
    """In several pieces."""
    many = [version(1.0, f"81.2.{n // 250}.{n % 250}", name=str(n)) for n in range(1_000)]
    apply(store, *(one for one in many))
    ended = [version(2.0, *one.keys, name=one.id, valid_until=10.0) for one in many[:900]]
    apply(store, *ended)
    assert store.purge_expired(KEEP_ENDED_SECONDS + 11.0) == {
        key for one in ended for key in one.keys
    }
    assert store.count("one") == 100


def test_forgetting_a_feed_leaves_the_others(store: IndicatorStore) -> None:
    """Its indicators, keys and state."""
    apply(store, version(1.0, A, B), step=4)
    apply(store, version(1.0, A), feed="two")
    store.forget_feed("one")
    assert store.state("one") == FeedState()
    assert store.names() == ["two"]
    assert (store.count("one"), store.count("two")) == (0, 1)
    assert naming(store, A, B) == {("two", A, "i", 1.0)}


def test_what_holds_is_counted(store: IndicatorStore) -> None:
    """Ended and withdrawn ones are kept, and not counted as valid."""
    apply(store, version(name="1"), version(name="2", valid_until=5.0), withdrawn(1.0, name="3"))
    assert store.count("one") == 3
    assert [store.count_valid("one", now) for now in (4.9, 5.0)] == [2, 1]


def test_the_state_is_kept(store: IndicatorStore, tmp_path: Path) -> None:
    """Over restarts, all of it."""
    state = FeedState(
        identity="it",
        cursor={"next": "é"},
        synced=1.5,
        steps=3,
        generation="g",
        published=2,
        skipped={"x": 1},
    )
    store.keep_state("one", state)
    apply(store, version(), feed="two", step=9)
    store.close()
    again = IndicatorStore(tmp_path)
    assert again.state("one") == state
    assert again.state("two").steps == 9
    assert naming(again, A) == {("two", A, "i", 1.0)}
    again.close()
