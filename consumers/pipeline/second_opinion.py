"""A second opinion before one feed alone makes findings of High for many accounts.

The findings go out at once, as Medium, and the address is looked up in CrowdSec. The result, or a
failure, lifts the cap: the findings are written again. At most 5 % of the quota is spent on it;
without a lookup to spend, nothing is capped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schemas.durations import MINUTE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from consumers.ledger.cache import VerdictCache
    from consumers.pipeline.evaluator import Evaluator
    from consumers.pipeline.lookup_stage import LookupStage
    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Verdict
    from schemas.ports import Clock

MAX_ACCOUNTS_AT_ONCE = 3
"""Accounts for which one feed alone makes findings of High without a second opinion."""
OPINIONS_SHARE = 0.05
"""Part of the quota that may be spent on second opinions."""
MAX_WAIT_SECONDS = 10 * MINUTE_SECONDS
"""Without an answer after this time, by the pipeline's clock, the feed is believed."""
POLL_SECONDS = 1.0
MAX_COUNTED_INDICATORS = 10_000
MAX_OPEN_QUESTIONS = 100
MAX_CAPPED_SIGN_INS = 5_000
"""Sign-ins of an indicator whose findings are capped at a time. Beyond, the feed is believed."""
COUNTER = "second opinions"


@dataclass(slots=True)
class _Opinion:
    """A question that is open."""

    address: str
    since: float | None = None
    """When the lookup began."""
    capped: list[tuple[str, Details]] = field(default_factory=list)
    """Sign-ins whose findings are capped, with their address."""


class SecondOpinions:
    """Says which findings wait for a second opinion. Its memory is bounded."""

    def __init__(self) -> None:
        self.available = False
        """Whether a lookup may be spent now."""
        self.wanted = asyncio.Event()
        """Set while a question is open."""
        self._accounts: dict[str, set[str]] = {}
        self._open: dict[str, _Opinion] = {}
        self._settled: set[str] = set()

    def caps(self, address: str, details: Details, verdicts: Sequence[Verdict]) -> bool:
        """Return True if a finding of High is capped until there is a second opinion.

        It is not if any other source has spoken of the address, or for the first accounts.
        """
        bad = [verdict for verdict in verdicts if verdict.reputation.bad]
        alone = len({verdict.source for verdict in bad}) == 1
        if not alone or not all(verdict.listed for verdict in verdicts):
            return False
        indicator = str(bad[0].intel.indicator.get("id"))
        if indicator in self._settled:
            return False
        if len(self._accounts) >= MAX_COUNTED_INDICATORS:
            self._accounts.clear()
        accounts = self._accounts.setdefault(indicator, set())
        if len(accounts) <= MAX_ACCOUNTS_AT_ONCE:
            accounts.add(details.account_object_id or details.account)
        if len(accounts) <= MAX_ACCOUNTS_AT_ONCE:
            return False
        opinion = self._open.get(indicator)
        if opinion is None:
            if not self.available or len(self._open) >= MAX_OPEN_QUESTIONS:
                return False
            opinion = self._open[indicator] = _Opinion(address)
            self.wanted.set()
        if len(opinion.capped) >= MAX_CAPPED_SIGN_INS:
            return False
        opinion.capped.append((address, details))
        return True

    def new(self, now: float) -> list[tuple[str, str]]:
        """Return indicator and address of questions without a lookup, and mark them."""
        due = [(name, opinion) for name, opinion in self._open.items() if opinion.since is None]
        for _, opinion in due:
            opinion.since = now
        return [(indicator, opinion.address) for indicator, opinion in due]

    def pending(self) -> list[tuple[str, str, float]]:
        """Return indicator, address and time of the lookups that are under way."""
        return [
            (indicator, opinion.address, opinion.since)
            for indicator, opinion in self._open.items()
            if opinion.since is not None
        ]

    def settle(self, indicator: str) -> list[tuple[str, Details]]:
        """End a question; return the sign-ins whose findings are to be written again."""
        if len(self._settled) >= MAX_COUNTED_INDICATORS:
            self._settled.clear()
        self._settled.add(indicator)
        opinion = self._open.pop(indicator)
        if not self._open:
            self.wanted.clear()
        return opinion.capped


class OpinionStage:
    """Looks up second opinions, and has the capped findings written again."""

    def __init__(
        self,
        opinions: SecondOpinions,
        lookups: LookupStage | None,
        cache: VerdictCache,
        evaluator: Evaluator,
        clock: Clock,
    ) -> None:
        """Without *lookups* nothing is capped."""
        self._opinions = opinions
        self._lookups = lookups
        self._cache = cache
        self._evaluator = evaluator
        self._clock = clock
        self._checked = float("-inf")
        self._running = asyncio.Lock()

    async def run(self, *, final: bool = False) -> None:
        """Look up what is new, and end what is answered; with *final*, end all."""
        if self._lookups is not None and (final or not self._running.locked()):
            async with self._running:
                await self._run(self._lookups, final=final)

    async def _run(self, lookups: LookupStage, *, final: bool) -> None:
        now = self._clock.now()
        if not 0 <= now - self._checked < MINUTE_SECONDS:
            self._checked = now
            self._opinions.available = await lookups.may_look_up()
        if not self._opinions.wanted.is_set():
            return
        for indicator, address in self._opinions.new(now):
            if not await lookups.look_up_extra(address, COUNTER, OPINIONS_SHARE):
                self._opinions.available = False
                await self._settle([indicator])
        pending = self._opinions.pending()
        answers = await self._cache.get_verdicts([address for _, address, _ in pending])
        await self._settle(
            indicator
            for indicator, address, since in pending
            if final or address in answers or not 0 <= now - since < MAX_WAIT_SECONDS
        )

    async def _settle(self, indicators: Iterable[str]) -> None:
        for indicator in indicators:
            await self._evaluator.evaluate_late(self._opinions.settle(indicator))

    async def follow(self) -> None:
        """End questions as they are answered, until cancelled."""
        while True:
            await self._opinions.wanted.wait()
            await self.run()
            await asyncio.sleep(POLL_SECONDS)
