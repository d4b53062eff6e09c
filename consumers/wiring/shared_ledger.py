"""Opens the ledger that instances share for a command, with a time limit."""

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
"""Seconds for which opening the ledger's table is retried."""


class _FailFast(Health):
    """Ends the wait for a table at once if the problem needs manual action."""

    limit: asyncio.Timeout | None = None

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Open a problem, and end the wait unless the problem is transient."""
        super().report(what, detail, part=part)
        if self.limit is not None and what is not Problem.LEDGER_UNREACHABLE:
            self.limit.reschedule(asyncio.get_running_loop().time())
            self.limit = None


def is_shared(settings: Settings) -> bool:
    """Return True if the settings name a ledger that instances share."""
    state = settings.state
    return state.connection_string is not None or state.account_url is not None


async def open_shared_ledger(
    settings: Settings, stack: AsyncExitStack, *, create: bool = True
) -> Ledger:
    """Open the ledger; *stack* closes it. LedgerFailed if it does not respond in time."""
    health = _FailFast(grace=GRACE_SECONDS)
    ledger, opened = make_run_ledger(settings, WallClock(), health, Credentials(stack, settings))
    stack.push_async_callback(ledger.close)
    if isinstance(ledger, TableLedger) and not create:
        opened = partial(ledger.open, create=False)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_SECONDS) as health.limit:
            await opened()
    except TimeoutError:
        problems = health.reasons()
        reason = problems[0]["detail"] if problems else "the storage account does not answer"
        raise LedgerFailed(f"STATE__TABLE: {reason}") from None
    health.limit = None
    return ledger
