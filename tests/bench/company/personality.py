"""The kinds of company that recordings are made of: numbers only, each an assumption.

None was fitted to what the product does. Shares are between 0 and 1; rates are for 2,000 users
and 30 days unless said otherwise. The personalities in :data:`HELD_OUT` are for the final figure
only: whoever works on ranking or pacing must not look at what they give before the work is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Site:
    """Where people work: a place with a few shared addresses to the outside."""

    country: str
    city: str
    weight: float
    egress: int = 2
    own_network: bool = True
    """Whether it has addresses of the company; else it goes out by a broadband line that changes
    its address, as a shop does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Personality:
    """A kind of company. The attackers are told of here as well: they choose by victim."""

    name: str
    sites: tuple[Site, ...]

    # --- work ---
    per_day: float
    """Sign-ins of one user on a working day, token renewals included."""
    weekend: float = 0.06
    """Share of people who work on a Saturday or Sunday."""
    nights: float = 0.02
    """Share of people on night shifts."""
    remote: float = 0.35
    """Share of working days at home."""
    abroad: float = 0.0
    """Share of people who live in a country of no site."""
    turnover: float = 0.02
    """Share of people whose account is made during the recording."""

    # --- devices and networks ---
    byod: float = 0.15
    """Share of people whose computer the company does not manage."""
    shared_devices: float = 0.0
    phone: float = 0.7
    """Share of people with mail on a phone, and of their sign-ins that then come from it…"""
    phone_use: float = 0.35
    wifi: float = 0.5
    """Share of these at work that go by the company's network."""
    home_v6: float = 0.38
    mobile_v6: float = 0.31
    lease_days: float = 14.0
    """Median life of a home's IPv4 address and IPv6 prefix; its spread is wide."""
    sse: float = 0.1
    """Share of managed computers that go out by a cloud security service."""
    private_vpn: float = 0.02
    private_relay: float = 0.02
    trips: float = 0.08
    """Business trips a person and month."""
    holidays_abroad: float = 0.02
    elsewhere: float = 0.06
    """Share of days on which people are also at a café, with family, or on somebody's Wi-Fi."""
    legacy: float = 0.01
    """Share of people with a mail program of the old kind (basic authentication)."""
    principals: int = 20
    principals_outside: float = 0.3
    """Share of service principals that run with hosting providers other than the big clouds."""
    mfa: float = 0.8
    """Share of accounts that need a second factor."""

    # --- attacks ---
    campaigns: int = 9
    """Password sprays; each draws its own size…"""
    pool: tuple[int, int] = (250, 1_500)
    """…of addresses, between these."""
    noise: float = 45.0
    """Lone guesses a day, all month."""
    takeovers: float = 42.0
    kinds: dict[str, float] = field(
        default_factory=lambda: {
            "spray": 8,
            "brute": 3,
            "phish": 10,
            "token": 8,
            "bought": 9,
            "fatigue": 3,
            "principal": 1,
        }
    )
    from_own_country: float = 0.35
    """Share of residential proxies that attackers take in the victim's own country."""
    late: float = 0.16
    """Share of bad addresses that are listed only after their first use here."""
    late_hours: float = 6.0
    risk_recall: float = 0.66
    """Share of take-overs that Identity Protection notices, most of their sign-ins at once."""
    false_risk: float = 0.0024
    """Share of ordinary interactive sign-ins that it flags as well; more where all is new."""
    nested: float = 0.0
    """Share of messages in the envelope of diagnostic settings, for a tenant that moves over."""


_UK = (Site("GB", "Leeds", 5), Site("GB", "London", 3), Site("GB", "Bristol", 2, 1))

