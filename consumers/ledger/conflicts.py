"""Repeating a read and a conditional write until no other instance is faster."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import stamina

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Result = TypeVar("Result")


class VersionConflict(Exception):
    """Another instance has changed a row since it was read."""


async def until_current(operation: Callable[[], Awaitable[Result]]) -> Result:
    """Repeat *operation* until it raises no VersionConflict.

    Of several competing instances, at least one always succeeds, so there is no limit.
    """
    with suppress(VersionConflict):
        return await operation()  # the common case, without the cost of retries
    async for attempt in stamina.retry_context(
        on=VersionConflict,
        attempts=None,
        timeout=None,
        wait_initial=0.01,
        wait_max=1.0,
        wait_jitter=0.05,
    ):
        with attempt:
            return await operation()
    raise AssertionError("unreachable")  # pragma: no cover
