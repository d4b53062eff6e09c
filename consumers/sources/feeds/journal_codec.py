"""Encodes pages of a feed as compressed journal entries of limited size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from consumers.sources.feeds.indicator_store import FeedState
from schemas.errors import LedgerFailed
from schemas.intel.indicators import DECISIVE, Indicator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAX_ENTRY_BYTES = 60_000
"""Bytes of a body; see :class:`schemas.feed_ports.FeedJournal`."""
PACK_BATCH = 500
"""Indicators per entry, before a too large entry is split."""

Steps = tuple[tuple[int, tuple[Indicator, ...]], ...]
"""Indicators, by the number of their page."""


class JournalPart(msgspec.Struct, array_like=True, frozen=True):
    """One journal entry. The last entry of a page holds the state after the page."""

    steps: Steps
    identity: str
    """The identity of the feed; see :class:`consumers.sources.feeds.indicator_store.FeedState`."""
    state: FeedState | None = None


_encode = msgspec.msgpack.Encoder().encode
_part = msgspec.msgpack.Decoder(JournalPart)


def packed(indicators: Iterable[tuple[int, Indicator]], state: FeedState) -> Iterator[bytes]:
    """Yield the bodies of a page or of a whole feed. *indicators* are pairs with their step."""
    some: list[tuple[int, Indicator]] = []
    for one in indicators:
        some.append(one)
        if len(some) > PACK_BATCH:
            yield from _fitting(some[:-1], state.identity, None)
            del some[:-1]
    yield from _fitting(some, state.identity, state)


def unpacked(body: bytes) -> JournalPart:
    """Decode a body of :func:`packed`. Raises LedgerFailed if it is unreadable."""
    try:
        return _part.decode(zlib.decompress(body))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise LedgerFailed(f"the feeds' journal is unreadable: {error}") from None


def _fitting(
    some: Sequence[tuple[int, Indicator]], identity: str, state: FeedState | None
) -> Iterator[bytes]:
    """Yield as many bodies as are needed to stay below the size limit."""
    body = zlib.compress(_encode(JournalPart(_by_step(some), identity, state)), 6)
    if len(body) <= MAX_ENTRY_BYTES:
        yield body
    elif len(some) > 1:
        half = len(some) // 2
        yield from _fitting(some[:half], identity, None)
        yield from _fitting(some[half:], identity, state)
    else:
        step, indicator = some[0]
        bare = _bare(indicator)
        if bare == indicator:
            raise LedgerFailed("an indicator is too large for the journal")
        yield from _fitting([(step, bare)], identity, state)


def _bare(indicator: Indicator) -> Indicator:
    """Return an indicator without the names that have no effect on its verdict."""
    labels = tuple(one for one in indicator.labels if one.lower() in DECISIVE)
    types = tuple(one for one in indicator.types if one.lower() in DECISIVE)
    return replace(indicator, labels=labels, types=types, kill_chain=())


def _by_step(some: Sequence[tuple[int, Indicator]]) -> Steps:
    steps: dict[int, list[Indicator]] = {}
    for step, indicator in some:
        steps.setdefault(step, []).append(indicator)
    return tuple((step, tuple(found)) for step, found in steps.items())
