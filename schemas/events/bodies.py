"""The bytes of decoded records, kept so that a record can be read again."""

from __future__ import annotations

from typing import Any

from schemas.events.framing import records_in
from schemas.events.lenient_json import TooDeep, load_json, truncate_depth

_DEEP = 600
_DEEP_LIST, _DEEP_OBJECT = b"]" * _DEEP, b"}" * _DEEP
"""How deeply nested JSON usually ends. The fast path leaves such a body to the slow path, which
rejects the record unless it is strict JSON. Depth cannot decide: msgspec skips nested values that
are not read, as deep as the current stack permits."""
_SAMPLE = _DEEP // 3
"""Distance in bytes of a first sample: a pass over all bytes would cost too much."""


def ends_deep(raw: bytes) -> bool:
    """Return True if JSON ends as one that is nested too deeply to be read."""
    sample = raw[::_SAMPLE]
    return (b"]]]" in sample and _DEEP_LIST in raw) or (b"}}}" in sample and _DEEP_OBJECT in raw)


def loaded(raw: bytes) -> Any:
    """Return the value of a record, with null for values nested too deeply; see load_json."""
    try:
        return load_json(raw)
    except TooDeep:
        if ends_deep(raw):
            raise
        return load_json(truncate_depth(raw))


class WholeBody:
    """A body decoded on the fast path, kept so that single records can be read again."""

    __slots__ = ("_data", "_items", "size")

    def __init__(self, data: bytes, *, bare: bool = False) -> None:
        """Keep *data*: an envelope or, with *bare*, a record."""
        self._data = data
        self._items = [data] if bare else None
        self.size = len(data)

    def raw(self, index: int) -> bytes:
        """Return the bytes of a record."""
        if self._items is None:
            self._items = records_in(self._data.strip()) or []
        return self._items[index]

    def record(self, index: int) -> dict[str, Any]:
        """Read a record again, with null for values that msgspec skipped and nothing else reads."""
        record = loaded(self.raw(index))
        return record if isinstance(record, dict) else {}


class SingleRecord:
    """A record decoded on the slow path."""

    __slots__ = ("_raw", "_record", "size")

    def __init__(self, record: dict[str, Any], raw: bytes) -> None:
        self._record = record
        self._raw = raw
        self.size = len(raw) + 100 * len(record)  # an estimate; counting would cost more

    def record(self, index: int) -> dict[str, Any]:  # noqa: ARG002 - there is a single record
        """Return the record."""
        return self._record

    def raw(self, index: int) -> bytes:  # noqa: ARG002 - there is a single record
        """Return its bytes."""
        return self._raw
