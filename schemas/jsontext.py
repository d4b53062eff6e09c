"""Reading JSON that may be slightly broken, without ever raising more than ValueError."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import orjson

DEEPEST = 200
"""Nesting beyond which the patient reader does not follow; real records are below ten."""
LONGEST_BROKEN = 4 * 1024 * 1024
"""Bytes of broken JSON that the patient reader takes on; it is slow."""


def load_json(raw: bytes | memoryview | str) -> Any:
    """Return the value that *raw* writes.

    What strict JSON refuses but a person can read is read: bytes that are not UTF-8 (replaced),
    lone surrogates, NaN. ValueError for everything else, however broken.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if len(raw) > LONGEST_BROKEN:
            raise ValueError(str(error)) from None
    text = raw if isinstance(raw, str) else bytes(raw).decode("utf-8", "replace")
    if too_deep(text):
        raise ValueError("nested too deeply")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def too_deep(text: str) -> bool:
    """Tell, without recursion, whether brackets may nest deeper than :data:`DEEPEST`.

    Brackets inside texts count as well, so the answer errs on the safe side.
    """
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    steps = ((character in "[{") - (character in "]}") for character in text)
    return max(accumulate(steps)) > DEEPEST


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the object that *text* writes, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = load_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
