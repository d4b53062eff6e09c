"""What stories remember of an account, and of who signed in from a place, network or program.

Everything is kept by the time of the event, so that the same sign-ins give the same entries in
whatever order they come, and the entries of two instances can be merged. Accounts, devices and
sessions are kept as short hashes; only the few sign-ins in question (:class:`Trace`) are kept with
their details.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.events.sign_in import Details

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_VALUES = 32
"""Networks, countries, devices and programs kept per account; the least recently seen goes."""
MAX_SESSIONS = 24
MAX_TRACES = 16
MAX_PROMPTS = 12
MAX_POSITIONS = 12
POSITION_SECONDS = 2 * HOUR_SECONDS
WRITTEN_POSITION_SECONDS = 6 * HOUR_SECONDS
"""Positions of a network that are written at most so often."""
MAX_KEPT_DAYS = 8
"""First active days kept per account: they show how well it is known."""
MAX_CROWD = 64
"""Accounts kept per place, network or program."""
TRACE_SECONDS = 2 * DAY_SECONDS
"""How long a sign-in in question is kept, by the time of the latest one."""

Period = tuple[int, int]
"""The first and the last day on which a value was seen, in days since 1970."""
CrowdKind = Literal["right", "wrong", "strange"]
Key = TypeVar("Key")


class SessionStart(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a session was seen first."""

    time: float
    network: str
    country: str
    agent: str


