"""What a source says of an address, or why nothing has been said."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Reputation(StrEnum):
    """The kinds of verdict, worst first."""

    MALICIOUS = "malicious"
    SUSPICIOUS = "suspicious"
    BENIGN = "benign"
    UNKNOWN = "unknown"
    """Asked, and nothing is known. An answer, kept like any other."""

    @property
    def bad(self) -> bool:
        """Whether sign-ins from such an address are findings by themselves."""
        return self in (Reputation.MALICIOUS, Reputation.SUSPICIOUS)


class WhyUnanswered(StrEnum):
    """Why an address has no verdict. Never to be read as "clean"."""

    QUOTA = "quota spent"
    SOURCE_DOWN = "source down"
    NO_SOURCE = "no source configured"
    NOT_NAMED = "no feed names it and nobody else is asked"
    NO_REPLICA = "the CrowdSec replica is missing or cannot be read"
    KEY_REFUSED = "key refused"
    ASKED_ELSEWHERE = "another instance asks"
    NOT_YET = "waits for its turn"
    """Lookups are left, but at the present pace others deserve them more."""


class AddressClass(StrEnum):
    """What kind of network an address belongs to, as far as anybody says."""

    TOR = "tor"
    VPN = "vpn"
    PROXY = "proxy"
    RELAY = "relay"
    """Shared egress that people use unknowingly: private relays and corporate proxies."""
    HOSTING = "hosting"
    RESIDENTIAL = "residential"
    MOBILE = "mobile"
    UNKNOWN = "unknown"


class Intel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a source tells of an address besides its reputation; None where it tells nothing."""

    raw_reputation: str | None = None
    """The source's own word, which may be finer than :class:`Reputation`."""
    confidence: str | None = None
    score: int | None = None
    background_noise: int | None = None
    behaviors: tuple[str, ...] = ()
    classifications: tuple[str, ...] = ()
    false_positives: tuple[str, ...] = ()
    attack_details: tuple[str, ...] = ()
    mitre_techniques: tuple[str, ...] = ()
    cves: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    target_countries: dict[str, float] = {}
    scores: dict[str, Any] = {}
    proxy_or_vpn: bool = False
    country: str | None = None
    city: str | None = None
    as_number: int | None = None
    as_name: str | None = None
    ip_range: str | None = None
    ip_range_score: int | None = None
    ip_range_24: str | None = None
    ip_range_24_reputation: str | None = None
    ip_range_24_score: int | None = None
    reverse_dns: str | None = None
    first_seen: str | None = None
    last_seen: str | None = None
    indicator: dict[str, Any] = {}
    """What the indicator says by which a feed names the address."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag="answered"):
    """A source's answer. Times are seconds since the epoch, by our clock.

    An answer is *open* when the address is asked about again, at ``again``, though it is not old:
    nothing was known, and its sign-ins say much. They wait until it is closed.
    """

    reputation: Reputation
    source: str
    time: float
    expires: float
    address_class: AddressClass = AddressClass.UNKNOWN
    intel: Intel = Intel()
    recheck_at: float = 0.0
    first_asked: float = 0.0

    @property
    def recheck_pending(self) -> bool:
        """Whether sign-ins of the address wait for another answer."""
        return self.recheck_at > 0

    def stands(self, now: float) -> bool:
        """Tell whether there is no reason to ask again."""
        return self.expires > now and not 0 < self.recheck_at <= now


class Unanswered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="unanswered"):
    """Why an address has no verdict, and until when (by our clock) it is not worth asking."""

    why: WhyUnanswered
    expires: float

    def stands(self, now: float) -> bool:
        """Tell whether it is not worth asking."""
        return self.expires > now


Answer = Verdict | Unanswered
