"""Bringing one feed up to date together with other instances, by a journal."""

from __future__ import annotations

from ipaddress import IPv6Address
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from consumers.sources.feeds import journal_codec as pages_module
from consumers.sources.feeds import sync as sync_module
from consumers.sources.feeds.sync import FOLLOW_INTERVAL_SECONDS
from consumers.sources.feeds.sync_status import FIRST_FEED_PAUSE_SECONDS
from schemas.errors import FeedFailed, LedgerFailed
from schemas.feed_ports import JournalEntry, JournalPosition
from schemas.health import Problem
from tests.support.feeds import FEED, HOUR, NOW, A, B, C, Worlds, named

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def worlds(tmp_path: Path) -> Any:
    """Return where worlds are opened."""
    made = Worlds(tmp_path)
    yield made
    for one in made.all:
        one.close()


async def test_one_reads_and_the_other_follows(worlds: Worlds) -> None:
    """What is new, what is withdrawn, and how far the feed was read."""
    one, other, journal = worlds.two()
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
    assert journal.end == JournalPosition(0, 3)


async def test_one_of_two_tells(worlds: Worlds) -> None:
    """Who is first has read the same."""
    one, other, _ = worlds.two()
    await one.read([named(A)])
    await other.sync.follow()
    await one.sync.follow()
    assert (one.told, other.told) == ([{A}], [])
    await other.read([named(B)])
    await one.sync.follow()
    assert (one.told, other.told) == ([{A}], [{B}])


async def test_what_is_to_be_told_survives_a_ledger_that_fails(worlds: Worlds) -> None:
    """Else late matches of a whole run are lost."""
    one, other, _ = worlds.two()
    await other.read([named(A)])
    other.told.clear()
    one.claims.claimed.clear()
    one.claims.failure = LedgerFailed("away")
    await one.sync.sync_if_due()
    one.time += FOLLOW_INTERVAL_SECONDS + FIRST_FEED_PAUSE_SECONDS
    await one.sync.sync_if_due()
    assert one.told == [{A}]


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
    one, other, journal = worlds.two()
    entries = journal.entries

    async def overtaking(feed: str, after: JournalPosition) -> AsyncIterator[list[JournalEntry]]:
        async for some in entries(feed, after):
            yield some
        monkeypatch.setattr(journal, "entries", entries)
        await other.read([named(B)])

    one.source.pages_left = [[named(A)]]
    monkeypatch.setattr(journal, "entries", overtaking)
    other.claims.claimed = {}
    await one.sync.sync(force=True)
    assert (one.keys, one.sync.problem) == ({B}, None)
    await one.read([named(A)])
    assert one.keys == {A, B}
    assert journal.renewals == 0


async def test_a_journal_that_was_lost_is_made_anew(worlds: Worlds) -> None:
    """A table of another name, or one that somebody deleted: what is kept goes there."""
    one, other, journal = worlds.two()
    await one.read([named(A)])
    journal.end, journal.kept = JournalPosition(), []
    for _ in range(3):
        one.time += HOUR
        one.source.pages_left = [[named(B)]]
        await one.sync.sync_if_due()
    await other.sync.follow()
    assert one.keys == other.keys == {A, B}


async def test_a_journal_is_renewed(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it holds much more than the feed; who follows has the same after it."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 4)
    one, other, journal = worlds.two()
    for number in range(6):
        await one.read([named(A, number), named("81.2.69.0/24", number)])
        if number == 2:
            await other.sync.follow()
    assert (journal.renewals, journal.end) == (1, JournalPosition(1, 3))
    assert one.sync.state.appended == 6
    await other.sync.follow()
    assert one.keys == other.keys == {A, "81.2.69.0/24"}
    assert one.sync.state == other.sync.state
    assert list(one.store.all_of(FEED)) == list(other.store.all_of(FEED))


async def test_a_renewed_journal_is_not_renewed_again(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two and a half million indicators that would be five thousand entries with every read."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 4)
    monkeypatch.setattr(pages_module, "PACK_BATCH", 2)
    one, _, journal = worlds.two()
    await one.read([named(f"81.2.69.{n}") for n in range(20)])
    for _ in range(3):
        await one.read([])
    assert journal.renewals <= 1


async def test_a_renewal_hides_nothing(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a new generation is read, what was known goes on to match."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 1)
    monkeypatch.setattr(pages_module, "PACK_BATCH", 1)
    one, other, journal = worlds.two()
    names = [f"81.2.69.{n}" for n in range(6)]
    await one.read([named(name) for name in names])
    await other.sync.follow()
    await one.read([named(A)], [named(B)])
    await one.read([named(C)])
    seen: list[int] = []
    entries = journal.entries

    async def watched(feed: str, after: JournalPosition) -> AsyncIterator[list[JournalEntry]]:
        async for some in entries(feed, after):
            yield some
            seen.append(len(other.feeds.matching(names)))

    monkeypatch.setattr(journal, "entries", watched)
    assert journal.end.generation > other.sync.state.place[0]
    await other.sync.follow()
    assert len(seen) > 2
    assert set(seen) == {len(names)}


async def test_a_renewal_is_no_news(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known, and told, before is not looked for again among the sign-ins of lately."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 1)
    one, other, journal = worlds.two()
    await one.read([named(A), named(B)])
    await other.sync.follow()
    other.told.clear()
    await one.read([named(C)])
    await one.read([])
    assert journal.end.generation > other.sync.state.place[0]
    await other.sync.follow()
    assert A not in {key for some in other.told for key in some}


async def test_another_feed_begins_anew_for_all(worlds: Worlds) -> None:
    """Who follows forgets the old one, in whatever state it is."""
    one, other, journal = worlds.two()
    await one.read([named(A)])
    await other.sync.follow()
    one.new_sync("another")
    await one.read([named(B)], [named(C)])
    other.new_sync("another")
    await other.sync.follow()
    assert one.keys == other.keys == {B, C}
    assert journal.end == JournalPosition(1, 3)
    assert one.sync.state == other.sync.state
    third = worlds.open("third", journal=journal, identity="another")
    await third.sync.follow()
    assert third.keys == {B, C}


async def test_another_feed_in_a_renewed_journal(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance comes back that knows the old one, and finds the new one in several entries."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 1)
    monkeypatch.setattr(pages_module, "PACK_BATCH", 1)
    one, other, journal = worlds.two()
    await one.read([named("81.2.69.1")])
    await other.sync.follow()
    one.new_sync("another")
    await one.read([named(A), named(B), named(C)])
    assert journal.renewals >= 2
    other.new_sync("another")
    await other.sync.follow()
    assert one.keys == {A, B, C}
    assert other.keys == {A, B, C}


async def test_what_was_swept_while_one_was_away(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was withdrawn and forgotten; who comes back learns it from the renewed journal."""
    monkeypatch.setattr(sync_module, "MAX_JOURNAL_ENTRIES", 2)
    one, other, journal = worlds.two()
    await one.read([named(A), named(B)])
    await other.sync.follow()
    assert other.keys == {A, B}
    await one.read([named(A, 1.0, revoked=True)])
    generation = journal.end.generation
    one.feeds.drop(one.store.purge_expired(NOW + 60 * 24 * HOUR))
    for number in range(3):
        await one.read([named(B, 10.0 + number)])
    assert journal.end.generation > generation
    await other.sync.follow()
    assert one.keys == {B}
    assert other.keys == {B}


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
