"""Passing a feed on to Sentinel: page by page, once, from where another process ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.ledger.cursors import CURSOR_LEASE_SECONDS, LedgerCursor
from consumers.sources.feeds.changes import FeedChanges
from consumers.sources.feeds.indicator_store import FeedState, IndicatorStore
from producers.sentinel import feed_export as module
from producers.sentinel.feed_export import FeedExport
from schemas.durations import DAY_SECONDS
from schemas.errors import SinkHeldBack
from schemas.intel.indicators import Indicator
from tests.contracts.support_ledger import A

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOW = 1_772_000_000.0
FEED = "sekoia"


class Notes:
    """The part of a ledger that is needed, shared by instances; with a clock."""

    def __init__(self) -> None:
        self.time = NOW
        self.notes: dict[str, str] = {}
        self.claimed: dict[str, tuple[str, float]] = {}


class Ledger:
    """What one instance sees of it."""

    def __init__(self, notes: Notes, name: str) -> None:
        self.shared = notes
        self.name = name

    async def get_value(self, name: str) -> str | None:
        """See the port."""
        return self.shared.notes.get(name)

    async def put_value(self, name: str, text: str) -> None:
        """See the port."""
        self.shared.notes[name] = text

    async def take_lease(self, name: str, seconds: float) -> bool:
        """See the port."""
        owner, until = self.shared.claimed.get(name, (self.name, 0.0))
        if owner != self.name and until > self.shared.time:
            return False
        self.shared.claimed[name] = (self.name, self.shared.time + seconds)
        return True

    async def end_lease(self, name: str) -> None:
        """See the port."""
        if self.shared.claimed.get(name, ("",))[0] == self.name:
            del self.shared.claimed[name]


class World:
    """One instance with its store; keeps the ids that it passed on."""

    def __init__(self, folder: Path, notes: Notes | None = None, **more: Any) -> None:
        self.notes = notes or Notes()
        self.store = IndicatorStore(folder)
        self.sent: list[list[str]] = []
        self.failures = 0
        self.meanwhile: Any = None
        self.generation = "g"
        ledger: Any = Ledger(self.notes, folder.name)
        self.passing = FeedExport(
            FeedChanges(FEED, self.store),
            self,
            LedgerCursor(ledger, "sentinel", shared=notes is not None),
            LedgerCursor(ledger, "renewal", shared=False),
            ledger,
            now=lambda: self.notes.time,
            **{"valid": 7 * DAY_SECONDS, **more},
        )

    async def feed_changes(
        self, feed: str, changed: Sequence[Indicator], before: Any = None
    ) -> None:
        """Take changes, unless it is to fail."""
        assert (feed, before) == (FEED, None)
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.failures:
            self.failures -= 1
            raise SinkHeldBack("no", remedy="wait")
        self.sent.append([one.id for one in changed])

    def add(self, step: int, *names: str, **more: Any) -> None:
        """Take in a page."""
        indicators = [
            Indicator(**{"id": name, "modified": float(step), "keys": (A,), **more})
            for name in names
        ]
        state = FeedState(steps=step, published=step, generation=self.generation)
        self.store.apply(FEED, [(step, indicators)], state, now=NOW)

    def passed(self) -> list[str]:
        """Return what was passed on since this was last asked, in order."""
        sent, self.sent = self.sent, []
        return [name for some in sent for name in some]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Return one instance."""
    one = World(tmp_path / "one")
    yield one
    one.store.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[World, World]]:
    """Return two that share a ledger."""
    notes = Notes()
    both = World(tmp_path / "one", notes), World(tmp_path / "other", notes)
    yield both
    for one in both:
        one.store.close()


async def test_what_is_new_is_passed_on_once(world: World) -> None:
    """Also what was withdrawn; and again when it has another version."""
    await world.passing.export_if_due()
    assert world.passed() == []
    world.add(1, "a", "b")
    world.add(2, "c")
    await world.passing.export_if_due()
    assert world.passed() == ["a", "b", "c"]
    await world.passing.export_if_due()
    assert world.passed() == []
    world.add(3, "b", withdrawn=True)
    world.add(4, "d")
    await world.passing.export_if_due()
    assert world.passed() == ["b", "d"]


