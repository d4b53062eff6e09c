"""CrowdSec's offline replica: a MaxMind DB file for local lookups that do not use the quota.

Sources: CrowdSec's documentation (docs.crowdsec.net, CTI API, offline replicas) and its Splunk app.
Records are those of the API without ``ip``, and contain ``proxy_or_vpn`` only if it is true. For an
address without a record, the file may return the record of its /24, which is no statement about the
address. The file format (maxmind.github.io/MaxMind-DB) has no null: a missing key is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import maxminddb
import orjson

from consumers.sources.crowdsec.api import verdict_of_item
from schemas.errors import FeedFailed
from schemas.intel.verdicts import Intel, Reputation
from schemas.ports import SourceVerdict

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "crowdsec.mmdb"
METADATA_NAME = "crowdsec.json"
_DAMAGE_ERRORS = (maxminddb.InvalidDatabaseError, UnicodeDecodeError, SystemError, MemoryError)
"""The errors that the C extension raises for a damaged file."""
_NETWORK_KEYS = (
    "as_name",
    "as_num",
    "ip_range",
    "ip_range_24",
    "ip_range_24_reputation",
    "ip_range_24_score",
    "ip_range_score",
    "location",
)
"""The keys about a network. Other keys in a network's record would be mistaken for statements about
the single address."""
_MAX_TREE_STEPS = 1_000
"""Steps to the first record. A valid tree needs at most one per bit of an address."""
_MAX_METADATA_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class ReplicaLookup:
    """The replica's result: a verdict on the address, or else context about its network."""

    exact: SourceVerdict | None = None
    network: SourceVerdict | None = None
    """Context only, with reputation UNKNOWN."""
    readable: bool = True
    """False if the replica could not be read, so that no result is not "nothing known"."""


NOT_FOUND = ReplicaLookup()
UNREADABLE_LOOKUP = ReplicaLookup(readable=False)


@dataclass(frozen=True, slots=True)
class _OpenDatabase:
    """An open file and its metadata."""

    reader: maxminddb.Reader
    built: float
    size: int
    changed: float
    """The file's modification time, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _ReplicaMetadata:
    """Metadata that is not part of the file."""

    fetched: float
    verified: bool
    dataset: str | None = None


class Replica:
    """The replica's file in its own directory, mapped into memory.

    For one event loop. Lookups do not await, so none is in flight when :meth:`swap` or
    :meth:`close` closes a file. The open file must never be written to, only replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._opened: _OpenDatabase | None = None
        self._reader: maxminddb.Reader | None = None
        self._metadata: _ReplicaMetadata | None = None
        self.problem: str | None = None
        """The problem with the file in the directory; None if there is no known problem."""

    def open(self) -> bool:
        """Open the file of an earlier run; return True if there is a readable one.

        Never raises. If the file exists but is unreadable, :attr:`problem` holds the reason.
        """
        self.close()
        self.problem = None
        try:
            opened = _opened(self._path)
        except FileNotFoundError:
            return False
        except FeedFailed as error:
            self.problem = str(error)
            return False
        except OSError as error:
            self.problem = f"the replica's file cannot be read: {error.strerror}"
            return False
        self._use(opened, self._read_metadata(opened))
        return True

    def swap(
        self, path: Path, *, now: float, verified: bool = False, dataset: str | None = None
    ) -> None:
        """Replace the open file with the file at *path*, which must be on the same file system.

        Takes ownership of *path*. Raises FeedFailed, refused if the file is damaged, not a replica,
        or older than the open file. The file at *path* is then deleted and the open file stays in
        use.
        """
        try:
            self._swap(path, _ReplicaMetadata(now, verified, dataset))
        except OSError as error:
            raise FeedFailed(
                f"STATE__DIR: the replica's file cannot be installed: {error.strerror}"
            ) from None
        finally:
            path.unlink(missing_ok=True)

    def _swap(self, path: Path, metadata: _ReplicaMetadata) -> None:
        opened = _opened(path)
        try:
            if self._opened is not None and opened.built < self._opened.built:
                raise FeedFailed(
                    "the downloaded replica is older than the one in use", refused=True
                )
            path.replace(self._path)
        except (FeedFailed, OSError):
            opened.reader.close()
            raise
        self.close()
        self._use(opened, metadata)
        self.problem = None
        self._write_metadata(opened, metadata)

    def _use(self, opened: _OpenDatabase, metadata: _ReplicaMetadata) -> None:
        self._opened, self._metadata, self._reader = opened, metadata, opened.reader

    def find(self, address: str) -> ReplicaLookup:
        """Look up a canonical address. Never raises; damage is reported in :attr:`problem`.

        A record belongs to the address if it is for exactly this address and has a reputation.
        """
        if self._reader is None:
            return UNREADABLE_LOOKUP
        try:
            record, length = self._reader.get_with_prefix_len(address)
        except _DAMAGE_ERRORS as error:
            self.problem = f"records of it are damaged ({type(error).__name__})"
            return UNREADABLE_LOOKUP
        except ValueError:  # not an address, or IPv6 in a file for IPv4 only
            return UNREADABLE_LOOKUP
        if not isinstance(record, dict):
            return NOT_FOUND
        # The reader returns an IPv4 prefix length for IPv4 addresses in an IPv6 tree too.
        if length == (128 if ":" in address else 32) and _has_reputation(record):
            return ReplicaLookup(exact=verdict_of_item(record))
        return _network_context(record)

    @property
    def damage(self) -> str | None:
        """The damage found in the open file so far, or None."""
        return self.problem

    @property
    def built(self) -> float | None:
        """When CrowdSec built the file, in seconds since the epoch; None without a file."""
        return self._opened.built if self._opened else None

    @property
    def fetched(self) -> float | None:
        """When the file was installed, in seconds since the epoch; None without a file."""
        return self._metadata.fetched if self._metadata else None

    @property
    def verified(self) -> bool:
        """True if CrowdSec supplied a checksum and the file matches it."""
        return self._metadata is not None and self._metadata.verified

    @property
    def dataset(self) -> str | None:
        """CrowdSec's name of the dataset; None if unknown."""
        return self._metadata.dataset if self._metadata else None

    @property
    def size(self) -> int:
        """Size of the file in bytes; 0 without a file."""
        return self._opened.size if self._opened else 0

    def close(self) -> None:
        """Close the file. Later lookups return no result."""
        if self._opened is not None:
            self._opened.reader.close()
        self._opened = self._reader = self._metadata = None

    def _write_metadata(self, opened: _OpenDatabase, metadata: _ReplicaMetadata) -> None:
        """Store the metadata. Build time and size identify the file that it belongs to."""
        values = {
            "built": opened.built,
            "size": opened.size,
            "fetched": metadata.fetched,
            "verified": metadata.verified,
            "dataset": metadata.dataset,
        }
        temporary = self._folder / f"{METADATA_NAME}.new"
        try:
            temporary.write_bytes(orjson.dumps(values))
            temporary.replace(self._folder / METADATA_NAME)
        except OSError:  # the next start uses the modification time, unverified
            temporary.unlink(missing_ok=True)

    def _read_metadata(self, opened: _OpenDatabase) -> _ReplicaMetadata:
        """Read the metadata. If it belongs to another file, fall back to the file's own data."""
        fallback = _ReplicaMetadata(opened.changed, verified=False)
        try:
            with (self._folder / METADATA_NAME).open("rb") as file:
                values = orjson.loads(file.read(_MAX_METADATA_BYTES))
        except (OSError, orjson.JSONDecodeError):
            return fallback
        if not isinstance(values, dict):
            return fallback
        fetched, dataset = values.get("fetched"), values.get("dataset")
        if (values.get("built"), values.get("size")) != (opened.built, opened.size):
            return fallback
        if not isinstance(fetched, int | float):
            return fallback
        known = dataset if isinstance(dataset, str) else None
        return _ReplicaMetadata(float(fetched), values.get("verified") is True, known)


