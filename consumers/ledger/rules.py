"""The rules of the ledger, as pure functions: what a row becomes, and the order of lookups.

Both row stores keep the same two things of an address. Its *state* holds the verdict, the lease of
the instance that looks it up, and its entry in the queue. Its *pending sign-ins* are packed, one
list for each instance that has enqueued some, so that instances do not compete for a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from consumers.ledger.rechecks import recheck_penalty
from schemas.durations import DAY_SECONDS
from schemas.errors import LedgerFailed
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import Details
from schemas.intel.verdicts import Answer, Unanswered, Verdict
from schemas.ledger_ports import PendingAddress, PendingSignIn

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

EXPIRED = "waited too long"
EVICTED = "displaced"
HISTORY_SECONDS = 45 * DAY_SECONDS
"""Age at which an unused history entry expires."""
SCORE_STEP = 5.0
"""Points. The event score and the location score of an address count in steps of this size, rounded
down. Small changes therefore cost no write, and a stored score is at most two steps too low."""
MAX_PENDING_BYTES = 500_000
"""Bytes of the sign-ins that an instance holds for an address; they are one row of a table. Beyond,
sign-ins are evicted as beyond their maximum number."""
MAX_DUE_RECHECKS = 1_000
"""Postponed addresses that are considered at a time; those that are due the longest."""
_OUTCOME_PRIORITY = {Outcome.SUCCESS: 2_000.0, Outcome.PASSWORD_ACCEPTED: 1_000.0}
"""Higher than any score, so that successful sign-ins are evicted last."""


class QueueEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An address that has pending sign-ins. Scores count in steps of SCORE_STEP."""

    own: float
    """Highest event score of its sign-ins."""
    place: float
    """Location score of the latest sign-in."""
    enqueued_at: float
    """When its first sign-in was enqueued."""
    holders: tuple[str, ...]
    """The instances that hold pending sign-ins of the address."""

    @property
    def score(self) -> float:
        """Return the score by which lookups are ordered."""
        return self.own + self.place


class AddressState(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What all instances know of an address. Times are those of the ledger's clock."""

    answer: Answer | None = None
    owner: str = ""
    """The instance that looks the address up now, until ``until``."""
    until: float = 0.0
    queue: QueueEntry | None = None


class PackedSignIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A pending sign-in as it is stored. ``key`` is that of the sign-in."""

    key: str
    enqueued_at: float
    weight: float
    """Eviction weight. The lowest is evicted first."""
    own: float
    place: float
    body: bytes
    """Details and breakdown of the score."""


class Place(Enum):
    """Where the queue entry of an address is found."""

    NONE = "none"
    RANKED = "ranked"
    """It may be looked up; in order of the score."""
    POSTPONED = "postponed"
    """It may be looked up later; in order of time."""
    ANSWERED = "answered"
    """It has its verdict; its sign-ins are to be evaluated."""


class QueuePosition(NamedTuple):
    """The position of an address in the queue, as far as its state shows."""

    place: Place
    time: float = 0.0
    """Until when it is postponed."""
    score: float = 0.0
    enqueued_at: float = 0.0
    first_lookup: float = 0.0
    """When the address was first looked up, 0 for never."""


Holdings = dict[str, tuple[PackedSignIn, ...]]
"""Pending sign-ins of an address by the instance that holds them."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The result of enqueueing sign-ins of an address."""

    state: AddressState
    pending: tuple[PackedSignIn, ...]
    evicted: int = 0
    verdict: Verdict | None = None
    """The verdict of an address that is answered; then nothing was enqueued."""


EMPTY = AddressState()
_body = msgspec.msgpack.Decoder(tuple[Details, tuple[tuple[str, float], ...]])
_encode = msgspec.msgpack.Encoder().encode


# --- pending sign-ins ---


def weight_of(outcome: Outcome, own: float) -> float:
    """Return the eviction weight for an outcome and the event score *own*."""
    return _OUTCOME_PRIORITY.get(outcome, 0.0) + own


def packed(sign_in: PendingSignIn) -> PackedSignIn:
    """Return a sign-in in its stored form."""
    return PackedSignIn(
        sign_in.key,
        sign_in.enqueued_at,
        weight_of(sign_in.details.outcome, sign_in.own),
        sign_in.own,
        sign_in.place,
        _encode((sign_in.details, sign_in.parts)),
    )


def unpacked(address: str, sign_in: PackedSignIn) -> PendingSignIn:
    """Reverse :func:`packed`. Raises LedgerFailed if it is unreadable."""
    try:
        details, parts = _body.decode(sign_in.body)
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"a pending sign-in of {address} is unreadable: {error}") from None
    return PendingSignIn(
        sign_in.key,
        address,
        details,
        sign_in.enqueued_at,
        sign_in.own,
        sign_in.place,
        parts,
    )


