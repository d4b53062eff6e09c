"""Bringing one feed up to date: when, what of a page, and what is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.feeds.indicator_schema import FEEDS_FILE
from consumers.sources.feeds.indicator_store import FeedState
from consumers.sources.feeds.matcher import FeedRules
from consumers.sources.feeds.sync_status import (
    FIRST_FEED_PAUSE_SECONDS,
    MAX_FEED_PAUSE_SECONDS,
    STALE_INTERVALS,
)
from consumers.sources.taxii.client import Cursor
from schemas.errors import FeedFailed, LedgerFailed
from schemas.events.times import iso_of
from schemas.health import Problem
from tests.support.feeds import FEED, HOUR, NOW, A, B, C, Worlds, named

if TYPE_CHECKING:
    from pathlib import Path


# --- when ---


async def test_a_feed_is_read_once_an_interval(worlds: Worlds) -> None:
    """At once to begin with, also by a new process only when it is due."""
    world = worlds.open()
    assert not world.sync.attempted.is_set()
    world.source.pages_left = [[]]
    await world.sync.sync_if_due()
    assert world.sync.attempted.is_set()
    runs = world.source.runs
    assert runs == 1
    for seconds in (0.0, HOUR - 1.0):
        world.time = NOW + seconds
        await world.new_sync("it").sync_if_due()
        assert world.source.runs == runs
    world.time = NOW + HOUR
    world.source.pages_left = [[]]
    await world.sync.sync_if_due()
    assert world.source.runs == runs + 1
    await world.sync.sync_if_due()
    assert world.source.runs == runs + 1


async def test_the_next_run_goes_on_where_the_last_page_ended(worlds: Worlds) -> None:
    """Also after a failure in the midst of a run; what came before it is in use."""
    world = worlds.open()
    world.source.failure = FeedFailed("is down")
    with pytest.raises(FeedFailed, match="is down"):
        await world.read([named(A)], [named(B)])
    assert (world.keys, world.sync.last.pages) == ({A, B}, 2)
    assert world.sync.state.synced is None
    world.source.failure = None
    await world.new_sync("it").sync()
    assert world.source.cursors == [Cursor(), Cursor(next="1")]


async def test_pauses_grow_and_are_bounded(worlds: Worlds) -> None:
    """Twice as long each time, to a quarter of an hour, and never more than the interval."""
    for interval, name in ((HOUR, "one"), (300.0, "other")):
        world = worlds.open(name, interval=interval)
        world.source.failure = FeedFailed("is down")
        for failures in range(8):
            runs = world.source.runs
            await world.sync.sync_if_due()
            assert world.source.runs == runs + 1
            pause = min(FIRST_FEED_PAUSE_SECONDS * 2**failures, MAX_FEED_PAUSE_SECONDS, interval)
            world.time += pause - 1.0
            await world.sync.sync_if_due()
            assert world.source.runs == runs + 1
            world.time += 1.0


async def test_a_server_may_ask_for_a_longer_pause(worlds: Worlds) -> None:
    """Then it gets it."""
    world = worlds.open()
    world.source.failure = FeedFailed("is busy", retry_after=100.0)
    await world.sync.sync_if_due()
    world.time += 99.0
    await world.sync.sync_if_due()
    assert world.source.runs == 1
    world.time += 1.0
    await world.sync.sync_if_due()
    assert world.source.runs == 2


async def test_a_feed_may_be_down_for_weeks(worlds: Worlds) -> None:
    """Every quarter of an hour it is tried again; nothing else stops."""
    world = worlds.open()
    world.source.failure = FeedFailed("refuses the password", refused=True)
    for _ in range(1_100):
        await world.sync.sync_if_due()
        world.time += MAX_FEED_PAUSE_SECONDS
    assert world.source.runs == 1_100


async def test_trouble_is_told_and_ends(worlds: Worlds) -> None:
    """By its kind: what a human has to mend, and what may pass."""
    world = worlds.open()
    world.source.failure = FeedFailed("is down")
    await world.sync.sync_if_due()
    assert (world.health.now, world.sync.problem) == ({Problem.FEED_DOWN: "is down"}, "is down")
    world.source.failure = FeedFailed("refuses the password", refused=True)
    world.time += HOUR
    await world.sync.sync_if_due()
    assert world.health.now[Problem.FEED_REFUSED] == "refuses the password"
    world.source.failure = None
    world.time += HOUR
    await world.read([named(A)])
    assert (world.health.now, world.sync.problem) == ({}, None)


async def test_only_the_last_trouble_is_told(worlds: Worlds) -> None:
    """A password that was mended is not told to be wrong while the server is down."""
    world = worlds.open()
    world.source.failure = FeedFailed("refuses the password", refused=True)
    await world.sync.sync_if_due()
    world.source.failure = FeedFailed("is down")
    world.time += HOUR
    await world.sync.sync_if_due()
    assert world.health.now == {Problem.FEED_DOWN: "is down"}


async def test_age_is_told(worlds: Worlds) -> None:
    """Three intervals and a pause without a read; until the next one."""
    world = worlds.open()
    await world.read([named(A)])
    world.source.failure = FeedFailed("is down")
    for seconds, stale in (
        (0.0, False),
        (STALE_INTERVALS * HOUR + MAX_FEED_PAUSE_SECONDS, False),
        (1.0, True),
    ):
        world.time += seconds
        await world.sync.sync_if_due()
        assert (Problem.FEED_STALE in world.health.now) == stale
    assert world.keys == {A}, "what it said before stays in use"
    world.source.failure = None
    world.source.pages_left = [[]]
    world.time += MAX_FEED_PAUSE_SECONDS
    await world.sync.sync_if_due()
    assert world.health.now == {}


async def test_a_feed_that_never_worked_is_stale_too(worlds: Worlds) -> None:
    """Else a wrong password of the first day would be told by nothing that lasts."""
    world = worlds.open()
    world.source.failure = FeedFailed("refuses the password", refused=True)
    await world.sync.sync_if_due()
    assert Problem.FEED_STALE not in world.health.now
    world.time += STALE_INTERVALS * HOUR + MAX_FEED_PAUSE_SECONDS + 1.0
    await world.sync.sync_if_due()
    assert Problem.FEED_STALE in world.health.now


async def test_a_clock_that_is_put_back_does_not_stop_reading(worlds: Worlds) -> None:
    """Pauses are not waited for again."""
    world = worlds.open()
    world.source.failure = FeedFailed("is down")
    await world.sync.sync_if_due()
    world.time -= 1_000_000.0
    await world.sync.sync_if_due()
    assert world.source.runs == 2


async def test_a_clock_that_was_ahead_does_not_stop_reading(worlds: Worlds) -> None:
    """The feed was read, by a clock that was a year ahead."""
    world = worlds.open()
    world.time = NOW + 365 * 24 * HOUR
    await world.read([named(A)])
    world.time = NOW
    world.source.pages_left = [[named(B)]]
    await world.sync.sync_if_due()
    assert world.keys == {A, B}


async def test_a_file_that_fails_is_trouble(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later."""
    world = worlds.open()

    def broken(*_: Any, **__: Any) -> Any:
        raise LedgerFailed("the disk is full")

    world.source.pages_left = [[named(A)]]
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "apply", broken)
        await world.sync.sync_if_due()
    assert world.health.now == {Problem.FEED_DOWN: "the disk is full"}
    assert world.sync.attempted.is_set()
    world.time += FIRST_FEED_PAUSE_SECONDS
    world.source.pages_left = [[named(A)]]
    await world.sync.sync_if_due()
    assert (world.health.now, world.keys) == ({}, {A})