def _has_reputation(record: dict[str, Any]) -> bool:
    reputation = record.get("reputation")
    return isinstance(reputation, str) and reputation != ""


def _network_context(record: dict[str, Any]) -> ReplicaLookup:
    """Return the context in a network's record."""
    verdict = verdict_of_item({key: record[key] for key in _NETWORK_KEYS if key in record})
    if verdict.intel == Intel():
        return NOT_FOUND
    return ReplicaLookup(
        network=SourceVerdict(Reputation.UNKNOWN, verdict.intel, verdict.address_class)
    )


def _opened(path: Path) -> _OpenDatabase:
    """Open a file and read a record. Raises OSError, or FeedFailed (refused) if not a replica."""
    status = path.stat()
    try:
        reader = maxminddb.open_database(path)
    except (*_DAMAGE_ERRORS, ValueError):
        raise FeedFailed(
            "the replica's file is damaged, or not a MaxMind DB", refused=True
        ) from None
    try:
        header = reader.metadata()
        if header.ip_version not in (4, 6):
            raise FeedFailed("the replica's file has an unknown IP version", refused=True)
        _require_crowdsec_record(reader, header.ip_version)
        built = float(header.build_epoch)
        return _OpenDatabase(reader, built, status.st_size, status.st_mtime)
    except FeedFailed:
        reader.close()
        raise
    except (*_DAMAGE_ERRORS, ValueError, AttributeError, TypeError):
        reader.close()
        raise FeedFailed("the replica's file is damaged", refused=True) from None


def _require_crowdsec_record(reader: maxminddb.Reader, version: int) -> None:
    """Find the first CrowdSec record. Raises FeedFailed if there is none.

    Uses lookups, each of which skips a whole empty network. The reader's own iteration would be
    unbounded in a crafted empty tree.
    """
    bits = 32 if version == 4 else 128
    number = 0
    for _ in range(_MAX_TREE_STEPS):
        address = IPv4Address(number) if version == 4 else IPv6Address(number)
        record, length = reader.get_with_prefix_len(address)
        if isinstance(record, dict) and ("reputation" in record or "ip_range_24" in record):
            return
        number += 1 << (bits - length)
        if number >> bits:
            break
    raise FeedFailed("the replica's file contains no CrowdSec records", refused=True)
