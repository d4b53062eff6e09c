"""Find the boundaries of the records in a message body.

A record is cut out without being read, so that the content of a record cannot affect another. Valid
JSON is split by msgspec, anything else by a scanner that knows strings, brackets and commas. Both
keep the bytes of the record. The scanner is linear and does not recurse.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from schemas.events.lenient_json import STRING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_WRAPPERS = 4
"""Maximum depth of nested envelopes."""
INVALID = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Raised by msgspec on text of the wrong type, or nested too deeply."""

_value = msgspec.json.Decoder(msgspec.Raw)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_PASSED_OVER = rb'(?:[^"\[\]{},]++|' + STRING + rb")*+"
_MARK = re.compile(_PASSED_OVER + rb"([\[\]{},])", re.DOTALL)
"""Matches up to and including the next bracket or comma outside a string."""
_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|' + STRING + rb")*+([\[\]{}])", re.DOTALL)
_NAME_OR_BRACKET = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)
_ARRAY_FOLLOWS = re.compile(rb"\s*:\s*\[")
_BLANK = b" \t\r\n"
_OPENING = b"[{"


def texts_in(body: bytes) -> list[bytes]:
    """Return the JSON texts of a body: its lines, or concatenated values; usually one."""
    text = body.strip(_BLANK) or body
    if _is_valid(text):
        return [text]
    lines = [line.strip(_BLANK) for line in text.split(b"\n")]
    lines = [line for line in lines if line]
    if len(lines) > 1 and 2 * sum(map(_is_bracketed, lines)) >= len(lines):
        return lines
    values = list(_items(text))
    separated = values and all(value[:1] in (b"[", b"{") for value in values)
    return values if separated else [text]


def records_in(text: bytes, *, arrays: bool = True) -> list[bytes] | None:
    """Return the items of an envelope: an array, or the ``records`` array of an object.

    None if *text* is not an envelope; with ``arrays=False`` a bare array is not. The last item of a
    truncated envelope may be incomplete.
    """
    if text[:1] == b"[":
        return array_items(text) if arrays else None
    if text[:1] != b"{" or b"records" not in text.lower():
        return None
    try:
        fields = _object.decode(text)
    except INVALID:
        value, rest = _records_value(text)
    else:
        name = records_name(fields)
        value, rest = (None if name is None else bytes(fields[name])), b""
    items = array_items(value) if value is not None and value[:1] == b"[" else None
    if items is not None and value is not None and not value.endswith(b"]") and b"{" in rest:
        items.append(rest)  # a bracket too many has closed the array
    return items


def records_of(body: bytes) -> list[bytes]:
    """Return every record of a body, without its envelopes."""
    found: list[bytes] = []
    for text in texts_in(body):
        items = records_in(text)
        found += [text] if items is None else _unwrapped(items, MAX_WRAPPERS)
    return found


def _unwrapped(items: Iterable[bytes], wrappers: int) -> Iterator[bytes]:
    for item in items:
        inner = records_in(item, arrays=False) if wrappers else None
        yield from [item] if inner is None else _unwrapped(inner, wrappers - 1)


def array_items(array: bytes) -> list[bytes] | None:
    """Return the items of an array, and an extra item for text after its end, if any.

    None for a broken array without an object: it has no records to separate.
    """
    try:
        return [bytes(item) for item in _list.decode(array)]
    except INVALID:
        end = _end_of_value(array, 1)
        inner = array[1 : end - 1] if array[end - 1 : end] == b"]" else array[1:end]
        items = [*_items(inner), *_filled(array[end:])]
        return items if any(item[:1] == b"{" for item in items) else None


def _is_valid(text: bytes) -> bool:
    try:
        _value.decode(text)
    except INVALID:
        return False
    return True


def _is_bracketed(line: bytes) -> bool:
    """Return True if a line looks like a whole object or array."""
    return line[:1] in (b"{", b"[") and closing_of(line, 1) == len(line)


def _items(text: bytes) -> Iterator[bytes]:
    """Yield the values of *text* that brackets or commas separate at the outermost level."""
    start = place = 0
    while (mark := _MARK.match(text, place)) is not None:
        place = mark.end()
        if mark[1] in _OPENING:
            place = _end_of_value(text, place)
            yield from _filled(text[start:place])  # including the text before it, if that is broken
            start = place
        elif mark[1] == b",":
            yield from _filled(text[start : place - 1])
            start = place
    yield from _filled(text[start:])


def _filled(text: bytes) -> Iterator[bytes]:
    if text := text.strip(_BLANK):
        yield text


def records_name(names: Iterable[str]) -> str | None:
    """Return the name of an object that is ``records`` in any case, lower case first."""
    found = [name for name in names if name.lower() == "records"]
    return "records" if "records" in found else next(iter(found), None)


def _records_value(text: bytes) -> tuple[bytes | None, bytes]:
    """Return the ``records`` array of an object that is not valid JSON, and what follows."""
    arrays: dict[str, tuple[bytes, bytes]] = {}
    place = 1
    while (token := _NAME_OR_BRACKET.search(text, place)) is not None:
        place = token.end()
        if token[0] in _OPENING:
            place = _end_of_value(text, place)
        elif token[0].lower() == b'"records"' and (array := _ARRAY_FOLLOWS.match(text, place)):
            place = _end_of_value(text, array.end())
            arrays[token[0][1:-1].decode()] = text[array.end() - 1 : place], text[place:]
    name = records_name(arrays)
    return (None, b"") if name is None else arrays[name]


def _end_of_value(text: bytes, start: int) -> int:
    """Return the end of a value whose first bracket ends at *start*, or of truncated text."""
    return closing_of(text, start) or len(text)


def closing_of(text: bytes, start: int) -> int | None:
    """Return the end of the bracket that closes the bracket before *start*, or None."""
    depth = 1
    place = start
    while (bracket := _BRACKET.match(text, place)) is not None:
        place = bracket.end()
        depth += 1 if bracket[1] in _OPENING else -1
        if depth == 0:
            return place
    return None
