"""STIX indicators of feeds, reduced to what a match needs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from schemas.events.times import iso_of
from schemas.intel.address_class import class_of_intel
from schemas.intel.verdicts import Intel, Reputation, Verdict
from schemas.values import clean_text

MALICIOUS_CONFIDENCE = 50
"""Minimum confidence for an indicator of malicious activity to count as malicious."""
_BENIGN = frozenset({"benign", "safe"})
_NO_WORD = frozenset({"known", "unknown"})
"""CrowdSec's reputations of addresses about which it says nothing bad."""
_SCANNER = "scanner:"
_FALSE_POSITIVES = (
    _SCANNER, "cdn:", "seo:", "crawler:", "dns:", "ip:", "msp:", "mail:", "monitoring:",
    "webhook:", "cert:", "ssl:", "ai:", "proxy:icloud-private-relay",
)  # fmt: skip
"""Begin of CrowdSec's names for addresses that only seem bad; its feed has them among labels."""
DECISIVE = _BENIGN | {"malicious", "malicious-activity"}
"""Labels and types by which :func:`reputation_of` decides."""


class WhySkipped(StrEnum):
    """Why an object of a feed is not a usable indicator. Counted by reason."""

    NOT_AN_INDICATOR = "not an indicator"
    MALFORMED = "malformed"
    NOT_STIX = "pattern type is not STIX"
    UNREADABLE = "pattern cannot be read"
    NO_ADDRESS = "pattern names no address"
    NEEDS_MORE = "pattern needs more than an address"
    SEVERAL_EVENTS = "pattern needs several observations"
    NEGATED = "pattern says what an address is not"
    UNSUPPORTED = "pattern compares in a way that would fit nearly everything"
    NOT_PUBLIC = "address is not public"
    TOO_WIDE = "network is too wide"
    TOO_MANY = "pattern names too many addresses"
    FROM_FUTURE = "dated in the future; used as of the server's time"
    BEYOND_LIMIT = "more indicators than can be held"


class PastVersion(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What an earlier version of an indicator said, while it was the latest: until ``replaced``."""

    modified: float
    replaced: float
    valid_until: float | None = None
    confidence: int | None = None
    types: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class Indicator(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A version of an indicator. Times are seconds since the epoch.

    ``keys`` are the public addresses and networks of its pattern, canonical and in CIDR form; any
    of them matches. A ``withdrawn`` indicator was revoked or deprecated; it may have no keys.
    """

    id: str
    modified: float
    withdrawn: bool = False
    keys: tuple[str, ...] = ()
    valid_from: float = 0.0
    valid_until: float | None = None
    confidence: int | None = None
    """0 to 100 (STIX 2.1 section 3.2), None if absent."""
    types: tuple[str, ...] = ()
    """``indicator_types`` (STIX 2.1 section 10.7)."""
    labels: tuple[str, ...] = ()
    tlp: str | None = None
    kill_chain: tuple[str, ...] = ()
    """Phases as ``chain:phase``."""
    destination: bool = False
    """True if the pattern names the address as a destination, not as a client."""
    past: tuple[PastVersion, ...] = ()
    """Earlier versions that said more, the latest last."""

    def versions_at(self, timestamp: float) -> list[Indicator]:
        """Return the versions that apply to an event at *timestamp*, this one first.

        An earlier one applies to events before it was replaced: what is no longer true now does
        not make untrue what was true then.
        """
        earlier = [
            replace(
                self,
                modified=version.modified,
                valid_until=version.valid_until,
                confidence=version.confidence,
                types=version.types,
                labels=version.labels,
            )
            for version in reversed(self.past)
            if timestamp < version.replaced
        ]
        return [version for version in (self, *earlier) if version.valid_at(timestamp)]

    def valid_at(self, timestamp: float) -> bool:
        """Return True if it applies to an event at *timestamp* (STIX 2.1 section 4.7)."""
        ended = self.valid_until is not None and timestamp >= self.valid_until
        return self.valid_from <= timestamp and not ended


def reputation_of(indicator: Indicator, least_confidence: int = 0) -> Reputation:
    """Return the reputation; UNKNOWN if the confidence is below the feed's minimum.

    Malicious requires the type ``malicious-activity`` or the label ``malicious``, and a confidence
    of at least 50 or none.
    """
    labels = {label.lower() for label in indicator.labels}
    types = {kind.lower() for kind in indicator.types} or labels  # STIX 2.0 has the types there
    bad = "malicious-activity" in types or "malicious" in labels
    scanner = any(label.startswith(_SCANNER) for label in labels)
    if not bad and ("benign" in types or labels & _BENIGN or scanner):
        return Reputation.BENIGN
    if not bad and labels & _NO_WORD and "suspicious" not in labels:
        return Reputation.UNKNOWN
    confidence = indicator.confidence
    if confidence is not None and confidence < least_confidence:
        return Reputation.UNKNOWN
    if bad and (confidence is None or confidence >= MALICIOUS_CONFIDENCE):
        return Reputation.MALICIOUS
    return Reputation.SUSPICIOUS


def confidence_word(confidence: int | None) -> str | None:
    """Return low, medium or high by STIX 2.1 appendix A; None for 0 or no confidence."""
    if not confidence:
        return None
    return "high" if confidence >= 70 else "medium" if confidence >= 30 else "low"


def verdict_of(feed: str, key: str, indicator: Indicator, least_confidence: int = 0) -> Verdict:
    """Return the verdict of a feed on an address that *key* names or contains."""
    excuses = tuple(
        label for label in indicator.labels if label.lower().startswith(_FALSE_POSITIVES)
    )
    intel = Intel(
        raw_reputation=reputation_of(indicator).value,
        confidence=confidence_word(indicator.confidence),
        classifications=tuple(label for label in indicator.labels if label not in excuses),
        false_positives=excuses,
        ip_range=key if "/" in key else None,
        indicator=_evidence(key, indicator),
    )
    return Verdict(
        reputation=reputation_of(indicator, least_confidence),
        source=feed,
        time=indicator.modified,
        expires=indicator.valid_until or float("inf"),
        address_class=class_of_intel(intel),
        intel=intel,
    )


def _evidence(key: str, indicator: Indicator) -> dict[str, Any]:
    evidence = {
        "id": clean_text(indicator.id, 200),
        "names": key,
        "validFrom": iso_of(indicator.valid_from),
        "validUntil": iso_of(indicator.valid_until),
        "modified": iso_of(indicator.modified),
        "confidence": indicator.confidence,
        "types": list(indicator.types),
        "labels": list(indicator.labels),
        "tlp": indicator.tlp,
        "killChain": list(indicator.kill_chain),
        "asDestination": indicator.destination or None,
    }
    return {name: value for name, value in evidence.items() if value not in (None, [])}
