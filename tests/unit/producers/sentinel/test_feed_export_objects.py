"""What is passed on of feeds; and how what several instances uploaded is joined."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sentinel.uploaded_indicator import UploadedIndicator, merged
from schemas.errors import LedgerFailed, SinkHeldBack
from schemas.health import Problem
from schemas.intel.stix_export import part_id
from tests.contracts.support_ledger import A, B, C
from tests.support.indicator_upload import FULL, HELD_BACK, NOW, World, indicator, pattern

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Return a world."""
    one = World(tmp_path)
    yield one
    await one.store.close()


async def test_a_feed_is_passed_on(world: World) -> None:
    """In requests of a hundred, all there when it returns; again does no harm."""
    many = [indicator(str(n), keys=(f"81.2.{n // 250}.{n % 250}",)) for n in range(250)]
    await world.sharing.feed_changes("sekoia", many)
    await world.sharing.feed_changes("sekoia", many[:1])
    assert [len(one) for one in world.taker.sent] == [100, 100, 50, 1]
    assert len(world.active) == 250
    assert world.sharing.counts == {"fed": 251}


async def test_two_feeds_do_not_disturb_each_other(world: World) -> None:
    """The same id from another feed is another object."""
    await world.sharing.feed_changes("one", [indicator()])
    await world.sharing.feed_changes("two", [indicator(withdrawn=True)])
    assert world.active == {pattern(A)}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"tlp": "red"}, "marked"),
        ({"tlp": "TLP:AMBER+STRICT"}, "marked"),
        ({"valid_until": NOW}, "expired"),
        ({"types": ("benign",)}, "benign"),
    ],
)
async def test_some_of_a_feed_stays_here(world: World, more: dict[str, Any], why: str) -> None:
    """It is counted; and is withdrawn if an earlier version was passed on."""
    await world.sharing.feed_changes("sekoia", [indicator(**more)])
    assert (world.taker.objects, world.sharing.counts) == (0, {why: 1})
    before = indicator()
    await world.sharing.feed_changes("sekoia", [before])
    assert world.active == {pattern(A)}
    await world.sharing.feed_changes("sekoia", [indicator(**more)], {before.id: before})
    assert world.active == set()
    sent = world.taker.objects
    await world.sharing.feed_changes("sekoia", [indicator()], {before.id: indicator(**more)})
    assert (world.active, world.taker.objects) == ({pattern(A)}, sent + 1)


async def test_what_a_feed_withdraws_is_withdrawn(world: World) -> None:
    """Also when it no longer says what it was; unless nobody can say."""
    one, two = indicator("1"), indicator("2", keys=(B,))
    await world.sharing.feed_changes("sekoia", [one, two])
    gone = indicator("1", withdrawn=True)
    bare = indicator("2", withdrawn=True, keys=())
    await world.sharing.feed_changes("sekoia", [gone, bare])
    assert world.active == {pattern(B)}
    assert world.sharing.counts["nameless"] == 1
    await world.sharing.feed_changes("sekoia", [bare], {two.id: two})
    assert world.active == set()
    assert world.sharing.counts["feed withdrawn"] == 2


async def test_within_a_batch_the_last_version_counts(world: World) -> None:
    """Each object is sent once; a bare withdrawal is understood by the version before it."""
    one, other = indicator("1"), indicator("2", keys=(B,))
    gone = indicator("1", withdrawn=True, keys=())
    back = indicator("2", keys=(C,))
    await world.sharing.feed_changes("sekoia", [one, other, gone, back])
    assert world.active == {pattern(C)}
    assert world.taker.objects == 2


async def test_parts_that_are_no_more_are_withdrawn(world: World) -> None:
    """An indicator of many addresses that has shrunk."""
    keys = tuple(f"81.2.69.{n}" for n in range(3))
    large, small = indicator(keys=keys), indicator(keys=keys[:1])
    await world.sharing.feed_changes("sekoia", [large])
    assert len(world.active) == 3
    await world.sharing.feed_changes("sekoia", [small], {large.id: large})
    assert len(world.active) == 1
    assert part_id("sekoia", large.id, 0) in world.taker.kept
    sent = world.taker.objects
    for never in (indicator(keys=keys, tlp="red"), indicator(keys=keys, withdrawn=True)):
        await world.sharing.feed_changes("sekoia", [small], {large.id: never})
    assert world.taker.objects == sent + 2


async def test_without_an_end_it_has_to_be_handed_over_again(world: World) -> None:
    """It is valid for the time of the settings."""
    open_ended = indicator(valid_until=None)
    await world.sharing.feed_changes("sekoia", [open_ended])
    world.go_on(FULL - 60)
    assert world.active == {pattern(A)}
    await world.sharing.feed_changes("sekoia", [open_ended])
    world.go_on(120)
    assert world.active == {pattern(A)}


async def test_a_feed_learns_that_it_is_held_back(world: World) -> None:
    """At once while the service is left alone; its cursor stays where it was."""
    world.taker.held_back = HELD_BACK
    with pytest.raises(SinkHeldBack):
        await world.sharing.feed_changes("sekoia", [indicator()])
    assert world.health.troubles == {Problem.INDICATORS_HELD_BACK}
    world.taker.held_back = None
    with pytest.raises(SinkHeldBack, match="no") as caught:
        await world.sharing.feed_changes("sekoia", [indicator()])
    assert caught.value.retry_after == 30.0
    assert world.taker.objects == 0
    world.go_on(31)
    await world.sharing.feed_changes("sekoia", [indicator()])
    assert (world.active, world.health.troubles) == ({pattern(A)}, set())


ENTRIES = st.builds(
    UploadedIndicator,
    st.sampled_from([1.0, 2.0, 3.0]),
    st.sampled_from([0.0, 5.0, 9.0]),
    st.sampled_from([0.5, 1.5]),
)


def join(*entries: UploadedIndicator) -> UploadedIndicator:
    """Join entries from the left."""
    first, *others = map(msgspec.msgpack.encode, entries)
    for other in others:
        first = merged("ti|A", first, other)
    return msgspec.msgpack.decode(first, type=UploadedIndicator)


@given(ENTRIES, ENTRIES, ENTRIES)
def test_the_order_of_joining_does_not_matter(
    one: UploadedIndicator, two: UploadedIndicator, three: UploadedIndicator
) -> None:
    """Nor how often it is done."""
    assert len({repr(join(*order)) for order in permutations((one, two, three))}) == 1
    assert join(one, one) == one
    assert join(one, two, two, one) == join(one, two)


def test_the_later_decision_counts() -> None:
    """A withdrawal after an upload, an upload after a withdrawal, the longer of two at once."""
    uploaded, withdrawn = UploadedIndicator(10.0, 900.0, 10.0), UploadedIndicator(20.0, 0.0, 20.0)
    assert join(uploaded, withdrawn) == UploadedIndicator(20.0, 0.0, 10.0)
    assert join(UploadedIndicator(30.0, 500.0, 30.0), withdrawn) == UploadedIndicator(
        30.0, 500.0, 20.0
    )
    assert join(uploaded, UploadedIndicator(10.0, 950.0, 10.0)).until == 950.0


def test_an_entry_that_cannot_be_read_is_told() -> None:
    """As trouble of the ledger, without the address."""
    with pytest.raises(LedgerFailed, match="unreadable") as caught:
        merged(f"ti|{A}", b"\xc1", b"\xc1")
    assert A not in str(caught.value)
