"""The counts of ``plan``: the traffic, and how much of it each quota answers. Pure.

Sign-ins are counted by their first IP address, as everywhere. State is kept by IP address, and by
sign-in only while it waits.
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
"""Lookups a month of CrowdSec plans: free key, Premium, and larger ones."""
MONTH_DAYS = 30
NO_WAIT_SECONDS = GROUP_SECONDS + MINUTE_SECONDS
"""Waits up to this many seconds count as 0: the input is processed in groups of this length."""
RISK_LEVELS = frozenset(("low", "medium", "high"))
RISK_STATES = frozenset(("atrisk", "confirmedcompromised"))
SIGN_IN_KINDS = ("all", "successful", "new", "risky", "risky_let_in")
"""Kinds of sign-in. New: success of a user from a location where the account has not succeeded
before, with a device that is not known to be compliant, like the first sign-in with a stolen
account. Risky: at risk by Entra ID, mostly failures. Let in: risky with valid credentials."""
LET_IN = (Outcome.SUCCESS, Outcome.PASSWORD_ACCEPTED)


def is_risky(signals: Signals) -> bool:
    """Return True if Entra ID itself considers the sign-in risky."""
    return signals.risk_level in RISK_LEVELS or signals.risk_state in RISK_STATES


class Arrival(NamedTuple):
    """Sign-ins from one IP address within a minute, by kind as in :data:`SIGN_IN_KINDS`."""

    address: str
    timestamp: float
    signins: tuple[int, ...]


class Traffic:
    """Counts of the input, independent of any plan."""

    def __init__(self, own: Networks, lifetime: float) -> None:
        """*own* networks need no verdict; a verdict is valid for *lifetime* seconds."""
        self.signins = [0] * len(SIGN_IN_KINDS)
        """By kind, without sign-ins from own networks."""
        self.own_network = 0
        self.lookups_wanted = 0
        """Lookups if every IP address were looked up whenever its verdict has expired."""
        self.egress = Egress()
        self.began: float | None = None
        self.ended = 0.0
        self._own = own
        self._lifetime = lifetime
        self._until: dict[str, float] = {}
        self._seen: set[int] = set()
        self._arrived: dict[tuple[str, float], list[int]] = {}

    @property
    def addresses(self) -> int:
        """Return the number of distinct IP addresses, without own networks."""
        return len(self._until)

    @property
    def days(self) -> float:
        """Return the days from the first record to the last."""
        return 0.0 if self.began is None else (self.ended - self.began) / DAY_SECONDS

    @property
    def lookups_wanted_a_month(self) -> int | None:
        """Return the lookups needed for 30 such days; None for less than one day."""
        if self.days < 1:
            return None
        return math.ceil(self.lookups_wanted * MONTH_DAYS / self.days)

    def take(self, now: float, signins: Sequence[SignIn]) -> None:
        """Count sign-ins that arrived at *now*."""
        if not signins:
            return
        self.began = now if self.began is None else min(self.began, now)
        self.ended = max(self.ended, now)
        minute = now - now % MINUTE_SECONDS
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
            arrived = self._arrived.setdefault((first, minute), [0] * len(SIGN_IN_KINDS))
            for kind, count in enumerate(kinds):
                arrived[kind] += count
                self.signins[kind] += count

    def _is_new(self, address: str, signals: Signals) -> bool:
        pair = hash((signals.object_id or signals.account, place_of(address, signals.as_number)))
        known = pair in self._seen
        self._seen.add(pair)
        return not known and signals.person and signals.compliant is not True

    def arrivals(self) -> list[Arrival]:
        """Return the arrivals since the last call."""
        arrived, self._arrived = self._arrived, {}
        return [
            Arrival(address, minute, tuple(counts)) for (address, minute), counts in arrived.items()
        ]


@dataclass(slots=True)
class AnsweredCount:
    """Number of sign-ins of a kind that were answered, and after how long."""

    of: int = 0
    waited: Counter[int] = field(default_factory=Counter)
    """Number of sign-ins by minutes waited."""
    waiting: int = 0
    """Sign-ins still waiting at the end of the input; the rest of the unanswered expired."""

    @property
    def answered(self) -> int:
        """Return the number of answered sign-ins."""
        return self.waited.total()

    @property
    def share(self) -> float | None:
        """Return the share that was answered; None if there were no sign-ins."""
        return self.answered / self.of if self.of else None

    @property
    def all_at_once(self) -> bool:
        """Return True if every sign-in was answered without waiting."""
        return self.waited[0] == self.of

    def wait(self, share: float) -> int | None:
        """Return the minutes within which *share* of the answered sign-ins were answered."""
        target, counted = share * self.answered, 0
        for minutes in sorted(self.waited):
            counted += self.waited[minutes]
            if counted >= target:
                return minutes
        return None


class PlanCoverage:
    """Coverage of one plan, from arrivals and verdicts, in any order within a batch."""

    def __init__(self, lookups_a_month: int, *, waiting_limit: float) -> None:
        self.lookups_a_month = lookups_a_month
        self.lookups = 0
        """Number of lookups made."""
        self.kinds = [AnsweredCount() for _ in SIGN_IN_KINDS]
        self._limit = waiting_limit + MINUTE_SECONDS
        self._until: dict[str, float] = {}
        self._waiting: dict[str, deque[Arrival]] = {}

    @property
    def addresses(self) -> int:
        """Return the number of IP addresses with a verdict."""
        return len(self._until)

    @property
    def all_at_once(self) -> bool:
        """Return True if a larger plan could do no better."""
        return self.kinds[0].all_at_once

    def arrive(self, arrivals: Iterable[Arrival], before: float) -> None:
        """Count the sign-ins of a batch; *before* is the time at its start."""
        for arrival in arrivals:
            for kind, count in enumerate(arrival.signins):
                self.kinds[kind].of += count
            if arrival.timestamp < self._until.get(arrival.address, -math.inf):
                self._count(arrival, 0)
                continue
            waiting = self._waiting.setdefault(arrival.address, deque())
            while waiting and before - waiting[0].timestamp > self._limit:
                waiting.popleft()  # expired
            waiting.append(arrival)

    def record_verdicts(self, answers: Mapping[str, Answer], now: float) -> None:
        """Count the verdicts that arrived at *now*."""
        for address, answer in answers.items():
            if isinstance(answer, Verdict):
                self._until[address] = answer.expires
                if waiting := self._waiting.pop(address, None):
                    self._answer(address, waiting, now, answer.expires)

    def _answer(self, address: str, waiting: deque[Arrival], now: float, until: float) -> None:
        later: deque[Arrival] = deque()
        for arrival in waiting:
            waited = now - arrival.timestamp
            if arrival.timestamp >= until:
                later.append(arrival)
            elif waited <= self._limit:
                minutes = 0 if waited <= NO_WAIT_SECONDS else int(waited // MINUTE_SECONDS)
                self._count(arrival, minutes)
        if later:
            self._waiting[address] = later

    def _count(self, arrival: Arrival, minutes: int) -> None:
        for kind, count in enumerate(arrival.signins):
            if count:
                self.kinds[kind].waited[minutes] += count

    def end(self, now: float) -> None:
        """Count the sign-ins still waiting at *now*, the end of the input."""
        for waiting in self._waiting.values():
            for arrival in waiting:
                if now - arrival.timestamp <= self._limit:
                    for kind, count in enumerate(arrival.signins):
                        self.kinds[kind].waiting += count
        self._waiting.clear()


@dataclass(slots=True)
class TrafficPlan:
    """The traffic of the input, and the coverage of each plan."""

    traffic: Traffic
    coverages: list[PlanCoverage]
    records: int = 0
    skipped: int = 0
    rejected: int = 0
    notes: list[str] = field(default_factory=list)


def needed(coverages: Sequence[PlanCoverage]) -> Iterator[tuple[PlanCoverage, int | None]]:
    """Yield plans, smallest first, each with the smaller plan that answers all without waiting."""
    enough: int | None = None
    for coverage in coverages:
        yield coverage, enough
        if enough is None and coverage.all_at_once:
            enough = coverage.lookups_a_month
