"""What sign-ins have told so far of accounts, places, networks and bad addresses.

Sets with days: an event that is delivered again (on the same day) changes nothing, and what two
instances learned can be joined. Accounts and devices are kept as short hashes. Only what sign-ins
did is learned, never what the ranking thought of them.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from zlib import crc32

import msgspec

from schemas.errors import LedgerFailed
from schemas.networks import MOBILE_NETWORKS
from schemas.outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.ports import Clock, Ledger
    from schemas.signals import Signals

DAY = 86_400.0
HOUR = 3_600.0
MOST_ENTRIES = 100_000
"""Entries in memory; the ledger has the others."""
MOST_PLACES = 64
"""Places that are kept of one account; the one longest unseen gives way."""
MOST_OF_ACCOUNT = 32
"""Networks, countries, devices and failing places that are kept of one account."""
MOST_ACCOUNTS = 32
"""Accounts that are kept of one place or network: whether there are more does not matter."""
MOST_AT_BAD = 256
"""Accounts that are kept of one bad address."""
NEVER = -1

Days = tuple[int, int]
"""The last day on which something was seen, and on how many days."""


class Tries(msgspec.Struct, array_like=True):
    """What failed of an account at a place: events by a short hash, and when the last one was."""

    failed: list[int] = []
    accepted: list[int] = []
    last: float = 0.0


class Account(msgspec.Struct, array_like=True):
    """What an account succeeded with, and where it failed."""

    days: int = 0
    last: int = -1
    found: int = 0
    """Places that were new."""
    places: dict[str, Days] = {}
    networks: dict[int, Days] = {}
    countries: dict[str, Days] = {}
    devices: dict[str, Days] = {}
    tries: dict[str, Tries] = {}
    country: str = ""
    moved: float = 0.0
    """When it was in that country last."""


class Place(msgspec.Struct, array_like=True):
    """Who succeeded at a place, and when first; who failed there, and when last."""

    good: dict[str, float] = {}
    bad: dict[str, float] = {}


class Group(msgspec.Struct, array_like=True):
    """Which accounts were seen in a network or at a bad address, and when last."""

    accounts: dict[str, float] = {}


Entry = Account | Place | Group
_KINDS: dict[str, type[Entry]] = {"a": Account, "p": Place, "n": Group, "b": Group}


class Seen(NamedTuple):
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


_MOST_TRIES = 3
_NO_TRIES = Tries()


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


class History:
    """Learns from sign-ins, and tells what is known of the next one.

    Entries are fetched from the ledger before they are used, and flushed now and then. What was
    learned since the last flush is lost with the process; ranking is the worse for it, no more.
    """

    def __init__(self, ledger: Ledger, clock: Clock, *, most: int = MOST_ENTRIES) -> None:
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
        found = await self._ledger.history(missing)
        for key in missing:
            if self._known(key) is None:  # or another batch has fetched it, and learned since
                body = found.get(key)
                entry = _decoded(key, body) if body is not None else _KINDS[key[0]]()
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
            entry = self._young[key] = _KINDS[key[0]]()
        return entry

    def _account(self, key: str) -> Account:
        return cast("Account", self._entry(key))

    def _place(self, key: str) -> Place:
        return cast("Place", self._entry(key))

    def _group(self, key: str) -> Group:
        return cast("Group", self._entry(key))

    def seen(self, address: str, one: Signals) -> Seen:
        """Tell what is known of a sign-in, without learning from it."""
        now = self._clock.now()
        today = int(now // DAY)
        name = pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        place = self._place(f"p|{where}")
        network = self._group(_network_key(one))
        before = account.days - (account.last == today)
        own = account.tries.get(where, _NO_TRIES)
        recent = now - own.last < DAY
        return Seen(
            experience=min(1.0, 0.3 + 0.1 * before),
            place_days=_days(account.places.get(where), today),
            network_days=_days(account.networks.get(one.as_number or 0), today),
            country_days=_days(account.countries.get(one.country), today),
            device_days=_days(account.devices.get(pseudonym(one.device)), today)
            if one.device
            else NEVER,
            devices=len(account.devices),
            restless=min(max(account.found / max(1, before) - 1, 0.0), 3.0) / 3,
            travelled=bool(one.country and account.country not in ("", one.country))
            and now - account.moved < 2 * HOUR,
            own_failures=len(own.failed) if recent else 0,
            own_accepted=len(own.accepted) if recent else 0,
            failing_elsewhere=sum(
                now - tries.last < DAY for there, tries in account.tries.items() if there != where
            ),
            known_others=sum(
                now - first >= DAY for who, first in place.good.items() if who != name
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
        today, name = int(now // DAY), pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        changed = account.last < today
        account.days += changed
        account.last = max(account.last, today)
        found = where not in account.places
        account.found += found
        changed |= _note(account.places, where, today, MOST_PLACES)
        changed |= _note(account.networks, one.as_number or 0, today, MOST_OF_ACCOUNT)
        if one.country:
            changed |= _note(account.countries, one.country, today, MOST_OF_ACCOUNT)
            changed |= account.country != one.country
            account.country, account.moved = one.country, now
        if one.device:
            changed |= _note(account.devices, pseudonym(one.device), today, MOST_OF_ACCOUNT)
        if changed:
            self._changed[f"a|{name}"] = account
        place = self._place(f"p|{where}")
        if name not in place.good and len(place.good) < MOST_ACCOUNTS:
            place.good[name] = now
            self._changed[f"p|{where}"] = place
        network = self._group(_network_key(one))
        if name not in network.accounts and len(network.accounts) < MOST_ACCOUNTS:
            network.accounts[name] = now
            self._changed[_network_key(one)] = network

    def _learn_failure(self, address: str, one: Signals) -> None:
        now, name = self._clock.now(), pseudonym(one.account)
        where = place_of(address, one.as_number)
        account = self._account(f"a|{name}")
        tries = account.tries.get(where)
        if tries is None:
            if len(account.tries) >= MOST_OF_ACCOUNT:
                del account.tries[next(iter(account.tries))]
            tries = account.tries[where] = Tries()
        elif now - tries.last >= DAY:
            tries.failed, tries.accepted = [], []
        events = tries.failed if one.outcome is Outcome.FAILURE else tries.accepted
        event = crc32(one.event.encode("utf-8", "replace"))
        if event not in events and len(events) < _MOST_TRIES:
            events.append(event)
            self._changed[f"a|{name}"] = account
        if now - tries.last >= HOUR:
            self._changed[f"a|{name}"] = account
        tries.last = max(tries.last, now)
        place = self._place(f"p|{where}")
        if now - place.bad.get(name, 0.0) >= HOUR:
            _make_room(place.bad, MOST_ACCOUNTS)
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
                _make_room(group.accounts, MOST_AT_BAD)
            group.accounts[name] = moment
            self._changed[key] = group
        others = (last for who, last in group.accounts.items() if who != name)
        return 1 + sum(0 <= moment - last <= DAY for last in others)

    async def flush(self) -> None:
        """Have the ledger keep what was learned."""
        async with self._one_flush:
            self._flushing, self._changed = self._changed, {}
            entries = {key: msgspec.msgpack.encode(one) for key, one in self._flushing.items()}
            try:
                if entries:
                    await self._ledger.keep_history(entries, merged)
            except BaseException:
                self._changed = self._flushing | self._changed
                raise
            finally:
                self._flushing = {}


def merged(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Join what two instances have learned of the same thing."""
    one, other = _decoded(key, mine), _decoded(key, theirs)
    if isinstance(one, Account) and isinstance(other, Account):
        one.days, one.last = max(one.days, other.days), max(one.last, other.last)
        one.found = max(one.found, other.found)
        one.places = _both(one.places, other.places, MOST_PLACES)
        one.networks = _both(one.networks, other.networks, MOST_OF_ACCOUNT)
        one.countries = _both(one.countries, other.countries, MOST_OF_ACCOUNT)
        one.devices = _both(one.devices, other.devices, MOST_OF_ACCOUNT)
        tries = other.tries | {
            where: _joined(mine, other.tries.get(where, mine)) for where, mine in one.tries.items()
        }
        one.tries = dict(sorted(tries.items(), key=lambda it: it[1].last)[-MOST_OF_ACCOUNT:])
        if other.moved > one.moved:
            one.country, one.moved = other.country, other.moved
    elif isinstance(one, Place) and isinstance(other, Place):
        first = {who: min(at, one.good.get(who, at)) for who, at in other.good.items()}
        one.good = dict(sorted((one.good | first).items(), key=_second)[:MOST_ACCOUNTS])
        one.bad = _latest(one.bad, other.bad, MOST_ACCOUNTS)
    elif isinstance(one, Group) and isinstance(other, Group):
        most = MOST_AT_BAD if key.startswith("b") else MOST_ACCOUNTS
        one.accounts = _latest(one.accounts, other.accounts, most)
    return msgspec.msgpack.encode(one)


