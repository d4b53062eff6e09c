"""Writes to one partition, in as few transactions as the limits of the service allow.

A transaction is applied as a whole or not at all. After a conflict, what conflicts is left out and
the rest is sent again, unless so much has changed that reading all of it again costs less.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from consumers.ledger.table.entities import WriteConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from consumers.ledger.table.client import StateTable
    from consumers.ledger.table.entities import Write

Key = TypeVar("Key")

MAX_TRANSACTION_WRITES = 100
"""Writes per transaction, the service's limit."""
MAX_TRANSACTION_BYTES = 1_000_000
"""Planned size of a transaction. The service accepts 4 MiB, but sending more than 1 MiB at once
would block the event loop."""
MAX_LIKELY_CONFLICTS = 8
"""Conflicts that may be expected in the rest of a transaction that is sent again."""


class Unit(NamedTuple, Generic[Key]):
    """Writes that are applied together or not at all."""

    key: Key
    writes: Sequence[Write]


@dataclass(slots=True)
class Applied(Generic[Key]):
    """What a transaction has written."""

    keys: list[Key] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)
    """New ETags by row, "" for a deleted one."""
    conflicts: list[Key] = field(default_factory=list)
    """Units of which nothing was written, because rows have changed, or may have."""
    doubtful: bool = False
    """Whether an earlier attempt got no response, and may have written the units in conflict."""


def in_transactions(units: Iterable[Unit[Key]], reserved: int = 0) -> Iterator[list[Unit[Key]]]:
    """Group units for one transaction each, leaving room for *reserved* more writes."""
    part: list[Unit[Key]] = []
    count, size = reserved, 0
    for unit in units:
        more = sum(write.size for write in unit.writes)
        if part and (
            count + len(unit.writes) > MAX_TRANSACTION_WRITES or size + more > MAX_TRANSACTION_BYTES
        ):
            yield part
            part, count, size = [], reserved, 0
        part.append(unit)
        count += len(unit.writes)
        size += more
    if part:
        yield part


def _nothing(_: Sequence[object]) -> Sequence[Write]:
    return ()


async def apply(
    table: StateTable,
    partition: str,
    units: Sequence[Unit[Key]],
    closing: Callable[[Sequence[Key]], Sequence[Write]] = _nothing,
) -> Applied[Key]:
    """Write the units of one transaction, except those in conflict.

    *closing* returns unconditional writes that go with the units of those keys.
    """
    applied: Applied[Key] = Applied()
    left = list(units)
    while True:
        keys = [unit.key for unit in left]
        writes = [*chain.from_iterable(unit.writes for unit in left), *closing(keys)]
        try:
            etags = await table.write(partition, writes)
        except WriteConflict as conflict:
            applied.doubtful |= conflict.doubtful
            again = _worth_repeating(left, conflict, len(applied.conflicts))
            kept = set(map(id, again))
            applied.conflicts += [unit.key for unit in left if id(unit) not in kept]
            if not again:
                return applied
            left = again
        else:
            applied.keys = keys
            applied.etags = {write.row: etag for write, etag in zip(writes, etags, strict=True)}
            return applied


def _worth_repeating(
    units: Sequence[Unit[Key]], conflict: WriteConflict, earlier: int
) -> list[Unit[Key]]:
    """Return the units that are not known to conflict; none if many of them are likely to.

    The service applies writes in order, so that those before the conflict have none.
    """
    for number, unit in enumerate(units):
        if any(write.row == conflict.row for write in unit.writes):
            likely = (earlier + 1) * (len(units) - number) / (number + 1)
            rest = [*units[:number], *units[number + 1 :]]
            return rest if likely <= MAX_LIKELY_CONFLICTS else []
    return []