PERSONALITIES: dict[str, Personality] = {
    one.name: one
    for one in (
        Personality(
            name="manufacturer",
            sites=(
                Site("DE", "Stuttgart", 6, 2),
                Site("DE", "Leipzig", 3, 2),
                Site("PL", "Wroclaw", 2, 1),
                Site("MX", "Puebla", 1, 1),
            ),
            per_day=27, remote=0.18, nights=0.12, weekend=0.09, byod=0.05, phone=0.75,
            phone_use=0.45, wifi=0.35, home_v6=0.4, mobile_v6=0.34, lease_days=6, sse=0.05,
            trips=0.06, mfa=0.7, legacy=0.03, principals=25, campaigns=11, takeovers=38,
            risk_recall=0.6, late=0.14,
        ),
        Personality(
            name="software",
            sites=(
                Site("US", "Austin", 3, 2),
                Site("NL", "Amsterdam", 2, 1),
                Site("PL", "Krakow", 2, 1),
                Site("IN", "Bengaluru", 2, 2),
            ),
            per_day=30, weekend=0.15, remote=0.82, abroad=0.18, byod=0.2, phone=0.8,
            phone_use=0.22, wifi=0.6, home_v6=0.42, mobile_v6=0.34, lease_days=20, sse=0.18,
            private_vpn=0.08, private_relay=0.05, trips=0.12, holidays_abroad=0.04, turnover=0.04,
            mfa=0.96, legacy=0.002, principals=80, principals_outside=0.4, campaigns=7,
            takeovers=40, from_own_country=0.25, risk_recall=0.74, false_risk=0.004, late=0.2,
            kinds={"spray": 2, "brute": 1, "phish": 12, "token": 14, "bought": 7, "fatigue": 5,
                   "principal": 4},
        ),
        Personality(
            name="university",
            elsewhere=0.15,
            sites=(Site("GB", "Manchester", 9, 4), Site("GB", "London", 1, 1)),
            per_day=22, weekend=0.55, nights=0.1, remote=0.5, abroad=0.14, turnover=0.07,
            byod=0.82, phone=0.9, phone_use=0.5, wifi=0.6, home_v6=0.34, mobile_v6=0.28,
            lease_days=12, sse=0.0, private_vpn=0.11, private_relay=0.06, trips=0.05,
            holidays_abroad=0.08, mfa=0.6, legacy=0.04, principals=15, campaigns=12,
            pool=(200, 1_300), noise=90, takeovers=52, from_own_country=0.3, risk_recall=0.55,
            false_risk=0.006, late=0.15,
            kinds={"spray": 12, "brute": 4, "phish": 14, "token": 4, "bought": 14, "fatigue": 2,
                   "principal": 0.3},
        ),
        Personality(
            name="retail",
            sites=(
                Site("US", "Columbus", 4, 2),
                *(
                    Site("US", city, 0.4, 1, own_network=False)
                    for city in ("Austin", "Columbus", "Chicago", "Denver", "Boston") * 9
                ),
            ),
            per_day=24, weekend=0.6, nights=0.06, remote=0.08, turnover=0.08, byod=0.35,
            shared_devices=0.45, phone=0.85, phone_use=0.6, wifi=0.3, home_v6=0.47, mobile_v6=0.43,
            lease_days=25, sse=0.04, trips=0.03, mfa=0.55, principals=18, campaigns=9,
            takeovers=40, from_own_country=0.55, risk_recall=0.6, late=0.18, nested=1.0,
        ),
        Personality(
            name="hospital",
            sites=_UK,
            per_day=26, weekend=0.45, nights=0.22, remote=0.14, byod=0.3, shared_devices=0.6,
            phone=0.82, phone_use=0.5, wifi=0.45, home_v6=0.47, mobile_v6=0.34, lease_days=9,
            sse=0.08, trips=0.02, holidays_abroad=0.04, mfa=0.62, legacy=0.03, principals=30,
            campaigns=10, takeovers=36, from_own_country=0.5, risk_recall=0.58, late=0.12,
        ),
        Personality(
            name="consulting",
            elsewhere=0.12,
            sites=(
                Site("FR", "Paris", 4, 2),
                Site("DE", "Frankfurt", 2, 1),
                Site("US", "Boston", 2, 1),
                Site("SG", "Singapore", 1, 1),
                Site("BR", "Sao Paulo", 1, 1),
            ),
            per_day=28, weekend=0.18, remote=0.4, byod=0.08, phone=0.97, phone_use=0.4, wifi=0.4,
            home_v6=0.38, mobile_v6=0.28, lease_days=16, sse=0.35, private_vpn=0.03, trips=1.1,
            holidays_abroad=0.05, mfa=0.93, principals=35, campaigns=8, takeovers=44,
            from_own_country=0.3, risk_recall=0.72, false_risk=0.005, late=0.18, nested=0.5,
            kinds={"spray": 4, "brute": 2, "phish": 14, "token": 10, "bought": 8, "fatigue": 4,
                   "principal": 2},
        ),
        Personality(
            name="council",
            sites=(*_UK, Site("GB", "Glasgow", 2, 1)),
            per_day=25, remote=0.5, weekend=0.1, byod=0.12, phone=0.72, phone_use=0.4, home_v6=0.51,
            mobile_v6=0.34, lease_days=6, sse=0.22, mfa=0.75, legacy=0.02, takeovers=40,
            from_own_country=0.6, risk_recall=0.62, late=0.22, late_hours=9, campaigns=12,
            pool=(150, 1_200), noise=70, nested=0.2,
        ),
    )
}  # fmt: skip

HELD_OUT = ("hospital", "consulting")
"""For the final figure only."""
WORKING = tuple(name for name in PERSONALITIES if name not in HELD_OUT)
