"""IP addresses that look like corporate egress: candidates for ``TRUSTED_NETWORKS``. Pure.

Trusting a foreign network hides attackers, so a candidate must look like an office in every
respect. A missed candidate costs a few lookups; a false one costs more.
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
"""Minimum share of all accounts that succeeded anywhere; a household or café has fewer."""
MIN_DAYS = 3
MIN_DAY_SHARE = 0.4
"""Minimum share of the days in the input; offices close on weekends and holidays."""
MAX_FAILED_SHARE = 0.1
"""Maximum share of sign-ins: users mistype, and a password spray fails mostly."""
MIN_COMPLIANT_SHARE = 0.6
"""Minimum share of successes."""
MAX_RISKY_SHARE = 0.01
"""Maximum share of sign-ins."""
MAX_ACCOUNTS_COUNTED = 1_000
"""Accounts that are counted per location."""
_V6_SHARED = 64


@dataclass(slots=True)
class _EgressStats:
    """Counts of an IPv4 address or an IPv6 /64."""

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
    """A network that may be corporate egress."""

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
        """Return the reason."""
        number = f" (AS{self.as_number})" if self.as_number else ""
        more = " or more" if self.accounts >= MAX_ACCOUNTS_COUNTED else ""
        return (
            f"{self.accounts:,}{more} accounts signed in from it on {self.days:,} days{number}; "
            f"{self.failed:.1%} of {self.signins:,} sign-ins failed, and {self.compliant:.0%} of "
            "the successful ones came from compliant devices"
        )


class Egress:
    """Collects counts by location."""

    def __init__(self) -> None:
        self._places: dict[str, _EgressStats] = {}
        self._accounts: set[int] = set()
        self._days: set[int] = set()

    @property
    def accounts(self) -> int:
        """Return the number of user accounts that succeeded, from anywhere."""
        return len(self._accounts)

    def take(self, address: str, signals: Signals, *, risky: bool, day: int) -> None:
        """Count a sign-in. Service accounts are ignored: they sign in from clouds, not offices."""
        if not signals.person:
            return
        key = place_of(address, None)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _EgressStats()
        self._days.add(day)
        place.signins += 1
        place.risky += risky
        place.failures += signals.outcome is Outcome.FAILURE
        if signals.as_number is not None:
            place.as_number = signals.as_number
        if signals.outcome is not Outcome.SUCCESS:
            return
        place.successes += 1
        place.compliant += signals.compliant is True
        place.days.add(day)
        if signals.account:
            account = hash(signals.object_id or signals.account)
            self._accounts.add(account)
            if len(place.accounts) < MAX_ACCOUNTS_COUNTED:
                place.accounts.add(account)

    def candidates(self) -> list[Candidate]:
        """Return the candidates, most accounts first; adjacent ones are merged into a network.

        Every IP address of a returned network is itself a candidate.
        """
        places = {
            _network_of(key): place for key, place in self._places.items() if self._fits(place)
        }
        v4 = sorted(network for network in places if isinstance(network, IPv4Network))
        v6 = sorted(network for network in places if isinstance(network, IPv6Network))
        merged: list[IPv4Network | IPv6Network] = [*collapse_addresses(v4)]
        merged += collapse_addresses(v6)
        found = [_candidate(network, _inside(network, places.items())) for network in merged]
        return sorted(found, key=lambda item: (-item.accounts, -item.signins, item.network))

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
        for part, place in places
        if part.version == network.version and part.network_address in network
    ]


def _candidate(network: IPv4Network | IPv6Network, places: Sequence[_EgressStats]) -> Candidate:
    total = _EgressStats()
    for place in places:
        total.join(place)
    return Candidate(
        network=str(network),
        accounts=len(total.accounts),
        days=len(total.days),
        signins=total.signins,
        successes=total.successes,
        failed=total.failures / total.signins,
        compliant=total.compliant / total.successes,
        as_number=total.as_number,
    )
