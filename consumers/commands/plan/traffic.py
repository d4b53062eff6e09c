"""What a plan counts: the traffic of a recording, and how much of it each quota answers. Pure.

Sign-ins are counted by their address of first choice, as everywhere. Nothing is kept of a single
sign-in but for as long as it waits: what is kept is kept of addresses.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from consumers.commands.plan.egress import Egress
from consumers.enrichment.history_entries import place_of
from consumers.event_time import GROUP_SECONDS
from schemas.durations import DAY_SECONDS, MINUTE_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.ranking_signals import signals_of
from schemas.intel.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from schemas.events.addresses import Networks
    from schemas.events.ranking_signals import Signals
    from schemas.events.sign_in import SignIn
    from schemas.intel.verdicts import Answer

PLANS = (120, 1_500, 5_000, 25_000, 100_000)
"""Lookups a month that CrowdSec offers: the free key's, Premium's, and what is sold beyond."""
MONTH_DAYS = 30
NO_WAIT_SECONDS = GROUP_SECONDS + MINUTE_SECONDS
"""Seconds of waiting that are none: a recording is handled in stretches as long as this."""
RISK_LEVELS = frozenset(("low", "medium", "high"))
RISK_STATES = frozenset(("atrisk", "confirmedcompromised"))
SIGN_IN_KINDS = ("all", "successful", "new", "risky", "risky_let_in")
"""Of sign-ins. New are successes of a person from a place where the account has not succeeded
before, by a device that is not known to be compliant: what a stolen account looks like at first.
Risky is what Entra ID suspects, mostly failures; let in are those whose password was right."""
LET_IN = (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)


def is_risky(one: Signals) -> bool:
    """Tell whether Entra ID itself suspected a sign-in."""
    return one.risk_level in RISK_LEVELS or one.risk_state in RISK_STATES


class Arrival(NamedTuple):
    """Sign-ins that came from one address within a minute, by kind as in :data:`SIGN_IN_KINDS`."""

    address: str
    moment: float
    signins: tuple[int, ...]


class Traffic:
    """What a recording holds, whatever is asked about it."""

    def __init__(self, own: Networks, lifetime: float) -> None:
        """*own* networks need no answer; an answer lasts for *lifetime* seconds."""
        self.signins = [0] * len(SIGN_IN_KINDS)
        """By kind; without those from own networks."""
        self.own_network = 0
        self.lookups_wanted = 0
        """Lookups, if every address were asked about as often as its answer ends."""
        self.egress = Egress()
        self.began: float | None = None
        self.ended = 0.0
        self._own = own
        self._lifetime = lifetime
        self._until: dict[str, float] = {}
        self._met: set[int] = set()
        self._arrived: dict[tuple[str, float], list[int]] = {}

    @property
    def addresses(self) -> int:
        """Return how many distinct addresses there were, without own networks."""
        return len(self._until)

    @property
    def days(self) -> float:
        """Return the days from the first record to the last."""
        return 0.0 if self.began is None else (self.ended - self.began) / DAY_SECONDS

    @property
    def lookups_wanted_a_month(self) -> int | None:
        """Return the lookups wanted for 30 days like these; None for less than a day of them."""
        if self.days < 1:
            return None
        return math.ceil(self.lookups_wanted * MONTH_DAYS / self.days)

    def take(self, now: float, signins: Sequence[SignIn]) -> None:
        """Count sign-ins that came at *now*."""
        if not signins:
            return
        self.began = now if self.began is None else min(self.began, now)
        self.ended = max(self.ended, now)
        moment = now - now % MINUTE_SECONDS
        for signin in signins:
            for address in signin.addresses:
                if address not in self._own and now >= self._until.get(address, -math.inf):
                    self._until[address] = now + self._lifetime
                    self.lookups_wanted += 1
            first = signin.addresses[0]
            if first in self._own:
                self.own_network += 1
                continue
            signals = signals_of(signin)
            risky = is_risky(signals)
            succeeded = signals.outcome is Outcome.SUCCESS
            new = succeeded and self._is_new(first, signals)
            kinds = (True, succeeded, new, risky, risky and signals.outcome in LET_IN)
            self.egress.take(first, signals, risky=risky, day=int(now // DAY_SECONDS))
            arrived = self._arrived.setdefault((first, moment), [0] * len(SIGN_IN_KINDS))
            for kind, count in enumerate(kinds):
                arrived[kind] += count
                self.signins[kind] += count

    def _is_new(self, address: str, one: Signals) -> bool:
        pair = hash((one.account, place_of(address, one.as_number)))
        known = pair in self._met
        self._met.add(pair)
        return not known and one.person and one.compliant is not True

    def arrivals(self) -> list[Arrival]:
        """Return who came since this was asked last."""
        arrived, self._arrived = self._arrived, {}
        return [
            Arrival(address, moment, tuple(counts)) for (address, moment), counts in arrived.items()
        ]


@dataclass(slots=True)
class AnsweredCount:
    """How many sign-ins of one kind were answered, and after how long."""

    of: int = 0
    waited: Counter[int] = field(default_factory=Counter)
    """Sign-ins by the minutes that they waited."""
    waiting: int = 0
    """Sign-ins that still wait at the end of the recording; the others were given up."""

    @property
    def answered(self) -> int:
        """Return how many were answered."""
        return self.waited.total()

    @property
    def share(self) -> float | None:
        """Return which share was answered; None where there was nothing to answer."""
        return self.answered / self.of if self.of else None

    @property
    def all_at_once(self) -> bool:
        """Tell whether each one was answered without waiting."""
        return self.waited[0] == self.of

    def wait(self, share: float) -> int | None:
        """Return the minutes within which *share* of the answered ones were answered."""
        wanted, seen = share * self.answered, 0
        for minutes in sorted(self.waited):
            seen += self.waited[minutes]
            if seen >= wanted:
                return minutes
        return None


class PlanCoverage:
    """What one plan answers. To be told of arrivals and of answers, in any order within a batch."""

    def __init__(self, lookups_a_month: int, *, waiting_limit: float) -> None:
        self.lookups_a_month = lookups_a_month
        self.lookups = 0
        """Lookups that were made."""
        self.kinds = [AnsweredCount() for _ in SIGN_IN_KINDS]
        self._limit = waiting_limit + MINUTE_SECONDS
        self._until: dict[str, float] = {}
        self._waiting: dict[str, deque[Arrival]] = {}

    @property
    def addresses(self) -> int:
        """Return how many addresses were answered."""
        return len(self._until)

    @property
    def all_at_once(self) -> bool:
        """Tell whether a wider plan could do no better."""
        return self.kinds[0].all_at_once

    def arrive(self, arrivals: Iterable[Arrival], before: float) -> None:
        """Take note of the sign-ins of a batch; *before* was the time when it began."""
        for one in arrivals:
            for kind, count in enumerate(one.signins):
                self.kinds[kind].of += count
            if one.moment < self._until.get(one.address, -math.inf):
                self._count(one, 0)
                continue
            waiting = self._waiting.setdefault(one.address, deque())
            while waiting and before - waiting[0].moment > self._limit:
                waiting.popleft()  # given up
            waiting.append(one)

    def resolved(self, answers: Mapping[str, Answer], now: float) -> None:
        """Take note of answers that came at *now*."""
        for address, answer in answers.items():
            if isinstance(answer, Verdict):
                self._until[address] = answer.expires
                if waiting := self._waiting.pop(address, None):
                    self._answer(address, waiting, now, answer.expires)

    def _answer(self, address: str, waiting: deque[Arrival], now: float, until: float) -> None:
        later: deque[Arrival] = deque()
        for one in waiting:
            waited = now - one.moment
            if one.moment >= until:
                later.append(one)
            elif waited <= self._limit:
                self._count(one, 0 if waited <= NO_WAIT_SECONDS else int(waited // MINUTE_SECONDS))
        if later:
            self._waiting[address] = later

    def _count(self, one: Arrival, minutes: int) -> None:
        for kind, count in enumerate(one.signins):
            if count:
                self.kinds[kind].waited[minutes] += count

    def end(self, now: float) -> None:
        """Take note that the recording ended at *now*."""
        for waiting in self._waiting.values():
            for one in waiting:
                if now - one.moment <= self._limit:
                    for kind, count in enumerate(one.signins):
                        self.kinds[kind].waiting += count
        self._waiting.clear()


@dataclass(slots=True)
class TrafficPlan:
    """What a recording holds, and what each plan answers of it."""

    traffic: Traffic
    coverages: list[PlanCoverage]
    records: int = 0
    skipped: int = 0
    rejected: int = 0
    notes: list[str] = field(default_factory=list)


def needed(coverages: Sequence[PlanCoverage]) -> Iterator[tuple[PlanCoverage, int | None]]:
    """Yield plans, narrow ones first, each with the narrower one that answers all at once."""
    enough: int | None = None
    for one in coverages:
        yield one, enough
        if enough is None and one.all_at_once:
            enough = one.lookups_a_month
