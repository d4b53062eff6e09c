"""Sign-ins that another instance enqueues while this one judges their address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.clock import WallClock
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.settings import Settings
from consumers.wiring.pipeline import Outputs, build_pipeline
from producers.findings_file import FileSink
from producers.quarantine.directory import DirectoryQuarantine
from schemas.intel.verdicts import Reputation
from schemas.rows.policy import Policy
from tests.contracts.support_ledger import A, verdict, waiting
from tests.support.command import findings_in

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from schemas.ledger_ports import PendingSignIn


async def test_they_are_judged_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They came after the sign-ins were read, and before these were deleted."""
    clock = WallClock()
    ledger = SqliteLedger(tmp_path, clock, waiting_per_address=5)
    sink, quarantine = FileSink(str(tmp_path / "found")), DirectoryQuarantine(tmp_path)
    outbox = Outbox(sink, quarantine)
    judge = Judge(Policy(), origin="live", most_per_hour=100)
    outputs = Outputs(judge, outbox, RecordGuard(PipelineCounts(), quarantine))
    cache = VerdictCache(ledger, clock)
    pipeline = build_pipeline(Settings(), ledger, cache, clock, None, outputs).pipeline
    await ledger.enqueue_unless_answered([waiting("1", A), waiting("2", A)])
    await ledger.put_verdicts({A: verdict(clock.now() + 900, Reputation.MALICIOUS)})
    read, reads = ledger.waiting_for, []

    async def first_alone(address: str, most: int) -> list[PendingSignIn]:
        reads.append(address)
        found = await read(address, most)
        return found[:1] if len(reads) == 1 else found

    monkeypatch.setattr(ledger, "waiting_for", first_alone)
    await pipeline.recover()
    await outbox.flush()
    assert await ledger.waiting_among([A]) == set()
    await sink.close()
    assert len(findings_in(tmp_path / "found")) == len(reads) == 2
    await ledger.close()
