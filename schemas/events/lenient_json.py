"""Read JSON that may be slightly broken. Raises nothing but ValueError."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import orjson

MAX_DEPTH = 200
"""Maximum nesting of the lenient parser; real records have fewer than ten levels."""
MAX_NUMBER_LENGTH = 400
"""Maximum digits of an integer; Python refuses longer numbers, and no record needs them."""

_PLACE = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_MAX_CACHED_TEXTS = 10_000
_MAX_CACHED_LENGTH = 1_024
"""Maximum length of a cached text, and the size of the cache."""

STRING = rb'"(?:[^"\\]|\\.)*+"?'
"""Matches a JSON string; an unterminated string extends to the end, so nothing is scanned twice."""
_TOKENS = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)


class TooDeep(ValueError):
    """The text is nested too deeply to be read."""


def load_json(raw: bytes | memoryview | str) -> Any:
    """Return the JSON value in *raw*.

    Also accepts what strict JSON does not: bytes that are not UTF-8 (replaced), lone surrogates,
    NaN, numbers beyond a double. TooDeep for such text with more than :data:`MAX_DEPTH` levels,
    ValueError for all other errors.
    """
    try:
        return msgspec.json.decode(raw)  # orjson makes integers beyond 64 bits inexact
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return orjson.loads(raw)  # reads deeper than the current stack permits
    except orjson.JSONDecodeError:
        pass
    text = raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "replace")
    if too_deep(text):
        raise TooDeep("nested too deeply")
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:  # called from a deep stack
        raise TooDeep("nested too deeply") from None


def where_broken(raw: bytes) -> str:
    """Return why and at which byte *raw* is not JSON; "unreadable" if that is unknown."""
    try:
        msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        place = _PLACE.fullmatch(str(error))
        return f"{place[1]} at byte {place[2]}" if place else f"it ends after {len(raw):,} bytes"
    except (UnicodeDecodeError, RecursionError):
        pass
    return "unreadable"


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_NUMBER_LENGTH else math.inf


def too_deep(text: str) -> bool:
    """Return True if brackets nest deeper than :data:`MAX_DEPTH`. Linear, without recursion."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(text.encode("utf-8", "replace")):
        if token[0] in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif token[0] in b"]}":
            depth -= 1
    return False


def truncate_depth(raw: bytes) -> bytes:
    """Return *raw* with null for values below :data:`MAX_DEPTH` levels, in linear time."""
    kept, depth, start = [], 0, 0
    for token in _TOKENS.finditer(raw):
        if token[0] in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(raw[start : token.start()])
        elif token[0] in b"]}":
            depth -= 1
            if depth == MAX_DEPTH:
                kept.append(b"null")
                start = token.end()
    return b"".join([*kept, raw[start:]]) if depth <= MAX_DEPTH else raw


def parse_container(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the JSON object or list in *text*, or None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = load_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict | list) else None


class _Texts(dict[str, Any]):
    """Caches the objects in texts, since devices and locations repeat; bounded."""

    def __missing__(self, text: str) -> Any:
        found = parse_container(text)
        if len(text) <= _MAX_CACHED_LENGTH:
            if len(self) >= _MAX_CACHED_TEXTS:
                self.clear()
            self[text] = found
        return found


_texts = _Texts()


def embedded_object(value: object) -> dict[str, Any] | None:
    """Return *value* as an object, also parsed from a text or the first of a list; else None."""
    if isinstance(value, str):
        value = _texts[value]
    if isinstance(value, dict):
        return value
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, dict) else None
