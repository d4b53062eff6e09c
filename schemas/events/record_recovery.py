"""Whole records beside a broken one that the scanner of brackets and strings cannot tell apart.

A quote or a bracket too many, or too few, makes a broken record swallow its neighbours. A neighbour
is recovered where an object begins that is valid JSON and names its table. Objects within a record
do not name one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from schemas.events.framing import closing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_RECOVERED_BYTES = 64 * 1024
"""Bytes of a record that is recovered."""
MAX_PASSES = 4
"""How often the bytes of a text are searched in all, so that the work is linear."""
_BEGIN = re.compile(rb"(?:^|[\[\]{},])\s*(?=\{)")
_WORTH_KEEPING = re.compile(rb"[^\s\[\]{},]")


def recovered(
    text: bytes, names_its_table: Callable[[bytes], bool]
) -> Iterator[tuple[bool, bytes]]:
    """Yield the parts of a text that is not JSON: True with a whole record, False with a rest.

    Rests of brackets and commas alone are left out, unless there is nothing else.
    """
    place = found = 0
    work = MAX_PASSES * len(text)
    for begin in _BEGIN.finditer(text):
        start = begin.end()
        if work <= 0:
            break
        if start < place or (start == 0 and closing_of(text, 1) == len(text)):
            continue  # within a recovered record, or the text itself
        window = text[start : start + MAX_RECOVERED_BYTES]
        end = closing_of(window, 1)
        work -= len(window) if end is None else end
        if end is not None and names_its_table(window[:end]):
            yield from _rest(text[place:start])
            yield True, window[:end]
            place, found = start + end, found + 1
    rest = list(_rest(text[place:]))
    yield from rest if rest or found else [(False, text)]


def _rest(text: bytes) -> Iterator[tuple[bool, bytes]]:
    if _WORTH_KEEPING.search(text):
        yield False, text.strip()