async def test_another_process_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After what Sentinel took; what it did not is tried again."""
    monkeypatch.setattr(module, "EXPORT_BATCH", 2)
    for step in range(1, 7):
        world.add(step, f"a{step}")

    async def third() -> None:
        world.failures = len(world.sent) == 1

    world.meanwhile = third
    await world.passing.export_if_due()
    assert world.passed() == ["a1", "a2"]
    world.meanwhile = None
    await world.passing.export_if_due()
    assert world.passed() == ["a3", "a4", "a5", "a6"]


async def test_what_was_read_anew_is_passed_on_anew(tmp_path: Path, world: World) -> None:
    """The indicators were lost, and there are fewer pages than were passed on."""
    for step in range(1, 5):
        world.add(step, f"a{step}")
    await world.passing.export_if_due()
    again = World(tmp_path / "again")
    again.generation = "another"
    again.notes.notes |= world.notes.notes
    again.add(1, "b")
    await again.passing.export_if_due()
    assert again.passed() == ["b"]
    again.store.close()


async def test_what_has_no_end_is_told_again(world: World) -> None:
    """Before Sentinel forgets it: that alone, and not more often."""
    world.add(1, "endless")
    world.add(2, "ends", valid_until=NOW + 90 * DAY_SECONDS)
    world.add(3, "gone", withdrawn=True)
    await world.passing.export_if_due()
    assert world.passed() == ["endless", "ends", "gone"]
    world.notes.time += 7 * DAY_SECONDS / 3 - 1.0
    await world.passing.export_if_due()
    assert world.passed() == []
    world.notes.time += 2.0
    await world.passing.export_if_due()
    assert world.passed() == ["endless"]
    await world.passing.export_if_due()
    assert world.passed() == []
    world.notes.time += 7 * DAY_SECONDS / 3 + 1.0
    await world.passing.export_if_due()
    assert world.passed() == ["endless"]


async def test_telling_again_goes_on_after_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where it ended."""
    monkeypatch.setattr(module, "EXPORT_BATCH", 1)
    for step in range(1, 5):
        world.add(step, f"a{step}")
    await world.passing.export_if_due()
    world.passed()
    world.notes.time += 30 * DAY_SECONDS

    async def third() -> None:
        world.failures = len(world.sent) == 2

    world.meanwhile = third
    await world.passing.export_if_due()
    assert world.passed() == ["a1", "a2"]
    world.meanwhile = None
    await world.passing.export_if_due()
    assert world.passed() == ["a3", "a4"]
    await world.passing.export_if_due()
    assert world.passed() == []


async def test_one_of_two_passes_a_feed_on(two: tuple[World, World]) -> None:
    """The other one finds what was done."""
    one, other = two
    for each in two:
        each.add(1, "a")
    one.meanwhile = other.passing.export_if_due
    await one.passing.export_if_due()
    one.meanwhile = None
    assert (one.passed(), other.passed()) == (["a"], [])
    await other.passing.export_if_due()
    assert other.passed() == []
    for each in two:
        each.add(2, "b")
    await other.passing.export_if_due()
    await one.passing.export_if_due()
    assert (one.passed(), other.passed()) == ([], ["b"])


async def test_who_is_behind_passes_nothing_on_twice(two: tuple[World, World]) -> None:
    """It has not followed the last snapshot yet."""
    one, other = two
    for each in two:
        each.add(1, "a")
    await one.passing.export_if_due()
    one.add(2, "b")
    await one.passing.export_if_due()
    assert one.passed() == ["a", "b"]
    await other.passing.export_if_due()
    assert other.passed() == []
    other.add(2, "b")
    other.add(3, "c")
    await other.passing.export_if_due()
    assert other.passed() == ["c"]


async def test_a_page_is_passed_on_when_it_is_published(world: World) -> None:
    """Before, another instance may read the feed from there, in other pages."""
    world.add(1, "a")
    first = Indicator(id="b", modified=2.0, keys=(A,))
    state = FeedState(steps=2, published=1, generation="g")
    world.store.apply(FEED, [(2, [first])], state, now=NOW)
    await world.passing.export_if_due()
    assert world.sent == [["a"]]


async def test_an_instance_that_has_read_nothing_yet_passes_nothing_on(
    two: tuple[World, World],
) -> None:
    """And does not send the others back to the start."""
    one, other = two
    one.add(1, "a")
    await one.passing.export_if_due()
    await other.passing.export_if_due()
    one.add(2, "b")
    await one.passing.export_if_due()
    assert (one.passed(), other.passed()) == (["a", "b"], [])


async def test_pages_without_news_are_passed_over(world: World) -> None:
    """A feed is read often, and seldom says more."""
    world.add(1, "a")
    world.add(7)
    await world.passing.export_if_due()
    assert world.notes.notes["cursor sentinel"] == "g 7"
    assert world.sent == [["a"]]


async def test_a_page_later_the_rest_follows(world: World) -> None:
    """With what was held back."""
    world.add(1, "a")
    first = Indicator(id="b", modified=2.0, keys=(A,))
    state = FeedState(steps=2, published=1, generation="g")
    world.store.apply(FEED, [(2, [first])], state, now=NOW)
    await world.passing.export_if_due()
    world.add(2, "c")
    await world.passing.export_if_due()
    assert sorted(world.passed()) == ["a", "b", "c"]


async def test_a_claim_is_renewed(
    two: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sentinel takes a hundred objects a request, and not many requests a minute."""
    monkeypatch.setattr(module, "EXPORT_BATCH", 1)
    one, other = two
    for each in two:
        for step in range(1, 5):
            each.add(step, f"a{step}")

    async def slowly() -> None:
        one.notes.time += 0.4 * CURSOR_LEASE_SECONDS
        await other.passing.export_if_due()

    one.meanwhile = slowly
    await one.passing.export_if_due()
    assert (one.passed(), other.passed()) == (["a1", "a2", "a3", "a4"], [])
