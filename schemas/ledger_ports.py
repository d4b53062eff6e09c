"""Ports of the ledger: the verdict cache with its queue, and the log of recent sign-ins."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence

    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Answer, Verdict


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that waits for the verdict on its address.

    ``key`` is its FindingId and the rank of its outcome: one sign-in with MFA is several records.

    ``own`` is the score of the event itself, ``place`` the score of its location at that time.
    ``parts`` is the breakdown of both: reasons and points.
    """

    key: str
    address: str
    details: Details
    enqueued_at: float
    own: float = 0.0
    place: float = 0.0
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class PendingAddress:
    """An address that has pending sign-ins and may be looked up."""

    address: str
    score: float
    """Highest event score of its sign-ins, plus the latest location score."""
    enqueued_at: float
    """Time at which its first sign-in was enqueued."""
    first_lookup: float | None = None
    """Time of the first lookup, if its result was unknown and a recheck is pending."""


@dataclass(slots=True)
class ErasedCounts:
    """Numbers of deleted entries of an address or an account."""

    verdicts: int = 0
    waiting: int = 0
    history: int = 0


@dataclass(frozen=True, slots=True)
class LeaseResult:
    """Result of a lease request: addresses to look up, and addresses that have an answer already.

    An address in neither is being looked up by another instance.
    """

    acquired: set[str]
    resolved: dict[str, Answer]


@dataclass(slots=True)
class LedgerSize:
    """Current contents of a ledger, in numbers."""

    verdicts: int = 0
    waiting: int = 0
    waiting_addresses: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class VerdictStore(Protocol):
    """Verdicts, and the leases by which instances agree on who looks an address up.

    Every method of a ledger is atomic for each address, and durable when it returns. Times are
    those of the ledger's clock. A method raises LedgerFailed, or waits until the store responds.
    """

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return the answers that have not expired.

        An ``Unanswered`` value means that the address must not be looked up yet; queue the
        sign-in.
        """

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Store answers, each until it expires. Ends the leases of their addresses."""

    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """Lease the addresses that this instance may look up, to the exclusion of all others.

        Excluded are addresses with an unexpired answer and addresses leased by another instance.
        A lease ends with an answer, with :meth:`release`, or after *seconds*; then another
        instance may take over. Acquiring a lease again renews it.
        """

    async def release(self, addresses: Sequence[str]) -> None:
        """End this instance's leases without an answer: no lookup was made."""


class PendingQueue(Protocol):
    """Pending sign-ins, and the queue of their addresses."""

    async def enqueue_unless_answered(
        self, waiting: Sequence[PendingSignIn], displaced: int = 0
    ) -> dict[str, Verdict]:
        """Enqueue sign-ins; return the verdicts of addresses that were answered meanwhile.

        Sign-ins of answered addresses are not enqueued, unless a recheck of the address is
        pending. Enqueueing the same key again changes nothing. Above the maximum of sign-ins that
        an instance may hold for an address, those with the lowest score are evicted and counted as
        dropped. *displaced* is the number of sign-ins rejected earlier for lack of capacity; it is
        added to that count.
        """

    async def waiting_among(
        self, addresses: Sequence[str], *, just_answered: bool = False
    ) -> set[str]:
        """Return the addresses that have pending sign-ins.

        With *just_answered*, this instance has just stored their verdicts. An answered
        address gets no new sign-ins, so what is known then need not be read again.
        """

    async def waiting_for(self, address: str, most: int) -> list[PendingSignIn]:
        """Return up to *most* pending sign-ins of *address*, oldest first."""

    async def acknowledge(self, waiting: Sequence[PendingSignIn]) -> dict[str, int]:
        """Delete pending sign-ins: their finding was accepted, or they cannot become one.

        Return how many others their addresses still have, where there are any. Another instance
        may have enqueued them before it could know of the verdict; nobody else judges them.
        """

    async def acknowledge_addresses(self, addresses: Sequence[str]) -> dict[str, int]:
        """Delete pending sign-ins of answered, harmless addresses; return the number for each."""

    async def answered_waiting(self) -> list[str]:
        """Return answered addresses with pending sign-ins, except those with a pending recheck."""

    async def due(self, most: int) -> list[PendingAddress]:
        """Return up to *most* addresses with pending sign-ins that may be looked up, best first.

        Addresses are ordered by score. A recheck needs a higher score than a first lookup, see
        :func:`consumers.ledger.rechecks.recheck_penalty`. Leased addresses are not due.
        """

    async def pending_addresses(self, most: int) -> list[str]:
        """Return up to *most* addresses with pending sign-ins, due or not."""

    async def expire_pending(self, enqueued_before: float) -> int:
        """Drop sign-ins enqueued before a time, and count them as dropped; return their number."""


