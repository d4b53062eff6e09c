"""How the ledger lies in a table: partitions, rows, and what stands in them.

An address belongs to one of SHARDS partitions, and so does all that is kept of it, because one
transaction reaches one partition:

``a|ADDRESS``      its entry: the answer, and who has claimed it
``d|REASON``       how many sign-ins the shard has dropped
``h|KEY``          an entry of the history
``w|ADDRESS|KEY``  a sign-in that waits

Besides there are the partitions ``budget`` (``ACCOUNT|PERIOD``), ``notes`` and ``meta``.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from zlib import crc32

import msgspec

from consumers.ledger.rules import first_asked, weight_of
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
"""Writes that one transaction may hold."""
MAX_TRANSACTION_BYTES = 1_000_000
"""Bytes that one transaction is planned for. The service takes 4 MiB; sending more than 1 MiB at
once would hold up the event loop."""

SHARDS = tuple(f"{number:02x}" for number in range(4))
BUDGET, NOTES, META = "budget", "notes", "meta"
ENTRIES, DROPPED, HISTORY, WAITING = "a|", "d|", "h|", "w|"
ENTRY_STATE = ("expires", "answered", "again", "first_asked", "owner", "until")
"""The columns of an entry without its answer's body."""
WAITING_RANK = ("weight", "parked", "own", "place")

_MAX_ROW_PROPERTY_BYTES = 65_536
_MAX_ROW_BODY_BYTES = 700_000
"""Bytes; an entity holds 1 MiB, and travels in base64."""
_UNSAFE = re.compile(rb"[^A-Za-z0-9.:@ -]")

_ESCAPED = re.compile(rb"_([0-9a-f]{2})")

encode = msgspec.msgpack.Encoder().encode
_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_details = msgspec.msgpack.Decoder(Details)
_parts = msgspec.msgpack.Decoder(tuple[tuple[str, float], ...])


class WriteConflict(Exception):
    """Something has changed since it was read; nothing was written.

    ``doubtful``: an earlier try of this very write got no answer, so it may be what changed it.
    """

    doubtful = False


class MissingRow(WriteConflict):
    """An entity that was to be changed or deleted is not there."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What stands in one row, and its ETag."""

    row: str
    values: Mapping[str, Any]
    etag: str


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a transaction. With an *etag* it needs the row to be as it was read."""

    kind: str
    """``create`` (must not be there), ``replace`` (or create), ``merge`` or ``delete``."""
    row: str
    values: Mapping[str, Value] = field(default_factory=dict)
    etag: str | None = None

    @property
    def size(self) -> int:
        """Return the bytes that it takes in a transaction, rather too many."""
        texts = (value for value in self.values.values() if isinstance(value, str | bytes))
        return 2_000 + sum(len(text) * 3 // 2 for text in texts)


def shard_of(address: str) -> str:
    """Return the partition that holds all about *address*."""
    return SHARDS[crc32(address.encode()) % len(SHARDS)]


def by_shard(addresses: Iterable[str]) -> dict[str, list[str]]:
    """Sort distinct addresses by their shard, in order."""
    sorted_out: dict[str, list[str]] = {}
    for address in dict.fromkeys(addresses):
        sorted_out.setdefault(shard_of(address), []).append(address)
    return sorted_out


async def in_shards(
    addresses: Iterable[str], work: Callable[[str, list[str]], Awaitable[Result]]
) -> list[Result]:
    """Do *work* on each shard's addresses, all shards at once."""
    return await asyncio.gather(*(work(*one) for one in by_shard(addresses).items()))


def after(prefix: str) -> str:
    """Return what comes right after all rows that begin with *prefix*, which ends in ``|``."""
    return prefix[:-1] + "}"


def within(prefix: str) -> tuple[str, str]:
    """Return what bounds all rows that begin with *prefix*."""
    return prefix, after(prefix)


def safe(name: str) -> str:
    """Return *name* without the characters that a row's name may not hold; one to one."""
    return _UNSAFE.sub(lambda found: b"_%02x" % found[0][0], name.encode()).decode()


def unsafe(name: str) -> str:
    """Return what :func:`safe` was given."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name.encode()).decode()


def entry_row(address: str) -> str:
    """Return the name of an address's entry."""
    return ENTRIES + address


def waiting_rows(address: str) -> str:
    """Return what the names of the sign-ins that wait for *address* begin with."""
    return f"{WAITING}{address}|"


def waiting_row(one: PendingSignIn) -> str:
    """Return the name of a waiting sign-in's row."""
    return waiting_rows(one.address) + one.key


def address_of(row: str) -> str:
    """Return the address of a waiting sign-in by its row's name."""
    return row.split("|", 2)[1]


def key_of(row: str) -> str:
    """Return the key of a waiting sign-in by its row's name."""
    return row.split("|", 2)[2]


def budget_row(account: str, period: str) -> str:
    """Return the name of a period's budget."""
    return f"{safe(account)}|{safe(period)}"


