"""What a recording allows at all: the naive consumer, and an oracle; nothing of the product in it.

*Caught* is a malicious successful sign-in whose address was asked about and listed at that time,
if it happened while that verdict was believed or waited for it, for at most a day.

- The naive consumer asks of every address when it meets it, keeps the answer for a day, and stops
  when the period's quota is spent.
- The oracle knows the truth. It asks only of addresses from which somebody bad will have signed
  in, in the order of their first such sign-in, as soon as there is something to hear, and again
  when a verdict has run out. No ranking can catch more with a quota.

They read recordings and truth files alone, of whatever origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from consumers.inputs.recording import read_recording
from schemas.events.addresses import AddressMemo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DAY = 86_400.0
PERIOD = 30 * DAY
NAIVE_CACHE = DAY
WAITING = DAY
BELIEVED = 7 * DAY
"""Seconds for which a bad verdict is believed: the product's default."""


class Malicious(NamedTuple):
    """A malicious successful sign-in."""

    time: float
    id: str
    address: str
    kind: str


class Event(NamedTuple):
    """What the naive consumer sees of a sign-in."""

    time: float
    id: str
    address: str


@dataclass(frozen=True, slots=True)
class KnownTruth:
    """A truth file, read."""

    about: dict[str, Any]
    taken: list[Malicious]
    """By time."""
    listed_from: dict[str, float]
    """Of addresses that are listed as bad at some time."""

    def listed(self, address: str, moment: float) -> bool:
        """Tell whether asking at *moment* tells that an address is bad."""
        return self.listed_from.get(address, math.inf) <= moment


@dataclass(slots=True)
class Result:
    """What somebody caught, and what it cost."""

    caught: set[str]
    lookups: int


def seconds_of(text: str) -> float:
    """Return a time of a file in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def read_truth(path: Path) -> KnownTruth:
    """Read a truth file."""
    told = orjson.loads(path.read_bytes())
    taken = [
        Malicious(seconds_of(one["time"]), one["id"], one["address"], one["kind"])
        for one in told["malicious"]
        if one["success"]
    ]
    listed = {
        address: seconds_of(one["listed_from"])
        for address, one in told["addresses"].items()
        if one["listed_from"] is not None and one["reputation"] in ("malicious", "suspicious")
    }
    about = {name: value for name, value in told.items() if name not in ("malicious", "addresses")}
    return KnownTruth(about, sorted(taken), listed)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a recording, of either envelope, in order of arrival."""
    for message in read_recording(str(path), lambda _: None):
        yield from orjson.loads(message.body)["records"]


def events(path: Path) -> Iterator[Event]:
    """Yield what the naive consumer needs of a recording."""
    canonical = AddressMemo()
    for one in records(path):
        inner = one.get("properties")
        if inner is None:
            written, id_, time = one["IPAddress"], one["Id"], one["TimeGenerated"]
        else:
            written, id_, time = one["callerIpAddress"], inner["id"], one["time"]
        address = canonical[written]
        if isinstance(address, str):
            yield Event(seconds_of(time), id_, address)


def naive(path: Path, truth: KnownTruth, quotas: Sequence[int]) -> dict[int, Result]:
    """Run the naive consumer with each quota, in one reading."""
    wanted = {one.id for one in truth.taken}
    consumers = [_Naive(truth, quota) for quota in quotas]
    for event in events(path):
        matters = event.id in wanted
        for consumer in consumers:
            consumer.take(event, matters=matters)
    return {one.quota: Result(one.caught, one.lookups) for one in consumers}


class _Naive:
    """Asks of whatever comes, as long as it may."""

    def __init__(self, truth: KnownTruth, quota: int) -> None:
        self.quota = quota
        self.caught: set[str] = set()
        self.lookups = 0
        self._truth = truth
        self._left = quota
        self._period_ends: float | None = None
        self._clock = 0.0
        self._known: dict[str, tuple[float, bool]] = {}

    def take(self, event: Event, *, matters: bool) -> None:
        """See a sign-in."""
        now = self._clock = max(self._clock, event.time)
        if self._period_ends is None:
            self._period_ends = now + PERIOD
        elif now >= self._period_ends:
            self._left, self._period_ends = self.quota, self._period_ends + PERIOD
        known = self._known.get(event.address)
        if known is None or known[0] <= now:
            if not self._left:
                return
            self._left -= 1
            self.lookups += 1
            known = now + NAIVE_CACHE, self._truth.listed(event.address, now)
            self._known[event.address] = known
        if matters and known[1]:
            self.caught.add(event.id)


def oracle(truth: KnownTruth, quota: int) -> Result:
    """Ask of nobody but those who are bad, when they can be known to be."""
    asked: dict[str, float] = {}
    caught: set[str] = set()
    spent: dict[int, int] = {}
    start = seconds_of(truth.about["start"])
    for one in truth.taken:
        last = asked.get(one.address)
        if last is not None and one.time <= last + BELIEVED:  # also one that waited for it
            caught.add(one.id)
            continue
        moment = max(one.time, truth.listed_from.get(one.address, math.inf))
        if moment > one.time + WAITING:
            continue
        period = int((moment - start) // PERIOD)
        if spent.get(period, 0) < quota:
            spent[period] = spent.get(period, 0) + 1
            asked[one.address] = moment
            caught.add(one.id)
    return Result(caught, sum(spent.values()))
