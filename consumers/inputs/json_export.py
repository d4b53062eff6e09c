"""Records of JSON exports: a value a line, or documents that go over many lines.

Documents are cut into records as they are read, so that a large one needs little memory and a
malformed record costs no other. Known wrappers are arrays, ``records`` (diagnostic settings),
``value`` (Microsoft Graph, OData) and ``tables`` (the query API of Log Analytics).
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import RecordingUnreadable
from schemas.events.decode import MAX_BODY_BYTES
from schemas.events.framing import closing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BATCH_RECORDS = 100
"""Records of a document that become one message."""
BATCH_BYTES = 512 * 1024
MAX_TABLES_BYTES = 1024 * 1024 * 1024
"""Bytes of a response of the query API, which the service limits to 64 MB."""
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 64 * 1024
"""Bytes in which a wrapper has to name its array."""
_SEPARATORS = re.compile(rb"[\s,]*")
_MARK = re.compile(rb"[,\[\]{}]")
_WRAPPER = re.compile(rb'\s*\{(?:\s*"(?:@?odata[^"]*|@[^"]*|nextLink|count)"\s*:\s*[^,{\[]*,)*'
                      rb'\s*"([Rr]ecords|value)"\s*:\s*\[')  # fmt: skip
"""The start of a wrapper up to its array; only what OData writes may come before."""
_TABLES = re.compile(rb'\s*\{\s*"tables"\s*:\s*\[')


def is_complete(line: bytes) -> bool:
    """Return True if a line is a whole JSON object or array."""
    text = line.strip()
    return text[:1] in (b"{", b"[") and closing_of(text, 1) == len(text)


def is_broken_line(line: bytes, following: bytes) -> bool:
    """Return True if an incomplete line is a value a line, and not the start of a document."""
    return line.strip()[-1:] not in b"[{,:" and is_complete(following)


def bodies_in_line(line: bytes) -> Iterator[bytes]:
    """Yield the message bodies of a line: itself, unless it is a wrapper that only exports have."""
    wrapper = _WRAPPER.match(line)
    if _TABLES.match(line) or (wrapper is not None and wrapper[1] == b"value"):
        yield from batched(Documents(io.BytesIO(), line).records())
    else:
        yield line


def batched(records: Iterable[bytes]) -> Iterator[bytes]:
    """Yield records in envelopes of a bounded size."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record)
        if len(batch) == BATCH_RECORDS or size >= BATCH_BYTES:
            yield b'{"records":[' + b",".join(batch) + b"]}"
            batch, size = [], 0
    if batch:
        yield b'{"records":[' + b",".join(batch) + b"]}"


class Documents:
    """Cuts the JSON documents of a stream into records."""

    def __init__(self, stream: io.BufferedIOBase, first: bytes) -> None:
        """*first* is what was read of the stream already."""
        self._stream = stream
        self._text = first
        self._place = 0

    def records(self) -> Iterator[bytes]:
        """Yield the records in order. What is no JSON is yielded by lines, to be rejected."""
        while self._skip_separators():
            if self._text.startswith(b"[", self._place):
                self._place += 1
                yield from self._items()
            elif self._matches(_TABLES):
                yield from _rows_of(self._rest())
            elif (wrapper := self._matches(_WRAPPER)) is not None:
                self._place = wrapper.end()
                yield from self._items()
                self._skip_to_the_end_of_an_object()
            elif self._text.startswith(b"{", self._place):
                yield self._value()
            else:
                yield self._line()

    def _items(self) -> Iterator[bytes]:
        """Yield the items of an array up to its end; of a truncated one, what is there."""
        while self._skip_separators():
            if self._text.startswith(b"]", self._place):
                self._place += 1
                return
            if self._text[self._place : self._place + 1] in (b"{", b"["):
                yield self._value()
            else:
                yield self._scalar()

    def _value(self) -> bytes:
        """Return an object or array, or what is left of a truncated one."""
        while (end := closing_of(self._text, self._place + 1)) is None:
            if len(self._text) - self._place > MAX_BODY_BYTES:
                raise RecordingUnreadable(f"a value has more than {MAX_BODY_BYTES:,} bytes")
            if not self._more():
                end = len(self._text)
                break
        start, self._place = self._place, end
        return self._text[start:end]

    def _scalar(self) -> bytes:
        """Return what is no object or array, up to the next comma or bracket."""
        while (end := self._next_mark()) == len(self._text) and self._more():
            pass
        start, self._place = self._place, max(end, self._place + 1)
        return self._text[start : self._place].strip()

    def _next_mark(self) -> int:
        mark = _MARK.search(self._text, self._place)
        return mark.start() if mark is not None else len(self._text)

    def _line(self) -> bytes:
        while (end := self._text.find(b"\n", self._place)) < 0 and self._more():
            if len(self._text) - self._place > MAX_BODY_BYTES:
                break
        end = len(self._text) if end < 0 else end
        line, self._place = self._text[self._place : end].strip(), end
        return line

    def _skip_to_the_end_of_an_object(self) -> None:
        """Skip what follows the array of a wrapper, such as the link to the next page."""
        self._text = b"{" + self._text[self._place :]
        self._place = 0
        self._value()

    def _skip_separators(self) -> bool:
        """Skip blanks and commas; return False at the end."""
        while True:
            blanks = _SEPARATORS.match(self._text, self._place)
            self._place = blanks.end() if blanks is not None else self._place
            if self._place < len(self._text):
                return True
            if not self._more():
                return False

    def _matches(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        while len(self._text) - self._place < _HEAD_BYTES and self._more():
            pass
        return pattern.match(self._text, self._place)

    def _rest(self) -> bytes:
        while self._more():
            if len(self._text) > MAX_TABLES_BYTES:
                raise RecordingUnreadable("a response of the query API has more than 1 GB")
        rest, self._place = self._text[self._place :], len(self._text)
        return rest

    def _more(self) -> bool:
        """Read on; return False at the end."""
        data = self._stream.read1(_CHUNK_BYTES)
        self._text = self._text[self._place :] + data
        self._place = 0
        return bool(data)


def _rows_of(text: bytes) -> Iterator[bytes]:
    """Yield the rows of a response of the query API as records.

    Source: Microsoft's "Azure Monitor Log Analytics API response format".
    """
    try:
        tables: Any = orjson.loads(text)["tables"]
        named = [
            ([column["name"] for column in table["columns"]], table["rows"]) for table in tables
        ]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise RecordingUnreadable("a response of the query API is malformed") from None
    for names, rows in named:
        for row in rows:
            yield orjson.dumps(dict(zip(names, row, strict=False)))
