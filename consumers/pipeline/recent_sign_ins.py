"""Compact store of recent sign-ins, so that later indicators can still match them.

Best effort and bounded. A crash loses what is not flushed yet (at most a minute). Sign-ins that are
too old, or exceed the size limit, are deleted. No other component waits for this store.
"""

from __future__ import annotations

import zlib
from array import array
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog
from isal import isal_zlib

from schemas.errors import LedgerFailed
from schemas.events.recent_sign_in import RecentSegment, RecentSignIn
from schemas.intel.address_index import AddressIndex
from schemas.ledger_ports import RecentChunk, RecentCoverage

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Iterator,
        Mapping,
        Sequence,
    )

    from consumers.enrichment.familiar import FamiliarAddresses
    from consumers.pipeline.in_flight import Sighting
    from schemas.events.sign_in import Details
    from schemas.ledger_ports import RecentStore
    from schemas.ports import Clock

log = structlog.get_logger()

SEGMENT_SIGN_INS = 2_000
"""Sign-ins per segment."""
SEGMENT_LINGER_SECONDS = 60.0
"""Seconds, by the pipeline's clock, after which a partial segment is stored."""
REMEMBERED_SECONDS, MAX_REMEMBERED_SIGN_INS = 60.0, 50_000
"""Seconds for which stored sign-ins stay in memory, and their maximum number."""
MAX_CHUNK_BODY_BYTES = 500_000
"""Maximum bytes of a segment's body."""
MAX_RECENT_BYTES = 512 * 1024 * 1024
"""Maximum bytes of all segments; about ten million sign-ins."""
LIMITS_INTERVAL_SECONDS = 600.0
"""Seconds, by the pipeline's clock, between two enforcements of the limits."""

_encode = msgspec.msgpack.Encoder().encode
_segment_decoder = msgspec.msgpack.Decoder(RecentSegment)


class RecentSignIns:
    """Records recent sign-ins and matches them. Does nothing without a store."""

    def __init__(
        self,
        recent: RecentStore | None,
        clock: Clock,
        window: float,
        familiar: FamiliarAddresses | None = None,
    ) -> None:
        """*window* is the retention in seconds by the clock; 0 disables recording.

        *familiar* learns from what is stored.
        """
        self._familiar = familiar
        self._recent = recent if window > 0 else None
        self._clock = clock
        self._window = window
        self._segment = RecentSegment()
        self._flushed: deque[tuple[float, RecentSegment]] = deque()
        self._segment_started = 0.0
        self._limits_enforced_at = 0.0
        self.failed = 0
        """Number of sign-ins that could not be stored."""
        self.found = 0
        """Number of sign-ins that matched."""

    @property
    def recording(self) -> bool:
        """Whether sign-ins are recorded."""
        return self._recent is not None

    def record(self, group: Mapping[str, Sequence[Sighting]]) -> None:
        """Record sign-ins by address."""
        if self._recent is None:
            return
        now = self._clock.now()
        if not self._segment:
            self._segment_started = now
        fallback = datetime.fromtimestamp(now, UTC) if now > 0 else datetime.now(UTC)
        sightings = [sighting for sightings in group.values() for sighting in sightings]
        self.failed += self._segment.add(
            [address for address, sightings in group.items() for _ in sightings],
            [signin for signin, _, _ in sightings],
            [enqueued for _, enqueued, _ in sightings],
            fallback,
        )

    async def flush_if_due(self) -> None:
        """Store the segment if it is full or has lingered long enough; enforce the limits."""
        now = self._clock.now()
        if len(self._segment) >= SEGMENT_SIGN_INS or (
            self._segment and now - self._segment_started >= SEGMENT_LINGER_SECONDS
        ):
            await self.flush()
        if (
            self._recent is not None
            and not 0 <= now - self._limits_enforced_at < LIMITS_INTERVAL_SECONDS
        ):
            self._limits_enforced_at = now
            await self._try_write(self._recent.enforce_limits(now - self._window, MAX_RECENT_BYTES))

    async def flush(self) -> None:
        """Store the current segment."""
        segment, self._segment = self._segment, RecentSegment()
        since = self._segment_started
        if self._recent is None:
            return
        now = self._clock.now()
        self._remember(now, segment)
        if self._familiar is not None:
            self._familiar.learn(segment)
            await self._familiar.flush_if_due()
        for start in range(0, len(segment), SEGMENT_SIGN_INS):
            for chunk in _segment_chunks(segment.part(start, start + SEGMENT_SIGN_INS), since, now):
                if not await self._try_write(self._recent.append(chunk)):
                    self.failed += chunk.signins

    async def finish(self) -> None:
        """Store everything, and what was learned from it."""
        await self.flush()
        if self._familiar is not None:
            await self._familiar.flush()

    def _remember(self, now: float, segment: RecentSegment) -> None:
        """Keep a stored segment in memory for a while; see :meth:`match_own`."""
        self._flushed.append((now, segment))
        while self._flushed and (
            now - self._flushed[0][0] > REMEMBERED_SECONDS
            or sum(len(remembered) for _, remembered in self._flushed) > MAX_REMEMBERED_SIGN_INS
        ):
            self._flushed.popleft()

    def match_own(self, observables: Collection[str]) -> list[tuple[str, Details]]:
        """Return the sign-ins that this process recorded just now and that *observables* match.

        Another instance may have searched the store before they were stored.
        """
        wanted = _index_of(observables)
        segment = [*(remembered for _, remembered in self._flushed), self._segment]
        found = [signin for remembered in segment for signin in _matching(remembered, wanted)]
        self.found += len(found)
        return [(signin.address, signin.details()) for signin in found]

    async def match(
        self, observables: Collection[str] | None
    ) -> AsyncIterator[list[tuple[str, Details]]]:
        """Yield recent sign-ins whose address *observables* match; all recent sign-ins if None."""
        if self._recent is None:
            return
        await self.flush()
        since = self._clock.now() - self._window
        wanted = _index_of(observables) if observables is not None else None
        checksums = _checksums(observables)
        try:
            async for index in self._recent.segment_index(since):
                for chunk in index:
                    if checksums is not None and checksums.isdisjoint(
                        _unpack_checksums(chunk.addresses)
                    ):
                        continue
                    body = await self._recent.body(chunk.key)
                    found = _matching_in_body(body, wanted) if body is not None else []
                    self.found += len(found)
                    if found:
                        yield [(signin.address, signin.details()) for signin in found]
        except LedgerFailed as error:
            log.warning("recent sign-ins could not all be searched", why=str(error))

    async def forget(self, should_delete: Callable[[RecentSignIn], bool]) -> int:
        """Delete the sign-ins for which *should_delete* is true; return how many."""
        if self._recent is None:
            return 0
        await self.flush()
        deleted = 0
        async for index in self._recent.segment_index(0.0):
            for chunk in index:
                body = await self._recent.body(chunk.key)
                signins = list(_decode_body(body)) if body is not None else []
                remaining = [signin for signin in signins if not should_delete(signin)]
                if len(remaining) < len(signins):
                    deleted += len(signins) - len(remaining)
                    new = (
                        _segment_chunk(RecentSegment.of(remaining), chunk.first, chunk.last)
                        if remaining
                        else None
                    )
                    await self._recent.replace(chunk.key, new)
        return deleted

    async def coverage(self) -> RecentCoverage:
        """Return how far back sign-ins are stored."""
        if self._recent is None:
            return RecentCoverage()
        try:
            return await self._recent.coverage()
        except LedgerFailed:
            return RecentCoverage()

    async def close(self) -> None:
        """Close the store."""
        if self._recent is not None:
            await self._recent.close()

    @staticmethod
    async def _try_write(work: Awaitable[None]) -> bool:
        """Await a write; log a failure of the store and return False."""
        try:
            await work
        except LedgerFailed as error:
            log.warning("recent sign-ins not stored", why=str(error))
            return False
        return True


