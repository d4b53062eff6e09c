"""CrowdSec's offline replica: one MaxMind DB file that answers for every address, free of quota.

Facts from CrowdSec's documentation (docs.crowdsec.net, CTI API, offline replicas) and its own
Splunk app: records are those of the API without ``ip``, and ``proxy_or_vpn`` is there only when
true; where an address has no record, its /24's may be given, which says nothing of the address.
The file format (maxmind.github.io/MaxMind-DB) knows no null: an absent key is unknown.
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
"""What the C extension raises where the bytes of a file are not as they should be."""
_OF_A_RANGE = (
    "as_name",
    "as_num",
    "ip_range",
    "ip_range_24",
    "ip_range_24_reputation",
    "ip_range_24_score",
    "ip_range_score",
    "location",
)
"""The keys that say something of a network. The others, in a network's record, would be read as
words about the one address."""
_MAX_TREE_STEPS = 1_000
"""Of the walk to the first record. A sound tree needs one for each bit of an address at most."""
_MAX_METADATA_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class ReplicaLookup:
    """What the replica says: of the address itself, else of the network around it."""

    exact: SourceVerdict | None = None
    network: SourceVerdict | None = None
    """Context alone, with reputation UNKNOWN; nothing to act on."""
    readable: bool = True
    """Whether its silence says that nothing is known; else it could not be asked."""


NOT_FOUND = ReplicaLookup()
UNREADABLE_LOOKUP = ReplicaLookup(readable=False)


@dataclass(frozen=True, slots=True)
class _OpenDatabase:
    """A file in use, and what it says of itself."""

    reader: maxminddb.Reader
    built: float
    size: int
    changed: float
    """The file's own time, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class _ReplicaMetadata:
    """What the file cannot say of itself."""

    fetched: float
    verified: bool
    dataset: str | None = None


