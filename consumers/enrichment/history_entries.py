"""History entries of an account, a location, a network or a malicious address.

Values are stored with days. So the entries of two instances can be merged, and a single account or
address can be erased. Accounts and devices are stored as short hashes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Any

import msgspec

from consumers.enrichment.stories.entries import AccountTraces, Crowd
from schemas.durations import DAY_SECONDS
from schemas.errors import LedgerFailed
from schemas.intel.address_class import MOBILE_NETWORKS

MAX_ACCOUNT_LOCATIONS = 64
"""Locations stored per account; the least recently seen is evicted."""
MAX_ACCOUNT_VALUES = 32
"""Networks, countries, devices and failing locations stored per account."""
MAX_LOCATION_ACCOUNTS = 32
"""Accounts stored per location or network; the score does not depend on more."""
MAX_BAD_ADDRESS_ACCOUNTS = 256
"""Accounts stored per malicious address."""
MAX_FAMILIAR_ACCOUNTS = 100
"""Accounts stored per familiar address."""
FAMILIAR_INDEX = "n|familiar"
"""The entry that lists the familiar addresses, as a group of them."""
MAX_FAMILIAR_ADDRESSES = 1_000
MAX_FAMILIAR_DAYS = 31
"""Days of successes stored per familiar address."""
MAX_NAMES = 4
"""User principal names stored per account; a person who marries has two."""
MAX_COUNTED_ATTEMPTS = 3
"""Failed events that are counted; the score does not depend on more."""

COUNTED_BY_ANOTHER_NAME = math.inf
"""The time of an account at a malicious address that was seen before its object id was known. It
outlasts the merge with an instance that has another time."""

Days = tuple[int, int]
"""The last day on which a value was seen, and the number of days."""


class AttemptCounts(msgspec.Struct, array_like=True, gc=False):
    """Failed attempts of an account at a location: short hashes of events, and the last time."""

    failed: list[int] = []
    accepted: list[int] = []
    last: float = 0.0


class AccountEntry(msgspec.Struct, array_like=True, gc=False):
    """Values an account succeeded with, and locations where it failed."""

    days: int = 0
    last: int = -1
    found: int = 0
    """Locations that were new."""
    places: dict[str, Days] = {}
    networks: dict[int, Days] = {}
    countries: dict[str, Days] = {}
    devices: dict[str, Days] = {}
    tries: dict[str, AttemptCounts] = {}
    country: str = ""
    moved: float = 0.0
    """When the account last succeeded in that country."""
    names: list[str] = []
    """Pseudonyms of the account's user principal names, if this is the entry of its object id."""
    same_as: str = ""
    """The pseudonym of the object id, if this is the entry of a user principal name."""


class LocationEntry(msgspec.Struct, array_like=True, gc=False):
    """Accounts that succeeded at a location, with the first time, or failed, with the last."""

    good: dict[str, float] = {}
    bad: dict[str, float] = {}


class GroupEntry(msgspec.Struct, array_like=True, gc=False):
    """Accounts seen in a network or at a malicious address, with the last time."""

    accounts: dict[str, float] = {}


class FamiliarEntry(msgspec.Struct, array_like=True, gc=False):
    """Accounts that succeeded from an address, with first and last day, and the days of successes.

    Days are ordinals of the calendar.
    """

    accounts: dict[str, Days] = {}
    days: list[int] = []

    def add(self, account: str, day: int) -> bool:
        """Add a success; return True if that says something new."""
        changed = day not in self.days
        if changed:
            self.days = sorted((*self.days, day))[-MAX_FAMILIAR_DAYS:]
            changed = day in self.days
        known = self.accounts.get(account)
        if known is None and len(self.accounts) >= MAX_FAMILIAR_ACCOUNTS:
            return changed
        first, last = known or (day, day)
        period = min(first, day), max(last, day)
        if period != known:
            self.accounts[account] = period
            changed = True
        return changed

    def include(self, other: FamiliarEntry) -> None:
        """Add what another entry of the same address has."""
        periods = dict(self.accounts)
        for who, (first, last) in other.accounts.items():
            own = periods.get(who, (first, last))
            periods[who] = min(first, own[0]), max(last, own[1])
        earliest = sorted(periods.items(), key=lambda item: item[1])[:MAX_FAMILIAR_ACCOUNTS]
        self.accounts = dict(earliest)
        self.days = sorted({*self.days, *other.days})[-MAX_FAMILIAR_DAYS:]


