"""Calls that come together are done together, and fail apart from others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consumers.coalesce import Coalescer

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_calls_of_one_turn_are_one_piece_of_work() -> None:
    """Each caller gets its own result; the next turn is work of its own."""
    worked: list[list[int]] = []

    async def double(items: Sequence[int]) -> list[int]:
        worked.append(list(items))
        return [item * 2 for item in items]

    together = Coalescer(double)
    assert await asyncio.gather(*(together.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert await together.submit(7) == 14
    assert worked == [[0, 1, 2, 3, 4], [7]]


async def test_an_error_reaches_every_caller() -> None:
    """And the next call starts anew."""
    fail = True

    async def work(items: Sequence[int]) -> list[int]:
        if fail:
            raise ValueError("no room")
        return list(items)

    together = Coalescer(work)
    results = await asyncio.gather(together.submit(1), together.submit(2), return_exceptions=True)
    assert [type(one) for one in results] == [ValueError, ValueError]
    fail = False
    assert await together.submit(3) == 3


async def test_a_cancelled_leader_leaves_nobody_waiting() -> None:
    """Shutting down ends all of them."""

    async def never(items: Sequence[int]) -> list[int]:
        await asyncio.Event().wait()
        return list(items)

    together = Coalescer(never)
    tasks = [asyncio.create_task(together.submit(n)) for n in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in results)


@pytest.mark.parametrize("count", [0, 1])
async def test_a_caller_that_left_does_not_stop_the_others(count: int) -> None:
    """Its result is nobody's."""

    async def slowly(items: Sequence[int]) -> list[int]:
        for _ in range(3):
            await asyncio.sleep(0)
        return list(items)

    together = Coalescer(slowly)
    tasks = [asyncio.create_task(together.submit(n)) for n in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks[1 : 1 + count]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in results if isinstance(one, int)] == [0, 1, 2][:1] + [1, 2][count:]
