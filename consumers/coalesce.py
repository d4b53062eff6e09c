"""Request coalescing: one operation for all calls made at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Combine the calls of one event loop iteration into a single operation.

    A durable transaction costs the same for one batch of addresses as for ten, and batches tend to
    arrive together. *operation* gets the items in order and returns one result for each.
    """

    def __init__(self, operation: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._operation = operation
        self._pending: list[tuple[Item, asyncio.Future[Result]]] = []

    async def submit(self, item: Item) -> Result:
        """Return the result for *item*, or raise the error of the operation.

        If the first caller is cancelled, so are the others.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._pending.append((item, future))
        if len(self._pending) == 1:
            await self._run_group()
        return await future

    async def _run_group(self) -> None:
        group = self._pending
        try:
            await asyncio.sleep(0)
            self._pending = []
            results = await self._operation([item for item, _ in group])
        except asyncio.CancelledError:
            self._pending = []
            for _, future in group:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)
