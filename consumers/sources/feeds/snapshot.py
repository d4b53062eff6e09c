"""Snapshots of a feed's indicators, by which the instance that reads it supplies the others.

An index blob names immutable parts, in the order of the steps in which their indicators changed.
It is written conditionally, so that of two writers the second notices. Writing costs as much as has
changed: the last parts are replaced while they are small, and all parts only when they hold much
more than the feed. So does reading: a follower reads the parts after its last step.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from itertools import groupby, takewhile
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import msgspec

from consumers.sources.feeds.indicator_store import FeedState
from schemas.errors import LedgerFailed
from schemas.feed_ports import Absent, Blob
from schemas.intel.indicators import Indicator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from consumers.sources.feeds.indicator_store import IndicatorStore
    from schemas.feed_ports import BlobStore

FULL_PART_INDICATORS = 2_000
"""Indicators of a part that is not replaced any more. It has whole steps, so it may have more."""
MAX_BLOAT = 2
"""All parts are replaced if they hold this many times the feed's indicators, old versions included,
and one full part more."""
SNAPSHOT_PREFIX = "feeds/"

Steps = tuple[tuple[int, tuple[Indicator, ...]], ...]
"""Indicators, by the number of their page."""


class Part(msgspec.Struct, array_like=True, frozen=True):
    """A part of a snapshot."""

    name: str
    last: int
    """The last of its steps."""
    indicators: int


class Snapshot(msgspec.Struct, frozen=True):
    """The index of a snapshot: the state of the feed, and the parts with its indicators."""

    state: FeedState
    parts: tuple[Part, ...] = ()


class PartMissing(LedgerFailed):
    """A part of a snapshot is missing: it may have been replaced while the parts were read."""


class Overtaken(Exception):
    """Another instance has published a snapshot meanwhile, so it reads the feed."""


_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_snapshot = msgspec.msgpack.Decoder(Snapshot)
_steps = msgspec.msgpack.Decoder(Steps)


class FeedSnapshots:
    """The snapshots of one feed, as this instance knows them."""

    def __init__(self, feed: str, blobs: BlobStore) -> None:
        self._feed = feed
        self._blobs = blobs
        self._prefix = f"{SNAPSHOT_PREFIX}{feed}/"
        self._index = self._prefix + "index"
        self._known: Snapshot | None = None
        self._version: str | None = None

    async def fetch(self) -> Snapshot | None:
        """Return the current snapshot; None if there is none, or it was fetched before."""
        found = await self._blobs.get(self._index, unless=self._version)
        if found is Absent.MISSING:
            self._known = self._version = None
        if not isinstance(found, Blob):
            return None
        self._known, self._version = _decoded(_snapshot, found.body), found.version
        return self._known

    def forget(self) -> None:
        """Fetch the current snapshot again: it has not been applied."""
        self._version = None

    async def parts_after(self, snapshot: Snapshot, step: int) -> AsyncIterator[Steps]:
        """Yield the parts with changes after a step.

        Raises PartMissing.
        """
        for part in snapshot.parts:
            if part.last > step:
                found = await self._blobs.get(part.name)
                if not isinstance(found, Blob):
                    raise PartMissing(f"a part of the snapshot of feed {self._feed} is missing")
                yield _decoded(_steps, _decompressed(found.body))

    async def publish(self, store: IndicatorStore, state: FeedState) -> None:
        """Publish the feed as it is in *store*, with *state*, after the last fetched snapshot.

        Raises Overtaken.
        """
        kept = self._kept_parts(store, state)
        new = await self._upload(store.all_of(self._feed, kept[-1].last if kept else 0))
        snapshot = Snapshot(state, (*kept, *new))
        version = await self._blobs.put(self._index, _encode(snapshot), replaces=self._version)
        if version is None:
            current = await self.fetch()
            if current is None or current.parts != snapshot.parts or current.state != state:
                self.forget()
                raise Overtaken
        else:
            self._version = version
        replaced = set(self._known.parts if self._known is not None else ()) - set(snapshot.parts)
        self._known = snapshot
        with suppress(LedgerFailed):  # what stays is deleted with the next replacement of all parts
            await self._blobs.delete([part.name for part in replaced])
            if not kept:
                await self._delete_orphans(snapshot)

    def _kept_parts(self, store: IndicatorStore, state: FeedState) -> Sequence[Part]:
        """Return the parts of the last snapshot that stay: full ones of the same sequence."""
        known = self._known
        if known is None or (known.state.identity, known.state.generation) != (
            state.identity,
            state.generation,
        ):
            return []
        if sum(part.indicators for part in known.parts) > (
            MAX_BLOAT * store.count(self._feed) + FULL_PART_INDICATORS
        ):
            return []
        if next(store.all_of(self._feed, known.state.steps), None) is None:
            return known.parts  # nothing has changed
        return list(takewhile(lambda part: part.indicators >= FULL_PART_INDICATORS, known.parts))

    async def _upload(self, indicators: Iterable[tuple[int, Indicator]]) -> list[Part]:
        parts = []
        for steps, count in _batches(indicators):
            name = f"{self._prefix}{uuid4().hex}"
            await self._blobs.put(name, zlib.compress(_encode(steps), 1), replaces=None)
            parts.append(Part(name, steps[-1][0], count))
        return parts

    async def _delete_orphans(self, snapshot: Snapshot) -> None:
        """Delete the parts of writers that ended before they could write an index."""
        names = {self._index, *(part.name for part in snapshot.parts)}
        await self._blobs.delete(set(await self._blobs.names(self._prefix)) - names)


def _batches(indicators: Iterable[tuple[int, Indicator]]) -> Iterator[tuple[Steps, int]]:
    """Yield whole steps, together at least a full part, with their number of indicators."""
    steps: list[tuple[int, tuple[Indicator, ...]]] = []
    count = 0
    for step, group in groupby(indicators, key=itemgetter(0)):
        found = tuple(indicator for _, indicator in group)
        steps.append((step, found))
        count += len(found)
        if count >= FULL_PART_INDICATORS:
            yield tuple(steps), count
            steps, count = [], 0
    if steps:
        yield tuple(steps), count


def _decompressed(body: bytes) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error as error:
        raise LedgerFailed(f"a feed's snapshot is unreadable: {error}") from None


def _decoded(decoder: msgspec.msgpack.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"a feed's snapshot is unreadable: {error}") from None
