"""Bringing one feed up to date together with other instances, by snapshots."""

from __future__ import annotations

from ipaddress import IPv6Address
from random import Random

import pytest

from consumers.sources.feeds import snapshot
from consumers.sources.feeds import sync as sync_module
from consumers.sources.feeds.sync import FOLLOW_INTERVAL_SECONDS
from consumers.sources.feeds.sync_status import FIRST_FEED_PAUSE_SECONDS
from consumers.sources.taxii.client import Cursor
from schemas.errors import FeedFailed, LedgerFailed
from schemas.feed_ports import Absent, Blob
from schemas.health import Problem
from tests.support.feeds import FEED, HOUR, A, B, C, Worlds, named


async def test_one_reads_and_the_other_follows(worlds: Worlds) -> None:
    """What is new, what is withdrawn, and how far the feed was read."""
    one, other, _ = worlds.two()
    await one.read([named(A), named(B)], [named(C)])
    other.time += FOLLOW_INTERVAL_SECONDS
    await other.sync.sync_if_due()
    assert (other.keys, other.source.runs) == ({A, B, C}, 0)
    await one.read([named(A, 1.0, revoked=True)])
    other.time += FOLLOW_INTERVAL_SECONDS - 1.0
    await other.sync.sync_if_due()
    assert A in other.keys, "it looks every half a minute"
    other.time += 1.0
    await other.sync.sync_if_due()
    assert one.keys == other.keys == {B, C}
    assert one.sync.state == other.sync.state
    assert one.sync.state.published == 3


async def test_a_feed_that_another_one_reads_is_left_to_it(worlds: Worlds) -> None:
    """Until its claim ends; ours is let go after each run, also after a failure."""
    one, other, _ = worlds.two()
    one.claims.claimed[f"feed {FEED}"] = "other"
    await one.sync.sync_if_due()
    assert one.source.runs == 0
    del one.claims.claimed[f"feed {FEED}"]
    one.source.failure = FeedFailed("is down")
    one.time += FOLLOW_INTERVAL_SECONDS
    await one.sync.sync_if_due()
    assert one.source.runs == 1
    assert f"feed {FEED}" not in one.claims.claimed
    await other.read([named(A)])


async def test_a_claim_is_renewed_with_each_page(worlds: Worlds) -> None:
    """A first run may take long."""
    one, _, _ = worlds.two()
    await one.read([named(A)], [named(B)], [named(C)])
    assert one.claims.asked.count(f"feed {FEED}") == 3


