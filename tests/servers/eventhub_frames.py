"""AMQP 1.0 as bytes: values, performatives, frames and the sections of a message.

Written by hand, for three reasons. azure-eventhub's decoder wants every field of a performative to
be sent, which proton leaves out; a delivery must cost the broker a few microseconds, so frames are
packed from stored bytes; and proton stays free to check this codec as an independent client.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN, BEGIN, ATTACH, FLOW, TRANSFER = 0x10, 0x11, 0x12, 0x13, 0x14
DISPOSITION, DETACH, END, CLOSE = 0x15, 0x16, 0x17, 0x18
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44
FIELDS = {
    OPEN: 10, BEGIN: 8, ATTACH: 14, FLOW: 11, TRANSFER: 11, DISPOSITION: 6, DETACH: 3, END: 1,
    CLOSE: 1, SASL_MECHANISMS: 1, SASL_INIT: 3, SASL_OUTCOME: 2,
}  # fmt: skip
ERROR, ACCEPTED, REJECTED, SOURCE, TARGET = 0x1D, 0x24, 0x25, 0x28, 0x29
HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES = 0x70, 0x71, 0x72, 0x73
APPLICATION_PROPERTIES, DATA, VALUE, FOOTER = 0x74, 0x75, 0x77, 0x78
BATCH_FORMAT = 0x80013700
SASL_HEADER, AMQP_HEADER = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"


class Symbol(str):
    """A symbol."""

    __slots__ = ()


class UByte(int):
    """An unsigned 8-bit number."""


class UShort(int):
    """An unsigned 16-bit number."""


class UInt(int):
    """An unsigned 32-bit number."""


class ULong(int):
    """An unsigned 64-bit number."""


class Long(int):
    """A signed 64-bit number."""


class Timestamp(int):
    """Milliseconds since 1970."""


class Array(list[str]):
    """An array of strings, or of symbols when the first is one."""


@dataclass(frozen=True, slots=True)
class Described:
    """A described value."""

    descriptor: Any
    value: Any


class Frame(NamedTuple):
    """A frame: fields are padded with None to their full number."""

    channel: int
    performative: int
    fields: list[Any]
    payload: bytes


def _sized(small: int | None, large: int, data: bytes) -> bytes:
    if small is not None and len(data) < 256:
        return bytes((small, len(data))) + data
    return struct.pack(">BI", large, len(data)) + data


def _compound(code: int, items: list[Any]) -> bytes:
    data = b"".join(map(encode, items))
    return struct.pack(">BII", code, len(data) + 4, len(items)) + data


def _array(items: Array) -> bytes:
    code = 0xB3 if items and isinstance(items[0], Symbol) else 0xB1
    data = b"".join(struct.pack(">I", len(one)) + one.encode() for one in items)
    return struct.pack(">BIIB", 0xF0, len(data) + 5, len(items), code) + data


def _ulong(value: int) -> bytes:
    return bytes((0x53, value)) if value < 256 else struct.pack(">BQ", 0x80, value)


def _int(value: int) -> bytes:
    fits = -(2**31) <= value < 2**31
    return struct.pack(">Bi", 0x71, value) if fits else struct.pack(">Bq", 0x81, value)


_ENCODE: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    Symbol: lambda value: _sized(0xA3, 0xB3, value.encode()),
    str: lambda value: _sized(0xA1, 0xB1, value.encode()),
    bytes: lambda value: _sized(0xA0, 0xB0, value),
    UByte: lambda value: bytes((0x50, value)),
    UShort: lambda value: struct.pack(">BH", 0x60, value),
    UInt: lambda value: struct.pack(">BI", 0x70, value),
    ULong: _ulong,
    Long: lambda value: struct.pack(">Bq", 0x81, value),
    Timestamp: lambda value: struct.pack(">Bq", 0x83, value),
    int: _int,
    float: lambda value: struct.pack(">Bd", 0x82, value),
    UUID: lambda value: b"\x98" + value.bytes,
    list: lambda value: _compound(0xD0, value),
    dict: lambda value: _compound(0xD1, [one for pair in value.items() for one in pair]),
    Array: _array,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
}


def encode(value: Any) -> bytes:
    """Encode a value by its type; a plain number becomes an int, or a long when it is too big."""
    return _ENCODE[type(value)](value)


_FIXED: dict[int, tuple[str, Callable[[Any], Any]]] = {
    0x50: (">B", UByte), 0x51: (">b", int), 0x52: (">B", UInt), 0x53: (">B", ULong),
    0x54: (">b", int), 0x55: (">b", Long), 0x56: (">B", bool), 0x60: (">H", UShort),
    0x61: (">h", int), 0x70: (">I", UInt), 0x71: (">i", int), 0x72: (">f", float),
    0x80: (">Q", ULong), 0x81: (">q", Long), 0x82: (">d", float), 0x83: (">q", Timestamp),
    0x98: (">16s", lambda value: UUID(bytes=value)),
}  # fmt: skip
_CONSTANT: dict[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0)}
_TEXT: dict[int, Callable[[bytes], Any]] = {
    0x0: bytes,
    0x1: lambda value: value.decode(),
    0x3: lambda value: Symbol(value.decode()),
}


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Decode the value that starts at *at*; returns it and where it ends."""
    code = data[at]
    if code == 0:
        descriptor, at = decode(data, at + 1)
        value, at = decode(data, at)
        return Described(descriptor, value), at
    return _decode(code, data, at + 1)


