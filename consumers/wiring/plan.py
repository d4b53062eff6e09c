"""Builds the pipelines of ``plan``: the real pipeline, with a mock source and no output."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.ledger.cache import VerdictCache
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.wiring.lookups import LookupOptions, make_lookup_queue
from consumers.wiring.pipeline import Outputs, build_pipeline
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
    """A :class:`schemas.ports.Source` that returns unknown for every IP address at once.

    The batch size is 1: with the event clock a request could take a day to fill, which takes the
    service only an instant.
    """

    name = "plan"
    settings = "CROWDSEC"
    batch_size = 1

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Return unknown for each IP address."""
        return dict.fromkeys(addresses, _UNKNOWN)

    def use_key(self, key: str) -> None:
        """Do nothing."""

    async def probe(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class _NullSink:
    """A sink and quarantine that store nothing."""

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Accept findings."""
        del rows
        return []

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Discard items."""

    async def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield nothing."""
        nothing: tuple[QuarantineItem, ...] = ()
        for item in nothing:
            yield item

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove nothing."""
        del ids, before
        return 0

    async def probe(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class _NullHealth:
    """A health reporter that ignores everything: in a plan a spent quota is normal."""

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Say nothing."""

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class PlanChain:
    """The pipeline of one plan, ready to process messages."""

    pipeline: Pipeline
    lookups: LookupQueue


@asynccontextmanager
async def open_plan_chain(
    settings: Settings, quota: int, on_verdict: Callable[[Mapping[str, Answer], float], None]
) -> AsyncIterator[PlanChain]:
    """Build the pipeline of a plan with *quota* lookups a month, on temporary state.

    *on_verdict* gets all verdicts, and their time by the event clock.
    """
    policy = settings.policy
    clock = make_clock("event")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(StateFolder(None))
        ledger = make_ledger(settings, folder, clock)
        stack.push_async_callback(ledger.close)
        null_sink = _NullSink()
        cache = VerdictCache(ledger, clock)
        options = LookupOptions(quota, health=_NullHealth(), source=EmptySource())
        lookups = make_lookup_queue(settings, ledger, cache, clock, options)
        if lookups is None:
            raise AssertionError("there is a source, so there are lookups")
        stack.push_async_callback(lookups.close)
        judge = Judge(Policy(policy.lines), origin="replay", most_per_hour=policy.findings_per_hour)
        outputs = Outputs(
            judge,
            Outbox(null_sink, null_sink),
            RecordGuard(PipelineCounts(exact=False), null_sink),
            [lambda answers, _: on_verdict(answers, clock.now())],
        )
        pipeline = build_pipeline(settings, ledger, cache, clock, lookups, outputs).pipeline
        await pipeline.recover()
        yield PlanChain(pipeline, lookups)