async def test_who_was_overtaken_follows(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own page is not lost: it is read again."""
    one, other, blobs = worlds.two()
    await one.read([named("81.2.69.1")])
    put = blobs.put

    async def overtaken(name: str, body: bytes, *, replaces: str | None) -> str | None:
        monkeypatch.setattr(blobs, "put", put)
        await other.read([named(B)])
        return await put(name, body, replaces=replaces)

    monkeypatch.setattr(blobs, "put", overtaken)
    other.claims.claimed = {}
    await one.read([named(A)])
    assert one.sync.problem is None
    assert one.keys - other.keys == {A}, "it stays in use"
    await one.read([named(A)], [named(C)])
    await other.sync.follow()
    assert one.keys == other.keys > {A, B, C}
    assert list(one.store.all_of(FEED)) == list(other.store.all_of(FEED))
    for each in (one, other):
        each.see()
        assert {A, B, C} <= set().union(*each.told), "whoever moves the cursor misses nothing"


async def test_a_write_whose_answer_was_lost_is_known_as_ours(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt finds another version than expected: that of the first."""
    one, other, blobs = worlds.two()
    put = blobs.put

    async def twice(name: str, body: bytes, *, replaces: str | None) -> str | None:
        await put(name, body, replaces=replaces)
        return await put(name, body, replaces=replaces)

    monkeypatch.setattr(blobs, "put", twice)
    await one.read([named(A)])
    await one.read([named(B)])
    assert one.sync.state.published == one.sync.state.steps == 2
    await other.sync.follow()
    assert other.keys == {A, B}


async def test_a_snapshot_that_was_lost_is_made_anew(worlds: Worlds) -> None:
    """Another container, or one that somebody emptied: what is kept goes there."""
    one, other, blobs = worlds.two()
    await one.read([named(A)])
    blobs.kept.clear()
    one.time += HOUR
    one.source.pages_left = [[named(B)]]
    await one.sync.sync_if_due()
    await other.sync.follow()
    assert one.keys == other.keys == {A, B}


async def test_a_part_that_is_missing_is_told(worlds: Worlds) -> None:
    """Nothing of the feed is forgotten, and the snapshot is read again."""
    one, other, blobs = worlds.two()
    await one.read([named(A)])
    await other.sync.follow()
    await one.read([named(B)])
    kept = {name: blob for name, blob in blobs.kept.items() if not name.endswith("/index")}
    for name in kept:
        del blobs.kept[name]
    with pytest.raises(LedgerFailed, match="part of the snapshot"):
        await other.sync.follow()
    assert other.keys == {A}
    blobs.kept |= kept
    await other.sync.follow()
    assert other.keys == {A, B}


async def test_parts_that_are_replaced_while_they_are_read(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot after them is read at once; that is no trouble."""
    one, other, blobs = worlds.two()
    await one.read([named(A)])
    get = blobs.get

    async def replaced(name: str, *, unless: str | None = None) -> Blob | Absent:
        found = await get(name, unless=unless)
        if name.endswith("/index"):
            monkeypatch.setattr(blobs, "get", get)
            await one.read([named(B)])
        return found

    monkeypatch.setattr(blobs, "get", replaced)
    await other.sync.follow()
    assert other.keys == {A, B}


@pytest.mark.parametrize("body", [b"", b"x", b"\x81\xa1x\x01"])
@pytest.mark.parametrize("index", [True, False])
async def test_what_cannot_be_read_is_told(worlds: Worlds, body: bytes, index: bool) -> None:
    """It is trouble of the feed, and ends with the next snapshot that can be read."""
    one, other, blobs = worlds.two()
    await one.read([named(A)])
    name = next(name for name in blobs.kept if name.endswith("/index") == index)
    blobs.kept[name] = Blob(body, blobs.kept[name].version)
    other.claims.claimed[f"feed {FEED}"] = "one"
    await other.sync.sync_if_due()
    assert "snapshot" in other.health.now[Problem.FEED_DOWN]


async def test_parts_are_replaced(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one while it is small, all when they hold much more than the feed."""
    monkeypatch.setattr(snapshot, "FULL_PART_INDICATORS", 3)
    one, other, blobs = worlds.two()
    seen: list[int] = []
    for number in range(6):
        await one.read([named(A, number), named("81.2.69.0/24", number)])
        seen.append(blobs.parts)
    assert max(seen) <= 2
    await one.read([named(f"81.2.70.{n}") for n in range(7)])
    await one.read([named(f"81.2.71.{n}") for n in range(2)])
    await one.read([named(f"81.2.72.{n}") for n in range(1)])
    await other.sync.follow()
    assert one.keys == other.keys
    assert len(one.keys) == 12
    assert list(one.store.all_of(FEED)) == list(other.store.all_of(FEED))
    writes = blobs.writes
    await one.read([named("81.2.73.1")])
    assert blobs.writes == writes + 2, "the last part, and the index"
    await one.read([])
    assert blobs.writes == writes + 3, "the index, which tells when the feed was read"


async def test_parts_that_no_index_names_are_deleted(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process ended after it had written them; they go when all parts are replaced."""
    monkeypatch.setattr(snapshot, "FULL_PART_INDICATORS", 3)
    one, _, blobs = worlds.two()
    blobs.kept[f"feeds/{FEED}/orphan"] = Blob(b"", "v")
    blobs.kept["feeds/another/orphan"] = Blob(b"", "v")
    await one.read([named(A), named(B), named(C)])
    assert set(blobs.kept) > {"feeds/another/orphan"}
    assert f"feeds/{FEED}/orphan" not in blobs.kept


async def test_a_follower_reads_what_is_new_alone(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a feed with hundreds of parts; and nothing while nothing was published."""
    monkeypatch.setattr(snapshot, "FULL_PART_INDICATORS", 2)
    one, other, blobs = worlds.two()
    for number in range(5):
        await one.read([named(f"81.2.{number}.1"), named(f"81.2.{number}.2")])
    await other.sync.follow()
    assert blobs.parts == 5
    await one.read([named(A)])
    reads = blobs.reads
    await other.sync.follow()
    await other.sync.follow()
    assert blobs.reads == reads + 1 + 1 + 1, "the index, a part, the same index"
    assert other.keys == one.keys


async def test_a_long_read_is_published_while_it_lasts(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes over goes on from there."""
    monkeypatch.setattr(sync_module, "FULL_PART_INDICATORS", 2)
    one, other, _ = worlds.two()
    one.source.failure = FeedFailed("is down")
    with pytest.raises(FeedFailed):
        await one.read([named(A), named(B)], [named(C)])
    await other.read([])
    assert other.keys == {A, B, C}
    assert other.source.cursors == [Cursor(next="1")]


async def test_replaced_parts_are_no_news(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known, and told, before is not looked for again among the sign-ins of lately."""
    monkeypatch.setattr(snapshot, "FULL_PART_INDICATORS", 100)
    one, other, _ = worlds.two()
    await one.read([named(A), named(B)])
    await other.sync.follow()
    other.see()
    await one.read([named(C)])
    await other.sync.follow()
    other.see()
    assert other.told == [{A, B}, {C}]


async def test_another_feed_begins_anew_for_all(worlds: Worlds) -> None:
    """Who follows forgets the old one, in whatever state it is."""
    one, other, blobs = worlds.two()
    await one.read([named(A)])
    await other.sync.follow()
    one.new_sync("another")
    await one.read([named(B)], [named(C)])
    other.new_sync("another")
    await other.sync.follow()
    assert one.keys == other.keys == {B, C}
    assert one.sync.state == other.sync.state
    third = worlds.open("third", blobs=blobs, identity="another")
    await third.sync.follow()
    assert third.keys == {B, C}


async def test_trouble_ends_when_another_one_reads_the_feed(worlds: Worlds) -> None:
    """The feed is well: what it says is here."""
    one, other, _ = worlds.two()
    one.source.failure = FeedFailed("is down")
    await one.sync.sync_if_due()
    assert Problem.FEED_DOWN in one.health.now
    await other.read([named(A)])
    one.time += FIRST_FEED_PAUSE_SECONDS
    await one.sync.sync_if_due()
    assert one.keys == {A}
    assert (one.health.now, one.sync.problem) == ({}, None)


async def test_one_large_indicator_does_not_stop_a_feed(worlds: Worlds) -> None:
    """A server may send names of any letters."""
    one, other, _ = worlds.two()
    chance = Random(1)
    names = [
        "".join(chr(chance.randrange(0x10000, 0x10FFFF)) for _ in "x" * 120) for _ in "n" * 150
    ]
    addresses = [str(IPv6Address((0x2A02 << 112) + chance.getrandbits(112))) for _ in "a" * 440]
    large = named(
        f"[ipv6-addr:value IN ({', '.join(map(repr, addresses))})]",
        labels=names[:50],
        indicator_types=names[50:100],
        kill_chain_phases=[
            {"kill_chain_name": name[:60], "phase_name": name[60:]} for name in names[100:]
        ],
    )
    await one.read([large, named(B)])
    await other.sync.follow()
    assert B in one.keys
    assert B in other.keys
