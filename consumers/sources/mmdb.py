"""Any MaxMind DB file as a source of address classes, by a mapping of its fields.

Opened again when the file changes; the last good one stays in use. The file format
(maxmind.github.io/MaxMind-DB) has no null: a missing field is unknown.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import maxminddb

from schemas.errors import ConfigurationError, FeedFailed
from schemas.health import Problem
from schemas.intel.verdicts import AddressClass, Intel, Reputation, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from schemas.health import HealthReporter

REFRESH_SECONDS = 60.0
_DAMAGE_ERRORS = (
    maxminddb.InvalidDatabaseError, UnicodeDecodeError, SystemError, MemoryError, ValueError,
    OSError,
)  # fmt: skip
_TRUE = (True, "true", "True", 1)


class ClassField:
    """A field of a record, and the class of an address where it has a value."""

    def __init__(self, text: str) -> None:
        """Take ``path=class`` or ``path:value=class``. ConfigurationError for anything else."""
        place, _, name = text.strip().partition("=")
        path, _, value = place.partition(":")
        try:
            self.address_class = AddressClass(name.strip())
        except ValueError:
            allowed = ", ".join(it.value for it in AddressClass)
            raise ConfigurationError(
                f"CLASS_FIELDS: {text[:60]!r} is not FIELD=CLASS or FIELD:VALUE=CLASS, with a "
                f"class of {allowed}"
            ) from None
        self.path = tuple(path.strip().split("."))
        self.value = value.strip() or None

    def fits(self, record: object) -> bool:
        """Return True if the field is true, or has the value."""
        value: Any = record
        for part in self.path:
            value = value.get(part) if isinstance(value, dict) else None
        if self.value is None:
            return any(value is it or value == it for it in _TRUE)
        return value is not None and str(value).lower() == self.value.lower()


def describe_mmdb(path: Path, fields: Iterable[str]) -> str:
    """Return what an MMDB file is. FeedFailed if it cannot be read, ConfigurationError."""
    for text in fields:
        ClassField(text)
    try:
        with maxminddb.open_database(path, maxminddb.MODE_MMAP) as reader:
            meta = reader.metadata()
    except _DAMAGE_ERRORS as error:
        raise FeedFailed(f"{path.name} cannot be read: {type(error).__name__}") from None
    built = datetime.fromtimestamp(meta.build_epoch, UTC)
    return f"{meta.database_type} of {built:%Y-%m-%d} is readable"


class MmdbClasses:
    """The classes in one file."""

    def __init__(
        self,
        name: str,
        path: Path,
        fields: Iterable[str],
        *,
        health: HealthReporter,
        now: Callable[[], float],
    ) -> None:
        """Open the file, if it is there. ConfigurationError for a field that cannot be read."""
        self.name = name
        self._path = path
        self._fields = [ClassField(text) for text in fields]
        self._health = health
        self._now = now
        self._reader: maxminddb.Reader | None = None
        self._version: tuple[float, int] | None = None
        self._looked = float("-inf")
        self.open()

    def open(self) -> None:
        """Open the file if it has changed; report what is wrong with it."""
        self._looked = self._now()
        try:
            status = self._path.stat()
            version = status.st_mtime, status.st_size
            if version == self._version:
                return
            reader = maxminddb.open_database(self._path, maxminddb.MODE_MEMORY)
        except _DAMAGE_ERRORS as error:
            detail = f"{self.name}: {self._path.name} cannot be read: {type(error).__name__}"
            self._health.report(Problem.FEED_REFUSED, detail, part=self.name)
            return
        self._reader, self._version = reader, version
        self._health.resolve(Problem.FEED_REFUSED, part=self.name)

    async def refresh_if_due(self) -> None:
        """Open the file again if it has changed, at most once a minute."""
        if not 0 <= self._now() - self._looked < REFRESH_SECONDS:
            await asyncio.to_thread(self.open)

    def matching(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses with a class."""
        return [it for it in addresses if self._class_of(it) is not AddressClass.UNKNOWN]

    def class_verdicts(self, address: str, timestamp: float | None) -> list[Verdict]:
        """Return the class of an address, at any time."""
        del timestamp
        found = self._class_of(address)
        if found is AddressClass.UNKNOWN:
            return []
        indicator = {"names": address, "class": found.value}
        return [
            Verdict(
                reputation=Reputation.UNKNOWN,
                source=self.name,
                time=self._version[0] if self._version else 0.0,
                expires=float("inf"),
                address_class=found,
                intel=Intel(indicator=indicator),
            )
        ]

    def _class_of(self, address: str) -> AddressClass:
        if self._reader is None:
            return AddressClass.UNKNOWN
        try:
            record = self._reader.get(ip_address(address))
        except _DAMAGE_ERRORS:
            return AddressClass.UNKNOWN
        fits = (field.address_class for field in self._fields if field.fits(record))
        return next(fits, AddressClass.UNKNOWN)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
