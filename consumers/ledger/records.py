"""What a row store keeps of an address, and the port that both row stores implement."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from consumers.ledger.rules import EMPTY, AddressState, PackedSignIn
from schemas.intel.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from consumers.ledger.rules import QueuePosition

Kept = TypeVar("Kept")

STATE = ""
"""The name of the state among the versions of a record; all others are instances."""
MAX_KNOWN_ADDRESSES = 40_000
"""States in memory. A state that is known costs no read before the next write."""
MAX_KNOWN_BYTES = 48_000_000
"""Bytes of pending sign-ins in memory, about a kilobyte each."""
_RECORD_BYTES, _SIGN_IN_BYTES = 700, 250
"""What a record, and a sign-in beside its body, take in memory."""


EMPTY_MAPPING: Mapping[str, Record] = MappingProxyType({})


class Holders(Enum):
    """Whose pending sign-ins are loaded with the state of an address."""

    NOBODY = "nobody"
    THIS_INSTANCE = "this instance"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class Record:
    """The state of an address and pending sign-ins of some instances, with their versions.

    Without a version there is no row. A version is compared, and means nothing else.
    """

    state: AddressState = EMPTY
    holdings: Mapping[str, tuple[PackedSignIn, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def holds(self, holder: str) -> bool:
        """Return True if the sign-ins that *holder* may hold are part of this record."""
        entry = self.state.queue
        return entry is None or holder not in entry.holders or holder in self.holdings


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a record, and the sign-ins that it drops."""

    address: str
    before: Record
    state: AddressState
    holdings: Mapping[str, tuple[PackedSignIn, ...]]
    evicted: int = 0
    expired: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes."""
        return (
            self.state == self.before.state
            and self.holdings == self.before.holdings
            and not self.evicted
            and not self.expired
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What one instance has added to a partition and removed from it.

    The sum over instances is the size of the ledger.
    """

    verdicts: int = 0
    addresses: int = 0
    sign_ins: int = 0
    evicted: int = 0
    expired: int = 0

    def plus(self, other: Totals) -> Totals:
        """Return the sum."""
        return Totals(
            self.verdicts + other.verdicts,
            self.addresses + other.addresses,
            self.sign_ins + other.sign_ins,
            self.evicted + other.evicted,
            self.expired + other.expired,
        )

    def after(self, changes: Sequence[Change]) -> Totals:
        """Return the totals after *changes*."""
        total = self
        for change in changes:
            before = change.before
            total = total.plus(
                Totals(
                    isinstance(change.state.answer, Verdict)
                    - isinstance(before.state.answer, Verdict),
                    (change.state.queue is not None) - (before.state.queue is not None),
                    sum(map(len, change.holdings.values()))
                    - sum(map(len, before.holdings.values())),
                    change.evicted,
                    change.expired,
                )
            )
        return total


@dataclass(slots=True)
class Saved:
    """The result of saving changes."""

    records: dict[str, Record] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)
    """Addresses whose row has changed since it was read. Nothing was written for them."""
    totals: Totals = field(default_factory=Totals)


class AddressStore(Protocol):
    """Rows of addresses. It keeps what it is given; the rules are those of the ledger.

    Raises LedgerFailed, or waits until the service responds.
    """

    partitions: Sequence[str]
    exclusive: bool
    """Whether no other instance writes. Then what is known is current, and reading is cheap."""

    def partition_of(self, address: str) -> str:
        """Return the partition of an address. Changes of one partition are saved in turn."""

    async def load(
        self,
        addresses: Sequence[str],
        holders: Holders = Holders.NOBODY,
        known: Mapping[str, Record] = EMPTY_MAPPING,
    ) -> dict[str, Record]:
        """Return a record for each address, an empty one if there is no row.

        The state of a *known* record need not be read again.
        """

    async def save(self, partition: str, changes: Sequence[Change], totals: Totals) -> Saved:
        """Save changes of distinct addresses of a partition, each as a whole or not at all.

        *totals* are those of this instance before the changes, and are saved with them.
        """

    async def ranked(self, most: int) -> list[tuple[str, QueuePosition]]:
        """Return at least the best *most* addresses that may be looked up."""

    async def postponed(self, before: float, most: int) -> list[tuple[str, QueuePosition]]:
        """Return up to *most* addresses postponed until a time *before*, earliest first."""

    async def answered(self) -> list[str]:
        """Return the addresses that have their verdict, and pending sign-ins."""

    async def queued(self, most: int) -> list[str]:
        """Return up to *most* addresses with pending sign-ins."""

    def aged(self, enqueued_before: float) -> AsyncIterator[list[str]]:
        """Yield addresses whose first pending sign-in was enqueued before a time."""

    def ended(self, now: float) -> AsyncIterator[dict[str, Record]]:
        """Yield records without pending sign-ins whose verdict and lease have expired."""

    async def totals(self, partition: str) -> dict[str, Totals]:
        """Return the totals of a partition by instance."""

    async def close(self) -> None:
        """Close the connections."""


class _Generations(Generic[Kept]):
    """The values used last, in two generations; see :class:`consumers.ledger.cache.VerdictCache`.

    Each generation holds values of a total size of half the maximum.
    """

    def __init__(self, max_size: int) -> None:
        self._half = max(1, max_size // 2)
        self._young: dict[str, tuple[Kept, int]] = {}
        self._old: dict[str, tuple[Kept, int]] = {}
        self._size = 0

    def get(self, key: str) -> Kept | None:
        found = self._young.get(key) or self._old.get(key)
        return None if found is None else found[0]

    def put(self, key: str, value: Kept, size: int = 1) -> None:
        _, before = self._young.get(key, (None, 0))
        self._young[key] = value, size
        self._size += size - before
        if self._size >= self._half:
            self._old, self._young, self._size = self._young, {}, 0

    def drop(self, key: str) -> None:
        self._young.pop(key, None)
        self._old.pop(key, None)


class KnownRecords:
    """Records in memory, of the addresses used last.

    Nothing relies on a record being current, because every write compares versions. Pending
    sign-ins are forgotten earlier than states, because they take more memory.
    """

    def __init__(self) -> None:
        self._states: _Generations[Record] = _Generations(MAX_KNOWN_ADDRESSES)
        self._pending: _Generations[Record] = _Generations(MAX_KNOWN_BYTES)

    def get(self, address: str) -> Record | None:
        """Return a known record, with the pending sign-ins that are known."""
        known = self._states.get(address)
        if known is None or known.state.queue is None:
            return known
        pending = self._pending.get(address)
        if pending is None:
            return known
        holders = [holder for holder in known.state.queue.holders if holder in pending.holdings]
        return Record(
            known.state,
            {holder: pending.holdings[holder] for holder in holders},
            {**known.versions, **{holder: pending.versions.get(holder, "") for holder in holders}},
        )

    def keep(self, records: Mapping[str, Record]) -> None:
        """Remember records."""
        for address, record in records.items():
            self._states.put(
                address,
                Record(record.state, {}, {STATE: record.versions[STATE]})
                if record.versions
                else record,
            )
            if record.holdings:
                pending = chain.from_iterable(record.holdings.values())
                size = sum(len(sign_in.body) + _SIGN_IN_BYTES for sign_in in pending)
                self._pending.put(address, record, _RECORD_BYTES + size)
            elif record.state.queue is None:
                self._pending.drop(address)

    def drop(self, addresses: Sequence[str]) -> None:
        """Forget records that are not current."""
        for address in addresses:
            self._states.drop(address)
            self._pending.drop(address)
