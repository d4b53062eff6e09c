"""Verifies and unpacks a downloaded replica. Nothing in it is trusted."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, cast

from schemas.errors import FeedFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event
    from typing import IO

_COPY_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"  # RFC 1952 section 2.3.1
_MAX_HEADER_BYTES = 64 * 1024
"""Bytes before the content of a member: its headers, which the library loads into memory."""
_MAX_MEMBERS = 1_000
_ARCHIVE_ERRORS = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    LookupError,
)
"""The errors that the libraries raise for a damaged archive."""


class Interrupted(Exception):
    """The caller no longer waits for the result."""


def verified_database(
    checksum: str | None, packed: Path, unpacked: Path, max_bytes: int, stop: Event
) -> Path:
    """Return the file with the database: *packed* itself or, for an archive, *unpacked*.

    CrowdSec does not document whether the checksum is of the archive or of the database in
    it, so both are accepted. Raises FeedFailed, refused, if neither matches. Raises Interrupted
    after *stop* is set.
    """
    matches = checksum is None or hmac.compare_digest(_checksum_of_file(packed, stop), checksum)
    with packed.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            unpacked = packed
            os.fsync(file.fileno())
    if unpacked != packed:
        _unpack(packed, unpacked, max_bytes, stop)
        matches = matches or hmac.compare_digest(_checksum_of_file(unpacked, stop), checksum or "")
    if not matches:
        raise _refused("the downloaded replica has another checksum than CrowdSec lists")
    return unpacked


def _checksum_of_file(path: Path, stop: Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_COPY_BYTES):
            if stop.is_set():
                raise Interrupted
            digest.update(part)
    return digest.hexdigest()


def _unpack(packed: Path, target: Path, max_bytes: int, stop: Event) -> None:
    """Write the database in *packed* to the existing file *target*, and flush it.

    The archive has no influence on where or how much is written: only the bytes of one regular
    member are copied. Raises FeedFailed, refused, if the archive is damaged, does not contain
    exactly one database, has names that lead out of it, or unpacks to more than *max_bytes* bytes.
    """
    try:
        with gzip.open(packed) as file, target.open("r+b") as out:
            plain = _BoundedReader(file, max_bytes, stop)
            if _is_tar(file):
                _copy_member(plain, out)
            else:
                plain.permit(max_bytes)
                _copy(plain, out)
            plain.drain()
            out.flush()
            os.fsync(out.fileno())
    except _ARCHIVE_ERRORS:
        raise _refused("the downloaded replica is damaged") from None


class _BoundedReader:
    """Reads the unpacked bytes once, up to the permitted number and *max_bytes* in total."""

    def __init__(self, file: gzip.GzipFile, max_bytes: int, stop: Event) -> None:
        self._file = file
        self._left = max_bytes
        self._permitted = 0
        self._stop = stop

    def permit(self, size: int) -> None:
        """Permit *size* more bytes plus headers."""
        self._permitted = size + _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes; b"" at the end."""
        if self._stop.is_set():
            raise Interrupted
        part = self._file.read(size)
        self._left -= len(part)
        self._permitted -= len(part)
        if self._left < 0 or self._permitted < 0:
            raise _refused("the downloaded replica unpacks to more than is allowed")
        return part

    def drain(self) -> None:
        """Read to the end, where gzip verifies its own checksum."""
        self.permit(self._left)
        while self.read(_COPY_BYTES):
            pass


def _is_tar(file: gzip.GzipFile) -> bool:
    """Return True if the file starts with a valid tar header. Seeks back to the start."""
    head = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if not head.strip(b"\0"):
        return True  # zeros mark the end: an empty archive
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _copy_member(plain: _BoundedReader, out: IO[bytes]) -> None:
    """Copy the single database of an archive. Reads all members to detect a second database."""
    found = False
    plain.permit(0)
    with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r|") as archive:
        for member in _members(archive, plain):
            if not member.name.endswith(".mmdb") or "/._" in f"/{member.name}":
                continue
            if not member.isreg():
                raise _refused(
                    "the replica's archive contains a link or a folder instead of a database"
                )
            if found:
                raise _refused("the replica's archive contains more than one database")
            found = True
            content = archive.extractfile(member)
            if content is None or _copy(content, out) != member.size:
                raise _refused("the downloaded replica is damaged")
    if not found:
        raise _refused("the replica's archive contains no database")


def _members(archive: tarfile.TarFile, plain: _BoundedReader) -> Iterator[tarfile.TarInfo]:
    """Yield the members. Raises FeedFailed for unsafe names, sparse files, or too many members.

    Between two headers, only the size of the member between them may be read. So no header can
    exhaust the memory.
    """
    for _ in range(_MAX_MEMBERS):
        member = archive.next()
        if member is None:
            return
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise _refused("the replica's archive contains a name that leads out of it")
        if member.issparse() or member.size < 0:
            raise _refused("the replica's archive contains an invalid member")
        plain.permit(member.size if member.isreg() else 0)
        yield member
    raise _refused("the replica's archive contains too many members")


def _copy(source: IO[bytes] | _BoundedReader, out: IO[bytes]) -> int:
    size = 0
    while part := source.read(_COPY_BYTES):
        size += len(part)
        out.write(part)
    return size


def _refused(text: str) -> FeedFailed:
    return FeedFailed(text, refused=True)
