"""When the replica is fetched, and what is told of it; by a clock that the test sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consumers.sources.crowdsec.replica_refresh import (
    FIRST_REFRESH_PAUSE_SECONDS,
    MAX_REFRESH_PAUSE_SECONDS,
    REFRESH_INTERVAL_SECONDS,
    STALE_REPLICA_SECONDS,
    ReplicaRefresh,
)
from schemas.errors import FeedFailed
from schemas.health import Problem
from schemas.intel.verdicts import REPLICA

NOW = 1_772_000_000.0


@dataclass
class Fetched:
    """What a download brings."""

    path: Path = Path("x")
    verified: bool = True
    dataset: str = "full"


@dataclass
class World:
    """A replica, its download, its watch and its clock."""

    time: float = NOW
    fetched: float | None = None
    built: float | None = None
    damage: str | None = None
    failure: FeedFailed | None = None
    refuses: FeedFailed | None = None
    fetches: list[float] = field(default_factory=list)
    swaps: list[dict[str, Any]] = field(default_factory=list)
    troubles: dict[Problem, str] = field(default_factory=dict)
    closed: int = 0

    def __post_init__(self) -> None:
        self.refresh = self.new()

    def new(self) -> ReplicaRefresh:
        """Begin as a new process."""
        made = ReplicaRefresh(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            health=self,
            now=lambda: self.time,
        )
        self.refresh = made
        return made

    async def fetch(self) -> Fetched:
        """Download, or fail."""
        self.fetches.append(self.time)
        if self.failure is not None:
            raise self.failure
        return Fetched()

    def swap(self, path: Path, **more: Any) -> None:
        """Use what came, or refuse it."""
        assert path == Path("x")
        if self.refuses is not None:
            raise self.refuses
        self.swaps.append(more)
        self.fetched = self.built = self.time

    async def _closed(self) -> None:
        self.closed += 1

    def close(self) -> Any:
        """Let go: of the file at once, of the connection when it is awaited."""
        return self._closed()

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Keep it."""
        assert part == REPLICA
        self.troubles[what] = detail

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Forget it."""
        assert part == REPLICA
        self.troubles.pop(what, None)

    async def looks(self, *seconds: float) -> int:
        """Look now and after so many seconds each; return how often it was fetched."""
        before = len(self.fetches)
        for some in (0.0, *seconds):
            self.time += some
            await self.refresh.refresh_if_due()
        return len(self.fetches) - before


async def test_it_is_fetched_at_once_and_then_once_a_day() -> None:
    """And used, with what is known of it."""
    world = World()
    assert await world.looks(1.0, REFRESH_INTERVAL_SECONDS - 2.0) == 1
    assert world.swaps == [{"now": NOW, "verified": True, "dataset": "full"}]
    assert (world.troubles, world.refresh.problem) == ({}, None)
    assert await world.looks(1.0) == 1
    assert world.fetches == [NOW, NOW + REFRESH_INTERVAL_SECONDS]


@pytest.mark.parametrize(
    ("age", "due"),
    [
        (3_600.0, 0),
        (REFRESH_INTERVAL_SECONDS - 1.0, 0),
        (REFRESH_INTERVAL_SECONDS, 1),
        (9 * REFRESH_INTERVAL_SECONDS, 1),
    ],
)
async def test_a_new_process_goes_by_the_files_age(age: float, due: int) -> None:
    """It is fetched when it is a day old."""
    world = World(fetched=NOW - age, built=NOW - age)
    assert await world.looks() == due
    if not due:
        assert await world.looks(REFRESH_INTERVAL_SECONDS - age - 0.5, 0.5) == 1


async def test_what_fails_is_tried_again() -> None:
    """After pauses that grow to an hour; until it works."""
    world = World(failure=FeedFailed("is down"))
    for failures in range(7):
        assert await world.looks() == 1
        pause = min(FIRST_REFRESH_PAUSE_SECONDS * 2**failures, MAX_REFRESH_PAUSE_SECONDS)
        assert await world.looks(pause - 1.0) == 0
        world.time += 1.0
    assert world.troubles[Problem.FEED_DOWN] == "is down"
    assert world.refresh.problem == "is down"
    world.failure = None
    assert await world.looks(1.0, REFRESH_INTERVAL_SECONDS - 2.0) == 1
    assert world.troubles == {}
    assert not world.refresh.problem


async def test_it_may_fail_for_weeks() -> None:
    """An hour between two tries."""
    world = World(failure=FeedFailed("refuses the key", refused=True))
    tries = [await world.looks(MAX_REFRESH_PAUSE_SECONDS) for _ in range(1_100)]
    assert set(tries[4:]) == {1}


async def test_a_server_may_ask_for_a_longer_pause() -> None:
    """Then it gets it."""
    world = World(failure=FeedFailed("is busy", retry_after=1_000.0))
    assert await world.looks(999.0) == 1
    assert await world.looks(1.0) == 1


@pytest.mark.parametrize("where", ["failure", "refuses"])
async def test_what_a_human_has_to_mend_is_told(where: str) -> None:
    """A key, or a file that cannot be trusted; the old one stays in use."""
    world = World(fetched=NOW - REFRESH_INTERVAL_SECONDS, built=NOW - REFRESH_INTERVAL_SECONDS)
    setattr(world, where, FeedFailed("is refused", refused=True))
    assert await world.looks() == 1
    assert world.troubles == {Problem.REPLICA_REFUSED: "is refused"}
    assert (world.built, world.swaps) == (NOW - REFRESH_INTERVAL_SECONDS, [])


async def test_a_command_is_told_of_failures() -> None:
    """It asks for a refresh whatever the age."""
    world = World(fetched=NOW, built=NOW)
    await world.refresh.refresh()
    assert len(world.fetches) == 1
    world.failure = FeedFailed("is down")
    with pytest.raises(FeedFailed, match="is down"):
        await world.refresh.refresh()


async def test_age_is_told() -> None:
    """From three days on, by when CrowdSec made it; not where there is none."""
    world = World(failure=FeedFailed("is down"))
    await world.looks()
    assert Problem.REPLICA_STALE not in world.troubles
    world.fetched, world.built = NOW, NOW - STALE_REPLICA_SECONDS
    await world.looks()
    assert Problem.REPLICA_STALE not in world.troubles
    await world.looks(1.0)
    assert Problem.REPLICA_STALE in world.troubles
    world.failure = None
    await world.looks(MAX_REFRESH_PAUSE_SECONDS)
    assert world.troubles == {}


async def test_a_clock_that_is_put_back_does_not_stop_it() -> None:
    """A day is the longest that it waits."""
    world = World()
    await world.looks()
    world.time -= 400 * REFRESH_INTERVAL_SECONDS
    assert await world.looks(REFRESH_INTERVAL_SECONDS - 1.0, 1.0) == 1


async def test_a_clock_that_is_put_back_after_a_failure() -> None:
    """The same."""
    world = World(failure=FeedFailed("is down"))
    await world.looks()
    world.time -= 400 * REFRESH_INTERVAL_SECONDS
    assert await world.looks(MAX_REFRESH_PAUSE_SECONDS) >= 1


async def test_both_are_closed() -> None:
    """The connection, and the file."""
    world = World()
    closed: list[str] = []

    class Part:
        """Something to close."""

        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> Any:
            """Close now, or when it is awaited."""
            if self.name == "file":
                closed.append(self.name)
                return None
            return self._later()

        async def _later(self) -> None:
            closed.append(self.name)

    refresh = ReplicaRefresh(
        Part("file"),  # type: ignore[arg-type]
        Part("connection"),  # type: ignore[arg-type]
        health=world,
        now=lambda: NOW,
    )
    await refresh.close()
    assert closed == ["connection", "file"]


async def test_a_damaged_copy_is_told_and_fetched_again() -> None:
    """It cannot be asked about some addresses; an hour after it came another one is tried."""
    world = World(fetched=NOW, built=NOW, damage="records of it are damaged")
    assert await world.looks(1.0, MAX_REFRESH_PAUSE_SECONDS - 2.0) == 0
    assert world.troubles == {Problem.REPLICA_REFUSED: "in use: records of it are damaged"}
    assert await world.looks(2.0) == 1


async def test_one_that_never_came_is_told_to_be_missing() -> None:
    """Not only that the last try failed: rules look for what lasts."""
    world = World(failure=FeedFailed("is down"))
    await world.looks(1.0, 3_500.0)
    assert Problem.REPLICA_STALE not in world.troubles
    await world.looks(200.0)
    assert "could not be fetched yet" in world.troubles[Problem.REPLICA_STALE]
    world.failure = None
    await world.looks(MAX_REFRESH_PAUSE_SECONDS)
    assert world.troubles == {}
