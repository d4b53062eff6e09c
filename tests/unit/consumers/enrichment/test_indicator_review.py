"""Decisions on indicators, as notes of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consumers.clock import WallClock
from consumers.enrichment.indicator_review import (
    CAPPED_NOTE,
    DECISIONS_NOTE,
    Decision,
    decide,
    read_capped,
    read_decisions,
)
from consumers.ledger.sqlite.ledger import SqliteLedger
from schemas.errors import LedgerFailed

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_note_that_cannot_be_read_is_a_failure_of_the_ledger(tmp_path: Path) -> None:
    """Nothing was decided is another answer than that nobody knows."""
    ledger = SqliteLedger(tmp_path, WallClock(), waiting_per_address=9, keep=False)
    assert (await read_decisions(ledger), await read_capped(ledger)) == ({}, {})
    await decide(ledger, "i", Decision(release=False, until=5.0))
    await decide(ledger, "i", Decision(release=True))
    assert await read_decisions(ledger) == {"i": Decision(release=True)}
    for name, read in ((DECISIONS_NOTE, read_decisions), (CAPPED_NOTE, read_capped)):
        await ledger.put_value(name, '{"i": 5}')
        with pytest.raises(LedgerFailed, match=name):
            await read(ledger)
    await ledger.close()
