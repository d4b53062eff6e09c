"""Messages from recordings and exports, recognised by their content.

Files of any name: JSON lines, JSON documents, CSV or Event Hubs Capture Avro; plain, gzipped,
zipped or compressed with Zstandard; in UTF-8 or UTF-16.
"""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
import zlib
from collections import deque
from collections.abc import Callable
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import orjson
from backports import zstd

from consumers.inputs.content import SAMPLE_BYTES, RecodedReader, encoding_of, refusal_of
from consumers.inputs.csv_export import csv_records, looks_like_csv
from consumers.inputs.json_export import (
    Documents,
    batched,
    bodies_in_line,
    is_broken_line,
    is_complete,
)
from schemas.errors import ConfigurationError, RecordingRefused, RecordingUnreadable
from schemas.events.decode import MAX_BODY_BYTES
from schemas.events.framing import records_of
from schemas.events.times import parse_time
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Recognised = Callable[[str, str], None]
"""Gets the name of a file, or of a file in an archive, and what it is, the outermost first."""
LINES_OF_JSON, ARRAY_IN_A_LINE, NO_JSON = "NDJSON", "JSON array in a line", "text that is no JSON"
JSON_ARRAY, JSON_DOCUMENT = "JSON array", "JSON document"
CAPTURE, EMPTY = "Avro of Event Hubs Capture", "empty"
GZIP, ZIP, ZSTD, AVRO = b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"Obj\x01"
MAX_NESTED = 3
"""Compressions within each other, as of a gzipped file in an archive."""
_BUFFER_BYTES = 1 << 20
_BROKEN = (EOFError, OSError, zlib.error, zipfile.BadZipFile, zstd.ZstdError)
"""Errors of a truncated or damaged archive."""
_BROKEN_AVRO = (
    *_BROKEN,
    KeyError,
    IndexError,
    MemoryError,
    TypeError,
    ValueError,
    OverflowError,
    struct.error,
)
"""Errors that fastavro raises on a truncated or damaged file; it has no error type of its own."""
_OFFICE = {"xl/workbook.xml": "an Excel workbook", "word/document.xml": "a Word document"}


def read_recording(
    name: str,
    progress: Callable[[int], None],
    table: str | None = None,
    recognised: Recognised = lambda _name, _kind: None,
) -> Iterator[Message]:
    """Yield the messages of a recording in order; ``-`` is standard input.

    *progress* receives the number of bytes read. *table* is the table of records that do not name
    theirs, *recognised* receives what each file is. Raises ConfigurationError if the recording
    cannot be opened, RecordingRefused if it is something else, and RecordingUnreadable where it
    becomes unreadable, after all messages before.
    """
    with _opened(name) as raw:
        watched = io.BufferedReader(_ProgressReader(raw, progress), _BUFFER_BYTES)
        messages = _messages(name, watched, MAX_NESTED, recognised)
        yield from messages if table is None else _named(messages, table)


def expand_names(names: Sequence[str]) -> list[str]:
    """Return the files of names, folders and patterns such as ``*.csv``, each once.

    Raises ConfigurationError for a name without a file.
    """
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if name == "-" or path.is_file():
            found[name] = None
        elif path.is_dir():
            files = sorted(str(inner) for inner in path.rglob("*") if inner.is_file())
            if not files:
                raise ConfigurationError(f"{name}: the folder is empty")
            found |= dict.fromkeys(files)
        elif files := _matching(name):
            found |= dict.fromkeys(files)
        else:
            require_recording(name)
            found[name] = None
    return list(found)


def _matching(pattern: str) -> list[str]:
    """Return the files of a pattern, which a shell has not expanded."""
    return sorted(name for name in glob(pattern, recursive=True) if Path(name).is_file())  # noqa: PTH207 - absolute patterns


def require_recording(name: str) -> None:
    """Raise ConfigurationError if the recording does not exist."""
    if name == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise ConfigurationError("-: standard input is closed")
    elif Path(name).is_dir():
        raise ConfigurationError(f"{name}: is a directory")
    elif not Path(name).exists():
        raise ConfigurationError(f"{name}: no such file")