def joined(holdings: Mapping[str, Sequence[PackedSignIn]]) -> list[PackedSignIn]:
    """Return the pending sign-ins of all instances, oldest first, each as it was enqueued first."""
    found = [sign_in for holder in sorted(holdings) for sign_in in holdings[holder]]
    distinct: dict[str, PackedSignIn] = {}
    for sign_in in sorted(found, key=lambda sign_in: (sign_in.enqueued_at, sign_in.key)):
        distinct.setdefault(sign_in.key, sign_in)
    return list(distinct.values())


def is_about(details: Details, address: str | None, accounts: Container[str | None]) -> bool:
    """Return True if a sign-in is of one of *accounts* or lists *address* among its addresses."""
    return (
        details.account in accounts
        or details.account_object_id in accounts
        or any(known == address for known, _ in details.addresses)
    )


def _within_limit(
    pending: Sequence[PackedSignIn], limit: int
) -> tuple[tuple[PackedSignIn, ...], int]:
    """Keep the sign-ins of the highest weight, up to *limit* and MAX_PENDING_BYTES; count the rest.

    Successful sign-ins are evicted last. At equal weight the latest sign-in is evicted first.
    """
    fitting = [sign_in for sign_in in pending if len(sign_in.body) <= MAX_PENDING_BYTES]
    size, left = sum(len(sign_in.body) for sign_in in fitting), len(fitting)
    evicted: set[str] = set()
    if left > limit or size > MAX_PENDING_BYTES:
        fitting.sort(key=lambda sign_in: (sign_in.weight, -sign_in.enqueued_at, sign_in.key))
    for sign_in in fitting:
        if left <= limit and size <= MAX_PENDING_BYTES:
            break
        evicted.add(sign_in.key)
        left, size = left - 1, size - len(sign_in.body)
    kept = {sign_in.key for sign_in in fitting} - evicted
    return tuple(sign_in for sign_in in pending if sign_in.key in kept), len(pending) - len(kept)


# --- the queue ---


def enqueued(
    state: AddressState,
    pending: Sequence[PackedSignIn],
    sign_ins: Sequence[PackedSignIn],
    *,
    instance: str,
    limit: int,
    now: float,
) -> Enqueued:
    """Enqueue sign-ins of an address, unless it is answered and no recheck is pending.

    *pending* are the sign-ins that *instance* holds already. A sign-in that it holds is not
    enqueued again.
    """
    answer = state.answer
    if isinstance(answer, Verdict) and answer.expires > now and is_final(answer):
        return Enqueued(state, tuple(pending), verdict=answer)
    known = {sign_in.key for sign_in in pending}
    fresh: dict[str, PackedSignIn] = {}
    for sign_in in sign_ins:
        if sign_in.key not in known:
            fresh.setdefault(sign_in.key, sign_in)
    if not fresh:
        return Enqueued(state, tuple(pending))
    kept, evicted = _within_limit([*pending, *fresh.values()], limit)
    if not kept:
        return Enqueued(state, (), evicted)
    entry = _entry_with(state.queue, list(fresh.values()), instance)
    if answer is not None and answer.expires <= now and first_lookup(answer) is None:
        answer = None  # what was known once must not keep the address from being looked up
    changed = AddressState(answer, state.owner, state.until, entry)
    return Enqueued(state if changed == state else changed, kept, evicted)


def _entry_with(
    entry: QueueEntry | None, sign_ins: Sequence[PackedSignIn], instance: str
) -> QueueEntry:
    """Return the queue entry after *instance* has enqueued sign-ins, the latest last."""
    own = max(_stepped(sign_in.own) for sign_in in sign_ins)
    place = _stepped(sign_ins[-1].place)
    began = min(sign_in.enqueued_at for sign_in in sign_ins)
    if entry is None:
        return QueueEntry(own, place, began, (instance,))
    holders = entry.holders if instance in entry.holders else (*entry.holders, instance)
    return QueueEntry(max(own, entry.own), place, min(began, entry.enqueued_at), holders)


def _stepped(points: float) -> float:
    return math.floor(points / SCORE_STEP) * SCORE_STEP


def settled(state: AddressState, holdings: Mapping[str, Sequence[PackedSignIn]]) -> AddressState:
    """Return the state after sign-ins were removed; *holdings* are those that are left."""
    entry = state.queue
    if entry is None:
        return state
    left = [sign_in for pending in holdings.values() for sign_in in pending]
    if not left:
        return msgspec.structs.replace(state, queue=None)
    remaining = QueueEntry(
        max(_stepped(sign_in.own) for sign_in in left),
        entry.place,
        min(sign_in.enqueued_at for sign_in in left),
        tuple(holder for holder in entry.holders if holdings.get(holder)),
    )
    return state if remaining == entry else msgspec.structs.replace(state, queue=remaining)