def without(key: str, body: bytes, *, account: str | None, address: str | None) -> bytes | None:
    """Return an entry without an account or an address; None if nothing of it is left.

    Nor is anything left of what cannot be read.
    """
    if account is not None:
        name = pseudonym(account.lower())
        if key == f"a|{name}":
            return None
        return _without_account(key, body, name)
    place = place_of(address or "", None)
    if key in (f"p|{place}", f"b|{address}"):
        return None
    try:
        entry = _decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, Account) and (place in entry.places or place in entry.tries):
        entry.places.pop(place, None)
        entry.tries.pop(place, None)
        return msgspec.msgpack.encode(entry)
    return body


def _without_account(key: str, body: bytes, name: str) -> bytes | None:
    try:
        entry = _decoded(key, body)
    except LedgerFailed:
        return None
    if isinstance(entry, Account):
        return body
    known = (entry.good, entry.bad) if isinstance(entry, Place) else (entry.accounts,)
    if not any(name in some for some in known):
        return body
    for some in known:
        some.pop(name, None)
    return msgspec.msgpack.encode(entry)


def _decoded(key: str, body: bytes) -> Entry:
    try:
        return msgspec.msgpack.decode(body, type=_KINDS[key[0]])
    except msgspec.MsgspecError as error:
        raise LedgerFailed(f"the ledger's history of {key[0]}|… is unreadable: {error}") from None


def _account_key(one: Signals) -> str:
    return f"a|{pseudonym(one.account)}"


def _place_key(address: str, one: Signals) -> str:
    return f"p|{place_of(address, one.as_number)}"


def _network_key(one: Signals) -> str:
    return f"n|{one.as_number or 0}"


def _days(days: Days | None, today: int) -> int:
    return NEVER if days is None else days[1] - (days[0] == today)


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


def _spraying(place: Place, now: float) -> int:
    if not place.bad:
        return 0
    failing = sum(now - last < DAY for last in place.bad.values())
    return max(0, failing - 2 * len(place.good))


def _joined(one: Tries, other: Tries) -> Tries:
    """Join what failed at one place, leaving out what was a day before the last."""
    alive = [tries for tries in (one, other) if max(one.last, other.last) - tries.last < DAY]
    return Tries(
        list(dict.fromkeys(event for tries in alive for event in tries.failed))[:_MOST_TRIES],
        list(dict.fromkeys(event for tries in alive for event in tries.accepted))[:_MOST_TRIES],
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