class AccountPosition(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where an account succeeded."""

    time: float
    network: str
    latitude: float
    longitude: float
    country: str


class Used(NamedTuple):
    """What a success came with, by the names that the ledger has for it; empty if not recorded."""

    network: str
    country: str
    device: str
    agent: str
    way: str
    session: str
    position: tuple[float, float] | None
    """Latitude and longitude in degrees."""

    def at(self, time: float, position: tuple[float, float]) -> AccountPosition:
        """Return the position with its time."""
        return AccountPosition(time, self.network, *position, self.country)


class Trace(msgspec.Struct, array_like=True, gc=False):
    """A sign-in from a network that is new to the account: stories may tell of it."""

    address: str
    details: Details

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes it the same sign-in."""
        details = self.details
        return details.table, details.event_id, self.address, details.outcome.rank

    @property
    def time(self) -> float:
        """When it happened, in seconds since the epoch."""
        return self.details.event_time.timestamp()


class AccountTraces(msgspec.Struct, array_like=True, gc=False):
    """What an account succeeded with and when, its sessions, and its sign-ins in question."""

    days: list[int] = []
    """The first days on which the account succeeded."""
    networks: dict[str, Period] = {}
    countries: dict[str, Period] = {}
    devices: dict[str, Period] = {}
    agents: dict[str, Period] = {}
    """Programs, without their versions."""
    ways: dict[str, Period] = {}
    sessions: dict[str, SessionStart] = {}
    prompts: dict[str, tuple[float, str]] = {}
    """Right passwords without a success, by a short hash of the event: time and network."""
    positions: list[AccountPosition] = []
    """Where the account was: the last of each two hours in a network, in order of time."""
    traces: list[Trace] = []
    same_as: str = ""
    """The pseudonym of the object id, if this is the entry of a user principal name."""
    names: list[str] = []
    """Pseudonyms of the account's user principal names, if this is the entry of its object id."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the account."""
        return not (self.days or self.same_as or self.names or self.prompts or self.sessions)

    def add_day(self, day: int) -> bool:
        """Record an active day; return True if that changes what is known."""
        if day in self.days or (len(self.days) >= MAX_KEPT_DAYS and day > self.days[-1]):
            return False
        self.days = sorted((*self.days, day))[:MAX_KEPT_DAYS]
        return True

    def add_success(self, time: float, used: Used) -> bool:
        """Record a success; return True if any of it is new."""
        day = int(time // DAY_SECONDS)
        period = day, day
        changed = self.add_day(day)
        for values, value in (
            (self.networks, used.network),
            (self.countries, used.country),
            (self.devices, used.device),
            (self.agents, used.agent),
            (self.ways, used.way),
        ):
            if value:
                changed |= add_period(values, value, period)
        if used.session:
            start = SessionStart(time, used.network, used.country, used.agent)
            changed |= self.add_session(used.session, start)
        if used.position is not None:
            changed |= self.add_position(used.at(time, used.position))
        return changed

    def add_session(self, session: str, start: SessionStart) -> bool:
        """Record where a session was seen; return True if that is new or earlier."""
        known = self.sessions.get(session)
        if known is not None and known.time <= start.time:
            return False
        self.sessions[session] = start
        _keep_latest(self.sessions, MAX_SESSIONS, lambda it: it.time)
        return True

    def add_trace(self, trace: Trace) -> bool:
        """Keep a sign-in in question; return False if it is kept already, or too old."""
        if any(trace.key == kept.key for kept in self.traces):
            return False
        self.traces = _kept_traces([*self.traces, trace])
        return trace in self.traces

    def drop_traces_before(self, time: float) -> None:
        """Drop the sign-ins in question if the last one was long before a time."""
        if self.traces and self.traces[-1].time < time - TRACE_SECONDS:
            self.traces = []

    def include(self, other: AccountTraces) -> None:
        """Add what another instance's entry of the same account has."""
        for day in other.days:
            self.add_day(day)
        for ours, theirs in (
            (self.networks, other.networks),
            (self.countries, other.countries),
            (self.devices, other.devices),
            (self.agents, other.agents),
            (self.ways, other.ways),
        ):
            for value, period in theirs.items():
                add_period(ours, value, period)
        for session, start in other.sessions.items():
            self.add_session(session, start)
        self.prompts = other.prompts | self.prompts
        _keep_latest(self.prompts, MAX_PROMPTS, lambda it: it[0])
        for position in other.positions:
            self.add_position(position)
        own = {trace.key for trace in self.traces}
        self.traces = _kept_traces(
            [*self.traces, *(trace for trace in other.traces if trace.key not in own)]
        )
        self.same_as = self.same_as or other.same_as
        self.names = list(dict.fromkeys((*self.names, *other.names)))

    def add_position(self, position: AccountPosition) -> bool:
        """Record where the account was; return True if it was not there for hours before."""
        last = self.positions[-1] if self.positions else None
        if last is not None and last.network == position.network and _in_same_slot(last, position):
            self.positions[-1] = max(last, position, key=lambda it: it.time)
            return False
        alike = [
            known
            for known in self.positions
            if known.network == position.network
            and abs(known.time - position.time) < WRITTEN_POSITION_SECONDS
        ]
        kept = {(it.network, it.time // POSITION_SECONDS): it for it in self.positions}
        slot = position.network, position.time // POSITION_SECONDS
        if slot not in kept or kept[slot].time < position.time:
            kept[slot] = position
            self.positions = sorted(kept.values(), key=lambda it: it.time)[-MAX_POSITIONS:]
        return not alike

    def add_prompt(self, event: str, time: float, network: str) -> bool:
        """Record a right password that did not succeed; return True if it is new."""
        if event in self.prompts:
            return False
        self.prompts[event] = time, network
        _keep_latest(self.prompts, MAX_PROMPTS, lambda it: it[0])
        return True


class Crowd(msgspec.Struct, array_like=True, gc=False):
    """Accounts for which a place, network or program was new when they came from it."""

    right: dict[str, tuple[float, float]] = {}
    """Accounts with a right password: the first and the last time, in seconds."""
    wrong: dict[str, tuple[float, float]] = {}
    """Accounts with a wrong one on no device of theirs: the same."""
    strange: dict[str, tuple[float, float]] = {}
    """Accounts with a right one on no device of theirs: the same."""

    def add(self, who: str, time: float, kind: CrowdKind) -> bool:
        """Record an account; return True if that changes what is known by an hour or more."""
        times: dict[str, tuple[float, float]] = getattr(self, kind)
        known = times.get(who)
        if known is None:
            if len(times) >= MAX_CROWD:
                if kind == "right":
                    return False
                del times[next(iter(times))]
            times[who] = time, time
            return True
        period = min(known[0], time), max(known[1], time)
        if period[0] > known[0] - HOUR_SECONDS and period[1] < known[1] + HOUR_SECONDS:
            return False
        times[who] = period
        return True

    def include(self, other: Crowd) -> None:
        """Add what another instance's entry of the same key has."""
        for ours, theirs in (
            (self.right, other.right),
            (self.wrong, other.wrong),
            (self.strange, other.strange),
        ):
            for who, (first, last) in theirs.items():
                own = ours.get(who, (first, last))
                ours[who] = min(first, own[0]), max(last, own[1])
        self._bound()

    def _bound(self) -> None:
        """Keep the accounts that were here first, and those that came without a device last."""
        if len(self.right) > MAX_CROWD:
            self.right = dict(sorted(self.right.items(), key=lambda it: it[1])[:MAX_CROWD])
        _keep_latest(self.wrong, MAX_CROWD, lambda it: it[1])
        _keep_latest(self.strange, MAX_CROWD, lambda it: it[1])


def _in_same_slot(first: AccountPosition, second: AccountPosition) -> bool:
    return first.time // POSITION_SECONDS == second.time // POSITION_SECONDS


def add_period(values: dict[str, Period], value: str, period: Period) -> bool:
    """Record when a value was seen; return True if that is new, or a day earlier or later."""
    known = values.get(value)
    joined = period if known is None else (min(known[0], period[0]), max(known[1], period[1]))
    if joined == known:
        return False
    values[value] = joined
    _keep_latest(values, MAX_VALUES, lambda it: it[1])
    return True


def _keep_latest(values: dict[str, Key], most: int, time_of: Callable[[Key], float]) -> None:
    while len(values) > most:
        del values[min(values, key=lambda name: time_of(values[name]))]


def _kept_traces(traces: list[Trace]) -> list[Trace]:
    """Return the traces of the last two days, the latest of them, in order of time."""
    ordered = sorted(traces, key=lambda trace: (trace.time, trace.key))
    since = ordered[-1].time - TRACE_SECONDS if ordered else 0.0
    return [trace for trace in ordered if trace.time >= since][-MAX_TRACES:]
