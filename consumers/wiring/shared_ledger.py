"""The ledger that instances share, opened by a command: a person waits, so not for ever."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.ledger.table.ledger import TableLedger
from consumers.service.health import GRACE_SECONDS, Health
from consumers.wiring.credentials import Credentials
from consumers.wiring.service import make_run_ledger
from schemas.errors import LedgerFailed
from schemas.health import Problem

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger

OPEN_TIMEOUT_SECONDS = 20.0
"""Seconds for which the ledger's table is tried; then a person should look."""


class _FailFast(Health):
    """Ends the wait for a table at once where only a person can mend what is wrong."""

    limit: asyncio.Timeout | None = None

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Note that something is wrong."""
        super().report(what, detail, part=part)
        if self.limit is not None and what is not Problem.LEDGER_UNREACHABLE:
            self.limit.reschedule(asyncio.get_running_loop().time())
            self.limit = None


def is_shared(settings: Settings) -> bool:
    """Tell whether the settings name a ledger that instances share."""
    state = settings.state
    return state.connection_string is not None or state.account_url is not None


async def open_shared_ledger(
    settings: Settings, stack: AsyncExitStack, *, create: bool = True
) -> Ledger:
    """Open it, and have *stack* close it; with *create*, make the table if it is not there.

    LedgerFailed where it does not answer for a while, or a person has to mend something.
    """
    health = _FailFast(grace=GRACE_SECONDS)
    ledger, opened = make_run_ledger(settings, WallClock(), health, Credentials(stack, settings))
    stack.push_async_callback(ledger.close)
    if isinstance(ledger, TableLedger) and not create:
        opened = partial(ledger.open, create=False)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_SECONDS) as health.limit:
            await opened()
    except TimeoutError:
        troubles = health.reasons()
        why = troubles[0]["detail"] if troubles else "the storage account does not answer"
        raise LedgerFailed(f"STATE__TABLE: {why}") from None
    health.limit = None
    return ledger
