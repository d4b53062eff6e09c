"""Ports of the ledger: the verdict cache with its queue, and the log of recent sign-ins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from schemas.events.sign_in import Details
    from schemas.intel.verdicts import Answer, Verdict


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in whose address is unanswered, as kept in the ledger. ``key`` is its FindingId.

    ``own`` is what it says itself for a question about its address, ``place`` what was known of
    the place by then; ``parts`` are the reasons and points of both.
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
    """An address that sign-ins wait for and that may be asked about."""

    address: str
    score: float
    """The most that one of its sign-ins says, and the last that is known of the place."""
    enqueued_at: float
    """Since when the first of them waits."""
    first_asked: float | None = None
    """When it was first asked about, if nothing was known and it is to be asked again."""


@dataclass(slots=True)
class ErasedCounts:
    """How much was deleted of an address or an account."""

    verdicts: int = 0
    waiting: int = 0
    history: int = 0


@dataclass(frozen=True, slots=True)
class LeaseResult:
    """What became of a claim: addresses that are ours to ask, and answers that are there already.

    What is in neither is being asked about by another instance.
    """

    acquired: set[str]
    resolved: dict[str, Answer]


@dataclass(slots=True)
class LedgerSize:
    """What a ledger holds now."""

    verdicts: int = 0
    waiting: int = 0
    waiting_addresses: int = 0
    dropped: dict[str, int] = field(default_factory=dict)


class Ledger(Protocol):
    """One entry per address: what is known, until when, and which sign-ins wait for it.

    Every method is atomic and durable when it returns. Times are the ledger's own clock's.
    """

    async def get_verdicts(self, addresses: Sequence[str]) -> dict[str, Answer]:
        """Return what is known and has not expired.

        An Unanswered among it means: do not ask now, let the sign-in wait.
        """

    async def put_verdicts(self, answers: Mapping[str, Answer]) -> None:
        """Keep answers, each until it expires. Ends the claims on their addresses."""

    async def acquire(self, addresses: Sequence[str], seconds: float) -> LeaseResult:
        """Return those addresses that this instance may ask about now, and no other one.

        Left out are those with an answer that has not expired, and those that another instance
        has claimed. A claim ends with an answer, with :meth:`release`, or after *seconds*: then
        another instance may take over. Claiming again what is claimed already renews it.
        """

    async def release(self, addresses: Sequence[str]) -> None:
        """End this instance's claims without an answer: nothing was asked."""

    async def enqueue_unless_answered(
        self, waiting: Sequence[PendingSignIn], crowded: int = 0
    ) -> dict[str, Verdict]:
        """Park sign-ins; return the verdicts of those whose address was answered meanwhile.

        Those are not parked, unless the verdict is open. Parking the same key again changes
        nothing. Beyond a number of sign-ins for one address the ones that matter least give way
        and are counted as dropped; *crowded* are counted with them, for which there was no room
        to begin with.
        """

    async def waiting_among(self, addresses: Sequence[str]) -> set[str]:
        """Return those addresses that sign-ins wait for."""

    async def waiting_for(self, address: str, most: int) -> list[PendingSignIn]:
        """Return up to *most* sign-ins that wait for *address*, oldest first."""

    async def acknowledge(self, waiting: Sequence[PendingSignIn]) -> None:
        """Delete waiting sign-ins: their finding was accepted, or they are harmless."""

    async def acknowledge_addresses(self, addresses: Sequence[str]) -> dict[str, int]:
        """Delete all sign-ins that wait for answered, harmless addresses; return how many each."""

    async def answered_waiting(self) -> list[str]:
        """Return answered addresses that still have waiting sign-ins; not those that are open."""

    async def due(self, most: int) -> list[PendingAddress]:
        """Return addresses that sign-ins wait for and that may be asked, most deserving first.

        One that was asked about before has to be more deserving than one that was not, see
        :func:`consumers.enrichment.ranking.recheck_penalty`.
        """

    async def expire_pending(self, parked_before: float) -> int:
        """Drop and count sign-ins that have waited too long; return how many."""

    async def reserve(self, account: str, period: str, wanted: int, quota: int) -> int:
        """Take up to *wanted* lookups from *account*'s quota of the period; return how many."""

    async def refund(self, account: str, period: str, lookups: int) -> None:
        """Give lookups back that surely did not count."""

    async def spent(self, account: str, period: str) -> int:
        """Return the lookups taken in the period."""

    async def get_history(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what :meth:`keep_history` kept."""

    async def put_history(
        self, entries: Mapping[str, bytes], merge: Callable[[str, bytes, bytes], bytes]
    ) -> None:
        """Keep entries of the history; *merge* joins one with what another instance has kept."""

    async def forget(
        self,
        revise: Callable[[str, bytes], bytes | None],
        *,
        address: str | None = None,
        account: str | None = None,
    ) -> ErasedCounts:
        """Delete what is kept of an address, and the sign-ins of an account or an address.

        *revise* returns what is to be left of an entry of the history, None for nothing.
        """

    async def get_value(self, name: str) -> str | None:
        """Return a note left by :meth:`leave_note`."""

    async def put_value(self, name: str, text: str) -> None:
        """Keep a small text under a name."""

    async def purge_expired(self) -> None:
        """Delete what has expired, and budgets of periods long gone. To be called now and then."""

    async def size(self) -> LedgerSize:
        """Return what the ledger holds; where counting is dear, as counted some minutes ago."""

    async def close(self) -> None:
        """Let go of the state."""


@dataclass(frozen=True, slots=True)
class RecentChunk:
    """Some sign-ins of lately, packed. Times are those of the ledger's clock."""

    first: float
    last: float
    signins: int
    addresses: bytes
    """Sums of their distinct addresses, by which a chunk is passed over; at most 30,000 bytes."""
    body: bytes
    """At most 600,000 bytes."""
    key: str = ""
    """Given by who keeps it."""


@dataclass(frozen=True, slots=True)
class RecentCoverage:
    """How far back sign-ins are kept for late matches."""

    since: float | None = None
    """The first of them; None for none."""
    signins: int = 0
    size: int = 0
    """Bytes."""


class RecentStore(Protocol):
    """Sign-ins of lately, packed in chunks, of all instances. As well as can be: no guarantees.

    May raise LedgerFailed; who uses it goes on without.
    """

    async def append(self, chunk: RecentChunk) -> None:
        """Keep a chunk."""

    def segment_index(self, since: float) -> AsyncIterator[list[RecentChunk]]:
        """Yield chunks that end at or after *since*, oldest first, without their bodies."""

    async def body(self, key: str) -> bytes | None:
        """Return a chunk's body, None if it has gone."""

    async def replace(self, key: str, chunk: RecentChunk | None) -> None:
        """Put another chunk in the place of one, or nothing."""

    async def enforce_limits(self, before: float, largest: int) -> None:
        """Drop what ended before a time, and the oldest while all takes more bytes than that."""

    async def coverage(self) -> RecentCoverage:
        """Return how much there is; where counting is dear, as counted some minutes ago."""

    async def close(self) -> None:
        """Let go."""
