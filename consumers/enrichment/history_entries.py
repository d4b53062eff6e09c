"""What the history keeps of an account, a place, a network or a bad address.

Sets with days: what two instances learned can be joined, and one name or address taken out.
Accounts and devices are kept as short hashes.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Any

import msgspec

from schemas.durations import DAY_SECONDS
from schemas.errors import LedgerFailed
from schemas.intel.address_class import MOBILE_NETWORKS

MAX_ACCOUNT_LOCATIONS = 64
"""Places that are kept of one account; the one longest unseen gives way."""
MAX_ACCOUNT_VALUES = 32
"""Networks, countries, devices and failing places that are kept of one account."""
MAX_LOCATION_ACCOUNTS = 32
"""Accounts that are kept of one place or network: whether there are more does not matter."""
MAX_BAD_ADDRESS_ACCOUNTS = 256
"""Accounts that are kept of one bad address."""
MAX_COUNTED_ATTEMPTS = 3
"""Failed events that are told apart; more tell no more."""

Days = tuple[int, int]
"""The last day on which something was seen, and on how many days."""
UPLOADED_KEY_PREFIX = "ti|"
"""Before an address, the key of what was uploaded of it (:mod:`producers.sentinel`)."""


class AttemptCounts(msgspec.Struct, array_like=True):
    """What failed of an account at a place: events by a short hash, and when the last one was."""

    failed: list[int] = []
    accepted: list[int] = []
    last: float = 0.0


class AccountEntry(msgspec.Struct, array_like=True):
    """What an account succeeded with, and where it failed."""

    days: int = 0
    last: int = -1
    found: int = 0
    """Places that were new."""
    places: dict[str, Days] = {}
    networks: dict[int, Days] = {}
    countries: dict[str, Days] = {}
    devices: dict[str, Days] = {}
    tries: dict[str, AttemptCounts] = {}
    country: str = ""
    moved: float = 0.0
    """When it was in that country last."""


class LocationEntry(msgspec.Struct, array_like=True):
    """Who succeeded at a place, and when first; who failed there, and when last."""

    good: dict[str, float] = {}
    bad: dict[str, float] = {}


class GroupEntry(msgspec.Struct, array_like=True):
    """Which accounts were seen in a network or at a bad address, and when last."""

    accounts: dict[str, float] = {}


Entry = AccountEntry | LocationEntry | GroupEntry
ENTRY_KINDS: dict[str, type[Entry]] = {
    "a": AccountEntry,
    "p": LocationEntry,
    "n": GroupEntry,
    "b": GroupEntry,
}


@lru_cache(maxsize=100_000)
def pseudonym(name: str) -> str:
    """Return a short hash of a name: enough to tell names apart, and not the name."""
    return blake2b(name.encode("utf-8", "replace"), digest_size=6).hexdigest()


@lru_cache(maxsize=100_000)
def place_of(address: str, as_number: int | None) -> str:
    """Return the place of an address: itself, its /64, or the whole network of a mobile carrier.

    A phone has another address every day, and a household's IPv6 addresses share their /64.
    """
    if as_number in MOBILE_NETWORKS:
        return f"AS{as_number}"
    if ":" not in address:
        return address
    return f"{int(IPv6Address(address)) >> 64:x}"


def merged(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Join what two instances have learned of the same thing."""
    one, other = decoded(key, mine), decoded(key, theirs)
    if isinstance(one, AccountEntry) and isinstance(other, AccountEntry):
        one.days, one.last = max(one.days, other.days), max(one.last, other.last)
        one.found = max(one.found, other.found)
        one.places = _both(one.places, other.places, MAX_ACCOUNT_LOCATIONS)
        one.networks = _both(one.networks, other.networks, MAX_ACCOUNT_VALUES)
        one.countries = _both(one.countries, other.countries, MAX_ACCOUNT_VALUES)
        one.devices = _both(one.devices, other.devices, MAX_ACCOUNT_VALUES)
        tries = other.tries | {
            where: _joined(mine, other.tries.get(where, mine)) for where, mine in one.tries.items()
        }
        one.tries = dict(sorted(tries.items(), key=lambda it: it[1].last)[-MAX_ACCOUNT_VALUES:])
        if other.moved > one.moved:
            one.country, one.moved = other.country, other.moved
    elif isinstance(one, LocationEntry) and isinstance(other, LocationEntry):
        first = {who: min(at, one.good.get(who, at)) for who, at in other.good.items()}
        one.good = dict(sorted((one.good | first).items(), key=_second)[:MAX_LOCATION_ACCOUNTS])
        one.bad = _latest(one.bad, other.bad, MAX_LOCATION_ACCOUNTS)
    elif isinstance(one, GroupEntry) and isinstance(other, GroupEntry):
        most = MAX_BAD_ADDRESS_ACCOUNTS if key.startswith("b") else MAX_LOCATION_ACCOUNTS
        one.accounts = _latest(one.accounts, other.accounts, most)
    return msgspec.msgpack.encode(one)


