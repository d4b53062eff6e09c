"""Addresses from which many accounts have succeeded on earlier days: offices, VPNs, partners.

An indicator that names one of them is a mistake more often than a fact, so its findings are capped
until a person decides. Failures and the successes of the day itself never count, so an attack
cannot make its own address familiar.

Only addresses with several accounts are stored. Accounts are stored as short hashes.
"""

from __future__ import annotations

from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from consumers.enrichment.history_entries import (
    FAMILIAR_INDEX,
    MAX_FAMILIAR_ADDRESSES,
    FamiliarEntry,
    GroupEntry,
    decoded,
    merged,
    place_of,
    pseudonym,
)
from schemas.durations import DAY_SECONDS, MINUTE_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.times import parse_time
from schemas.ledger_ports import EntrySpace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.recent_sign_in import RecentSegment
    from schemas.ledger_ports import Entries
    from schemas.ports import Clock

MIN_STORED_ACCOUNTS = 5
"""Accounts at an address from which on it is stored: homes are not."""
MAX_COUNTED_ADDRESSES = 50_000
"""Addresses whose accounts are counted in memory. Beyond, those with one account are dropped."""
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
FLUSH_SECONDS = 10 * MINUTE_SECONDS
"""Seconds, by the clock, between two writes of what has changed."""
_INDEX = ("",)
"""Stands for the index where places are read."""
REFRESH_SECONDS = 5 * MINUTE_SECONDS
"""How long what was read of other instances is used."""


class Familiarity(NamedTuple):
    """How many accounts have succeeded from an address or network on other days, on how many."""

    accounts: int = 0
    days: int = 0


class FamiliarAddresses:
    """Learns which addresses are familiar."""

    def __init__(self, ledger: Entries, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entries: dict[str, FamiliarEntry] = {}
        """What was counted here, with what was read of it from the ledger; by place."""
        self._changed: set[str] = set()
        self._read: dict[str, float] = {}
        """When entries were read last, by key."""
        self._flushed = 0.0
        self._begun = False
        self._stored: dict[str, float] = {}
        """The addresses in the ledger, and when they were stored last."""

    def learn(self, segment: RecentSegment) -> None:
        """Count the successes of a segment, by the days on which they happened."""
        if not self._begun:
            self._flushed, self._begun = self._clock.now(), True
        for address, account, outcome, time in zip(
            segment.addresses, segment.accounts, segment.outcomes, segment.times, strict=True
        ):
            if outcome is Outcome.SUCCESS and account:
                self.learn_success(address, account, _day(time))

    def learn_success(self, address: str, account: str, day: int) -> None:
        """Count a success on a day, an ordinal of the calendar."""
        place = place_of(address, None)
        entry = self._entries.get(place)
        if entry is None:
            if len(self._entries) >= MAX_COUNTED_ADDRESSES:
                self._drop_lone()
            entry = self._entries[place] = FamiliarEntry()
        if entry.add(pseudonym(account), day):
            self._changed.add(place)

    def _drop_lone(self) -> None:
        kept = {place: entry for place, entry in self._entries.items() if len(entry.accounts) > 1}
        self._entries = kept if len(kept) < MAX_COUNTED_ADDRESSES else {}
        self._read = {}  # what was dropped is read again before it is written

    async def flush_if_due(self) -> None:
        """Store what has changed, from time to time."""
        now = self._clock.now()
        if self._changed and not 0 <= now - self._flushed < FLUSH_SECONDS:
            self._flushed = now
            await self.flush()

    async def flush(self) -> None:
        """Store the addresses that have changed and have several accounts."""
        due = {
            place
            for place in self._changed
            if place in self._entries and len(self._entries[place].accounts) >= MIN_STORED_ACCOUNTS
        }
        self._changed = set()
        if not due:
            return
        await self._read_entries([*due, *_INDEX], most_seconds=float("inf"))
        now = self._clock.now()
        self._stored |= dict.fromkeys(due, now)
        bodies = {f"k|{place}": msgspec.msgpack.encode(self._entries[place]) for place in due}
        newest = sorted(self._stored.items(), key=lambda item: item[1])[-MAX_FAMILIAR_ADDRESSES:]
        self._stored = dict(newest)
        bodies[FAMILIAR_INDEX] = msgspec.msgpack.encode(GroupEntry(self._stored))
        combined = await self._ledger.put_entries(EntrySpace.HISTORY, bodies, merged)
        for key, body in combined.items():
            self._take(key, body)

    async def fetch(self, keys: Iterable[str]) -> None:
        """Read what is stored about addresses and networks, unless it was read lately."""
        await self.flush()
        keys = list(keys)
        networks = [key for key in keys if "/" in key]
        if networks:
            await self._read_entries(_INDEX, most_seconds=REFRESH_SECONDS)
        places = [place_of(key, None) for key in keys if "/" not in key]
        places += [place for key in networks for place in self._places_in(key)]
        await self._read_entries(places, most_seconds=REFRESH_SECONDS)

    async def _read_entries(self, places: Iterable[str], *, most_seconds: float) -> None:
        """Read entries that were not read for some seconds, and add them to what was counted."""
        now = self._clock.now()
        keys = [FAMILIAR_INDEX if place == _INDEX[0] else f"k|{place}" for place in places]
        due = [key for key in keys if key not in self._read or now - self._read[key] > most_seconds]
        if not due:
            return
        found = await self._ledger.get_entries(EntrySpace.HISTORY, due)
        self._read |= dict.fromkeys(due, now)
        for key, body in found.items():
            self._take(key, body)

    def _take(self, key: str, body: bytes) -> None:
        entry = decoded(key, body)
        if isinstance(entry, GroupEntry):
            self._stored |= entry.accounts
        elif isinstance(entry, FamiliarEntry):
            own = self._entries.setdefault(key[2:], FamiliarEntry())
            own.include(entry)

    def _places_in(self, key: str) -> list[str]:
        network = ip_network(key, strict=False)
        return [place for place in self._stored if _first_address(place) in network]

    def familiarity(self, key: str, day: int) -> Familiarity:
        """Return what is known of an address or network on other days; :meth:`fetch` it first.

        What is later than the day counts as well: it is known where a recording is read again, or
        an indicator came late.
        """
        places = [place_of(key, None)] if "/" not in key else self._places_in(key)
        found = [self._entries[place] for place in places if place in self._entries]
        accounts = {
            who for entry in found for who, days in entry.accounts.items() if days != (day, day)
        }
        others = {other for entry in found for other in entry.days if other != day}
        return Familiarity(len(accounts), len(others))


def day_of(timestamp: float) -> int:
    """Return the day of a time in seconds since the epoch, as an ordinal of the calendar."""
    return EPOCH_ORDINAL + int(timestamp // DAY_SECONDS)


def _day(time: float | str) -> int:
    if isinstance(time, str):
        try:
            return date.fromisoformat(time[:10]).toordinal()
        except ValueError:
            parsed = parse_time(time)
            return 0 if parsed is None else parsed.toordinal()
    return day_of(time)


def _first_address(place: str) -> IPv4Address | IPv6Address:
    """Return the address of a place of :func:`place_of`; of a /64, its first one."""
    return IPv4Address(place) if "." in place else IPv6Address(int(place, 16) << 64)
