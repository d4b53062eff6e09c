"""The sign-ins of lately, noted shortly, so that an address that is named later is still found.

Best effort, and bounded: what a process holds when it is killed is not noted (a minute at most),
and what is too old or too much is dropped. Nothing else waits for it.
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

    from consumers.pipeline.in_flight import Sighting
    from schemas.events.sign_in import Details
    from schemas.ledger_ports import RecentStore
    from schemas.ports import Clock

log = structlog.get_logger()

SEGMENT_SIGN_INS = 2_000
"""Sign-ins of one chunk."""
SEGMENT_LINGER_SECONDS = 60.0
"""Seconds, by our clock, after which a chunk is kept though it is not full."""
REMEMBERED_SECONDS, MAX_REMEMBERED_SIGN_INS = 60.0, 50_000
"""Seconds, and sign-ins, for which what was kept is remembered here as well."""
MAX_CHUNK_BODY_BYTES = 500_000
"""Bytes of a chunk's body."""
MAX_RECENT_BYTES = 512 * 1024 * 1024
"""Bytes of all chunks; about ten million sign-ins."""
LIMITS_INTERVAL_SECONDS = 600.0
"""Seconds, by our clock, between two times at which what is too old is dropped."""

_encode = msgspec.msgpack.Encoder().encode
_notes = msgspec.msgpack.Decoder(RecentSegment)


class RecentSignIns:
    """Notes sign-ins, and finds them again. Without a store it does nothing."""

    def __init__(self, recent: RecentStore | None, clock: Clock, window: float) -> None:
        """*window* is how long sign-ins are kept, in seconds by the clock; 0 for not at all."""
        self._recent = recent if window > 0 else None
        self._clock = clock
        self._window = window
        self._noted = RecentSegment()
        self._flushed: deque[tuple[float, RecentSegment]] = deque()
        self._since = 0.0
        self._trimmed = 0.0
        self.failed = 0
        """Sign-ins that could not be kept."""
        self.found = 0
        """Sign-ins that were found again."""

    @property
    def recording(self) -> bool:
        """Whether sign-ins are noted at all."""
        return self._recent is not None

    def record(self, group: Mapping[str, Sequence[Sighting]]) -> None:
        """Note sign-ins by address."""
        if self._recent is None:
            return
        now = self._clock.now()
        if not self._noted:
            self._since = now
        fallback = datetime.fromtimestamp(now, UTC) if now > 0 else datetime.now(UTC)
        held = [one for some in group.values() for one in some]
        self.failed += self._noted.add(
            [address for address, some in group.items() for _ in some],
            [signin for signin, _, _ in held],
            [enqueued for _, enqueued, _ in held],
            fallback,
        )

    async def flush_if_due(self) -> None:
        """Keep what is noted when there is enough of it, or it has waited long enough."""
        now = self._clock.now()
        if len(self._noted) >= SEGMENT_SIGN_INS or (
            self._noted and now - self._since >= SEGMENT_LINGER_SECONDS
        ):
            await self.flush()
        if self._recent is not None and not 0 <= now - self._trimmed < LIMITS_INTERVAL_SECONDS:
            self._trimmed = now
            await self._guarded(self._recent.enforce_limits(now - self._window, MAX_RECENT_BYTES))

    async def flush(self) -> None:
        """Keep what is noted."""
        noted, self._noted = self._noted, RecentSegment()
        since = self._since
        if self._recent is None:
            return
        now = self._clock.now()
        self._remember(now, noted)
        for start in range(0, len(noted), SEGMENT_SIGN_INS):
            for chunk in _chunks(noted.part(start, start + SEGMENT_SIGN_INS), since, now):
                if not await self._guarded(self._recent.append(chunk)):
                    self.failed += chunk.signins

    def _remember(self, now: float, noted: RecentSegment) -> None:
        """Hold on to what is kept for a while; see :meth:`own`."""
        self._flushed.append((now, noted))
        while self._flushed and (
            now - self._flushed[0][0] > REMEMBERED_SECONDS
            or sum(len(some) for _, some in self._flushed) > MAX_REMEMBERED_SIGN_INS
        ):
            self._flushed.popleft()

    def match_own(self, keys: Collection[str]) -> list[tuple[str, Details]]:
        """Return sign-ins that this process noted just now, from addresses that *keys* name.

        Another instance may have looked through what all have kept before these were.
        """
        wanted = _wanted(keys)
        noted = [*(some for _, some in self._flushed), self._noted]
        found = [one for some in noted for one in _among(some, wanted)]
        self.found += len(found)
        return [(one.address, one.details()) for one in found]

    async def match(self, keys: Collection[str] | None) -> AsyncIterator[list[tuple[str, Details]]]:
        """Yield sign-ins of lately from addresses that *keys* name or hold; all for None."""
        if self._recent is None:
            return
        await self.flush()
        since = self._clock.now() - self._window
        wanted = _wanted(keys) if keys is not None else None
        sums = _sums(keys)
        try:
            async for outlines in self._recent.segment_index(since):
                for chunk in outlines:
                    if sums is not None and sums.isdisjoint(_numbers(chunk.addresses)):
                        continue
                    body = await self._recent.body(chunk.key)
                    found = _readable(body, wanted) if body is not None else []
                    self.found += len(found)
                    if found:
                        yield [(one.address, one.details()) for one in found]
        except LedgerFailed as error:
            log.warning("not all sign-ins of lately could be looked through", why=str(error))

    async def forget(self, gone: Callable[[RecentSignIn], bool]) -> int:
        """Delete sign-ins for which *gone* is true; return how many."""
        if self._recent is None:
            return 0
        await self.flush()
        deleted = 0
        async for outlines in self._recent.segment_index(0.0):
            for chunk in outlines:
                body = await self._recent.body(chunk.key)
                signins = list(_unpacked(body)) if body is not None else []
                left = [one for one in signins if not gone(one)]
                if len(left) < len(signins):
                    deleted += len(signins) - len(left)
                    new = _chunk(RecentSegment.of(left), chunk.first, chunk.last) if left else None
                    await self._recent.replace(chunk.key, new)
        return deleted

    async def coverage(self) -> RecentCoverage:
        """Return how far back sign-ins are kept."""
        if self._recent is None:
            return RecentCoverage()
        try:
            return await self._recent.coverage()
        except LedgerFailed:
            return RecentCoverage()

    async def close(self) -> None:
        """Let go of the store."""
        if self._recent is not None:
            await self._recent.close()

    @staticmethod
    async def _guarded(work: Awaitable[None]) -> bool:
        """Do without, where the store fails; tell whether it did not."""
        try:
            await work
        except LedgerFailed as error:
            log.warning("sign-ins of lately are not kept", why=str(error))
            return False
        return True


