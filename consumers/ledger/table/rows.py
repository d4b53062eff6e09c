"""Layout of the ledger in a table: partitions, row keys, and the contents of rows.

An address belongs to one of SHARDS partitions, with all its data, because a transaction is limited
to one partition:

``a|ADDRESS``      its entry: the verdict and the lease
``d|REASON``       number of sign-ins that the shard has dropped
``h|KEY``          a history entry
``w|ADDRESS|KEY``  a pending sign-in

There are three more partitions: ``budget`` (``ACCOUNT|PERIOD``), ``notes`` and ``meta``.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import msgspec

from consumers.ledger.rules import first_lookup, weight_of
from schemas.errors import LedgerFailed
from schemas.events.sign_in import Details
from schemas.intel.verdicts import Answer, Verdict
from schemas.ledger_ports import LedgerSize, PendingAddress, PendingSignIn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

Result = TypeVar("Result")
Value = str | int | float | bool | bytes

MAX_TRANSACTION_WRITES = 100
"""Writes per transaction, the service's limit."""
MAX_TRANSACTION_BYTES = 1_000_000
"""Planned size of a transaction. The service accepts 4 MiB, but sending more than 1 MiB at once
would block the event loop."""

SHARDS = tuple(f"{number:02x}" for number in range(4))
BUDGET, NOTES, META = "budget", "notes", "meta"
ENTRIES, DROPPED, HISTORY, WAITING = "a|", "d|", "h|", "w|"
ENTRY_STATE = ("expires", "answered", "again", "first_asked", "owner", "until")
"""The columns of an entry without the body of its verdict."""
WAITING_RANK = ("weight", "parked", "own", "place")

_MAX_ROW_PROPERTY_BYTES = 65_536
_MAX_ROW_BODY_BYTES = 700_000
"""Bytes. An entity holds 1 MiB and is sent in base64."""
_UNSAFE = re.compile(rb"[^A-Za-z0-9.:@ -]")

_ESCAPED = re.compile(rb"_([0-9a-f]{2})")

encode = msgspec.msgpack.Encoder().encode
_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_details = msgspec.msgpack.Decoder(Details)
_parts = msgspec.msgpack.Decoder(tuple[tuple[str, float], ...])


class WriteConflict(Exception):
    """A row has changed since it was read; nothing was written.

    If ``doubtful`` is true, an earlier attempt of the same write got no response. That attempt may
    have made the change.
    """

    doubtful = False


class MissingRow(WriteConflict):
    """A row to be changed or deleted does not exist."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One row and its ETag."""

    row: str
    values: Mapping[str, Any]
    etag: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a transaction. With an ``etag`` it requires an unchanged row."""

    kind: str
    """``create`` (the row must not exist), ``replace`` (or create), ``merge`` or ``delete``."""
    row: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str | None = None

    @property
    def size(self) -> int:
        """Return an upper estimate of the bytes that it adds to a transaction."""
        texts = (value for value in self.values.values() if isinstance(value, str | bytes))
        return 2_000 + sum(len(text) * 3 // 2 for text in texts)


def shard_of(address: str) -> str:
    """Return the partition of *address*."""
    return SHARDS[crc32(address.encode()) % len(SHARDS)]


def by_shard(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Group distinct addresses by shard, in order."""
    shards: dict[str, list[str]] = {}
    for address in dict.fromkeys(addresses):
        shards.setdefault(shard_of(address), []).append(address)
    return shards


async def in_shards(
    addresses: Iterable[str], operation: Callable[[str, list[str]], Awaitable[Result]]
) -> list[Result]:
    """Run *operation* on each shard's addresses, all shards concurrently."""
    return await asyncio.gather(*(operation(*shard) for shard in by_shard(addresses).items()))


def after(prefix: str) -> str:
    """Return the key that follows all row keys with *prefix*, which must end in ``|``."""
    return prefix[:-1] + "}"


