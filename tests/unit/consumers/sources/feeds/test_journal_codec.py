"""Pages of a feed in a journal: packed, small enough, and the same when they are unpacked."""

from __future__ import annotations

import random
import zlib

import pytest
from msgspec.structs import replace

from consumers.sources.feeds import journal_codec as pages
from consumers.sources.feeds.indicator_store import FeedState
from consumers.sources.feeds.journal_codec import MAX_ENTRY_BYTES, packed, unpacked
from schemas.errors import LedgerFailed
from schemas.intel.indicators import Indicator

STATE = FeedState(identity="it", cursor={"next": "x"}, steps=3)


def some(count: int, *, step: int = 1, noise: int = 0) -> list[tuple[int, Indicator]]:
    """Return indicators, of a third a step; *noise* is how many letters each has besides."""
    chance = random.Random(count)
    return [
        (
            step + n // 3,
            Indicator(
                id=f"{n}",
                modified=float(n),
                keys=("81.2.69.160",),
                labels=("".join(chance.choices("0123456789abcdef", k=noise)),),
            ),
        )
        for n in range(count)
    ]


def read(bodies: list[bytes]) -> list[tuple[int, Indicator]]:
    """Return what stands in bodies."""
    parts = [unpacked(body) for body in bodies]
    return [(step, one) for part in parts for step, several in part.steps for one in several]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 499, 500, 501, 1_000, 1_001, 1_700])
def test_what_is_packed_is_unpacked(count: int) -> None:
    """In its order, and with the state in the last body alone."""
    bodies = list(packed(some(count), STATE))
    assert read(bodies) == some(count)
    states = [unpacked(body).state for body in bodies]
    assert states == [None] * (len(bodies) - 1) + [STATE]
    assert len(bodies) == max(1, -(-count // pages.PACK_BATCH))


def test_large_ones_are_parted() -> None:
    """So that each body fits."""
    indicators = some(60, noise=7_000)
    bodies = list(packed(indicators, STATE))
    assert len(bodies) > 3
    assert max(map(len, bodies)) <= MAX_ENTRY_BYTES
    assert read(bodies) == indicators
    assert [unpacked(body).state for body in bodies][-1] == STATE
    assert all(unpacked(body).state is None for body in bodies[:-1])


def test_one_that_is_too_large_loses_names() -> None:
    """Those that decide nothing."""
    ((step, one),) = some(1, noise=130_000)
    labels = ("Malicious", *one.labels)
    large = replace(one, labels=labels, types=("benign", "x"), kill_chain=("a:b",))
    (body,) = packed([(step, large)], STATE)
    bare = replace(one, labels=("Malicious",), types=("benign",))
    assert read([body]) == [(step, bare)]
    assert unpacked(body).state == STATE


def test_one_that_is_too_large_all_the_same_is_told() -> None:
    """Nothing could be done with it."""
    ((step, one),) = some(1, noise=130_000)
    with pytest.raises(LedgerFailed, match="too large"):
        list(packed([(step, replace(one, labels=(), id=one.labels[0]))], STATE))


@pytest.mark.parametrize(
    "body", [b"", b"no", zlib.compress(b"\xc1"), zlib.compress(b"\x91\x01"), zlib.compress(b"")]
)
def test_what_cannot_be_read_is_told(body: bytes) -> None:
    """As a failure of the ledger."""
    with pytest.raises(LedgerFailed, match="journal is unreadable"):
        unpacked(body)