def _chunk(noted: RecentSegment, first: float, last: float) -> RecentChunk:
    addresses = array("I", sorted(map(_sum, set(noted.addresses))))
    body = isal_zlib.compress(_encode(noted), 1)
    return RecentChunk(first, last, len(noted), addresses.tobytes(), body)


def _chunks(noted: RecentSegment, first: float, last: float) -> Iterator[RecentChunk]:
    """Yield chunks that are small enough; texts of events may be long."""
    chunk = _chunk(noted, first, last)
    if len(chunk.body) <= MAX_CHUNK_BODY_BYTES or len(noted) < 2:
        yield chunk
        return
    half = len(noted) // 2
    yield from _chunks(noted.part(0, half), first, last)
    yield from _chunks(noted.part(half, len(noted)), first, last)


def _numbers(packed: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(packed)
    return numbers


def _sums(keys: Collection[str] | None) -> set[int] | None:
    """Return the sums of addresses; None where networks, or all, are looked for."""
    if keys is None or any("/" in key for key in keys):
        return None
    return set(map(_sum, keys))


def _sum(address: str) -> int:
    return zlib.crc32(address.encode())


def _wanted(keys: Collection[str]) -> AddressIndex:
    index = AddressIndex()
    for key in keys:
        index.add(key)
    return index


def _unpacked(body: bytes) -> RecentSegment:
    try:
        return _notes.decode(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"sign-ins of lately are unreadable: {error}") from None


def _readable(body: bytes, wanted: AddressIndex | None) -> list[RecentSignIn]:
    """Return what is wanted of a chunk; nothing of one that cannot be read."""
    try:
        signins = _unpacked(body)
    except LedgerFailed as error:
        log.warning("some sign-ins of lately are passed over", why=str(error))
        return []
    return list(signins) if wanted is None else _among(signins, wanted)


def _among(signins: RecentSegment, wanted: AddressIndex) -> list[RecentSignIn]:
    addresses = set(wanted.matching(list(set(signins.addresses))))
    return [one for one in signins if one.address in addresses] if addresses else []
