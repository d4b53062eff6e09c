"""Clean values from events and sources: bounded, without control characters."""

from __future__ import annotations

import math
import re

MAX_VALUE_LENGTH = 1_024
"""Maximum length of a text from an event. The service truncates at 64 KB."""

EMPTY_VALUES = frozenset(("", "-", "<null>"))
"""Texts that mean that there is no value."""
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, bidirectional marks and lone surrogates."""
_WHOLE = re.compile(r"\s*-?[0-9]{1,19}\s*")


def is_no_number(value: object) -> bool:
    """Return True for the numbers that JSON does not have: NaN and the infinities."""
    return isinstance(value, float) and not math.isfinite(value)


def number_of(value: object) -> int | None:
    """Return *value* as an integer, also parsed from a text, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return None


def clean_text(value: object, longest: int = MAX_VALUE_LENGTH) -> str | None:
    """Return *value* as bounded text without control characters, or None if empty."""
    if type(value) is str:
        text = value[:longest].strip()
        if not (text.isascii() and text.isprintable()):
            text = _CONTROL.sub("�", text)
        return None if text in EMPTY_VALUES else text
    if value is None or isinstance(value, dict | list) or is_no_number(value):
        return None
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return clean_text(text, longest)


def clean_bool(value: object) -> bool | None:
    """Return *value* as a boolean, from a boolean, 0 or 1, or a word; else None."""
    if isinstance(value, bool):
        return value
    if number_of(value) in (0, 1):
        return number_of(value) == 1
    words = {"true": True, "yes": True, "false": False, "no": False}
    return words.get(value.strip().lower()) if isinstance(value, str) else None


def printable(value: object, longest: int) -> str:
    """Return *value* as text to show: without control characters, cut to *longest* characters."""
    text = "" if value is None else str(value)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "�" for char in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
