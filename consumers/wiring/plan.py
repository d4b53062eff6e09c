"""The composition root of ``plan``: the real chain, asked of nobody and telling nobody."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.ledger.cache import VerdictCache
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.wiring.core import Core
from consumers.wiring.replay import StateFolder, make_clock, make_ledger
from schemas.intel.verdicts import AddressClass, Intel, Reputation
from schemas.ports import SourceVerdict
from schemas.rows.policy import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from consumers.enrichment.lookup_queue import LookupQueue
    from consumers.pipeline.pipeline import Pipeline
    from consumers.settings import Settings
    from schemas.health import Problem
    from schemas.intel.verdicts import Answer
    from schemas.ports import QuarantineItem
    from schemas.rows.findings import FindingRow

_UNKNOWN = SourceVerdict(Reputation.UNKNOWN, Intel(), AddressClass.UNKNOWN)


class EmptySource:
    """A :class:`schemas.ports.Source` that answers at once, and of every address the same.

    One address a request: by a recording's clock an address may wait for a day until a request is
    full, which the service does for a moment only.
    """

    name = "plan"
    batch_size = 1

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Say of each address that nothing is known."""
        return dict.fromkeys(addresses, _UNKNOWN)

    def use_key(self, key: str) -> None:
        """There is none."""

    async def close(self) -> None:
        """Nothing is open."""


class _NullSink:
    """A sink, and a quarantine, that keep nothing: a plan leaves nothing behind."""

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Accept findings."""
        del rows
        return []

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Let go of what could not be read."""

    async def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield nothing."""
        nothing: tuple[QuarantineItem, ...] = ()
        for item in nothing:
            yield item

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove nothing."""
        del ids, before
        return 0

    async def close(self) -> None:
        """Nothing is open."""


class _NullHealth:
    """A health reporter that ignores everything: in a plan a spent quota is normal."""

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Say nothing."""

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class PlanChain:
    """The chain of one plan, ready to take messages."""

    pipeline: Pipeline
    lookups: LookupQueue


@asynccontextmanager
async def open_plan_chain(
    settings: Settings, quota: int, on_verdict: Callable[[Mapping[str, Answer], float], None]
) -> AsyncIterator[PlanChain]:
    """Build the chain of a plan with *quota* lookups a month, on a state that goes away after.

    *on_verdict* hears of every answer, and when it came by the recording's clock.
    """
    policy = settings.policy
    clock = make_clock("event")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(StateFolder(None))
        ledger = make_ledger(settings, folder, clock)
        stack.push_async_callback(ledger.close)
        nowhere = _NullSink()
        core = Core(
            settings,
            ledger,
            clock,
            quota=quota,
            memory=VerdictCache(ledger, clock),
            guard=RecordGuard(PipelineCounts(exact=False), nowhere),
            health=_NullHealth(),
            source=EmptySource(),
        )
        lookups = core.lookups
        if lookups is None:
            raise AssertionError("there is a source, so there are lookups")
        stack.push_async_callback(lookups.close)
        pipeline = core.join(
            judge=Judge(
                Policy(policy.lines), origin="replay", most_per_hour=policy.findings_per_hour
            ),
            outbox=Outbox(nowhere, nowhere),
            told=lambda answers, _: on_verdict(answers, clock.now()),
        )
        await pipeline.recover()
        yield PlanChain(pipeline, lookups)