def recording_size(name: str) -> int | None:
    """Return the size of a recording in bytes, or None if unknown."""
    path = Path(name)
    return path.stat().st_size if name != "-" and path.is_file() else None


def sizes_of(names: Sequence[str]) -> int | None:
    """Return the total size of recordings in bytes, or None if unknown."""
    sizes = [recording_size(name) for name in names]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _opened(name: str) -> io.FileIO:
    try:
        return io.FileIO(sys.stdin.fileno() if name == "-" else name, closefd=name != "-")
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None


# --- archives ---


def _messages(
    name: str, stream: io.BufferedReader[Any], nested: int, recognised: Recognised
) -> Iterator[Message]:
    """Yield the messages of a stream, unpacked first if it is compressed."""
    try:
        sample = stream.peek(SAMPLE_BYTES)[:SAMPLE_BYTES]
    except _BROKEN as error:
        raise RecordingUnreadable(f"{name}: {error}") from None
    if nested and sample.startswith(GZIP):
        recognised(name, "gzip")
        with gzip.GzipFile(fileobj=stream) as unzipped:
            inner = _buffered(_PromptReader(unzipped))
            yield from _messages(name, inner, nested - 1, recognised)
    elif nested and sample.startswith(ZSTD):
        recognised(name, "zstd")
        with zstd.ZstdFile(stream) as unpacked:
            inner = _buffered(_PromptReader(unpacked))
            yield from _messages(name, inner, nested - 1, recognised)
    elif nested and sample.startswith(ZIP):
        yield from _of_archive(name, stream, nested - 1, recognised)
    elif sample.startswith(AVRO):
        recognised(name, CAPTURE)
        yield from _from_avro(name, stream)
    else:
        yield from _of_text(name, stream, sample, recognised)


def _buffered(raw: io.RawIOBase) -> io.BufferedReader[Any]:
    return io.BufferedReader(raw, _BUFFER_BYTES)


def _of_archive(
    name: str, stream: io.BufferedReader[Any], nested: int, recognised: Recognised
) -> Iterator[Message]:
    """Yield the messages of all files of a zip archive, in its order."""
    try:
        archive = zipfile.ZipFile(stream if name != "-" else io.BytesIO(stream.read()))
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        office = next((what for path, what in _OFFICE.items() if path in archive.namelist()), None)
        if office is not None:
            raise RecordingRefused(f"{name}: {office}: save it as CSV")
        recognised(name, "zip")
        for entry in files:
            with archive.open(entry) as unpacked:
                inner = io.BufferedReader(_PromptReader(unpacked), _BUFFER_BYTES)
                yield from _messages(f"{name}/{entry.filename}", inner, nested, recognised)
    except (*_BROKEN, RuntimeError, NotImplementedError) as error:  # the last two: encrypted
        raise RecordingUnreadable(f"{name}: the archive cannot be read: {error}") from None


# --- texts ---


def _of_text(
    name: str, stream: io.BufferedReader[Any], sample: bytes, recognised: Recognised
) -> Iterator[Message]:
    if (refusal := refusal_of(sample)) is not None:
        raise RecordingRefused(f"{name}: {refusal}")
    if (encoding := encoding_of(sample)) is not None:
        recognised(name, encoding.upper().removesuffix("-SIG"))
        stream = _buffered(RecodedReader(stream, encoding))
    lines = _lines(name, stream)
    first = next(lines, None)
    if first is None:
        recognised(name, EMPTY)
        return
    number, line = first
    if line.lstrip()[:1] in (b"{", b"[") and not is_complete(line):
        second = next(lines, (number, b""))
        if not is_broken_line(line, second[1]):
            recognised(name, JSON_ARRAY if line.lstrip()[:1] == b"[" else JSON_DOCUMENT)
            records = Documents(stream, line + second[1]).records()
            yield from _of_records(name, enumerate(records, 1))
            return
        lines = chain([second], lines)
    elif not is_complete(line) and looks_like_csv(line):
        yield from _of_records(name, csv_records(stream, line, name, recognised))
        return
    recognised(name, _kind_of_lines(line))
    yield from _of_lines(name, line, number, lines)