Entry = AccountEntry | LocationEntry | GroupEntry | FamiliarEntry | AccountTraces | Crowd
ENTRY_KINDS: dict[str, type[Entry]] = {
    "a": AccountEntry,
    "p": LocationEntry,
    "n": GroupEntry,
    "b": GroupEntry,
    "k": FamiliarEntry,
    "s": AccountTraces,
    "g": Crowd,
}


@lru_cache(maxsize=100_000)
def pseudonym(name: str) -> str:
    """Return a short hash of a name: it distinguishes names without revealing them."""
    return blake2b(name.encode("utf-8", "replace"), digest_size=6).hexdigest()


@lru_cache(maxsize=100_000)
def place_of(address: str, as_number: int | None) -> str:
    """Return the location of an address: itself, its /64, or the network of a mobile carrier.

    A phone's address changes daily, and the IPv6 addresses of a household share their /64.
    """
    if as_number in MOBILE_NETWORKS:
        return f"AS{as_number}"
    if ":" not in address:
        return address
    return f"{int(IPv6Address(address)) >> 64:x}"


def merged(key: str, our_body: bytes, their_body: bytes) -> bytes:
    """Merge two instances' entries for the same key."""
    ours, theirs = decoded(key, our_body), decoded(key, their_body)
    if isinstance(ours, AccountEntry) and isinstance(theirs, AccountEntry):
        ours.days, ours.last = max(ours.days, theirs.days), max(ours.last, theirs.last)
        ours.found = max(ours.found, theirs.found)
        ours.places = _merged_days(ours.places, theirs.places, MAX_ACCOUNT_LOCATIONS)
        ours.networks = _merged_days(ours.networks, theirs.networks, MAX_ACCOUNT_VALUES)
        ours.countries = _merged_days(ours.countries, theirs.countries, MAX_ACCOUNT_VALUES)
        ours.devices = _merged_days(ours.devices, theirs.devices, MAX_ACCOUNT_VALUES)
        tries = theirs.tries | {
            where: _merged_attempts(attempts, theirs.tries.get(where, attempts))
            for where, attempts in ours.tries.items()
        }
        ours.tries = dict(sorted(tries.items(), key=lambda it: it[1].last)[-MAX_ACCOUNT_VALUES:])
        if theirs.moved > ours.moved:
            ours.country, ours.moved = theirs.country, theirs.moved
        ours.names = list(dict.fromkeys((*ours.names, *theirs.names)))[-MAX_NAMES:]
        ours.same_as = ours.same_as or theirs.same_as
    elif isinstance(ours, LocationEntry) and isinstance(theirs, LocationEntry):
        first = {who: min(at, ours.good.get(who, at)) for who, at in theirs.good.items()}
        ours.good = dict(sorted((ours.good | first).items(), key=_value_of)[:MAX_LOCATION_ACCOUNTS])
        ours.bad = _latest(ours.bad, theirs.bad, MAX_LOCATION_ACCOUNTS)
    elif isinstance(ours, GroupEntry) and isinstance(theirs, GroupEntry):
        ours.accounts = _latest(ours.accounts, theirs.accounts, _max_group(key))
    else:
        _include(ours, theirs)
    return msgspec.msgpack.encode(ours)


def _include(ours: Entry, theirs: Entry) -> None:
    match ours, theirs:
        case FamiliarEntry(), FamiliarEntry():
            ours.include(theirs)
        case AccountTraces(), AccountTraces():
            ours.include(theirs)
        case Crowd(), Crowd():
            ours.include(theirs)


