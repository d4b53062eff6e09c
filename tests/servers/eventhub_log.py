"""Event hubs in memory: partitions are logs that can be far longer than memory.

A log is a list of runs. A run repeats a few stored messages any number of times, so that ten
million messages of a template take the memory of the template.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from tests.servers.eventhub_frames import (
    ANNOTATIONS,
    APPLICATION_PROPERTIES,
    BATCH_FORMAT,
    DATA,
    FOOTER,
    decode,
    section,
    sections,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FIRST_OFFSET = 2**40  # offsets are numbers of 13 digits: frames get a fixed layout
OFFSET_STEP = 256


def now_ms() -> int:
    """Return the time now, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def offset_of(number: int) -> int:
    """Return the offset of a sequence number; the two differ on purpose."""
    return FIRST_OFFSET + number * OFFSET_STEP


class Stored(NamedTuple):
    """A message as kept: encoded sections from the properties on, and its partition key."""

    sections: bytes
    key: str | None = None

    @staticmethod
    def of(
        body: bytes | Sequence[bytes],
        properties: Mapping[str, object] | None = None,
        key: str | None = None,
    ) -> Stored:
        """Encode a message of one or several data sections."""
        head = section(APPLICATION_PROPERTIES, dict(properties)) if properties else b""
        chunks = [body] if isinstance(body, bytes) else body
        return Stored(head + b"".join(section(DATA, chunk) for chunk in chunks), key)

    @staticmethod
    def read(message: bytes) -> Stored:
        """Keep what a producer sent: nothing changes from the properties on."""
        key, kept = None, []
        for descriptor, start, value, end in sections(message):
            if descriptor == ANNOTATIONS:
                key = decode(message, value)[0].get("x-opt-partition-key")
            elif ANNOTATIONS < descriptor < FOOTER:
                kept.append(message[start:end])
        return Stored(b"".join(kept), key)


def read_transfer(payload: bytes, message_format: int) -> list[Stored]:
    """Return the messages of a transfer: one, or those of a batch."""
    if message_format != BATCH_FORMAT:
        return [Stored.read(payload)]
    return [
        Stored.read(decode(payload, value)[0])
        for descriptor, _, value, _ in sections(payload)
        if descriptor == DATA
    ]


class Run(NamedTuple):
    """Messages from ``first`` on: ``length`` of ``bodies`` in turn, beginning at ``skip``."""

    first: int
    length: int
    bodies: Sequence[Stored]
    enqueued: int
    step: float = 0  # milliseconds between two messages
    skip: int = 0


class Position(NamedTuple):
    """Where a reader starts: ``by`` is offset, sequence-number or enqueued-time."""

    by: str
    value: str
    inclusive: bool


class PositionError(ValueError):
    """The partition has no such position."""


@dataclass(eq=False)
class Partition:
    """One log. ``readers`` are woken when messages are added or a silence ends."""

    next: int = 0
    first: int = 0
    silent: bool = False
    runs: list[Run] = field(default_factory=list)
    readers: set[Callable[[], None]] = field(default_factory=set)

    def append(
        self, bodies: Sequence[Stored], count: int | None = None, enqueued: int | None = None,
        step: float = 0, skip: int = 0,
    ) -> int:  # fmt: skip
        """Add messages, repeating the bodies up to the count; returns the first one's number.

        Enqueued times begin at *enqueued* (by default now), *step* milliseconds apart; *skip* is
        the place in *bodies* to begin at.
        """
        number, count = self.next, len(bodies) if count is None else count
        if count:
            at = now_ms() if enqueued is None else enqueued
            self.runs.append(Run(number, count, bodies, at, step, skip))
            self.next += count
            self.wake()
        return number

    def wake(self) -> None:
        """Have all readers look for messages."""
        for reader in list(self.readers):
            reader()

    def trim(self, first: int) -> None:
        """Forget the messages before this number."""
        self.first = min(max(first, self.first), self.next)
        self.runs = [run for run in self.runs if run.first + run.length > self.first]

    def recreate(self) -> None:
        """Forget everything: numbers start again."""
        self.runs, self.first, self.next = [], 0, 0

    def read(self, number: int, limit: int) -> Iterator[tuple[int, int, Stored]]:
        """Yield up to *limit* messages from a number on: number, enqueued time, message."""
        at = bisect_right(self.runs, number, key=lambda run: run.first) - 1
        for index in range(max(at, 0), len(self.runs)):
            run = self.runs[index]
            first, size = run.first, len(run.bodies)
            for one in range(max(number, first), min(first + run.length, number + limit)):
                since = one - first
                yield (
                    one,
                    run.enqueued + int(since * run.step),
                    run.bodies[(since + run.skip) % size],
                )
            if first + run.length >= number + limit:
                return

    def last(self) -> tuple[int, str, int]:
        """Return number, offset and enqueued time of the last message, or the empty ones."""
        if not self.next:
            return -1, "-1", -62135596800000
        if not self.runs:
            return self.next - 1, str(offset_of(self.next - 1)), -62135596800000
        run = self.runs[-1]
        time_ms = run.enqueued + int((run.length - 1) * run.step)
        return self.next - 1, str(offset_of(self.next - 1)), time_ms

    def find(self, position: Position | None) -> int:
        """Return the number a reader starts at; raises if it lies past the end."""
        if position is None or position.value == "-1":
            return self.first
        if position.value == "@latest":
            return self.next
        if position.by == "enqueued-time":
            return max(self._at_time(int(position.value), position.inclusive), self.first)
        number = int(position.value)
        if position.by == "offset":
            number, past = divmod(number - FIRST_OFFSET, OFFSET_STEP)
            number += 1 if past and position.inclusive else 0
        if number >= max(self.next, 1):
            what = "offset" if position.by == "offset" else "sequence number"
            last = self.last()[1 if position.by == "offset" else 0]
            text = f"The supplied {what} '{position.value}' is invalid."
            raise PositionError(f"{text} The last {what} in the system is '{last}'")
        return max(number if position.inclusive else number + 1, self.first)

    def _at_time(self, time_ms: int, inclusive: bool) -> int:
        wanted = time_ms if inclusive else time_ms + 1
        for run in self.runs:
            if run.enqueued + int((run.length - 1) * run.step) >= wanted:
                if run.enqueued >= wanted or not run.step:
                    return run.first
                low = max(int((wanted - run.enqueued) / run.step) - 1, 0)
                return next(
                    run.first + n
                    for n in range(low, run.length)
                    if run.enqueued + int(n * run.step) >= wanted
                )
        return self.next


@dataclass
class Hub:
    """An event hub with its partitions and consumer groups (compared without case)."""

    name: str
    partitions: list[Partition]
    groups: frozenset[str]
    created: int = field(default_factory=now_ms)
    turn: int = 0

    def choose(self, key: str | None) -> Partition:
        """Return the partition of a key, or the next in turn."""
        if key is not None:
            return self.partitions[crc32(key.encode()) % len(self.partitions)]
        self.turn += 1
        return self.partitions[(self.turn - 1) % len(self.partitions)]