async def test_a_look_never_raises(worlds: Worlds, tmp_path: Path) -> None:
    """Also where nothing can be read of the file any more."""
    world = worlds.open()
    await world.read([named(A)])
    world.store._database.execute("DROP TABLE feeds")
    world.time += HOUR
    await world.sync.sync_if_due()
    assert (tmp_path / "one" / FEEDS_FILE).exists()
    assert Problem.FEED_DOWN in world.health.now
    assert world.sync.attempted.is_set()


# --- what of a page ---


async def test_what_came_is_counted(worlds: Worlds) -> None:
    """By what it was; the counts of what was left out are kept."""
    world = worlds.open()
    domain = named("[domain-name:value = 'a.example']")
    await world.read([named(A), named(B), domain], [named(A, 1.0, revoked=True), {"type": "x"}])
    done = world.sync.last
    assert (done.pages, done.objects, done.fresh, done.withdrawn) == (2, 5, 3, 1)
    assert sum(done.skipped.counts.values()) == sum(world.sync.state.skipped.values()) == 2
    assert (world.sync.state.steps, world.keys) == (2, {B})


async def test_a_version_without_an_address_withdraws(worlds: Worlds) -> None:
    """What is held; of what is not, nothing is kept."""
    world = worlds.open()
    first, other = named(A), named(B)
    await world.read([first])
    lapsed = [
        {**one, "modified": iso_of(NOW + 1.0), "pattern": "[domain-name:value = 'a.example']"}
        for one in (first, other)
    ]
    await world.read(lapsed)
    assert (world.keys, world.store.count(FEED)) == (set(), 1)
    assert sum(world.sync.last.skipped.counts.values()) == 2
    await world.read([named(A, 2.0)])
    assert world.keys == {A}


