"""Reading JSON that may be slightly broken, without ever raising more than ValueError."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

MAX_DEPTH = 200
"""Nesting beyond which the patient reader does not follow; real records are below ten."""
MAX_NUMBER_LENGTH = 400
"""Digits of a whole number; Python refuses to read very long ones, and nothing needs them."""

_MAX_CACHED_TEXTS = 10_000
_MAX_CACHED_LENGTH = 1_024
"""Characters of texts that are remembered, and how many."""

STRING = rb'"(?:[^"\\]|\\.)*+"?'
"""Matches a JSON text; one that never ends goes on to the end, so that none is scanned twice."""
_TOKENS = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)


class TooDeep(ValueError):
    """A text nests deeper than can be read."""


def load_json(raw: bytes | memoryview | str) -> Any:
    """Return the value that *raw* writes.

    What strict JSON refuses but a person can read is read: bytes that are not UTF-8 (replaced),
    lone surrogates, NaN, numbers that no double holds. TooDeep for such a text that nests deeper
    than :data:`MAX_DEPTH`, ValueError for everything else, however broken.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    text = raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "replace")
    if too_deep(text):
        raise TooDeep("nested too deeply")
    try:
        return json.loads(text, parse_int=_whole_number)
    except RecursionError:  # called from a deep stack
        raise TooDeep("nested too deeply") from None


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
    """Return *raw* with null for what is nested deeper than :data:`MAX_DEPTH`, in linear time."""
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


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the object that *text* writes, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = load_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class _Texts(dict[str, "dict[str, Any] | None"]):
    """Remembers which objects texts write, as devices and places repeat; bounded."""

    def __missing__(self, text: str) -> dict[str, Any] | None:
        found = parse_object(text)
        if len(text) <= _MAX_CACHED_LENGTH:
            if len(self) >= _MAX_CACHED_TEXTS:
                self.clear()
            self[text] = found
        return found


_texts = _Texts()


def embedded_object(value: object) -> dict[str, Any] | None:
    """Return the object that a text writes, or that a list begins with, as it is; else None."""
    if isinstance(value, str):
        return _texts[value]
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, dict) else None
