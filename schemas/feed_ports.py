"""Ports of local sources: their changes, and the blobs by which instances share a feed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.intel.indicators import Indicator


class ChangeCursor(NamedTuple):
    """How far a subscriber has read the changes of a source."""

    generation: str = ""
    """Names the sequence that steps count; another one is read from its start."""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a source says of more addresses than before, and the cursor after it."""

    cursor: ChangeCursor
    observables: frozenset[str] | None
    """Addresses and networks that may match sign-ins that did not match before; None if any may."""


class ChangingSource(Protocol):
    """A local source whose changes subscribers read, each with a cursor of its own."""

    @property
    def name(self) -> str:
        """The source's name."""

    @property
    def position(self) -> ChangeCursor:
        """The end of the changes."""

    def changes_since(self, cursor: ChangeCursor) -> Changes:
        """Return the next changes after *cursor*; at the end, none and the same cursor."""


class IndicatorChanges(ChangingSource, Protocol):
    """A feed's changes, with the indicators themselves."""

    def indicators_since(
        self, cursor: ChangeCursor, most: int
    ) -> tuple[ChangeCursor, list[Indicator]]:
        """Return about *most* new versions after *cursor*, and the cursor after them."""


class StoredCursor(Protocol):
    """A subscriber's cursor in the ledger. One instance at a time moves it."""

    async def acquire(self) -> bool:
        """Return True if this instance may move the cursor now."""

    async def read(self) -> ChangeCursor:
        """Return the cursor; that of the start if nothing is stored."""

    async def advance(self, cursor: ChangeCursor) -> bool:
        """Store the cursor; return False if this instance may not move it any more."""

    async def release(self) -> None:
        """Let other instances move the cursor."""


class Absent(Enum):
    """Why there is no blob to read."""

    MISSING = "missing"
    UNCHANGED = "unchanged"


class Blob(NamedTuple):
    """A blob, and the version to name when it is replaced."""

    body: bytes
    version: str


class BlobStore(Protocol):
    """Blobs by name, shared by all instances. Methods raise LedgerFailed."""

    async def get(self, name: str, *, unless: str | None = None) -> Blob | Absent:
        """Return a blob, unless it still has the version *unless*."""

    async def put(self, name: str, body: bytes, *, replaces: str | None) -> str | None:
        """Write a blob that replaces a version, or none yet; return its version.

        Returns None if another version is there, perhaps that of this call, whose answer was lost.
        """

    async def names(self, prefix: str) -> list[str]:
        """Return the names of all blobs with a prefix."""

    async def delete(self, names: Iterable[str]) -> None:
        """Delete blobs; those that are missing are ignored."""

    async def close(self) -> None:
        """Close the connections."""