def position(state: AddressState) -> QueuePosition:
    """Return where an address is queued. It depends on the state alone, never on the time."""
    entry, answer = state.queue, state.answer
    if entry is None:
        return QueuePosition(Place.NONE)
    if is_final(answer) is not None:
        return QueuePosition(Place.ANSWERED, enqueued_at=entry.enqueued_at)
    until = state.until if state.owner else 0.0
    if isinstance(answer, Unanswered):
        until = max(until, answer.expires)
    elif isinstance(answer, Verdict):
        until = max(until, min(answer.recheck_at, answer.expires))
    place = Place.POSTPONED if until else Place.RANKED
    return QueuePosition(place, until, entry.score, entry.enqueued_at, first_lookup(answer) or 0.0)


def due_addresses(
    candidates: Iterable[tuple[str, QueuePosition]], most: int, now: float
) -> list[PendingAddress]:
    """Return the best *most* of the addresses that may be looked up now."""
    due = [
        (place.score - recheck_penalty(place.first_lookup or None, now), address, place)
        for address, place in candidates
        if place.time <= now
    ]
    due.sort(key=lambda ranked: (-ranked[0], ranked[2].enqueued_at, ranked[1]))
    return [
        PendingAddress(address, place.score, place.enqueued_at, place.first_lookup or None)
        for _, address, place in due[:most]
    ]


# --- verdicts and leases ---


def is_final(answer: Answer | None) -> Verdict | None:
    """Return *answer* if it is a verdict that needs no recheck, else None."""
    return answer if isinstance(answer, Verdict) and not answer.recheck_pending else None


def first_lookup(answer: Answer | None) -> float | None:
    """Return when an address that awaits a recheck was first looked up, else None."""
    return (
        answer.first_lookup or None
        if isinstance(answer, Verdict) and answer.recheck_pending
        else None
    )


def standing(state: AddressState, now: float) -> Answer | None:
    """Return the answer for as long as the address need not be looked up again."""
    return state.answer if state.answer is not None and state.answer.stands(now) else None


def leased(state: AddressState, instance: str, now: float, seconds: float) -> AddressState:
    """Return the state with a lease, or unchanged if the address is not available."""
    taken = state.owner not in ("", instance) and state.until > now
    if taken or standing(state, now) is not None:
        return state
    return msgspec.structs.replace(state, owner=instance, until=now + seconds)


def released(state: AddressState, instance: str) -> AddressState:
    """Return the state without the lease of *instance*."""
    if state.owner != instance:
        return state
    return msgspec.structs.replace(state, owner="", until=0.0)


def answered(state: AddressState, answer: Answer) -> AddressState:
    """Return the state with an answer, which ends the lease."""
    return AddressState(answer, queue=state.queue)


def reopened(state: AddressState, now: float) -> AddressState:
    """Return the state of a queued address without an expired verdict: it waits again."""
    if state.queue is None or state.answer is None or state.answer.expires > now:
        return state
    return msgspec.structs.replace(state, answer=None)


def lasts_until(state: AddressState) -> float:
    """Return when a state without a queue entry can be deleted."""
    return max(state.until, state.answer.expires if state.answer is not None else 0.0)


# --- expiry ---


def expired(
    state: AddressState, holdings: Holdings, enqueued_before: float
) -> tuple[AddressState, Holdings, int]:
    """Drop sign-ins enqueued before a time; return what is left, and how many count as dropped.

    Those of an address that was looked up without a result do not count: that is an answer.
    """
    return without(
        state,
        holdings,
        lambda sign_in: sign_in.enqueued_at < enqueued_before,
        counts=first_lookup(state.answer) is None,
    )


def without(
    state: AddressState,
    holdings: Holdings,
    goes: Callable[[PackedSignIn], bool],
    *,
    counts: bool = True,
) -> tuple[AddressState, Holdings, int]:
    """Remove pending sign-ins; return what is left, and the number removed (0 unless *counts*)."""
    left: Holdings = {}
    gone: set[str] = set()
    for holder, pending in holdings.items():
        kept = tuple(sign_in for sign_in in pending if not goes(sign_in))
        gone |= {sign_in.key for sign_in in pending} - {sign_in.key for sign_in in kept}
        if kept:
            left[holder] = kept
    return settled(state, left), left, len(gone) if counts else 0
