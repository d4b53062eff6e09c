"""Rows of a table, the writes of a transaction, and their limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | float | bool | bytes

MAX_PROPERTY_BYTES = 65_536
"""Bytes of a property, the service's limit."""

_UNSAFE = re.compile(rb"[^A-Za-z0-9.:@ -]")
_ESCAPED = re.compile(rb"_([0-9a-f]{2})")


class WriteConflict(Exception):
    """A row has changed since it was read; nothing was written.

    ``row`` is the first such row, "" if the response does not name it. If ``doubtful`` is true, an
    earlier attempt of the same write got no response. That attempt may have made the change.
    """

    row = ""
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
        return 700 + sum(len(text) * 3 // 2 for text in texts)


def put(row: str, found: Entity | None, **values: Value) -> Write:
    """Return a write of a whole row that fails if the row has changed since it was read."""
    if found is None:
        return Write("create", row, values)
    return Write("replace", row, values, found.etag)


def split_body(body: bytes, prefix: str = "body") -> dict[str, Value]:
    """Split *body* into as many properties as it needs."""
    starts = range(0, len(body), MAX_PROPERTY_BYTES)
    return {f"{prefix}{n}": body[at : at + MAX_PROPERTY_BYTES] for n, at in enumerate(starts)}


def joined_body(values: Mapping[str, Any], prefix: str = "body") -> bytes:
    """Reverse :func:`split_body`."""
    parts: list[bytes] = []
    while (part := values.get(f"{prefix}{len(parts)}")) is not None:
        parts.append(part)
    return b"".join(parts)


def within(prefix: str) -> tuple[str, str]:
    """Return the bounds of all row keys with *prefix*, which must end in ``|``."""
    return prefix, prefix[:-1] + "}"


def safe(name: str) -> str:
    """Escape the characters that a row key must not contain. The mapping is one to one."""
    return _UNSAFE.sub(lambda found: b"_%02x" % found[0][0], name.encode()).decode()


def unsafe(name: str) -> str:
    """Reverse :func:`safe`."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), name.encode()).decode()
