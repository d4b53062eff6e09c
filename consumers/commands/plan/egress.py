"""Which addresses look like a company's own way out: candidates for ``TRUSTED_NETWORKS``. Pure.

To trust a network that is not one's own hides attackers, so a candidate must look like an office in
every respect. What is left out costs a few lookups; what is taken by mistake costs more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

from consumers.enrichment.history_entries import place_of
from schemas.events.outcomes import Outcome
from schemas.intel.address_class import HOSTING_NETWORKS, MOBILE_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.events.ranking_signals import Signals

MIN_ACCOUNTS = 5
MIN_ACCOUNT_SHARE = 0.02
"""Of all accounts that succeeded anywhere: a household or a café has fewer."""
MIN_DAYS = 3
MIN_DAY_SHARE = 0.4
"""Of the days that the recording covers; offices are closed on weekends and holidays."""
MAX_FAILED_SHARE = 0.1
"""Of sign-ins: people mistype, and a spray does little else."""
MIN_COMPLIANT_SHARE = 0.6
"""Of successes."""
MAX_RISKY_SHARE = 0.01
"""Of sign-ins."""
MAX_ACCOUNTS_COUNTED = 1_000
"""Accounts that are kept of one place."""
_V6_SHARED = 64


@dataclass(slots=True)
class _EgressStats:
    """What came from an IPv4 address or an IPv6 /64."""

    accounts: set[int] = field(default_factory=set)
    days: set[int] = field(default_factory=set)
    signins: int = 0
    successes: int = 0
    failures: int = 0
    compliant: int = 0
    risky: int = 0
    as_number: int | None = None

    def join(self, other: _EgressStats) -> None:
        self.accounts |= other.accounts
        self.days |= other.days
        self.signins += other.signins
        self.successes += other.successes
        self.failures += other.failures
        self.compliant += other.compliant
        self.risky += other.risky
        self.as_number = other.as_number


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network that may be the company's own."""

    network: str
    accounts: int
    days: int
    signins: int
    successes: int
    failed: float
    """Share of sign-ins that failed."""
    compliant: float
    """Share of successes from compliant devices."""
    as_number: int | None

    @property
    def why(self) -> str:
        """Say why it is one."""
        number = f" (AS{self.as_number})" if self.as_number else ""
        more = " or more" if self.accounts >= MAX_ACCOUNTS_COUNTED else ""
        return (
            f"{self.accounts:,}{more} accounts signed in from it on {self.days:,} days{number}; "
            f"{self.failed:.1%} of {self.signins:,} sign-ins failed, and {self.compliant:.0%} of "
            "the successful ones came from compliant devices"
        )


class Egress:
    """Collects what is known of places."""

    def __init__(self) -> None:
        self._places: dict[str, _EgressStats] = {}
        self._accounts: set[int] = set()
        self._days: set[int] = set()

    @property
    def accounts(self) -> int:
        """Return how many accounts of people succeeded, from anywhere."""
        return len(self._accounts)

    def take(self, address: str, one: Signals, *, risky: bool, day: int) -> None:
        """Take note of a sign-in. Programs sign in from clouds, and tell nothing of offices."""
        if not one.person:
            return
        key = place_of(address, None)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _EgressStats()
        self._days.add(day)
        place.signins += 1
        place.risky += risky
        place.failures += one.outcome is Outcome.FAILURE
        if one.as_number is not None:
            place.as_number = one.as_number
        if one.outcome is not Outcome.SUCCESS:
            return
        place.successes += 1
        place.compliant += one.compliant is True
        place.days.add(day)
        if one.account:
            account = hash(one.account)
            self._accounts.add(account)
            if len(place.accounts) < MAX_ACCOUNTS_COUNTED:
                place.accounts.add(account)

    def candidates(self) -> list[Candidate]:
        """Return what looks like own egress, busiest first; neighbours are joined to a network.

        Never wider than what was seen: no address is in it that is not a candidate itself.
        """
        places = {
            _network_of(key): place for key, place in self._places.items() if self._fits(place)
        }
        four = sorted(one for one in places if isinstance(one, IPv4Network))
        six = sorted(one for one in places if isinstance(one, IPv6Network))
        joined: list[IPv4Network | IPv6Network] = [*collapse_addresses(four)]
        joined += collapse_addresses(six)
        found = [_candidate(network, _inside(network, places.items())) for network in joined]
        return sorted(found, key=lambda one: (-one.accounts, -one.signins, one.network))

    def _fits(self, place: _EgressStats) -> bool:
        return (
            len(place.accounts) >= max(MIN_ACCOUNTS, MIN_ACCOUNT_SHARE * len(self._accounts))
            and len(place.days) >= max(MIN_DAYS, MIN_DAY_SHARE * len(self._days))
            and place.failures <= MAX_FAILED_SHARE * place.signins
            and place.compliant >= MIN_COMPLIANT_SHARE * place.successes
            and place.risky <= MAX_RISKY_SHARE * place.signins
            and place.as_number not in HOSTING_NETWORKS
            and place.as_number not in MOBILE_NETWORKS
        )


def _network_of(key: str) -> IPv4Network | IPv6Network:
    if "." in key:
        return IPv4Network(key)
    return IPv6Network((int(key, 16) << _V6_SHARED, _V6_SHARED))


def _inside(
    network: IPv4Network | IPv6Network,
    places: Iterable[tuple[IPv4Network | IPv6Network, _EgressStats]],
) -> Sequence[_EgressStats]:
    return [
        place
        for one, place in places
        if one.version == network.version and one.network_address in network
    ]


def _candidate(network: IPv4Network | IPv6Network, places: Sequence[_EgressStats]) -> Candidate:
    both = _EgressStats()
    for place in places:
        both.join(place)
    return Candidate(
        network=str(network),
        accounts=len(both.accounts),
        days=len(both.days),
        signins=both.signins,
        successes=both.successes,
        failed=both.failures / both.signins,
        compliant=both.compliant / both.successes,
        as_number=both.as_number,
    )
