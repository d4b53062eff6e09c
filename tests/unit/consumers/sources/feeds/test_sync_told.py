"""What a sync tells: samples of what it left out, times of others, gaps in the paging."""

from __future__ import annotations

from schemas.health import Problem
from tests.support.feeds import FEED, HOUR, NOW, A, B, Worlds, named


async def test_what_was_left_out_is_shown_by_a_sample(worlds: Worlds) -> None:
    """One of each reason, cleaned and bounded; the latest run's."""
    world = worlds.open()
    bad = [{**named(A), "id": f"indicator--{n}", "pattern": f"[\x1b{'a' * 500}{n}"} for n in (1, 2)]
    await world.read([*bad, {"type": "identity"}])
    samples = world.sync.state.samples
    assert samples.keys() == world.sync.state.skipped.keys()
    assert samples["pattern cannot be read"].startswith("indicator--1 [")
    assert all(len(text) <= 400 and "\x1b" not in text for text in samples.values())


async def test_no_version_is_from_the_future(worlds: Worlds) -> None:
    """By the server's clock, so that the next version replaces it; told, and used until then."""
    world = worlds.open()
    world.source.date = NOW + HOUR
    await world.read([named(A, 50 * 365 * 24 * HOUR)])
    assert world.feeds.verdicts_of(A, NOW + HOUR)
    assert list(world.sync.last.skipped.counts) == [
        "dated in the future; used as of the server's time"
    ]
    world.source.date = NOW + 3 * HOUR
    await world.read([named(A, 2 * HOUR, revoked=True)])
    assert world.keys == set()
    await world.read([named(B, 50 * 365 * 24 * HOUR)])
    await world.read([named(B, 51 * 365 * 24 * HOUR, revoked=True)])
    assert world.keys == set()


async def test_notes_of_the_servers_paging_are_told(worlds: Worlds) -> None:
    """In the state and as a problem, until a run without them."""
    world = worlds.open()
    world.source.notes = ("a gap",)
    await world.read([named(A)])
    await world.sync.sync_if_due()
    assert world.sync.state.notes == ["a gap"]
    assert world.health.now == {Problem.FEED_GAP: f"{FEED}: a gap"}
    world.source.notes = ()
    world.time += 2 * HOUR
    await world.read([named(B)])
    await world.sync.sync_if_due()
    assert world.sync.state.notes == []
    assert world.health.now == {}
