"""The verdict of a source on an address, or the reason why there is none."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

CROWDSEC, REPLICA = "crowdsec", "crowdsec-replica"
"""The names of the CrowdSec API and of its replica among the sources."""
ENTRA = "entra"
"""Entra ID's own detections as a source."""
STORIES_SOURCE = "signinwatch"
"""The source of findings that stories alone give."""
REPORT_PAGES = dict.fromkeys((CROWDSEC, REPLICA), ("CrowdSec", "https://app.crowdsec.net/cti/"))
"""Sources with a public page on each address: the publisher, and the prefix of the page."""


RECOGNISED_REPUTATIONS = frozenset(
    {"malicious", "suspicious", "benign", "safe", "known", "unknown"}
)
"""CrowdSec's words. Another one says nothing until this project knows it, so it is counted."""


class Reputation(StrEnum):
    """Reputations, most severe first."""

    MALICIOUS = "malicious"
    SUSPICIOUS = "suspicious"
    BENIGN = "benign"
    UNKNOWN = "unknown"
    """Looked up without a result. Stored like any other verdict."""

    @property
    def bad(self) -> bool:
        """True if sign-ins from such an address are findings."""
        return self in (Reputation.MALICIOUS, Reputation.SUSPICIOUS)


class WhyUnanswered(StrEnum):
    """Why an address has no verdict. Never means that the address is clean."""

    QUOTA = "quota spent"
    SOURCE_DOWN = "source down"
    NO_SOURCE = "no source configured"
    NOT_NAMED = "no feed names it, and there is no other source"
    NO_REPLICA = "the CrowdSec replica is missing or cannot be read"
    KEY_REFUSED = "key refused"
    LOOKED_UP_ELSEWHERE = "another instance looks it up"
    NOT_YET = "waits for its turn"
    """Lookups are left, but other addresses have a higher score."""


class AddressClass(StrEnum):
    """Kind of network that an address belongs to, as far as known."""

    TOR = "tor"
    VPN = "vpn"
    PROXY = "proxy"
    RELAY = "relay"
    """Shared egress that people do not choose: private relays and corporate proxies."""
    HOSTING = "hosting"
    RESIDENTIAL = "residential"
    MOBILE = "mobile"
    UNKNOWN = "unknown"


class Intel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Intelligence on an address besides its reputation; None for what the source omits."""

    raw_reputation: str | None = None
    """The reputation as the source names it; may be finer than :class:`Reputation`."""
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
    """Properties of the indicator that matches the address; empty unless a feed lists it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False, tag="answered"):
    """A verdict of a source. Times are seconds since the epoch, by our clock.

    A recheck is *pending* if the lookup had no result and the sign-ins of the address have a high
    score. Then the address is looked up again at ``recheck_at``, before the verdict expires, and
    its sign-ins stay queued until the recheck.
    """

    reputation: Reputation
    source: str
    time: float
    expires: float
    address_class: AddressClass = AddressClass.UNKNOWN
    intel: Intel = Intel()
    recheck_at: float = 0.0
    first_lookup: float = 0.0

    @property
    def listed(self) -> bool:
        """True if the verdict is an entry of a feed, which lists addresses but does not rate all.

        Other sources rate every address that is looked up, and can call one harmless.
        """
        return bool(self.intel.indicator)

    @property
    def recheck_pending(self) -> bool:
        """True if the sign-ins of the address wait for a recheck."""
        return self.recheck_at > 0

    def stands(self, now: float) -> bool:
        """Return True if the address need not be looked up again."""
        return self.expires > now and not 0 < self.recheck_at <= now


class Unanswered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="unanswered"):
    """Why an address has no verdict, and until when (by our clock) no lookup is made."""

    why: WhyUnanswered
    expires: float

    def stands(self, now: float) -> bool:
        """Return True if no lookup should be made now."""
        return self.expires > now


Answer = Verdict | Unanswered