def _kind_of_lines(first: bytes) -> str:
    kinds = {b"{": LINES_OF_JSON, b"[": ARRAY_IN_A_LINE}
    return kinds.get(first.lstrip()[:1], NO_JSON)


def _lines(name: str, stream: io.BufferedReader[Any]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers; cut a line that is too long."""
    number = 0
    while True:
        try:
            line = stream.readline(MAX_BODY_BYTES + 2)
            if len(line) > MAX_BODY_BYTES and number:
                _skip_line(line, stream)
        except _BROKEN as error:
            raise RecordingUnreadable(f"{name}: unreadable after line {number}: {error}") from None
        if not line:
            return
        number += 1
        if line.strip():
            yield number, line


def _skip_line(line: bytes, stream: io.BufferedReader[Any]) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)


def _of_lines(
    name: str, first: bytes, number: int, lines: Iterator[tuple[int, bytes]]
) -> Iterator[Message]:
    line = first
    while True:
        for body in bodies_in_line(line.strip()):
            yield Message(body, Position(name, number))
        following = next(lines, None)
        if following is None:
            return
        number, line = following


def _of_records(name: str, records: Iterator[tuple[int, bytes]]) -> Iterator[Message]:
    """Yield numbered records, many in a message; the position is that of the first."""
    numbers: deque[int] = deque()

    def numbered() -> Iterator[bytes]:
        for number, record in records:
            numbers.append(number)
            yield record

    begin = 1
    try:
        for body in batched(numbered()):
            begin = numbers[0]
            numbers.clear()
            yield Message(body, Position(name, begin))
    except _BROKEN as error:
        raise RecordingUnreadable(f"{name}: unreadable after record {begin}: {error}") from None


def _named(messages: Iterator[Message], table: str) -> Iterator[Message]:
    """Name the table of the records that do not name theirs."""
    for message in messages:
        records = [_with_table(record, table) for record in records_of(message.body)]
        for body in batched(records):
            yield Message(body, message.position, message.enqueued)


def _with_table(record: bytes, table: str) -> bytes:
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError:
        return record
    if not isinstance(fields, dict) or {"type", "category"} & {name.lower() for name in fields}:
        return record
    return orjson.dumps({**fields, "Type": table})


def _from_avro(name: str, stream: io.BufferedReader[Any]) -> Iterator[Message]:
    """Read the records that Event Hubs Capture writes: body and arrival time."""
    number = 0
    try:
        events: Iterator[Any] = fastavro.reader(stream)
        for event in events:
            number += 1
            fields = event if isinstance(event, dict) else {}
            body = fields.get("Body")
            body = body.encode() if isinstance(body, str) else body or b""
            enqueued = parse_time(fields.get("EnqueuedTimeUtc"))
            yield Message(body, Position(name, number), enqueued)
    except _BROKEN_AVRO as error:
        reason = str(error) or type(error).__name__
        raise RecordingUnreadable(f"{name}: unreadable after event {number}: {reason}") from None


class _ProgressReader(io.RawIOBase):
    """Reports how many bytes were read."""

    def __init__(self, raw: io.FileIO, progress: Callable[[int], None]) -> None:
        self._raw = raw
        self._progress = progress

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True for a file; an archive has its table at the end."""
        return self._raw.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Seek in the file."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self._raw.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read like a raw stream."""
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._progress(len(data))
        return len(data)


class _PromptReader(io.RawIOBase):
    """Returns unpacked data immediately, so that a truncated file loses only its end."""

    def __init__(self, unpacked: Any) -> None:
        """*unpacked* has ``read1``."""
        self._unpacked = unpacked

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read like a raw stream."""
        data = self._unpacked.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)
