"""Downloads CrowdSec's offline replica: request a link, download, verify, unpack.

Source: CrowdSec's documentation (docs.crowdsec.net, CTI API, offline replicas). With an entitled
key, ``GET /dump?format=mmdb`` returns an object of datasets, each with ``url``, ``checksum`` and
``checksum_type``. The links are valid for one hour. They are signed, so they need no key and are
secrets. CrowdSec's Splunk app uses other dataset names, and links to the file without an archive.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from consumers.settings.urls import is_loopback
from consumers.sources.crowdsec.replica_archive import verified_database
from consumers.sources.http import ResponseTooLarge
from schemas.errors import FeedFailed, SourceUnavailable
from schemas.values import clean_text

if TYPE_CHECKING:
    from consumers.sources.http import HttpClient, HttpResponse

MAX_REPLICA_BYTES = 8 * 1024**3
"""Limit of a download, and of its unpacked size. The replica has about 3 GB."""
USUAL_DATASETS = ("smoke", "smoke_full_mmdb")
"""The names of the complete dataset in the two forms of the list. Others can be configured."""
_PREFIX, _SUFFIX = "replica-", ".part"
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DownloadedReplica:
    """A downloaded file, ready to be swapped in. The caller must move or delete it."""

    path: Path
    verified: bool
    """True if CrowdSec supplied a checksum and it matches."""
    dataset: str


@dataclass(frozen=True, slots=True)
class _DownloadLink:
    url: str
    checksum: str | None
    """SHA-256 in lower-case hexadecimal digits."""
    dataset: str


class ReplicaDownload:
    """Downloads the replica to a directory, one fetch at a time.

    *listing* sends the key and is only used for CrowdSec's API. *plain* must not have the key,
    because links lead to other hosts. Its timeout must allow a download of gigabytes.
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
            raise ValueError("the client for downloads must not have the key")
        self._listing = listing
        self._plain = plain
        self._url = url
        self._folder = folder
        self._dataset = dataset
        self._largest = largest

    async def fetch(self) -> DownloadedReplica:
        """Download, verify and unpack; return a file in the directory, private to this user.

        The next fetch deletes it if it is still there. Raises FeedFailed and leaves no file behind.
        ``refused`` is set if the key is not entitled, or if the download cannot be trusted.
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
        """Return the dataset that the key allows, without a download. FeedFailed like fetch."""
        try:
            return (await self._link()).dataset
        except SourceUnavailable as error:
            raise FeedFailed(f"the replica: {error}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._listing.close()
        await self._plain.close()

    def _prepare(self) -> None:
        """Create the directory, and delete the leftovers of a crash."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            leftover.unlink(missing_ok=True)

    async def _link(self) -> _DownloadLink:
        reply = await self._listing.get(f"{self._url}/dump", {"format": "mmdb"})
        _raise_for_listing(reply)
        try:
            listed = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            raise _refused("CrowdSec's list of datasets is not JSON") from None
        if not isinstance(listed, dict):
            raise _refused("CrowdSec's list of datasets is not a JSON object")
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
        result: Path | None = None
        stop = Event()
        try:
            await self._download(link.url, packed)
            result = await asyncio.to_thread(
                verified_database, link.checksum, packed, unpacked, self._largest, stop
            )
            return DownloadedReplica(result, link.checksum is not None, link.dataset)
        finally:
            stop.set()
            for path in {packed, unpacked} - {result}:
                path.unlink(missing_ok=True)

    async def _download(self, url: str, path: Path) -> None:
        with path.open("r+b") as file:
            reply = await self._plain.download(url, file, self._largest)
        if 300 <= reply.status < 400:
            raise _refused("the replica's link returns a redirect, which is not followed")
        if reply.status != 200:
            raise FeedFailed(
                f"the replica's link returns status {reply.status}",
                retry_after=reply.retry_after,
            )

    def _temporary(self) -> Path:
        """Return a new empty file, private to this user."""
        number, name = tempfile.mkstemp(_SUFFIX, _PREFIX, self._folder)
        os.close(number)
        return Path(name)


def _raise_for_listing(reply: HttpResponse) -> None:
    status = reply.status
    if status in (401, 403):
        raise _refused(
            f"CROWDSEC__API_KEY: CrowdSec refuses the key for the replica ({status}); "
            "the replica needs a separate key, which CrowdSec issues on request"
        )
    if status == 404:
        raise _refused("no replica at this URL; CROWDSEC__URL should end in /v2")
    if 300 <= status < 400:
        raise _refused("CROWDSEC__URL returns a redirect, which is not followed; set the final URL")
    if status == 429 or status >= 500:
        raise FeedFailed(
            f"CrowdSec returns status {status} for the replica",
            retry_after=reply.retry_after,
        )
    if status != 200:
        raise _refused(f"CrowdSec returns unexpected status {status} for the replica")


def _link_of(name: str, entry: object) -> _DownloadLink:
    """Return the link in an entry of the list. Raises FeedFailed if there is none."""
    dataset: dict[str, Any] = {"url": entry} if isinstance(entry, str) else {}
    if isinstance(entry, dict):
        dataset = entry
    url = dataset.get("url")
    if not isinstance(url, str) or not url:
        raise _refused("CrowdSec's list of datasets has no link to the replica")
    if not _is_allowed_url(url):
        raise _refused("the replica's link is not https:// to a host")
    return _DownloadLink(url, _checksum_of(dataset), name)


def _is_allowed_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.password)
        return valid and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))
    except ValueError:
        return False


def _checksum_of(dataset: dict[str, Any]) -> str | None:
    """Return the checksum, or None without one. Raises FeedFailed for an unsupported one."""
    checksum, kind = dataset.get("checksum"), dataset.get("checksum_type")
    if checksum in (None, ""):
        return None
    if not (kind is None or str(kind).lower().replace("-", "") == "sha256"):
        raise _refused("the type of the replica's checksum is not SHA-256")
    text = checksum.strip().lower() if isinstance(checksum, str) else ""
    if not _HEX.fullmatch(text):
        raise _refused("the replica's checksum is not a valid SHA-256")
    return text


def _offered(listed: dict[str, Any]) -> str:
    names = [clean_text(name, longest=40) or "?" for name in list(listed)[:10]]
    return ", ".join(names) or "nothing"


def _refused(text: str) -> FeedFailed:
    return FeedFailed(text, refused=True)


def _not_written(error: OSError) -> FeedFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FeedFailed(
            "the disk is full; STATE__DIR needs space for three replicas: the one in use, the "
            "download, and the unpacked file"
        )
    return FeedFailed(f"STATE__DIR: the replica's directory is not writable: {error.strerror}")