def within(prefix: str) -> tuple[str, str]:
    """Return the bounds of all row keys with *prefix*: first included, last excluded."""
    return prefix, after(prefix)


def safe(name: str) -> str:
    """Escape the characters that a row key must not contain. The mapping is one to one."""
    return _UNSAFE.sub(lambda found: b"_%02x" % found[0][0], name.encode()).decode()


def unsafe(name: str) -> str:
    """Reverse :func:`safe`."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name.encode()).decode()


def entry_row(address: str) -> str:
    """Return the row key of an address's entry."""
    return ENTRIES + address


def waiting_rows(address: str) -> str:
    """Return the row key prefix of the pending sign-ins of *address*."""
    return f"{WAITING}{address}|"


def waiting_row(sign_in: PendingSignIn) -> str:
    """Return the row key of a pending sign-in."""
    return waiting_rows(sign_in.address) + sign_in.key


def address_of(row: str) -> str:
    """Return the address in the row key of a pending sign-in."""
    return row.split("|", 2)[1]


def key_of(row: str) -> str:
    """Return the FindingId in the row key of a pending sign-in."""
    return row.split("|", 2)[2]


def budget_row(account: str, period: str) -> str:
    """Return the row key of a period's budget."""
    return f"{safe(account)}|{safe(period)}"


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """The entry of an address as it was read. If ``etag`` is None, there was no row."""

    address: str
    expires: float = 0.0
    answered: bool = False
    """True for a verdict, False for an `Unanswered` value."""
    again: float = 0.0
    """When the address is due for a recheck; 0 for never."""
    first_lookup: float = 0.0
    owner: str = ""
    until: float = 0.0
    etag: str | None = None
    body: bytes = b""

    @classmethod
    def of(cls, address: str, found: Entity | None) -> VerdictEntry:
        """Parse a row; None gives an empty entry."""
        if found is None:
            return cls(address)
        values = found.values
        return cls(
            address,
            float(values.get("expires", 0.0)),
            bool(values.get("answered", False)),
            float(values.get("again", 0.0)),
            float(values.get("first_asked", 0.0)),
            str(values.get("owner", "")),
            float(values.get("until", 0.0)),
            found.etag,
            _body(values),
        )

    def answer(self) -> Answer:
        """Return the answer. Only an entry that has not expired is sure to have one."""
        try:
            return _answer.decode(self.body)
        except msgspec.MsgspecError as error:
            raise LedgerFailed(
                f"the ledger's verdict for {self.address} is unreadable: {error}"
            ) from None

    def available(self, instance: str, now: float) -> bool:
        """Return True if *instance* may acquire a lease: no valid answer, no foreign lease."""
        return not self.stands(now) and (self.until <= now or self.owner in ("", instance))

    def stands(self, now: float) -> bool:
        """Return True if the answer has not expired and no recheck is due."""
        return self.expires > now and not 0 < self.again <= now

    def touched(self, **values: Value) -> Write:
        """Return a write that fails if the entry has changed since it was read."""
        if self.etag is None:
            return Write("create", entry_row(self.address), {"expires": 0.0, **values})
        return Write("merge", entry_row(self.address), values, self.etag)


def answer_write(address: str, answer: Answer, body: bytes) -> Write:
    """Return the unconditional write that stores an answer and ends the lease."""
    return Write(
        "replace",
        entry_row(address),
        {
            "expires": answer.expires,
            "answered": isinstance(answer, Verdict),
            "again": float(getattr(answer, "recheck_at", 0.0)),
            "first_asked": first_lookup(answer) or 0.0,
            **_split(body),
        },
    )


def waiting_write(sign_in: PendingSignIn) -> Write:
    """Return the write that enqueues a sign-in that is not yet pending."""
    return Write(
        "create",
        waiting_row(sign_in),
        {
            "weight": weight_of(sign_in),
            "parked": sign_in.enqueued_at,
            "own": sign_in.own,
            "place": sign_in.place,
            "parts": encode(sign_in.parts),
            **_split(encode(sign_in.details)),
        },
    )


