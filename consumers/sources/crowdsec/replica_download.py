"""Fetching CrowdSec's offline replica: ask for a link, download, verify, unpack.

Facts from CrowdSec's documentation (docs.crowdsec.net, CTI API, offline replicas): ``GET
/dump?format=mmdb`` with a key that CrowdSec allows it answers an object of datasets, each with
``url``, ``checksum`` and ``checksum_type``; the links live for an hour and are signed, so they are
secrets themselves, and need no key. CrowdSec's Splunk app knows other names of datasets, and links
to the bare file instead of an archive.
"""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import hmac
import os
import re
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import orjson

from consumers.settings.urls import is_loopback
from consumers.sources.http import ResponseTooLarge
from schemas.errors import FeedFailed, SourceUnavailable
from schemas.events.sign_in import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from consumers.sources.http import HttpClient, HttpResponse

MAX_REPLICA_BYTES = 8 * 1024**3
"""Bytes of a download, and of what it unpacks to. The replica has about 3 GB."""
USUAL_DATASETS = ("smoke", "smoke_full_mmdb")
"""The names of the whole data, in the two shapes of the answer. Others are used if named."""
_START, _END = "replica-", ".part"
_HEX = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"  # RFC 1952 section 2.3.1
_MAX_HEADER_BYTES = 64 * 1024
"""Bytes that may lie before a member: its headers, which the library holds in memory whole."""
_MAX_MEMBERS = 1_000
_ARCHIVE_ERRORS = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    LookupError,
)
"""What the libraries raise for archives that are not as they should be."""


class _Interrupted(Exception):
    """Nobody waits for the result any more."""


@dataclass(frozen=True, slots=True)
class DownloadedReplica:
    """A file that is ready to be swapped in. Whoever asked for it has to take it away."""

    path: Path
    verified: bool
    """Whether CrowdSec told a checksum of what was downloaded, and it was right."""
    dataset: str


@dataclass(frozen=True, slots=True)
class _DownloadLink:
    url: str
    checksum: str | None
    """SHA-256 in lower-case hexadecimal digits."""
    dataset: str