class Replica:
    """The replica's file in a folder of its own, mapped into memory.

    For one event loop. Lookups do not await, so none is in flight when :meth:`swap` or
    :meth:`close` lets go of a file. Nothing may write into the file in use: it is only ever
    replaced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._opened: _OpenDatabase | None = None
        self._reader: maxminddb.Reader | None = None
        self._notes: _ReplicaMetadata | None = None
        self.trouble: str | None = None
        """What is wrong with the file in the folder; None for nothing known."""

    def open(self) -> bool:
        """Open the file that an earlier run left; tell whether there is one that can be read.

        Never raises: :attr:`trouble` tells what is wrong with a file that is there.
        """
        self.close()
        self.trouble = None
        try:
            opened = _opened(self._path)
        except FileNotFoundError:
            return False
        except FeedFailed as error:
            self.trouble = str(error)
            return False
        except OSError as error:
            self.trouble = f"it cannot be read: {error.strerror}"
            return False
        self._use(opened, self._read_notes(opened))
        return True

    def swap(
        self, path: Path, *, now: float, verified: bool = False, dataset: str | None = None
    ) -> None:
        """Use the file at *path*, of the same file system, from now on; the file is taken over.

        Raises FeedFailed, refused if the file is damaged, no replica, or older than the one in
        use. Then the file at *path* is gone, and the one in use goes on answering.
        """
        try:
            self._swap(path, _ReplicaMetadata(now, verified, dataset))
        except OSError as error:
            raise FeedFailed(
                f"the replica's file cannot be put in place: {error.strerror}"
            ) from None
        finally:
            path.unlink(missing_ok=True)

    def _swap(self, path: Path, notes: _ReplicaMetadata) -> None:
        opened = _opened(path)
        try:
            if self._opened is not None and opened.built < self._opened.built:
                raise FeedFailed("the replica on offer is older than the one in use", refused=True)
            path.replace(self._path)
        except (FeedFailed, OSError):
            opened.reader.close()
            raise
        self.close()
        self._use(opened, notes)
        self.trouble = None
        self._write_notes(opened, notes)

    def _use(self, opened: _OpenDatabase, notes: _ReplicaMetadata) -> None:
        self._opened, self._notes, self._reader = opened, notes, opened.reader

    def find(self, address: str) -> ReplicaLookup:
        """Return what is said of a canonical address. Never raises.

        One lookup each. A record is the address's own only if it is of exactly this address and
        has a reputation. What cannot be read is not "nothing known"; :attr:`trouble` tells of
        damage.
        """
        if self._reader is None:
            return UNREADABLE_LOOKUP
        try:
            record, length = self._reader.get_with_prefix_len(address)
        except _DAMAGE_ERRORS as error:
            self.trouble = f"records of it are damaged ({type(error).__name__})"
            return UNREADABLE_LOOKUP
        except ValueError:  # no address, or IPv6 in a file that has IPv4 alone
            return UNREADABLE_LOOKUP
        if not isinstance(record, dict):
            return NOT_FOUND
        # The reader counts an IPv4 address's bits from 0 in a tree of IPv6 too.
        if length == (128 if ":" in address else 32) and _has_reputation(record):
            return ReplicaLookup(exact=verdict_of_item(record))
        return _around(record)

    @property
    def damage(self) -> str | None:
        """What is wrong with the file in use, as far as anybody met it."""
        return self.trouble

    @property
    def built(self) -> float | None:
        """When CrowdSec made the file, in seconds since the epoch; None without a file."""
        return self._opened.built if self._opened else None

    @property
    def fetched(self) -> float | None:
        """When the file was put in place, in seconds since the epoch; None without a file."""
        return self._notes.fetched if self._notes else None

    @property
    def verified(self) -> bool:
        """Whether CrowdSec told a checksum, and the file has it."""
        return self._notes is not None and self._notes.verified

    @property
    def dataset(self) -> str | None:
        """CrowdSec's name of the data; None if it is not known any more."""
        return self._notes.dataset if self._notes else None

    @property
    def size(self) -> int:
        """The file's bytes; 0 without a file."""
        return self._opened.size if self._opened else 0

    def close(self) -> None:
        """Let go of the file. Nothing is found from now on."""
        if self._opened is not None:
            self._opened.reader.close()
        self._opened = self._reader = self._notes = None

    def _write_notes(self, opened: _OpenDatabase, notes: _ReplicaMetadata) -> None:
        """Keep what the file cannot say. Built and size tell which file it is said of."""
        told = {
            "built": opened.built,
            "size": opened.size,
            "fetched": notes.fetched,
            "verified": notes.verified,
            "dataset": notes.dataset,
        }
        temporary = self._folder / f"{METADATA_NAME}.new"
        try:
            temporary.write_bytes(orjson.dumps(told))
            temporary.replace(self._folder / METADATA_NAME)
        except OSError:  # the next start then takes the file's own time, and it for unverified
            temporary.unlink(missing_ok=True)

    def _read_notes(self, opened: _OpenDatabase) -> _ReplicaMetadata:
        """Return the notes; what the file itself tells if they are not of this file."""
        fallback = _ReplicaMetadata(opened.changed, verified=False)
        try:
            with (self._folder / METADATA_NAME).open("rb") as file:
                told = orjson.loads(file.read(_MAX_METADATA_BYTES))
        except (OSError, orjson.JSONDecodeError):
            return fallback
        if not isinstance(told, dict):
            return fallback
        fetched, dataset = told.get("fetched"), told.get("dataset")
        if (told.get("built"), told.get("size")) != (opened.built, opened.size):
            return fallback
        if not isinstance(fetched, int | float):
            return fallback
        known = dataset if isinstance(dataset, str) else None
        return _ReplicaMetadata(float(fetched), told.get("verified") is True, known)


def _has_reputation(record: dict[str, Any]) -> bool:
    reputation = record.get("reputation")
    return isinstance(reputation, str) and reputation != ""


def _around(record: dict[str, Any]) -> ReplicaLookup:
    """Return the context that a network's record gives."""
    said = verdict_of_item({key: record[key] for key in _OF_A_RANGE if key in record})
    if said.intel == Intel():
        return NOT_FOUND
    return ReplicaLookup(network=SourceVerdict(Reputation.UNKNOWN, said.intel, said.address_class))


def _opened(path: Path) -> _OpenDatabase:
    """Open a file and read from it. FeedFailed, refused, if it is no replica; else OSError."""
    status = path.stat()
    try:
        reader = maxminddb.open_database(path)
    except (*_DAMAGE_ERRORS, ValueError):
        raise FeedFailed("the replica's file is damaged, or no MaxMind DB", refused=True) from None
    try:
        told = reader.metadata()
        if told.ip_version not in (4, 6):
            raise FeedFailed("the replica's file is of no known IP version", refused=True)
        _prove(reader, told.ip_version)
        built = float(told.build_epoch)
        return _OpenDatabase(reader, built, status.st_size, status.st_mtime)
    except FeedFailed:
        reader.close()
        raise
    except (*_DAMAGE_ERRORS, ValueError, AttributeError, TypeError):
        reader.close()
        raise FeedFailed("the replica's file is damaged", refused=True) from None


def _prove(reader: maxminddb.Reader, version: int) -> None:
    """Read up to the first of CrowdSec's records; FeedFailed if none is met.

    By lookups, each of which passes over a whole empty network: the reader's own iteration has no
    bound in a tree that was made to hold nothing.
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
    raise FeedFailed("the replica's file holds none of CrowdSec's records", refused=True)
