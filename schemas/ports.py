"""Ports of the pipeline: clock, lookup sources, messages, findings and the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from datetime import datetime

    from schemas.intel.verdicts import AddressClass, Intel, Reputation
    from schemas.rows.findings import FindingRow
    from schemas.run_mode import RunMode


class Clock(Protocol):
    """Source of the current time: the wall clock, or the event time of a recording."""

    @property
    def mode(self) -> RunMode:
        """How work is timed by this clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """A source's result for one address. The ledger stores it as a verdict with a lifetime."""

    reputation: Reputation
    intel: Intel
    address_class: AddressClass


class Source(Protocol):
    """A lookup source. It sends one request at a time."""

    name: str
    settings: str
    """The group of its settings, such as ``CROWDSEC``."""
    batch_size: int
    """Maximum addresses per request. May decrease at run time, never increases."""

    async def look_up(self, addresses: Sequence[str]) -> dict[str, SourceVerdict]:
        """Look up at most ``batch_size`` distinct addresses in one request; return all verdicts.

        Raises :class:`schemas.errors.SourceFailed` or KeyRefused. Never repeats a request that
        may have cost quota.
        """

    def use_key(self, key: str) -> None:
        """Use *key* for all further requests."""

    async def close(self) -> None:
        """Close the connections."""


class Sink(Protocol):
    """Destination of findings."""

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Deliver *rows*; return the permanently rejected rows, each with the reason.

        All other rows are accepted when this returns. Raises SinkHeldBack when it stops waiting.
        Any of the rows may have arrived by then: deliver them again with the same FindingId.
        """

    async def close(self) -> None:
        """Flush and close."""


@dataclass(frozen=True, slots=True)
class Position:
    """Origin of a message, precise enough to find it again."""

    source: str
    """A file, or a partition of an event hub."""
    number: int
    """Line or record number in the file, or sequence number in the partition."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event hub message, or a line of a recording."""

    body: bytes
    position: Position
    enqueued: datetime | None = None


class MessageSink(Protocol):
    """Destination of messages: an event hub, which accepts them in batches."""

    retries: int
    """Number of failed attempts that were repeated."""

    @property
    def room(self) -> int:
        """Return the body size in bytes that always fits into an empty batch."""

    @property
    def waiting(self) -> int:
        """Return the number of bodies in the batch."""

    def add(self, body: bytes) -> bool:
        """Add a body to the batch. Return False if it does not fit."""

    async def flush(self) -> None:
        """Send the batch and start a new one.

        Delivery is at least once: when this returns, every body has arrived, possibly twice.
        After :class:`schemas.errors.HubFailed` the batch may or may not have arrived.
        """


@dataclass(frozen=True, slots=True)
class QuarantineItem:
    """A message or record that could not be read, or a permanently rejected finding."""

    kind: str
    """``message`` or ``finding``; ``pending`` for a sign-in read from the ledger."""
    reason: str
    position: str
    body: bytes
    time: datetime
    id: str = ""


class Quarantine(Protocol):
    """Durable store of quarantined items, kept for inspection and replay."""

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Store items durably."""

    async def probe(self) -> None:
        """Write as :meth:`put` does, but keep nothing. Raises like it."""

    def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield the stored items, oldest first, without duplicates."""

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove items by id, or all items for None; return their number.

        With *before*, remove only items that are older.
        """

    async def close(self) -> None:
        """Close the connections."""
