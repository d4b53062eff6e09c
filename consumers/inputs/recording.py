"""Messages from recordings: JSON lines, plain or gzipped, or Event Hubs Capture Avro."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro

from schemas.errors import ConfigurationError, RecordingUnreadable
from schemas.events.decode import MAX_BODY_BYTES
from schemas.events.times import parse_time
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GZIP = b"\x1f\x8b"
AVRO = b"Obj\x01"
_BROKEN_GZIP = (EOFError, OSError, zlib.error)
_BROKEN_AVRO = (
    EOFError,
    KeyError,
    IndexError,
    MemoryError,
    TypeError,
    ValueError,
    OSError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""Errors that fastavro raises on a truncated or damaged file; it has no error type of its own."""


def read_recording(name: str, progress: Callable[[int], None]) -> Iterator[Message]:
    """Yield the messages of a recording in order; ``-`` is standard input.

    *progress* receives the number of bytes read. Raises ConfigurationError if the recording cannot
    be opened. Raises RecordingUnreadable where it becomes unreadable, after all messages before.
    """
    with _opened(name) as raw:
        watched = io.BufferedReader(_ProgressReader(raw, progress), 1 << 20)
        head = watched.peek(4)[:4]
        if head.startswith(GZIP):
            with gzip.GzipFile(fileobj=watched) as unzipped:
                buffered = io.BufferedReader(_GzipReader(unzipped), 1 << 20)
                inner = _peeked(name, buffered)
                yield from _messages(name, buffered, inner)
        else:
            yield from _messages(name, watched, head)


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


def _peeked(name: str, stream: io.BufferedReader[Any]) -> bytes:
    try:
        return stream.peek(4)[:4]
    except _BROKEN_GZIP as error:
        raise RecordingUnreadable(f"{name}: {error}") from None


def _messages(name: str, stream: io.BufferedReader[Any], head: bytes) -> Iterator[Message]:
    return _from_avro(name, stream) if head == AVRO else _from_lines(name, stream)


def _from_lines(name: str, stream: io.BufferedReader[Any]) -> Iterator[Message]:
    number = 0
    while True:
        try:
            line = stream.readline(MAX_BODY_BYTES + 2)
            if len(line) > MAX_BODY_BYTES:
                _skip_line(line, stream)
        except _BROKEN_GZIP as error:
            raise RecordingUnreadable(f"{name}: unreadable after line {number}: {error}") from None
        if not line:
            return
        number += 1
        body = line.strip()
        if body:
            yield Message(body, Position(name, number))


def _skip_line(line: bytes, stream: io.BufferedReader[Any]) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)


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

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read like a raw stream."""
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._progress(len(data))
        return len(data)


class _GzipReader(io.RawIOBase):
    """Returns unzipped data immediately, so that a truncated file loses only its end."""

    def __init__(self, unzipped: gzip.GzipFile) -> None:
        self._unzipped = unzipped

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read like a raw stream."""
        data = self._unzipped.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)
