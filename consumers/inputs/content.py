"""What a file is, by its first bytes: how its text is encoded, or why it cannot be read."""

from __future__ import annotations

import codecs
import io
from typing import Any

SAMPLE_BYTES = 4_096
"""Bytes by which a file is recognised."""

_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXPORT = "export the sign-ins as JSON or CSV instead"
_OTHERS = (
    (b"PAR1", f"a Parquet file: {_EXPORT}"),
    (b"%PDF", f"a PDF: {_EXPORT}"),
    (b"\x89PNG", f"a picture: {_EXPORT}"),
    (b"\xff\xd8\xff", f"a picture: {_EXPORT}"),
    (b"ElfFile\x00", f"a Windows event log: {_EXPORT}"),
    (b"SQLite format 3\x00", f"a SQLite database: {_EXPORT}"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word document: save it as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
)
_MARKUP = (
    ("<!doctype html", f"a web page, perhaps of a sign-in that has expired: {_EXPORT}"),
    ("<html", f"a web page, perhaps of a sign-in that has expired: {_EXPORT}"),
    ("<", f"an XML document: {_EXPORT}"),
)


def refusal_of(sample: bytes) -> str | None:
    """Return what a file is that cannot be read, and what to do, or None."""
    found = next((text for magic, text in _OTHERS if sample.startswith(magic)), None)
    if found is not None:
        return found
    if b"\x00" in sample and encoding_of(sample) is None:
        return f"a binary file of an unknown kind: {_EXPORT}"
    start = sample.decode(encoding_of(sample) or "utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    return next((text for begin, text in _MARKUP if start.startswith(begin)), None)


def encoding_of(sample: bytes) -> str | None:
    """Return the encoding of a text that is not plain UTF-8, or None.

    Windows tools write UTF-16, some of them without a byte order mark.
    """
    for mark, encoding in _ENCODINGS:
        if sample.startswith(mark):
            return encoding
    even, odd = sample[::2], sample[1::2]
    if len(odd) >= 2 and b"\x00" not in even and odd.count(0) * 2 > len(odd):
        return "utf-16-le"
    if len(even) >= 2 and b"\x00" not in odd and even.count(0) * 2 > len(even):
        return "utf-16-be"
    return None


class RecodedReader(io.RawIOBase):
    """Reads a text of any encoding as UTF-8, with replacement characters for what is no text."""

    def __init__(self, stream: io.BufferedIOBase, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._left = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read like a raw stream."""
        while not self._left:
            data = self._stream.read1(len(buffer))
            self._left = self._decoder.decode(data, final=not data).encode("utf-8", "replace")
            if not data:
                break
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