async def test_versions_of_one_page(worlds: Worlds) -> None:
    """A server may give all versions: the last one counts, also when it names no address."""
    world = worlds.open()
    first = named(A)
    last = {**first, "modified": iso_of(NOW + 1.0), "pattern": "[domain-name:value = 'a.example']"}
    await world.read([first, last])
    assert world.keys == set()


async def test_an_odd_version_of_what_was_withdrawn(worlds: Worlds) -> None:
    """Stays withdrawn."""
    world = worlds.open()
    await world.read([named(A)])
    await world.read([named(A, 1.0, revoked=True)])
    await world.read([named(A)])
    await world.read([named(A, 0.5)])
    assert world.keys == set()
    assert world.store.count(FEED) == 1


async def test_more_than_fits_is_left_out(worlds: Worlds) -> None:
    """And counted."""
    world = worlds.open(most=2)
    await world.read([named(A)], [named(B), named(C)])
    assert len(world.keys) == 2
    assert world.sync.last.skipped.counts == {"more indicators than can be held": 1}
    await world.read([named("81.2.69.1")])
    assert world.sync.last.skipped.counts == {"more indicators than can be held": 1}
    assert len(world.keys) == 2


async def test_a_full_feed_goes_on_with_what_it_holds(worlds: Worlds) -> None:
    """New versions take no room."""
    world = worlds.open(most=2)
    await world.read([named(A), named(B)])
    await world.read([named(A, 1.0, revoked=True), named(B, 1.0, confidence=10)])
    assert world.keys == {B}
    (kept,) = [one for _, one in world.store.all_of(FEED) if not one.withdrawn]
    assert kept.confidence == 10


# --- what is told ---


async def test_what_is_named_is_told_once_a_run(worlds: Worlds) -> None:
    """What is new, or says more; not what was withdrawn by the run's end."""
    world = worlds.open()
    await world.read([named(A), named("81.2.69.0/24")], [named(B), named(C)], [named(C, 1.0)])
    assert world.told == [{A, B, C, "81.2.69.0/24"}]
    await world.read([named(A, 1.0)], [named(B, 1.0, revoked=True)])
    await world.read([named("81.2.69.1")], [named("81.2.69.1", 1.0, revoked=True)])
    assert len(world.told) == 1
    await world.read([named(A, 2.0, labels=["botnet"])])
    assert world.told[1:] == [{A}]


async def test_what_is_named_is_told_though_the_run_fails(worlds: Worlds) -> None:
    """It is in use."""
    world = worlds.open()
    world.source.failure = FeedFailed("is down")
    with pytest.raises(FeedFailed):
        await world.read([named(A)])
    assert world.told == [{A}]


async def test_an_indicator_that_goes_on_after_a_gap_is_told(worlds: Worlds) -> None:
    """Between its old end and the next read, sign-ins went by of which it did not speak."""
    world = worlds.open()
    await world.read([named(A, valid_until=iso_of(NOW + 600.0))])
    assert not world.feeds.verdicts_of(A, NOW + 1_800.0)
    world.time = NOW + HOUR
    await world.read([named(A, 500.0, valid_until=iso_of(NOW + 24 * HOUR))])
    assert world.feeds.verdicts_of(A, NOW + 1_800.0), "it speaks of them now"
    assert world.told == [{A}, {A}]


async def test_an_indicator_that_is_believed_again_is_told(worlds: Worlds) -> None:
    """Where the settings bound the age of endless ones."""
    world = worlds.open(rules=FeedRules(longest=600.0))
    await world.read([named(A, valid_until=None)])
    assert not world.feeds.verdicts_of(A, NOW + HOUR)
    world.time = NOW + 2 * HOUR
    await world.read([named(A, 0.9 * HOUR, valid_until=None)])
    assert world.feeds.verdicts_of(A, NOW + HOUR)
    assert world.told == [{A}, {A}]


# --- another feed of the same name ---


async def test_another_feed_begins_anew(worlds: Worlds) -> None:
    """With nothing of the old one, and from its first page; steps go on counting."""
    world = worlds.open()
    await world.read([named(A)], [named(B)])
    world.new_sync("another")
    await world.read([named(C)])
    assert (world.keys, world.store.count(FEED)) == ({C}, 1)
    assert world.source.cursors[-1] == Cursor()
    assert world.sync.state.steps == 3
    await world.new_sync("another").sync()
    assert world.keys == {C}


async def test_another_feed_is_due_at_once(worlds: Worlds) -> None:
    """Whenever the old one was read."""
    world = worlds.open()
    await world.read([named(A)])
    world.source.pages_left = [[named(C)]]
    await world.new_sync("another").sync_if_due()
    assert world.keys == {C}


async def test_the_state_of_a_new_feed(worlds: Worlds) -> None:
    """Nothing is known of it; its connection is let go of."""
    world = worlds.open()
    assert world.sync.state == FeedState()
    await world.sync.close()
    assert world.source.closed
