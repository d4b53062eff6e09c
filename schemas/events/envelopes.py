"""Count and split the records of a message body without changing a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode


def count_records(body: bytes) -> int:
    """Return the number of records in a body; a body without an envelope counts as a record."""
    found = _opened(body)
    return 1 if found is None else len(found[1])


def split_envelope(body: bytes, room: int) -> list[bytes]:
    """Split a body into bodies of at most *room* bytes, each in the same envelope.

    The envelope is ``{"records":[…]}``, with any other fields, or a bare list. Records keep their
    bytes and order. A record larger than *room* gets a body of its own. A body without such an
    envelope, or with fewer than two records, is returned unchanged.
    """
    found = _opened(body)
    if found is None or len(found[1]) < 2:
        return [body]
    fields, records = found
    head, tail = b"[", b"]"
    if fields is not None:
        name = _records_name(fields)
        written = [
            b"".join((_encode(item), b":", value)) for item, value in fields.items() if item != name
        ]
        head, tail = b"{" + b",".join([*written, _encode(name) + b":["]), b"]}"
    groups = _groups(records, room - len(head) - len(tail))
    return [head + b",".join(group) + tail for group in groups]


def _opened(body: bytes) -> tuple[dict[str, msgspec.Raw] | None, list[msgspec.Raw]] | None:
    """Return the fields of an envelope, None for a list, and its records."""
    text = body.removeprefix(_BYTE_ORDER_MARK).lstrip()
    try:
        if text.startswith(b"["):
            return None, _list.decode(text)
        if not text.startswith(b"{"):
            return None
        fields = _object.decode(text)
        name = _records_name(fields)
        return (fields, _list.decode(fields[name])) if name in fields else None
    except _BROKEN:
        return None


def _records_name(fields: Iterable[str]) -> str:
    """Return the field name of the records, in any case."""
    return next((name for name in fields if name.lower() == "records"), "records")


def _groups(records: Sequence[msgspec.Raw], room: int) -> Iterator[list[msgspec.Raw]]:
    """Yield groups of records that fit with their commas; each has at least one record."""
    group: list[msgspec.Raw] = []
    size = 0
    for record in records:
        if group and size + len(record) > room:
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record) + 1
    yield group
