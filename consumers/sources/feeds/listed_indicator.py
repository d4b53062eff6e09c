"""An address that a list or an engine names, as the STIX indicator that a feed would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.events.times import iso_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def listed_indicator(
    identity: str, key: str, now: float, end: float | None, labels: Sequence[str]
) -> dict[str, Any]:
    """Return the indicator of an address or network; the first of its *labels* is its reputation.

    It has no begin, because such sources do not say since when. Times are seconds since the epoch.
    """
    kind = "ipv6-addr" if ":" in key else "ipv4-addr"
    return {
        "type": "indicator",
        "id": identity,
        "created": iso_of(now),
        "modified": iso_of(now),
        "valid_from": iso_of(0.0),
        "valid_until": iso_of(end),
        "pattern_type": "stix",
        "pattern": f"[{kind}:value = '{key}']",
        "indicator_types": ["malicious-activity"] if labels[0] == "malicious" else [],
        "labels": list(labels),
    }