class ReplicaDownload:
    """Fetches the replica into a folder, one fetch at a time.

    *listing* sends the key and is used for CrowdSec's API alone; *plain* must not know it, because
    links lead to other hosts, and allows for the time that a download of gigabytes takes.
    """

    def __init__(
        self,
        listing: HttpClient,
        plain: HttpClient,
        url: str,
        folder: Path,
        *,
        dataset: str | None = None,
        largest: int = MAX_REPLICA_BYTES,
    ) -> None:
        if any(name.lower() == "x-api-key" for name in plain.headers):
            raise ValueError("the client for downloads must not know the key")
        self._listing = listing
        self._plain = plain
        self._url = url
        self._folder = folder
        self._dataset = dataset
        self._largest = largest

    async def fetch(self) -> DownloadedReplica:
        """Download, verify and unpack; return a file in the folder, readable by us alone.

        The next fetch removes it if nobody took it away. Raises FeedFailed; then nothing is left
        in the folder. Refused if the key may not, or what came cannot be trusted.
        """
        try:
            await asyncio.to_thread(self._prepare)
            return await self._fetched(await self._link())
        except ResponseTooLarge as error:
            raise FeedFailed(f"the replica: {error}", refused=True) from None
        except SourceUnavailable as error:
            raise FeedFailed(f"the replica: {error}") from None
        except OSError as error:
            raise _not_written(error) from None

    async def probe(self) -> str:
        """Return the dataset that the key allows; nothing is downloaded. FeedFailed as fetch."""
        try:
            return (await self._link()).dataset
        except SourceUnavailable as error:
            raise FeedFailed(f"the replica: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._listing.close()
        await self._plain.close()

    def _prepare(self) -> None:
        """Make the folder, and remove what a crash left in it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._folder.glob(f"{_START}*{_END}"):
            left.unlink(missing_ok=True)

    async def _link(self) -> _DownloadLink:
        reply = await self._listing.get(f"{self._url}/dump", {"format": "mmdb"})
        _raise_for_listing(reply)
        try:
            listed = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            raise _refused("CrowdSec's list of datasets is not JSON") from None
        if not isinstance(listed, dict):
            raise _refused("CrowdSec's list of datasets is no object")
        names = (self._dataset,) if self._dataset else USUAL_DATASETS
        for name in names:
            if name in listed:
                return _link_of(name, listed[name])
        raise _refused(
            f"CROWDSEC__REPLICA_DATASET: CrowdSec offers no {' or '.join(names)}; "
            f"it offers {_offered(listed)}"
        )

    async def _fetched(self, link: _DownloadLink) -> DownloadedReplica:
        packed, unpacked = self._temporary(), self._temporary()
        kept: Path | None = None
        stop = Event()
        try:
            await self._download(link.url, packed)
            kept = await asyncio.to_thread(
                _checked, link.checksum, packed, unpacked, self._largest, stop
            )
            return DownloadedReplica(kept, link.checksum is not None, link.dataset)
        finally:
            stop.set()
            for path in {packed, unpacked} - {kept}:
                path.unlink(missing_ok=True)

    async def _download(self, url: str, path: Path) -> None:
        with path.open("r+b") as file:
            reply = await self._plain.download(url, file, self._largest)
        if 300 <= reply.status < 400:
            raise _refused("the replica's link answers with a redirect, which is not followed")
        if reply.status != 200:
            raise FeedFailed(
                f"the replica's link answers with status {reply.status}",
                retry_after=reply.retry_after,
            )

    def _temporary(self) -> Path:
        """Return a new, empty file, readable by us alone."""
        number, name = tempfile.mkstemp(_END, _START, self._folder)
        os.close(number)
        return Path(name)


def _checked(checksum: str | None, packed: Path, unpacked: Path, largest: int, stop: Event) -> Path:
    """Return the file that holds the database: *packed* itself, or *unpacked*.

    CrowdSec does not say whether its checksum is of the archive or of the database in it, so either
    is accepted; where it is neither, FeedFailed, refused.
    """
    right = checksum is None or hmac.compare_digest(_sum_of(packed, stop), checksum)
    with packed.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            unpacked = packed
            os.fsync(file.fileno())
    if unpacked != packed:
        _unpack(packed, unpacked, largest, stop)
        right = right or hmac.compare_digest(_sum_of(unpacked, stop), checksum or "")
    if not right:
        raise _refused("the replica that was downloaded has another checksum than CrowdSec told")
    return unpacked


def _sum_of(path: Path, stop: Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_COPY_BYTES):
            if stop.is_set():
                raise _Interrupted
            digest.update(part)
    return digest.hexdigest()


def _unpack(packed: Path, target: Path, largest: int, stop: Event) -> None:
    """Write the one database in *packed* into *target*, which is there already, and flush it.

    Nothing in an archive decides where something is written, or how much: only the bytes of one
    regular member are copied. FeedFailed, refused, if it is damaged, holds not exactly one
    database, has names that lead out of it, or unpacks to more than *largest* bytes.
    """
    try:
        with gzip.open(packed) as file, target.open("r+b") as out:
            plain = _BoundedReader(file, largest, stop)
            if _is_tar(file):
                _copy_member(plain, out)
            else:
                plain.permit(largest)
                _copy(plain, out)
            plain.drain()
            out.flush()
            os.fsync(out.fileno())
    except _ARCHIVE_ERRORS:
        raise _refused("the replica that was downloaded is damaged") from None


class _BoundedReader:
    """The unpacked bytes, read once: never more than permitted, nor than *largest* in all."""

    def __init__(self, file: gzip.GzipFile, largest: int, stop: Event) -> None:
        self._file = file
        self._left = largest
        self._permitted = 0
        self._stop = stop

    def permit(self, size: int) -> None:
        """Allow for *size* more bytes from here on, and headers."""
        self._permitted = size + _MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Return up to *size* bytes, b"" at the end."""
        if self._stop.is_set():
            raise _Interrupted
        part = self._file.read(size)
        self._left -= len(part)
        self._permitted -= len(part)
        if self._left < 0 or self._permitted < 0:
            raise _refused("the replica that was downloaded unpacks to more than is allowed")
        return part

    def drain(self) -> None:
        """Read up to the end, where gzip compares its own checksum."""
        self.permit(self._left)
        while self.read(_COPY_BYTES):
            pass


def _is_tar(file: gzip.GzipFile) -> bool:
    """Tell whether a tar header is at the start, by its sum; then go back there."""
    head = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    if not head.strip(b"\0"):
        return True  # zeros end an archive: this one is empty
    try:
        tarfile.TarInfo.frombuf(head, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _copy_member(plain: _BoundedReader, out: IO[bytes]) -> None:
    """Copy the one database of an archive. All members are looked at, so that a second is seen."""
    found = False
    plain.permit(0)
    with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r|") as archive:
        for member in _members(archive, plain):
            if not member.name.endswith(".mmdb") or "/._" in f"/{member.name}":
                continue
            if not member.isreg():
                raise _refused("the replica's archive holds a link or a folder for the database")
            if found:
                raise _refused("the replica's archive holds more than one database")
            found = True
            content = archive.extractfile(member)
            if content is None or _copy(content, out) != member.size:
                raise _refused("the replica that was downloaded is damaged")
    if not found:
        raise _refused("the replica's archive holds no database")


def _members(archive: tarfile.TarFile, plain: _BoundedReader) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a sound archive; FeedFailed for names and kinds that a sound one lacks.

    From one header to the next only that much may be read as the member between them holds, so no
    header can grow in memory.
    """
    for _ in range(_MAX_MEMBERS):
        member = archive.next()
        if member is None:
            return
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise _refused("the replica's archive holds a name that leads out of it")
        if member.issparse() or member.size < 0:
            raise _refused("the replica's archive holds what a sound one does not")
        plain.permit(member.size if member.isreg() else 0)
        yield member
    raise _refused("the replica's archive holds too many members")


def _copy(source: IO[bytes] | _BoundedReader, out: IO[bytes]) -> int:
    size = 0
    while part := source.read(_COPY_BYTES):
        size += len(part)
        out.write(part)
    return size


def _raise_for_listing(reply: HttpResponse) -> None:
    status = reply.status
    if status in (401, 403):
        raise _refused(
            f"CROWDSEC__API_KEY: CrowdSec refuses the key for the replica ({status}); "
            "the replica needs a key of its own, which CrowdSec gives out on request"
        )
    if status == 404:
        raise _refused("nobody offers a replica there; CROWDSEC__URL should end in /v2")
    if 300 <= status < 400:
        raise _refused("CROWDSEC__URL answers with a redirect; the key is not sent on")
    if status == 429 or status >= 500:
        raise FeedFailed(
            f"CrowdSec answers with status {status} for the replica",
            retry_after=reply.retry_after,
        )
    if status != 200:
        raise _refused(f"CrowdSec answers with unexpected status {status} for the replica")


def _link_of(name: str, entry: object) -> _DownloadLink:
    """Return the link that one entry of the list gives, or FeedFailed."""
    told: dict[str, Any] = {"url": entry} if isinstance(entry, str) else {}
    if isinstance(entry, dict):
        told = entry
    url = told.get("url")
    if not isinstance(url, str) or not url:
        raise _refused("CrowdSec's list of datasets gives no link to the replica")
    if not _may_be_asked(url):
        raise _refused("the replica's link is not https:// to a host")
    return _DownloadLink(url, _checksum_of(told), name)


def _may_be_asked(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.password)
        return named and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))
    except ValueError:
        return False


def _checksum_of(told: dict[str, Any]) -> str | None:
    """Return the checksum, None if none is told; FeedFailed for one that cannot be compared."""
    checksum, kind = told.get("checksum"), told.get("checksum_type")
    if checksum in (None, ""):
        return None
    if not (kind is None or str(kind).lower().replace("-", "") == "sha256"):
        raise _refused("the replica's checksum is of a type that is not SHA-256")
    text = checksum.strip().lower() if isinstance(checksum, str) else ""
    if not _HEX.fullmatch(text):
        raise _refused("the replica's checksum is no SHA-256")
    return text


def _offered(listed: dict[str, Any]) -> str:
    names = [clean_text(name, longest=40) or "?" for name in list(listed)[:10]]
    return ", ".join(names) or "nothing"


def _refused(text: str) -> FeedFailed:
    return FeedFailed(text, refused=True)


def _not_written(error: OSError) -> FeedFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FeedFailed(
            "the disk is full; STATE__DIR needs room for the replica three times: the one in "
            "use, the download, and what it unpacks to"
        )
    return FeedFailed(f"STATE__DIR: the replica's folder cannot be written: {error.strerror}")