class Leases(Protocol):
    """Leases by name: which instance reads a feed, uploads it, or tidies up."""

    async def take_lease(self, name: str, seconds: float) -> bool:
        """Take or renew a lease; return False if another instance holds it."""

    async def end_lease(self, name: str) -> None:
        """End this instance's lease."""


class LookupCounter(Protocol):
    """Lookups spent by account and period, and how many are wanted."""

    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Reserve up to *wanted* lookups of *account*'s quota in the period; return the number."""

    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Return lookups to the quota that the source has definitely not counted."""

    async def spent(self, account: str, period: str) -> int:
        """Return the number of lookups reserved in the period."""

    async def count_demand(self, account: str, new: Mapping[int, int]) -> int:
        """Add numbers of new addresses by hour since the epoch; return those of the last 24 hours.

        All instances add to the same numbers.
        """


class EntrySpace(Enum):
    """Kinds of keyed entries."""

    HISTORY = "history"
    """What the ranking has learned of accounts, locations and networks."""
    UPLOADS = "uploads"
    """Indicators uploaded to Sentinel, by address."""
    NOTES = "notes"
    BUDGETS = "budgets"
    LEASES = "leases"


class Entries(Protocol):
    """Entries by key, merged between instances."""

    async def get_entries(self, space: EntrySpace, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the stored entries among *keys*."""

    async def put_entries(
        self,
        space: EntrySpace,
        entries: Mapping[str, bytes],
        merge: Callable[[str, bytes, bytes], bytes],
    ) -> dict[str, bytes]:
        """Store entries; return those that *merge* has combined with another instance's."""


class Notes(Protocol):
    """Small texts by name."""

    async def get_value(self, name: str) -> str | None:
        """Return the text stored by :meth:`put_value`, or None."""

    async def put_value(self, name: str, text: str) -> None:
        """Store a small text under a name."""


class Ledger(VerdictStore, PendingQueue, Leases, LookupCounter, Entries, Notes, Protocol):
    """Everything that survives a restart."""

    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        accounts: Container[str | None] = (),
    ) -> ErasedCounts:
        """Delete the data of an address, and the sign-ins of accounts or of an address.

        *revise* returns the remaining content of a history entry, or None to delete the entry.
        """

    async def purge_expired(self) -> None:
        """Delete expired entries and the budgets of past periods. Call it periodically."""

    async def size(self) -> LedgerSize:
        """Return the size of the ledger. Expired verdicts count until they are purged."""

    async def close(self) -> None:
        """Close the state."""


@dataclass(frozen=True, slots=True)
class RecentChunk:
    """A packed segment of recent sign-ins. Times are those of the ledger's clock."""

    first: float
    last: float
    signins: int
    addresses: bytes
    """Hashes of the distinct addresses, used to skip a segment; at most 30,000 bytes."""
    body: bytes
    """At most 600,000 bytes."""
    key: str = ""
    """Assigned by the store."""


@dataclass(frozen=True, slots=True)
class RecentCoverage:
    """Period for which sign-ins are kept for retro-matching."""

    since: float | None = None
    """Time of the oldest sign-in; None if there is none."""
    signins: int = 0
    size: int = 0
    """Bytes."""


class RecentStore(Protocol):
    """Recent sign-ins of all instances, in packed segments. Best effort, without guarantees.

    Methods may raise LedgerFailed; callers continue without the store.
    """

    async def append(self, chunk: RecentChunk) -> None:
        """Store a segment."""

    def segment_index(self, since: float) -> AsyncIterator[list[RecentChunk]]:
        """Yield the segments that end at or after *since*, oldest first, without bodies."""

    async def body(self, key: str) -> bytes | None:
        """Return the body of a segment, or None if it was deleted."""

    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Replace a segment, or delete it if *chunk* is None."""

    async def enforce_limits(self, before: float, largest: int) -> None:
        """Delete segments that ended before a time, then the oldest down to *largest* bytes."""

    async def coverage(self) -> RecentCoverage:
        """Return the coverage. May be some minutes old where counting is expensive."""

    async def close(self) -> None:
        """Close the connections."""
