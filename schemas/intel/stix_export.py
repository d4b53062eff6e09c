"""STIX 2.1 indicators for Sentinel's upload API, made from our verdicts and from feeds.

Ids are our own and deterministic, so an upload replaces an earlier upload (the API keeps the last
version of an id). A feed's indicators get ids of our own too: the same feed may be connected to
Sentinel with its original ids, and the two would overwrite each other.

``revoked`` is never sent: it is permanent for an id (STIX 2.1 section 3.2), and an address may
become malicious again. To withdraw an indicator, send it again with a validity that has ended.

Properties: Microsoft's "Import threat intelligence to Microsoft Sentinel with the upload API";
STIX 2.1 sections 3.2 (common properties), 4.7 (indicator), 9 (patterns).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from schemas.events.times import iso_of
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schemas.intel.indicators import Indicator
    from schemas.intel.verdicts import Intel

StixObject = dict[str, Any]

MAX_OBJECT_KEYS = 1
"""Maximum addresses and networks in a pattern; an indicator with more becomes several objects.
Sentinel fills the columns that its rules join on only for the simplest patterns."""
MAX_LABELS = 20
MAX_LABEL_LENGTH = 100
MAX_STIX_NAME_LENGTH = 200
LAST_STIX_TIMESTAMP = 253_370_764_800.0
"""Start of the year 9999, in seconds since the epoch."""

_OURS = UUID("8c6b4a53-5f6c-4a55-9d6e-2f0e5b1f7a4d")
"""Namespace of all ids. Never change it."""
_CONFIDENCE = {"high": 90, "medium": 60, "low": 30}
_MARKINGS = {
    "clear": "94868c89-83c2-464b-929b-a1a8aa3c8487",
    "white": "613f2e26-407d-48c7-9eca-b8e91df99dc9",
    "green": "34098fce-860f-48ae-8e50-ebd3cc5e41da",
    "amber": "f88d31f6-486f-44da-b317-01333bde0b82",
}
"""Ids of the TLP marking definitions: STIX 2.1 section 7.2.1.4, and TLP 2.0's for ``clear``."""
_KEPT_TO_READERS = frozenset({"red", "amber+strict", "amber-strict", "amber strict"})


def malicious_indicator(
    address: str,
    intel: Intel,
    page: tuple[str, str] | None = None,
    *,
    source: str,
    now: float,
    valid_until: float,
    first: float,
) -> StixObject:
    """Return the indicator for an address with a malicious verdict.

    The id is made of *source*, the source name of our uploads, and the address. *first* is the
    time of the first upload and stays the same over renewals. *page* is publisher and prefix of a
    public page on the address. A *valid_until* that is not after
    *now* withdraws the indicator. Times are seconds since the epoch.
    """
    ended = valid_until <= now
    indicator: StixObject = {
        **_head(_id("judged", source, address), first=first, now=now),
        "name": f"Malicious IP address {address}",
        "description": (
            "No longer judged malicious by signinwatch."
            if ended
            else "Judged malicious by signinwatch, which judges sign-ins by their address."
        ),
        "indicator_types": ["malicious-activity"],
        "pattern": _pattern([address]),
        **_validity(first, valid_until),
        "labels": _labels((*intel.classifications, *intel.behaviors)),
        "confidence": _CONFIDENCE.get(intel.confidence or ""),
        "object_marking_refs": _markings(intel.indicator.get("tlp")),
    }
    if page is not None:
        publisher, prefix = page
        indicator["external_references"] = [{"source_name": publisher, "url": prefix + address}]
    return _without_empty(indicator)


def feed_indicators(
    feed: str, indicator: Indicator, *, now: float, valid: float, withdrawn: bool = False
) -> list[StixObject]:
    """Return a feed's indicator as objects: one per :data:`MAX_OBJECT_KEYS` keys, none without.

    An indicator without an end is valid for *valid* seconds from *now* and has to be sent again
    before then. A *withdrawn* indicator ends now, whatever its own validity.
    """
    until = now if withdrawn else indicator.valid_until
    if until is None:
        until = max(now, indicator.valid_from) + valid
    shared: StixObject = {
        "name": clean_text(f"Indicator of feed {feed}", MAX_STIX_NAME_LENGTH),
        "description": f"From a feed that signinwatch reads; there it is {_bounded(indicator.id)}.",
        "indicator_types": _labels(indicator.types),
        **_validity(indicator.valid_from or indicator.modified, until),
        "labels": _labels((f"feed:{feed}", *indicator.labels)),
        "confidence": indicator.confidence,
        "object_marking_refs": _markings(indicator.tlp),
    }
    return [
        _without_empty(
            {
                **_head(part_id(feed, indicator.id, number), first=indicator.modified, now=now),
                "pattern": _pattern(keys, destination=indicator.destination),
                **shared,
            }
        )
        for number, keys in enumerate(_in_parts(indicator.keys))
    ]


def part_id(feed: str, indicator: str, number: int) -> str:
    """Return the object id, by feed name, original id and number of the part."""
    return _id("feed", feed, indicator, *([str(number)] if number else []))


def for_readers_only(tlp: str | None) -> bool:
    """Return True if a TLP marking forbids sharing: TLP red or amber+strict."""
    return tlp is not None and _level(tlp) in _KEPT_TO_READERS


def _head(name: str, *, first: float, now: float) -> StixObject:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": name,
        "created": _stamp(min(first, now)),
        "modified": _stamp(now),
        "pattern_type": "stix",
    }


def _id(*parts: str) -> str:
    """Return the id of what the parts name; the first of them are names of ours."""
    return f"indicator--{uuid5(_OURS, chr(0).join(parts))}"


def _validity(start: float, end: float) -> StixObject:
    """Return both ends: the end must be after the start (STIX 2.1 section 4.7)."""
    end = min(end, LAST_STIX_TIMESTAMP)
    return {
        "valid_from": _stamp(start if start < end else end - 1),
        "valid_until": _stamp(end),
    }


def _stamp(seconds: float) -> str | None:
    return iso_of(min(max(seconds, 0.0), LAST_STIX_TIMESTAMP))


def _pattern(keys: Sequence[str], *, destination: bool = False) -> str:
    """Return a pattern that matches any of *keys*, canonical addresses and networks."""
    return f"[{' OR '.join(_comparison(key, destination=destination) for key in keys)}]"


def _comparison(key: str, *, destination: bool) -> str:
    kind = "ipv6-addr:value" if ":" in key else "ipv4-addr:value"
    if destination:
        kind = "network-traffic:dst_ref.value"
    escaped = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"{kind} {'ISSUBSET' if '/' in key else '='} '{escaped}'"


def _in_parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + MAX_OBJECT_KEYS] for start in range(0, len(keys), MAX_OBJECT_KEYS)]


def _labels(names: Iterable[str]) -> list[str]:
    cleaned = (clean_text(name, MAX_LABEL_LENGTH) for name in names)
    return list(dict.fromkeys(name for name in cleaned if name))[:MAX_LABELS]


def _markings(tlp: str | None) -> list[str]:
    marking = _MARKINGS.get(_level(tlp or ""))
    return [f"marking-definition--{marking}"] if marking else []


def _level(tlp: str) -> str:
    return tlp.strip().lower().removeprefix("tlp:")


def _bounded(text: str) -> str:
    return clean_text(text, MAX_STIX_NAME_LENGTH) or "nameless"


def _without_empty(properties: StixObject) -> StixObject:
    return {name: value for name, value in properties.items() if value is not None and value != []}