def _decode(code: int, data: bytes, at: int) -> tuple[Any, int]:
    if code in _CONSTANT:
        return _CONSTANT[code], at
    if code == 0x45:
        return [], at
    if code in _FIXED:
        layout, make = _FIXED[code]
        return make(struct.unpack_from(layout, data, at)[0]), at + struct.calcsize(layout)
    wide = code & 0x10
    size, at = (struct.unpack_from(">I", data, at)[0], at + 4) if wide else (data[at], at + 1)
    if code >> 4 in (0xA, 0xB):
        return _TEXT[code & 0xF](data[at : at + size]), at + size
    count, first = (struct.unpack_from(">I", data, at)[0], at + 4) if wide else (data[at], at + 1)
    return _items(code, data, first, count), at + size


def _items(code: int, data: bytes, at: int, count: int) -> Any:
    items = []
    array = code >> 4 in (0xE, 0xF)
    constructor, at = (data[at], at + 1) if array else (0, at)
    for _ in range(count):
        item, at = _decode(constructor, data, at) if array else decode(data, at)
        items.append(item)
    return dict(zip(items[::2], items[1::2], strict=True)) if code & 0xF == 1 else items


def frame(channel: int, performative: int, *fields: Any, payload: bytes = b"") -> bytes:
    """Return a frame with every field of its performative, the missing ones null."""
    padded = [*fields, *[None] * (FIELDS[performative] - len(fields))]
    body = bytes((0, 0x53, performative)) + _compound(0xD0, padded)
    kind = 1 if performative >= SASL_MECHANISMS else 0
    size = len(body) + len(payload) + 8
    return struct.pack(">IBBH", size, 2, kind, channel) + body + payload


def error(condition: str, description: str) -> Described:
    """Return an error for a detach, a close or a rejection."""
    return Described(ULong(ERROR), [Symbol(condition), description, None])


def read_frame(data: bytes) -> Frame | None:
    """Read one whole frame; None for an empty one."""
    channel = struct.unpack_from(">H", data, 6)[0]
    start = data[4] * 4
    if len(data) == start:
        return None
    body, end = decode(data, start)
    fields = [*body.value, *[None] * (FIELDS[body.descriptor] - len(body.value))]
    return Frame(channel, int(body.descriptor), fields, data[end:])


def section(descriptor: int, value: Any) -> bytes:
    """Return a section of a message."""
    return bytes((0, 0x53, descriptor)) + encode(value)


def _skip(data: bytes, at: int) -> int:
    width = (0, 1, 2, 4, 8, 16)[(data[at] >> 4) - 4] if data[at] < 0xA0 else -1
    if width >= 0:
        return at + 1 + width
    if data[at] & 0x10:
        return at + 5 + int(struct.unpack_from(">I", data, at + 1)[0])
    return at + 2 + data[at + 1]


def sections(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield each section's descriptor, start, start of its value, and end."""
    at = 0
    while at < len(message):
        descriptor, value = decode(message, at + 1)
        end = _skip(message, value)
        yield int(descriptor), at, value, end
        at = end