def waiting_of(address: str, found: Entity) -> PendingSignIn:
    """Parse the row of a pending sign-in."""
    try:
        details = _details.decode(_body(found.values))
        parts = _parts.decode(found.values["parts"])
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"a pending sign-in of {address} is unreadable: {error}") from None
    own, place = _scores(found)
    return PendingSignIn(
        key_of(found.row), address, details, float(found.values["parked"]), own, place, parts
    )


def _scores(found: Entity) -> tuple[float, float]:
    """Return the event score and the location score of a pending sign-in."""
    return float(found.values["own"]), float(found.values["place"])


def _split(body: bytes) -> dict[str, Value]:
    """Split *body* into as many properties as it needs."""
    if len(body) > _MAX_ROW_BODY_BYTES:
        raise LedgerFailed(
            f"{len(body):,} bytes exceed the limit of {_MAX_ROW_BODY_BYTES:,} bytes per ledger row"
        )
    starts = range(0, len(body), _MAX_ROW_PROPERTY_BYTES)
    return {f"body{n}": body[at : at + _MAX_ROW_PROPERTY_BYTES] for n, at in enumerate(starts)}


def _body(values: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    while (part := values.get(f"body{len(parts)}")) is not None:
        parts.append(part)
    return b"".join(parts)


def put(row: str, found: Entity | None, **values: Value) -> Write:
    """Return a write of a whole row that fails if the row has changed since it was read."""
    if found is None:
        return Write("create", row, values)
    return Write("replace", row, values, found.etag)


def ranked(waiting: Iterable[Entity]) -> list[PendingAddress]:
    """Return the addresses of pending sign-ins, highest score first.

    The score of an address is the highest event score among its sign-ins plus the location score
    of the latest sign-in.
    """
    ranks: dict[str, tuple[float, float, float, float]] = {}
    for entity in waiting:
        address = address_of(entity.row)
        own, place = _scores(entity)
        parked = float(entity.values["parked"])
        before = ranks.get(address)
        if before is not None:
            own = max(own, before[0])
            place = place if parked >= before[3] else before[1]
            ranks[address] = own, place, min(parked, before[2]), max(parked, before[3])
        else:
            ranks[address] = own, place, parked, parked
    due = [
        PendingAddress(address, own + place, since)
        for address, (own, place, since, _) in ranks.items()
    ]
    return sorted(due, key=lambda pending: (-pending.score, pending.enqueued_at, pending.address))


def expired(entries: Iterable[Entity], now: float) -> tuple[list[Write], int]:
    """Return deletes of entries without valid answer or lease, and the number of verdicts."""
    gone, verdicts = [], 0
    for found in entries:
        entry = VerdictEntry.of("", found)
        if max(entry.expires, entry.until) <= now:
            gone.append(Write("delete", found.row, etag=found.etag))
        verdicts += entry.answered and entry.expires > now
    return gone, verdicts


def measure(shard: Iterable[Entity], size: LedgerSize) -> None:
    """Add the dropped and pending sign-ins of a shard to *size*."""
    addresses = set()
    for entity in shard:
        if entity.row.startswith(WAITING):
            size.waiting += 1
            addresses.add(address_of(entity.row))
        elif entity.row.startswith(DROPPED):
            reason, signins = entity.row.removeprefix(DROPPED), int(entity.values["signins"])
            size.dropped[reason] = size.dropped.get(reason, 0) + signins
    size.waiting_addresses += len(addresses)


def in_transactions(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Split *writes* into batches for one transaction each."""
    batch: list[Write] = []
    size = 0
    for write in writes:
        if batch and (
            len(batch) == MAX_TRANSACTION_WRITES or size + write.size > MAX_TRANSACTION_BYTES
        ):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += write.size
    if batch:
        yield batch
