"""What is true of the ledger in a directory alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from consumers.ledger.sqlite import SqliteStore
from schemas.errors import StateRefused
from schemas.verdicts import Unanswered, WhyUnanswered
from tests.contracts.ledgers import LIMIT, A, Clock

if TYPE_CHECKING:
    from pathlib import Path

Open = Callable[[], SqliteStore]


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Open]:
    """Return a function that opens the same state again."""
    clock = Clock()
    ledgers: list[SqliteStore] = []

    def open_again() -> SqliteStore:
        ledgers.append(SqliteStore(tmp_path, clock, waiting_per_address=LIMIT))
        return ledgers[-1]

    yield open_again
    for ledger in ledgers:
        await ledger.close()


async def test_what_one_process_must_not_ask_again_the_next_one_may(opened: Open) -> None:
    """A postponement ends with its time, or with the process: a person starts the next one."""
    ledger = opened()
    down = Unanswered(why=WhyUnanswered.SOURCE_DOWN, expires=1_500.0)
    await ledger.answer({A: down})
    assert await ledger.answers([A]) == {A: down}
    await ledger.close()
    assert await opened().answers([A]) == {}


async def test_a_directory_serves_one_process(opened: Open) -> None:
    """A second one is refused while the first lives, and welcome after."""
    ledger = opened()
    with pytest.raises(StateRefused, match="in use"):
        opened()
    await ledger.close()
    assert await opened().answers([A]) == {}
