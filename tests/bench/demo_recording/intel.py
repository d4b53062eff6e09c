"""How CrowdSec would speak of the demonstration's addresses.

All of it is invented: the items have the shape of CrowdSec's CTI answers and say nothing about
whoever may hold such an address.
"""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

from tests.bench.demo_recording.company import Network, Place

Item = dict[str, Any]


class Actor(NamedTuple):
    """A place that CrowdSec knows, the story told with it, and CrowdSec's item."""

    place: Place
    story: str
    item: Item


_LABELS = {
    "http:bruteforce": "HTTP Bruteforce",
    "cloud:bruteforce": "Cloud Bruteforce",
    "http:scan": "HTTP Scan",
    "tcp:scan": "TCP Scan",
    "http:crawl": "HTTP Crawl",
    "generic:bruteforce": "Generic Bruteforce",
    "proxy:vpn": "VPN",
    "proxy:tor": "Tor exit node",
    "profile:proxy": "Proxy",
    "range:data_center": "Data center range",
    "connection-type:residential": "Residential connection",
    "connection-type:mobile": "Mobile connection",
    "corporate-proxy:zscaler": "Zscaler corporate proxy",
    "proxy:icloud-private-relay": "iCloud Private Relay",
    "scanner:shodan": "Shodan scanner",
    "cdn:cloudflare_exit_node": "CDN exit node",
    "community-blocklist": "Community blocklist",
}
_BAD_RANGES = {"malicious": 4, "suspicious": 3, "known": 1}
_SEEN = ("2025-11-14T04:15:00+00:00", "2026-03-01T21:45:00+00:00", 108, 107)


def _labelled(names: str) -> list[Item]:
    described = ((name, _LABELS.get(name, name)) for name in names.split())
    return [{"name": name, "label": label, "description": f"{label}."} for name, label in described]


def _score(total: int) -> Item:
    below = max(total - 1, 0)
    return {
        "aggressiveness": total,
        "threat": below,
        "trust": total,
        "anomaly": below // 2,
        "total": total,
    }


def _range(address: str) -> tuple[str, str | None]:
    """Return the announced range and the /24, which IPv6 has not."""
    if ":" in address:
        return str(ipaddress.ip_network(f"{address}/48", strict=False)), None
    whole, near = (ipaddress.ip_network(f"{address}/{bits}", strict=False) for bits in (20, 24))
    return str(whole), str(near)


def actor(
    address: str,
    network: Network,
    holder: str,
    reputation: str,
    total: int,
    story: str,
    *,
    kinds: str = "",
    behaviors: str = "",
    false: str = "",
    host: str | None = None,
) -> Actor:
    """Return an actor. *total* is CrowdSec's score, *kinds* and the like are its names."""
    bad = _BAD_RANGES.get(reputation, 0)
    whole, near = _range(address)
    first, last, age, days = _SEEN
    item = {
        "ip": address,
        "reputation": reputation,
        "confidence": ("none", "low", "low", "medium", "high", "high")[total],
        "background_noise": ("none", "low", "low", "medium", "medium", "high")[total],
        "background_noise_score": total * 2,
        "ip_range": whole,
        "ip_range_score": bad,
        "ip_range_24": near,
        "ip_range_24_reputation": reputation if bad and near else None,
        "ip_range_24_score": bad if near else None,
        "proxy_or_vpn": "proxy:" in kinds,
        "as_name": holder,
        "as_num": network.asn,
        "reverse_dns": host,
        "location": {
            "country": network.country,
            "city": network.city,
            "latitude": network.latitude,
            "longitude": network.longitude,
        },
        "history": {"first_seen": first, "last_seen": last, "full_age": age, "days_age": days},
        "behaviors": _labelled(behaviors),
        "attack_details": _attacks(behaviors),
        "classifications": {
            "false_positives": _labelled(false),
            "classifications": _labelled(kinds),
        },
        "mitre_techniques": _techniques(behaviors),
        "cves": [],
        "references": [],
        "target_countries": {"GB": 41, "NL": 33, "US": 26} if bad > 1 else {},
        "scores": {
            "overall": _score(total),
            "last_day": _score(max(total - 2, 0)),
            "last_week": _score(max(total - 1, 0)),
            "last_month": _score(total),
        },
    }
    return Actor(Place(address, network), story, item)


def _attacks(behaviors: str) -> list[Item]:
    if "bruteforce" not in behaviors:
        return []
    text = {"label": "HTTP Bruteforce", "description": "Generic HTTP login brute force."}
    return [{"name": "crowdsecurity/http-generic-bf", **text, "references": []}]


def _techniques(behaviors: str) -> list[Item]:
    if "bruteforce" not in behaviors:
        return []
    return [{"name": "T1110", "label": "Brute Force", "description": "Guessing credentials."}]


def with_nulls(known: Actor) -> Actor:
    """Return the actor with the nulls that production answers hold."""
    nothing = dict.fromkeys(("aggressiveness", "threat", "trust", "anomaly", "total"))
    changes: Item = {
        "reputation": None,
        "confidence": None,
        "background_noise_score": None,
        "as_name": None,
        "history": dict.fromkeys(("first_seen", "last_seen", "full_age", "days_age")),
        "behaviors": None,
        "classifications": {"false_positives": None, "classifications": None},
        "location": {"country": "GB", "city": None, "latitude": None, "longitude": None},
        "scores": dict.fromkeys(("overall", "last_day", "last_week", "last_month"), nothing),
    }
    item = {name: value for name, value in known.item.items() if name != "proxy_or_vpn"}
    return known._replace(item=item | changes)
