"""Who searches earlier sign-ins for what a source lists anew: one of the instances, once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from consumers.ledger.cursors import CURSOR_LEASE_SECONDS, LedgerCursor
from consumers.pipeline.retro_match import RetroMatch
from schemas.feed_ports import ChangeCursor, Changes
from tests.contracts.support_ledger import Clock, instances

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from schemas.ledger_ports import Ledger
    from tests.servers.azurite import Azurite


class Source:
    """A source that lists an address with each step."""

    name = "sekoia"

    def __init__(self, generation: str = "g") -> None:
        self.position = ChangeCursor(generation)

    def list_anew(self, steps: int = 1) -> None:
        """Go on by some steps."""
        self.position = ChangeCursor(self.position.generation, self.position.step + steps)

    def changes_since(self, cursor: ChangeCursor) -> Changes:
        """Return one step."""
        start = cursor.step if cursor.generation == self.position.generation else 0
        if start >= self.position.step:
            return Changes(ChangeCursor(self.position.generation, start), frozenset())
        following = ChangeCursor(self.position.generation, start + 1)
        return Changes(following, frozenset({f"81.2.69.{start + 1}"}))


class Instance(RetroMatch):
    """One instance; it keeps what it searches for, and may die while it does."""

    def __init__(self, ledger: Ledger, *, shared: bool = True) -> None:
        nothing: Any = None
        super().__init__(nothing, nothing, nothing, ledger, nothing, nothing)
        self.source = Source()
        self.among_all: list[set[str]] = []
        self.among_own: list[set[str]] = []
        self.meanwhile: Any = None
        self.cursor = LedgerCursor(ledger, "retro-match", shared=shared)
        self.subscribe(self.source, self.cursor)

    async def match_new_indicators(self, observables: Collection[str] | None) -> None:
        """Keep it."""
        if self.meanwhile is not None:
            await self.meanwhile()
        self.among_all.append(set(observables or ()))

    async def match_own_recent(self, observables: Collection[str]) -> None:
        """Keep it."""
        self.among_own.append(set(observables))


@asynccontextmanager
async def two(azurite: Azurite, clock: Clock) -> AsyncIterator[tuple[Instance, Instance]]:
    """Open two that share a ledger, and have seen that nothing is listed."""
    async with instances(azurite.connection_string, clock, 2) as (first, second):
        one, other = Instance(first), Instance(second)
        assert [await one.catch_up(), await other.catch_up()] == [True, True]
        yield one, other


def names(*numbers: int) -> set[str]:
    """Return addresses."""
    return {f"81.2.69.{number}" for number in numbers}


async def test_one_searches_all_and_each_its_own(azurite: Azurite) -> None:
    """Who comes second finds the cursor moved; what only it remembers, it searches itself."""
    async with two(azurite, Clock()) as (one, other):
        for each in (one, other):
            each.source.list_anew(2)
            assert await each.catch_up()
            assert await each.catch_up()
        assert (one.among_all, one.among_own) == ([names(1, 2)], [])
        assert (other.among_all, other.among_own) == ([], [names(1, 2)])
        other.source.list_anew()
        assert await other.catch_up()
        assert other.among_all == [names(3)]


async def test_while_another_is_at_it(azurite: Azurite) -> None:
    """It is asked again later, and does what a dead one has left."""
    clock = Clock()
    async with two(azurite, clock) as (one, other):
        one.source.list_anew()
        other.source.list_anew()
        seen: list[bool] = []

        async def die() -> None:
            seen.append(await other.catch_up())
            raise RuntimeError

        one.meanwhile = die
        one.cursor.release = lambda: _nothing()  # type: ignore[method-assign]
        try:
            await one.catch_up()
        except RuntimeError:
            seen.append(True)
        assert seen == [False, True]
        assert (other.among_all, other.among_own) == ([], [names(1)])
        assert not await other.catch_up()
        clock.time += CURSOR_LEASE_SECONDS + 1.0
        assert await other.catch_up()
        assert other.among_all == [names(1)]
        assert other.among_own == [names(1)], "its own were searched before"


async def _nothing() -> None:
    pass


async def test_a_new_process_goes_on_at_the_cursor(azurite: Azurite) -> None:
    """What was listed while none ran is searched for; what was searched for is not."""
    async with instances(azurite.connection_string, Clock()) as (ledger,):
        first = Instance(ledger)
        first.source.list_anew(2)
        await first.catch_up()
        second = Instance(ledger)
        second.source.list_anew(5)
        await second.catch_up()
        assert (first.among_all, second.among_all) == ([names(1, 2)], [names(3, 4, 5)])
        again = Instance(ledger)
        again.source = Source("another")
        again._subscriptions[0].source = again.source
        again.source.list_anew()
        await again.catch_up()
        assert again.among_all == [names(1)], "the feed was read anew"


async def test_who_is_behind_does_not_move_the_cursor_back(azurite: Azurite) -> None:
    """It has not followed the last snapshot yet."""
    async with two(azurite, Clock()) as (one, other):
        one.source.list_anew(4)
        other.source.list_anew(2)
        await one.catch_up()
        await other.catch_up()
        assert await one.cursor.read() == ChangeCursor("g", 4)
        assert other.among_all == []
