"""History of accounts, locations, networks and malicious addresses, learned from sign-ins.

Values are stored with days. So an event that is delivered again on the same day changes nothing,
and the entries of two instances can be merged. Accounts and devices are stored as short hashes.
The history learns only what sign-ins did, never their scores.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from zlib import crc32

from consumers.enrichment.entry_cache import MAX_CACHED_ENTRIES, EntryCache
from consumers.enrichment.history_entries import (
    COUNTED_BY_ANOTHER_NAME,
    MAX_ACCOUNT_LOCATIONS,
    MAX_ACCOUNT_VALUES,
    MAX_BAD_ADDRESS_ACCOUNTS,
    MAX_COUNTED_ATTEMPTS,
    MAX_LOCATION_ACCOUNTS,
    MAX_NAMES,
    AccountEntry,
    AttemptCounts,
    Days,
    GroupEntry,
    LocationEntry,
    place_of,
    pseudonym,
)
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.events.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.ranking_signals import Signals
    from schemas.events.sign_in import Details
    from schemas.ledger_ports import Entries
    from schemas.ports import Clock

MAX_UNWRITTEN_ENTRIES = 50_000
"""Changed entries that are written before their time, to bound memory and what a crash loses."""
NEVER_SEEN_DAYS = -1
NO_ATTEMPTS = AttemptCounts()


class HistorySummary(NamedTuple):
    """History at the time of a sign-in. Days are earlier days of success, or NEVER_SEEN_DAYS."""

    experience: float
    """Weight of new values: from 0.3 for an unknown account to 1 for one seen on seven days."""
    place_days: int
    network_days: int
    country_days: int
    device_days: int
    devices: int
    """Number of known devices of the account."""
    restless: float
    """From 0 to 1: new locations per active day, beyond the first."""
    travelled: bool
    """Whether the account succeeded from another country less than two hours ago."""
    own_failures: int
    """Failures of the account at this location in the last 24 hours, at most three."""
    own_accepted: int
    """The same for valid passwords that were blocked by a later check."""
    failing_elsewhere: int
    """Other locations where the account failed in the last 24 hours."""
    known_others: int
    """Other accounts that first succeeded at this location more than a day ago."""
    spraying: int
    """Accounts that failed here in the last 24 hours, minus twice those that ever succeeded."""
    network_accounts: int
    """Other accounts that ever succeeded from the network."""


class History:
    """Learns from sign-ins and summarizes what is known about the next sign-in.

    Fetch entries from the ledger before use. Changes are flushed periodically. A crash loses what
    was learned since the last flush; this only makes the ranking less precise.
    """

    def __init__(
        self, ledger: Entries, clock: Clock, *, max_entries: int = MAX_CACHED_ENTRIES
    ) -> None:
        self._entries = EntryCache(ledger, max_entries=max_entries)
        self._clock = clock
        self._flushed: float | None = None

    async def fetch(self, signins: Iterable[tuple[str, Signals]]) -> None:
        """Load the ledger's entries for sign-ins and their addresses."""
        keys: dict[str, None] = {}
        named: dict[str, None] = {}
        for address, signals in signins:
            known = keys if signals.object_id else named
            known[f"a|{pseudonym(signals.object_id or signals.account)}"] = None
            keys[_place_key(address, signals)] = None
            keys[_network_key(signals)] = None
        await self._fetch_with_named(keys, named)

    async def fetch_bad(self, addresses: Iterable[str], signins: Iterable[Details] = ()) -> None:
        """Load the accounts seen from malicious addresses, and those of their sign-ins."""
        keys = dict.fromkeys(f"b|{address}" for address in addresses)
        named: dict[str, None] = {}
        for details in signins:
            known = keys if details.account_object_id else named
            name = (details.account_object_id or details.account).lower()
            known[f"a|{pseudonym(name)}"] = None
        await self._fetch_with_named(keys, named)

    async def _fetch_with_named(self, keys: Iterable[str], named: Iterable[str]) -> None:
        """Load entries, and for entries of user principal names those of the object ids."""
        await self._entries.fetch([*keys, *named])
        same = {f"a|{other}" for key in named if (other := self._account(key).same_as)}
        if same:
            await self._entries.fetch(same)

    def _person(self, account: str, object_id: str) -> str:
        """Return the pseudonym by which an account is known: of its object id, if it is known."""
        name = pseudonym(object_id or account)
        return name if object_id else self._account(f"a|{name}").same_as or name

    def _learn_name(self, person: str, account: str) -> None:
        """Record that an object id has this user principal name."""
        name = pseudonym(account)
        entry = self._account(f"a|{person}")
        if name == person or name in entry.names:
            return
        entry.names = [*entry.names, name][-MAX_NAMES:]
        other = self._account(f"a|{name}")
        other.same_as = person
        self._entries.changed(f"a|{person}", entry)
        self._entries.changed(f"a|{name}", other)

    def _account(self, key: str) -> AccountEntry:
        return cast("AccountEntry", self._entries.entry(key))

    def _place(self, key: str) -> LocationEntry:
        return cast("LocationEntry", self._entries.entry(key))

    def _group(self, key: str) -> GroupEntry:
        return cast("GroupEntry", self._entries.entry(key))

    def seen(self, address: str, signals: Signals) -> HistorySummary:
        """Summarize the history of a sign-in without learning from it."""
        now = self._clock.now()
        today = int(now // DAY_SECONDS)
        name = self._person(signals.account, signals.object_id)
        location = place_of(address, signals.as_number)
        account = self._account(f"a|{name}")
        place = self._place(f"p|{location}")
        network = self._group(_network_key(signals))
        before = account.days - (account.last == today)
        own = account.tries.get(location, NO_ATTEMPTS)
        recent = now - own.last < DAY_SECONDS
        return HistorySummary(
            experience=min(1.0, 0.3 + 0.1 * before),
            place_days=_days(account.places.get(location), today),
            network_days=_days(account.networks.get(signals.as_number or 0), today),
            country_days=_days(account.countries.get(signals.country), today),
            device_days=_days(account.devices.get(pseudonym(signals.device)), today)
            if signals.device
            else NEVER_SEEN_DAYS,
            devices=len(account.devices),
            restless=min(max(account.found / max(1, before) - 1, 0.0), 3.0) / 3,
            travelled=bool(signals.country and account.country not in ("", signals.country))
            and now - account.moved < 2 * HOUR_SECONDS,
            own_failures=len(own.failed) if recent else 0,
            own_accepted=len(own.accepted) if recent else 0,
            failing_elsewhere=sum(
                now - tries.last < DAY_SECONDS
                for there, tries in account.tries.items()
                if there != location
            ),
            known_others=sum(
                now - first >= DAY_SECONDS for who, first in place.good.items() if who != name
            ),
            spraying=_spraying(place, now),
            network_accounts=len(network.accounts) - (name in network.accounts),
        )

    def learn(self, address: str, signals: Signals) -> None:
        """Record a sign-in."""
        name = self._person(signals.account, signals.object_id)
        if signals.object_id and signals.outcome is not Outcome.UNKNOWN:
            self._learn_name(name, signals.account)
        if signals.outcome is Outcome.SUCCESS:
            self._learn_success(address, signals, name)
        elif signals.outcome in (Outcome.FAILURE, Outcome.PASSWORD_ACCEPTED):
            self._learn_failure(address, signals, name)

    def _learn_success(self, address: str, signals: Signals, name: str) -> None:
        now = self._clock.now()
        today = int(now // DAY_SECONDS)
        location = place_of(address, signals.as_number)
        account = self._account(f"a|{name}")
        changed = account.last < today
        account.days += changed
        account.last = max(account.last, today)
        found = location not in account.places
        account.found += found
        changed |= _record_day(account.places, location, today, MAX_ACCOUNT_LOCATIONS)
        changed |= _record_day(account.networks, signals.as_number or 0, today, MAX_ACCOUNT_VALUES)
        if signals.country:
            changed |= _record_day(account.countries, signals.country, today, MAX_ACCOUNT_VALUES)
            changed |= account.country != signals.country
            account.country, account.moved = signals.country, now
        if signals.device:
            changed |= _record_day(
                account.devices, pseudonym(signals.device), today, MAX_ACCOUNT_VALUES
            )
        if changed:
            self._entries.changed(f"a|{name}", account)
        place = self._place(f"p|{location}")
        if name not in place.good and len(place.good) < MAX_LOCATION_ACCOUNTS:
            place.good[name] = now
            self._entries.changed(f"p|{location}", place)
        network = self._group(_network_key(signals))
        if name not in network.accounts and len(network.accounts) < MAX_LOCATION_ACCOUNTS:
            network.accounts[name] = now
            self._entries.changed(_network_key(signals), network)

    def _learn_failure(self, address: str, signals: Signals, name: str) -> None:
        now = self._clock.now()
        location = place_of(address, signals.as_number)
        account = self._account(f"a|{name}")
        tries = account.tries.get(location)
        if tries is None:
            if len(account.tries) >= MAX_ACCOUNT_VALUES:
                del account.tries[next(iter(account.tries))]
            tries = account.tries[location] = AttemptCounts()
        elif now - tries.last >= DAY_SECONDS:
            tries.failed, tries.accepted = [], []
        events = tries.failed if signals.outcome is Outcome.FAILURE else tries.accepted
        event = crc32(signals.event.encode("utf-8", "replace"))
        if event not in events and len(events) < MAX_COUNTED_ATTEMPTS:
            events.append(event)
            self._entries.changed(f"a|{name}", account)
        if now - tries.last >= HOUR_SECONDS:
            self._entries.changed(f"a|{name}", account)
        tries.last = max(tries.last, now)
        place = self._place(f"p|{location}")
        if now - place.bad.get(name, 0.0) >= HOUR_SECONDS:
            _evict_oldest(place.bad, MAX_LOCATION_ACCOUNTS)
            place.bad[name] = now
            self._entries.changed(f"p|{location}", place)

    def accounts_from(
        self, address: str, account: str, timestamp: float, object_id: str = ""
    ) -> int:
        """Record an account at a malicious address; return the accounts seen there in 24 hours.

        *timestamp* is the event time. Call :meth:`fetch_bad` for the sign-in first.
        """
        key = f"b|{address}"
        group = self._group(key)
        name = self._person(account, object_id)
        if object_id:
            self._learn_name(name, account)
            for other in self._account(f"a|{name}").names:
                if group.accounts.get(other, COUNTED_BY_ANOTHER_NAME) < COUNTED_BY_ANOTHER_NAME:
                    group.accounts[other] = COUNTED_BY_ANOTHER_NAME
                    self._entries.changed(key, group)
        if group.accounts.get(name, 0.0) < timestamp:
            if name not in group.accounts:
                _evict_oldest(group.accounts, MAX_BAD_ADDRESS_ACCOUNTS)
            group.accounts[name] = timestamp
            self._entries.changed(key, group)
        others = (last for who, last in group.accounts.items() if who != name)
        return 1 + sum(0 <= timestamp - last <= DAY_SECONDS for last in others)

    async def flush_if_due(self) -> None:
        """Write the changes if they are many; in a recording also from time to time."""
        now = self._clock.now()
        if self._flushed is None:
            self._flushed = now
        waited = not 0 <= now - self._flushed < self._clock.mode.history_interval
        if self._entries.unwritten >= MAX_UNWRITTEN_ENTRIES or (
            waited and self._clock.mode.by_events
        ):
            self._flushed = now
            await self.flush()

    async def flush_regularly(self) -> None:
        """Write the changes from time to time, until cancelled: no sign-in waits for it."""
        while True:
            await asyncio.sleep(self._clock.mode.history_interval)
            await self.flush()

    async def flush(self) -> None:
        """Write the changes to the ledger, and learn what other instances have written."""
        await self._entries.flush()


def _place_key(address: str, signals: Signals) -> str:
    return f"p|{place_of(address, signals.as_number)}"


def _network_key(signals: Signals) -> str:
    return f"n|{signals.as_number or 0}"


def _days(days: Days | None, today: int) -> int:
    return NEVER_SEEN_DAYS if days is None else days[1] - (days[0] == today)


def _record_day(days_by_value: dict[Any, Days], value: str | int, today: int, limit: int) -> bool:
    """Record that a value was seen today; return True if that was not recorded yet."""
    days = days_by_value.get(value)
    if days is None:
        _evict_oldest(days_by_value, limit)
        days_by_value[value] = today, 1
        return True
    if days[0] >= today:
        return False
    days_by_value[value] = today, days[1] + 1
    return True


def _evict_oldest(values: dict[Any, Any], limit: int) -> None:
    """Evict the value that was seen least recently if *limit* is reached."""
    if len(values) >= limit:
        del values[min(values, key=values.__getitem__)]


def _spraying(place: LocationEntry, now: float) -> int:
    if not place.bad:
        return 0
    failing = sum(now - last < DAY_SECONDS for last in place.bad.values())
    return max(0, failing - 2 * len(place.good))
