"""Doing once what several callers want at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Joins the calls of one turn of the event loop into a single piece of work.

    A durable transaction costs the same for one batch of addresses as for ten, and batches tend to
    come together. *work* gets the items in order and returns as many results.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._work = work
        self._pending: list[tuple[Item, asyncio.Future[Result]]] = []

    async def submit(self, item: Item) -> Result:
        """Return the result for *item*.

        An error of the work reaches the first caller; the others are cancelled.
        """
        mine: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._pending.append((item, mine))
        if len(self._pending) == 1:
            await self._run_group()
        return await mine

    async def _run_group(self) -> None:
        joined = self._pending
        try:
            await asyncio.sleep(0)
            self._pending = []
            results = await self._work([item for item, _ in joined])
        except BaseException:
            self._pending = []
            for _, future in joined:
                future.cancel()
            raise
        for (_, future), result in zip(joined, results, strict=True):
            if not future.done():
                future.set_result(result)
