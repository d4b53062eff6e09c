"""Ports of the pipeline: clock, lookup sources, messages, findings and the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import datetime

    from schemas.intel.verdicts import AddressClass, Intel, Reputation
    from schemas.rows.findings import FindingRow


class Clock(Protocol):
    """What time it is: wall time, or the recording's own."""

    @property
    def kind(self) -> str:
        """``wall`` or ``event``."""

    def now(self) -> float:
        """Return seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """What a source says of one address; the ledger turns it into a verdict with a lifetime."""

    reputation: Reputation
    intel: Intel
    address_class: AddressClass


class Source(Protocol):
    """Something that gives verdicts, one request at a time."""

    name: str
    batch_size: int
    """Addresses that one request may ask of. May fall during work, never rises."""

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Ask once about at most ``batch_size`` distinct addresses and return a word on each.

        Raises :class:`schemas.errors.SourceFailed`, or KeyRefused. Never repeats a request that
        may have cost quota.
        """

    def use_key(self, key: str) -> None:
        """Send another key from now on."""

    async def close(self) -> None:
        """Let go of connections."""


class Sink(Protocol):
    """Where findings go."""

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Deliver *rows*; return those refused for good, each with the reason.

        All others are accepted when this returns. Raises SinkHeldBack when it gives up waiting;
        rows may then be delivered again, with the same FindingId.
        """

    async def close(self) -> None:
        """Flush and let go."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message came from, to find it again."""

    source: str
    """A file, or an event hub's partition."""
    number: int
    """Line or record in the file, or sequence number."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event hub message, or one line of a recording."""

    body: bytes
    position: Position
    enqueued: datetime | None = None


class MessageSink(Protocol):
    """Where messages go: an event hub, which takes them in batches."""

    retries: int
    """Tries that failed and were followed by another one."""

    @property
    def room(self) -> int:
        """Return the bytes that a body may surely have."""

    @property
    def waiting(self) -> int:
        """Return how many bodies the batch holds."""

    def add(self, body: bytes) -> bool:
        """Put a body into the batch; False if it has no room for it."""

    async def flush(self) -> None:
        """Send the batch and begin another one.

        When this returns, all of it has arrived, perhaps twice. After
        :class:`schemas.errors.HubFailed` nobody knows.
        """


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """Something that could not be read or was refused for good."""

    kind: str
    """``message`` or ``finding``; ``pending`` for a sign-in that came out of the ledger."""
    reason: str
    position: str
    body: bytes
    time: datetime
    id: str = ""


class Quarantine(Protocol):
    """Where it is kept until somebody looks."""

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Keep items durably."""

    def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield what is kept, oldest first, each thing once."""

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove items by id, or all; only those older than *before* if given. Return how many."""

    async def close(self) -> None:
        """Let go."""