def _segment_chunk(segment: RecentSegment, first: float, last: float) -> RecentChunk:
    addresses = array("I", sorted(map(_checksum, set(segment.addresses))))
    body = isal_zlib.compress(_encode(segment), 1)
    return RecentChunk(first, last, len(segment), addresses.tobytes(), body)


def _segment_chunks(segment: RecentSegment, first: float, last: float) -> Iterator[RecentChunk]:
    """Yield chunks within the size limit; texts of events may be long."""
    chunk = _segment_chunk(segment, first, last)
    if len(chunk.body) <= MAX_CHUNK_BODY_BYTES or len(segment) < 2:
        yield chunk
        return
    half = len(segment) // 2
    yield from _segment_chunks(segment.part(0, half), first, last)
    yield from _segment_chunks(segment.part(half, len(segment)), first, last)


def _unpack_checksums(packed: bytes) -> array[int]:
    checksums = array("I")
    checksums.frombytes(packed)
    return checksums


def _checksums(observables: Collection[str] | None) -> set[int] | None:
    """Return the checksums of addresses; None if there are networks or no restriction."""
    if observables is None or any("/" in observable for observable in observables):
        return None
    return set(map(_checksum, observables))


def _checksum(address: str) -> int:
    return zlib.crc32(address.encode())


def _index_of(observables: Collection[str]) -> AddressIndex:
    index = AddressIndex()
    for observable in observables:
        index.add(observable)
    return index


def _decode_body(body: bytes) -> RecentSegment:
    try:
        return _segment_decoder.decode(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"stored recent sign-ins are unreadable: {error}") from None


def _matching_in_body(body: bytes, wanted: AddressIndex | None) -> list[RecentSignIn]:
    """Return the matching sign-ins of a segment body; none if it is unreadable."""
    try:
        signins = _decode_body(body)
    except LedgerFailed as error:
        log.warning("unreadable recent sign-ins skipped", why=str(error))
        return []
    return list(signins) if wanted is None else _matching(signins, wanted)


def _matching(signins: RecentSegment, wanted: AddressIndex) -> list[RecentSignIn]:
    addresses = set(wanted.matching(list(set(signins.addresses))))
    return [signin for signin in signins if signin.address in addresses] if addresses else []
