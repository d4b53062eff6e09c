"""What sign-ins have told so far of accounts, places, networks and bad addresses.

Sets with days: an event that is delivered again (on the same day) changes nothing, and what two
instances learned can be joined. Accounts and devices are kept as short hashes. Only what sign-ins
did is learned, never what the ranking thought of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from zlib import crc32

import msgspec

from consumers.enrichment.history_entries import (
    ENTRY_KINDS,
    MAX_ACCOUNT_LOCATIONS,
    MAX_ACCOUNT_VALUES,
    MAX_BAD_ADDRESS_ACCOUNTS,
    MAX_COUNTED_ATTEMPTS,
    MAX_LOCATION_ACCOUNTS,
    AccountEntry,
    AttemptCounts,
    Days,
    Entry,
    GroupEntry,
    LocationEntry,
    decoded,
    merged,
    place_of,
    pseudonym,
)
from schemas.durations import DAY_SECONDS, HOUR_SECONDS
from schemas.events.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.ranking_signals import Signals
    from schemas.ledger_ports import Ledger
    from schemas.ports import Clock

MAX_HISTORY_ENTRIES = 100_000
"""Entries in memory; the ledger has the others."""
NEVER_SEEN_DAYS = -1
NO_ATTEMPTS = AttemptCounts()


class HistorySummary(NamedTuple):
    """What was known when a sign-in came. Days are those before today with a success, or NEVER."""

    experience: float
    """From 0.3 for an account never met to 1 for one met on seven days: how much "new" tells."""
    place_days: int
    network_days: int
    country_days: int
    device_days: int
    devices: int
    """Devices that the account is known to have."""
    restless: float
    """From 0 to 1: new places on each active day, beyond one."""
    travelled: bool
    """Whether it succeeded from another country less than two hours ago."""
    own_failures: int
    """Failures of the account at this place in the last 24 hours, at most three."""
    own_accepted: int
    """The same of right passwords that were stopped later."""
    failing_elsewhere: int
    """Other places at which the account failed in the last 24 hours."""
    known_others: int
    """Other accounts that first succeeded at this place more than a day ago."""
    spraying: int
    """Accounts that failed at this place in the last 24 hours, less twice those that succeeded."""
    network_accounts: int
    """Other accounts that ever succeeded from the network."""


class History:
    """Learns from sign-ins, and tells what is known of the next one.

    Entries are fetched from the ledger before they are used, and flushed now and then. What was
    learned since the last flush is lost with the process; ranking is the worse for it, no more.
    """

    def __init__(self, ledger: Ledger, clock: Clock, *, most: int = MAX_HISTORY_ENTRIES) -> None:
        self._ledger = ledger
        self._clock = clock
        self._half = max(1, most // 2)
        self._young: dict[str, Entry] = {}
        self._old: dict[str, Entry] = {}
        self._changed: dict[str, Entry] = {}
        self._flushing: dict[str, Entry] = {}
        self._one_flush = asyncio.Lock()

    async def fetch(self, signins: Iterable[tuple[str, Signals]]) -> None:
        """Make known what the ledger has on sign-ins and their addresses."""
        keys: dict[str, None] = {}
        for address, one in signins:
            keys[_account_key(one)] = None
            keys[_place_key(address, one)] = None
            keys[_network_key(one)] = None
        await self._fetch(keys)

    async def fetch_bad(self, addresses: Iterable[str]) -> None:
        """Make known which accounts were seen from bad addresses."""
        await self._fetch({f"b|{one}": None for one in addresses})

    async def _fetch(self, keys: Iterable[str]) -> None:
        if len(self._young) >= self._half:  # here, so that nothing goes while it is worked on
            self._old, self._young = self._young, {}
        missing = [one for one in keys if self._known(one) is None]
        if not missing:
            return
        found = await self._ledger.get_history(missing)
        for key in missing:
            if self._known(key) is None:  # or another batch has fetched it, and learned since
                body = found.get(key)
                entry = decoded(key, body) if body is not None else ENTRY_KINDS[key[0]]()
                self._young[key] = entry

    def _known(self, key: str) -> Entry | None:
        """Return an entry, kept in memory for longer by being asked for."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key) or self._changed.get(key) or self._flushing.get(key)
            if entry is not None:
                self._young[key] = entry
        return entry

    def _entry(self, key: str) -> Entry:
        entry = self._known(key)
        if entry is None:
            entry = self._young[key] = ENTRY_KINDS[key[0]]()
        return entry

    def _account(self, key: str) -> AccountEntry:
        return cast("AccountEntry", self._entry(key))

    def _place(self, key: str) -> LocationEntry:
        return cast("LocationEntry", self._entry(key))

    def _group(self, key: str) -> GroupEntry:
        return cast("GroupEntry", self._entry(key))

    def seen(self, address: str, one: Signals) -> HistorySummary:
        """Tell what is known of a sign-in, without learning from it."""
        now = self._clock.now()
        today = int(now // DAY_SECONDS)
        name = pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        place = self._place(f"p|{where}")
        network = self._group(_network_key(one))
        before = account.days - (account.last == today)
        own = account.tries.get(where, NO_ATTEMPTS)
        recent = now - own.last < DAY_SECONDS
        return HistorySummary(
            experience=min(1.0, 0.3 + 0.1 * before),
            place_days=_days(account.places.get(where), today),
            network_days=_days(account.networks.get(one.as_number or 0), today),
            country_days=_days(account.countries.get(one.country), today),
            device_days=_days(account.devices.get(pseudonym(one.device)), today)
            if one.device
            else NEVER_SEEN_DAYS,
            devices=len(account.devices),
            restless=min(max(account.found / max(1, before) - 1, 0.0), 3.0) / 3,
            travelled=bool(one.country and account.country not in ("", one.country))
            and now - account.moved < 2 * HOUR_SECONDS,
            own_failures=len(own.failed) if recent else 0,
            own_accepted=len(own.accepted) if recent else 0,
            failing_elsewhere=sum(
                now - tries.last < DAY_SECONDS
                for there, tries in account.tries.items()
                if there != where
            ),
            known_others=sum(
                now - first >= DAY_SECONDS for who, first in place.good.items() if who != name
            ),
            spraying=_spraying(place, now),
            network_accounts=len(network.accounts) - (name in network.accounts),
        )

    def learn(self, address: str, one: Signals) -> None:
        """Take note of a sign-in."""
        if one.outcome is Outcome.SUCCESS:
            self._learn_success(address, one)
        elif one.outcome in (Outcome.FAILURE, Outcome.PASSWORD_ACCEPTED):
            self._learn_failure(address, one)

    def _learn_success(self, address: str, one: Signals) -> None:
        now = self._clock.now()
        today, name = int(now // DAY_SECONDS), pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        changed = account.last < today
        account.days += changed
        account.last = max(account.last, today)
        found = where not in account.places
        account.found += found
        changed |= _note(account.places, where, today, MAX_ACCOUNT_LOCATIONS)
        changed |= _note(account.networks, one.as_number or 0, today, MAX_ACCOUNT_VALUES)
        if one.country:
            changed |= _note(account.countries, one.country, today, MAX_ACCOUNT_VALUES)
            changed |= account.country != one.country
            account.country, account.moved = one.country, now
        if one.device:
            changed |= _note(account.devices, pseudonym(one.device), today, MAX_ACCOUNT_VALUES)
        if changed:
            self._changed[f"a|{name}"] = account
        place = self._place(f"p|{where}")
        if name not in place.good and len(place.good) < MAX_LOCATION_ACCOUNTS:
            place.good[name] = now
            self._changed[f"p|{where}"] = place
        network = self._group(_network_key(one))
        if name not in network.accounts and len(network.accounts) < MAX_LOCATION_ACCOUNTS:
            network.accounts[name] = now
            self._changed[_network_key(one)] = network

    def _learn_failure(self, address: str, one: Signals) -> None:
        now, name = self._clock.now(), pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        tries = account.tries.get(where)
        if tries is None:
            if len(account.tries) >= MAX_ACCOUNT_VALUES:
                del account.tries[next(iter(account.tries))]
            tries = account.tries[where] = AttemptCounts()
        elif now - tries.last >= DAY_SECONDS:
            tries.failed, tries.accepted = [], []
        events = tries.failed if one.outcome is Outcome.FAILURE else tries.accepted
        event = crc32(one.event.encode("utf-8", "replace"))
        if event not in events and len(events) < MAX_COUNTED_ATTEMPTS:
            events.append(event)
            self._changed[f"a|{name}"] = account
        if now - tries.last >= HOUR_SECONDS:
            self._changed[f"a|{name}"] = account
        tries.last = max(tries.last, now)
        place = self._place(f"p|{where}")
        if now - place.bad.get(name, 0.0) >= HOUR_SECONDS:
            _make_room(place.bad, MAX_LOCATION_ACCOUNTS)
            place.bad[name] = now
            self._changed[f"p|{where}"] = place

    def accounts_from(self, address: str, account: str, moment: float) -> int:
        """Note an account at a bad address; return how many were seen there in the last 24 hours.

        *moment* is the event's own time; the address must have been fetched.
        """
        key = f"b|{address}"
        group = self._group(key)
        name = pseudonym(account)
        if group.accounts.get(name, 0.0) < moment:
            if name not in group.accounts:
                _make_room(group.accounts, MAX_BAD_ADDRESS_ACCOUNTS)
            group.accounts[name] = moment
            self._changed[key] = group
        others = (last for who, last in group.accounts.items() if who != name)
        return 1 + sum(0 <= moment - last <= DAY_SECONDS for last in others)

    async def flush(self) -> None:
        """Have the ledger keep what was learned."""
        async with self._one_flush:
            self._flushing, self._changed = self._changed, {}
            entries = {key: msgspec.msgpack.encode(one) for key, one in self._flushing.items()}
            try:
                if entries:
                    await self._ledger.put_history(entries, merged)
            except BaseException:
                self._changed = self._flushing | self._changed
                raise
            finally:
                self._flushing = {}


def _account_key(one: Signals) -> str:
    return f"a|{pseudonym(one.account)}"


def _place_key(address: str, one: Signals) -> str:
    return f"p|{place_of(address, one.as_number)}"


def _network_key(one: Signals) -> str:
    return f"n|{one.as_number or 0}"


def _days(days: Days | None, today: int) -> int:
    return NEVER_SEEN_DAYS if days is None else days[1] - (days[0] == today)


def _note(known: dict[Any, Days], what: str | int, today: int, most: int) -> bool:
    """Note that something was seen today; tell whether that is news."""
    days = known.get(what)
    if days is None:
        _make_room(known, most)
        known[what] = today, 1
        return True
    if days[0] >= today:
        return False
    known[what] = today, days[1] + 1
    return True


def _make_room(known: dict[Any, Any], most: int) -> None:
    """Forget what was not seen for longest, if there is no room."""
    if len(known) >= most:
        del known[min(known, key=known.__getitem__)]


def _spraying(place: LocationEntry, now: float) -> int:
    if not place.bad:
        return 0
    failing = sum(now - last < DAY_SECONDS for last in place.bad.values())
    return max(0, failing - 2 * len(place.good))