def without_account(key: str, body: bytes, names: set[str]) -> bytes | None:
    """Return an entry without the accounts of these pseudonyms; None if nothing is left.

    *names* grows by the other names of the accounts that are found. Return None for an unreadable
    entry as well.
    """
    try:
        entry = decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, AccountEntry | AccountTraces):
        own = {key.partition("|")[2], entry.same_as, *entry.names} - {""}
        if own.isdisjoint(names):
            return body
        names |= own
        return None
    account_sets = _accounts_in(entry)
    if all(names.isdisjoint(accounts) for accounts in account_sets):
        return body
    for accounts in account_sets:
        for name in names:
            accounts.pop(name, None)
    return msgspec.msgpack.encode(entry)


def _accounts_in(
    entry: LocationEntry | GroupEntry | FamiliarEntry | Crowd,
) -> tuple[dict[str, Any], ...]:
    if isinstance(entry, LocationEntry):
        return entry.good, entry.bad
    return (
        (entry.right, entry.wrong, entry.strange) if isinstance(entry, Crowd) else (entry.accounts,)
    )


def without_address(key: str, body: bytes, address: str) -> bytes | None:
    """Return an entry without an address; None if nothing is left, or it is unreadable."""
    place = place_of(address, None)
    if key in (f"p|{place}", f"b|{address}", f"k|{place}", f"g|place {place}"):
        return None
    if key == FAMILIAR_INDEX:
        index = msgspec.msgpack.decode(body, type=GroupEntry)
        index.accounts.pop(place, None)
        return msgspec.msgpack.encode(index)
    try:
        entry = decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, AccountEntry) and (place in entry.places or place in entry.tries):
        entry.places.pop(place, None)
        entry.tries.pop(place, None)
        return msgspec.msgpack.encode(entry)
    if isinstance(entry, AccountTraces) and any(it.address == address for it in entry.traces):
        entry.traces = [trace for trace in entry.traces if trace.address != address]
        return msgspec.msgpack.encode(entry)
    return body


def decoded(key: str, body: bytes) -> Entry:
    """Decode an entry. Raises LedgerFailed if it is unreadable."""
    try:
        return msgspec.msgpack.decode(body, type=ENTRY_KINDS[key[0]])
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger's history of {key[0]}|… is unreadable: {error}") from None


def _merged_attempts(ours: AttemptCounts, theirs: AttemptCounts) -> AttemptCounts:
    """Merge attempts at a location; drop those more than a day older than the last."""
    alive = [
        tries for tries in (ours, theirs) if max(ours.last, theirs.last) - tries.last < DAY_SECONDS
    ]
    return AttemptCounts(
        list(dict.fromkeys(event for tries in alive for event in tries.failed))[
            :MAX_COUNTED_ATTEMPTS
        ],
        list(dict.fromkeys(event for tries in alive for event in tries.accepted))[
            :MAX_COUNTED_ATTEMPTS
        ],
        max(ours.last, theirs.last),
    )


def _max_group(key: str) -> int:
    if key == FAMILIAR_INDEX:
        return MAX_FAMILIAR_ADDRESSES
    return MAX_BAD_ADDRESS_ACCOUNTS if key.startswith("b") else MAX_LOCATION_ACCOUNTS


def _value_of(item: tuple[str, float]) -> float:
    return item[1]


def _merged_days(
    ours: dict[Any, Days], theirs: dict[Any, Days], max_entries: int
) -> dict[Any, Days]:
    joined = theirs | {
        what: (max(days[0], there[0]), max(days[1], there[1]))
        for what, days in ours.items()
        for there in [theirs.get(what, days)]
    }
    return dict(sorted(joined.items(), key=lambda item: item[1])[-max_entries:])


def _latest(ours: dict[str, float], theirs: dict[str, float], max_entries: int) -> dict[str, float]:
    joined = theirs | {who: max(at, theirs.get(who, at)) for who, at in ours.items()}
    return dict(sorted(joined.items(), key=_value_of)[-max_entries:])