def without(key: str, body: bytes, *, account: str | None, address: str | None) -> bytes | None:
    """Return an entry without an account or an address; None if nothing of it is left.

    Nor is anything left of what cannot be read.
    """
    if key.startswith(UPLOADED_KEY_PREFIX):
        return None if key == f"{UPLOADED_KEY_PREFIX}{address}" else body
    if account is not None:
        name = pseudonym(account.lower())
        if key == f"a|{name}":
            return None
        return _without_account(key, body, name)
    place = place_of(address or "", None)
    if key in (f"p|{place}", f"b|{address}"):
        return None
    try:
        entry = decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, AccountEntry) and (place in entry.places or place in entry.tries):
        entry.places.pop(place, None)
        entry.tries.pop(place, None)
        return msgspec.msgpack.encode(entry)
    return body


def _without_account(key: str, body: bytes, name: str) -> bytes | None:
    try:
        entry = decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, AccountEntry):
        return body
    known = (entry.good, entry.bad) if isinstance(entry, LocationEntry) else (entry.accounts,)
    if not any(name in some for some in known):
        return body
    for some in known:
        some.pop(name, None)
    return msgspec.msgpack.encode(entry)


def decoded(key: str, body: bytes) -> Entry:
    """Read an entry; LedgerFailed if that cannot be done."""
    try:
        return msgspec.msgpack.decode(body, type=ENTRY_KINDS[key[0]])
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger's history of {key[0]}|… is unreadable: {error}") from None


def _joined(one: AttemptCounts, other: AttemptCounts) -> AttemptCounts:
    """Join what failed at one place, leaving out what was a day before the last."""
    alive = [
        tries for tries in (one, other) if max(one.last, other.last) - tries.last < DAY_SECONDS
    ]
    return AttemptCounts(
        list(dict.fromkeys(event for tries in alive for event in tries.failed))[
            :MAX_COUNTED_ATTEMPTS
        ],
        list(dict.fromkeys(event for tries in alive for event in tries.accepted))[
            :MAX_COUNTED_ATTEMPTS
        ],
        max(one.last, other.last),
    )


def _second(item: tuple[str, float]) -> float:
    return item[1]


def _both(one: dict[Any, Days], other: dict[Any, Days], most: int) -> dict[Any, Days]:
    joined = other | {
        what: (max(days[0], there[0]), max(days[1], there[1]))
        for what, days in one.items()
        for there in [other.get(what, days)]
    }
    return dict(sorted(joined.items(), key=lambda item: item[1])[-most:])


def _latest(one: dict[str, float], other: dict[str, float], most: int) -> dict[str, float]:
    joined = other | {who: max(at, other.get(who, at)) for who, at in one.items()}
    return dict(sorted(joined.items(), key=_second)[-most:])