@dataclass(frozen=True, slots=True)
class VerdictEntry:
    """What is known of an address, and as what it was read; ``etag`` None: there was nothing."""

    address: str
    expires: float = 0.0
    answered: bool = False
    """Whether there is a verdict."""
    again: float = 0.0
    """When it is asked about again, if its answer is open."""
    first_asked: float = 0.0
    owner: str = ""
    until: float = 0.0
    etag: str | None = None
    body: bytes = b""

    @classmethod
    def of(cls, address: str, found: Entity | None) -> VerdictEntry:
        """Read an entry."""
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
        """Return the answer; only an entry that expires after now has one for sure."""
        try:
            return _answer.decode(self.body)
        except msgspec.MsgspecError as error:
            raise LedgerFailed(
                f"the ledger's answer for {self.address} is unreadable: {error}"
            ) from None

    def free(self, instance: str, now: float) -> bool:
        """Tell whether *instance* may ask: there is no answer, and nobody else has a claim."""
        return not self.stands(now) and (self.until <= now or self.owner in ("", instance))

    def stands(self, now: float) -> bool:
        """Tell whether there is an answer, and no reason to ask again."""
        return self.expires > now and not 0 < self.again <= now

    def touched(self, **values: Value) -> Write:
        """Return a write that fails if anybody has written since the entry was read."""
        if self.etag is None:
            return Write("create", entry_row(self.address), {"expires": 0.0, **values})
        return Write("merge", entry_row(self.address), values, self.etag)


def answer_write(address: str, answer: Answer, body: bytes) -> Write:
    """Return the write that keeps an answer, whatever stood there, and ends a claim."""
    return Write(
        "replace",
        entry_row(address),
        {
            "expires": answer.expires,
            "answered": isinstance(answer, Verdict),
            "again": float(getattr(answer, "recheck_at", 0.0)),
            "first_asked": first_asked(answer) or 0.0,
            **_split(body),
        },
    )


def waiting_write(one: PendingSignIn) -> Write:
    """Return the write that parks a sign-in which is not parked yet."""
    return Write(
        "create",
        waiting_row(one),
        {
            "weight": weight_of(one),
            "parked": one.enqueued_at,
            "own": one.own,
            "place": one.place,
            "parts": encode(one.parts),
            **_split(encode(one.details)),
        },
    )


def waiting_of(address: str, found: Entity) -> PendingSignIn:
    """Read a waiting sign-in."""
    try:
        details = _details.decode(_body(found.values))
        parts = _parts.decode(found.values["parts"])
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"a sign-in waiting for {address} is unreadable: {error}") from None
    own, place = _points(found)
    return PendingSignIn(
        key_of(found.row), address, details, float(found.values["parked"]), own, place, parts
    )


def _points(found: Entity) -> tuple[float, float]:
    """Return what a waiting sign-in says itself, and what it says of the place."""
    return float(found.values["own"]), float(found.values["place"])


def _split(body: bytes) -> dict[str, Value]:
    """Spread *body* over as many properties as it takes."""
    if len(body) > _MAX_ROW_BODY_BYTES:
        raise LedgerFailed(f"{len(body):,} bytes are more than one row of the ledger may hold")
    starts = range(0, len(body), _MAX_ROW_PROPERTY_BYTES)
    return {f"body{n}": body[at : at + _MAX_ROW_PROPERTY_BYTES] for n, at in enumerate(starts)}


def _body(values: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    while (part := values.get(f"body{len(parts)}")) is not None:
        parts.append(part)
    return b"".join(parts)


def put(row: str, found: Entity | None, **values: Value) -> Write:
    """Return a write of a whole row that fails if anybody has written since it was read."""
    if found is None:
        return Write("create", row, values)
    return Write("replace", row, values, found.etag)


def ranked(waiting: Iterable[Entity]) -> list[PendingAddress]:
    """Return the addresses of waiting sign-ins, the most deserving first.

    The score of an address is the most that one of its sign-ins says itself, and what the last
    one says of the place.
    """
    ranks: dict[str, tuple[float, float, float, float]] = {}
    for one in waiting:
        address = address_of(one.row)
        own, place = _points(one)
        parked = float(one.values["parked"])
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
    return sorted(due, key=lambda one: (-one.score, one.enqueued_at, one.address))


def expired(entries: Iterable[Entity], now: float) -> tuple[list[Write], int]:
    """Return writes that delete what is neither known nor claimed, and the number of verdicts."""
    gone, verdicts = [], 0
    for found in entries:
        one = VerdictEntry.of("", found)
        if max(one.expires, one.until) <= now:
            gone.append(Write("delete", found.row, etag=found.etag))
        verdicts += one.answered and one.expires > now
    return gone, verdicts


def measure(shard: Iterable[Entity], size: LedgerSize) -> None:
    """Add to *size* all dropped and waiting sign-ins of one shard."""
    addresses = set()
    for one in shard:
        if one.row.startswith(WAITING):
            size.waiting += 1
            addresses.add(address_of(one.row))
        elif one.row.startswith(DROPPED):
            reason, signins = one.row.removeprefix(DROPPED), int(one.values["signins"])
            size.dropped[reason] = size.dropped.get(reason, 0) + signins
    size.waiting_addresses += len(addresses)


def in_transactions(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Cut *writes* into what one transaction holds each."""
    part: list[Write] = []
    size = 0
    for one in writes:
        if part and (
            len(part) == MAX_TRANSACTION_WRITES or size + one.size > MAX_TRANSACTION_BYTES
        ):
            yield part
            part, size = [], 0
        part.append(one)
        size += one.size
    if part:
        yield part
