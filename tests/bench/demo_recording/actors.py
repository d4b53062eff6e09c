"""The addresses that the demonstration turns on: the planted bad ones and the decoys."""

from __future__ import annotations

from tests.bench.demo_recording.company import OFFICES, Network
from tests.bench.demo_recording.intel import Actor, Item, actor, with_nulls

_BULK = Network(64801, "NL", "Noord-Holland", "Amsterdam", 52.37403, 4.88969)
_CHEAP = Network(64805, "RO", "Bucuresti", "Bucharest", 44.43225, 26.10626)
_EAST = Network(64809, "SG", "", "Singapore", 1.28967, 103.85007)
_TUNNEL = Network(64812, "SE", "Stockholms lan", "Stockholm", 59.32938, 18.06871)
_ONION = Network(64816, "DE", "Berlin", "Berlin", 52.52437, 13.41053)
_STREET = Network(64820, "BR", "Sao Paulo", "Sao Paulo", -23.5475, -46.63611)
_PROXY = Network(64824, "GB", "England", "London", 51.50853, -0.12574)
_SCANNER = Network(64828, "US", "California", "San Diego", 32.71571, -117.16472)
_CACHE = Network(64832, "NL", "Noord-Holland", "Amsterdam", 52.37403, 4.88969)
_RELAY = Network(64836, "GB", "England", "Leeds", 53.79648, -1.54785)
_MOBILE = Network(64661, "GB", "England", "Manchester", 53.48095, -2.23743)
_HOME = Network(64640, "GB", "England", "Leeds", 53.79648, -1.54785)
_WATCH = Network(64840, "IE", "Leinster", "Dublin", 53.33306, -6.24889)

_GUESSING = "http:bruteforce cloud:bruteforce"
_RENTED = "range:data_center community-blocklist"

PLANTED: dict[str, Actor] = {
    "take_over": actor(
        "11.84.201.37",
        _BULK,
        "BULKRACK",
        "malicious",
        5,
        "Password spray against more than sixty accounts; one password is valid and the account"
        " is taken over.",
        kinds=_RENTED,
        behaviors=_GUESSING,
    ),
    "spray_two": actor(
        "11.84.206.112",
        _BULK,
        "BULKRACK",
        "malicious",
        5,
        "Second IP address of the password spray, without success.",
        kinds=_RENTED,
        behaviors=_GUESSING,
    ),
    "spray_three": actor(
        "7.163.40.9",
        _EAST,
        "STRAITS-COMPUTE",
        "malicious",
        4,
        "Third IP address of the password spray, without success.",
        kinds=_RENTED,
        behaviors=_GUESSING,
    ),
    "phish": actor(
        "6.119.88.204",
        _CHEAP,
        "CHEAPCORES",
        "malicious",
        4,
        "A phishing site relays a user's sign-in including MFA, then uses the stolen token.",
        kinds=_RENTED,
        behaviors="http:scan",
        host="mail-verify.cheapcores.example",
    ),
    "stopped": actor(
        "214.37.9.142",
        _TUNNEL,
        "FJORD-TUNNEL-VPN",
        "suspicious",
        3,
        "An attacker behind a VPN has a user's valid password; only MFA stops them.",
        kinds="proxy:vpn range:data_center",
        behaviors=_GUESSING,
    ),
    "tor_known": actor(
        "215.90.14.66",
        _ONION,
        "ONION-FRIENDS",
        "known",
        1,
        "Success through a Tor exit without a bad reputation: still suspicious.",
        kinds="proxy:tor",
        behaviors="http:crawl",
        host="exit-14.onion-friends.example",
    ),
    "tor_malicious": actor(
        "215.90.77.3",
        _ONION,
        "ONION-FRIENDS",
        "malicious",
        4,
        "Success through a malicious Tor exit: a former employee's account, never closed.",
        kinds="proxy:tor community-blocklist",
        behaviors="http:bruteforce http:scan",
    ),
    "principal": actor(
        "11.203.52.181",
        _CHEAP,
        "CHEAPCORES",
        "malicious",
        5,
        "The deployment service principal signs in from a rented server: its secret was leaked.",
        kinds=_RENTED,
        behaviors="http:scan tcp:scan",
    ),
    "six": actor(
        "2d0e:7a40:19:c3::8f21",
        _EAST,
        "STRAITS-COMPUTE",
        "malicious",
        4,
        "Malicious IPv6 address: password guessing at night, once with success.",
        kinds=_RENTED,
        behaviors=_GUESSING,
    ),
    "okta": actor(
        "29.241.6.190",
        _STREET,
        "RUA-FIBRA",
        "suspicious",
        3,
        "Okta success through a residential proxy on a different continent.",
        kinds="profile:proxy connection-type:residential",
        behaviors="http:scan",
    ),
    "adfs": actor(
        "7.22.145.250",
        _BULK,
        "BULKRACK",
        "malicious",
        5,
        "Brute force against an account at AD FS: over 150 wrong passwords in an hour.",
        kinds=_RENTED,
        behaviors="generic:bruteforce http:bruteforce",
    ),
    "corporate": actor(
        "26.203.64.20",
        _PROXY,
        "SHARED-EGRESS",
        "suspicious",
        3,
        "Corporate proxy with many users, a compromised device among them: stays Low.",
        kinds="corporate-proxy:zscaler",
        behaviors="http:scan",
    ),
    "imap": actor(
        "6.44.171.83",
        _CHEAP,
        "CHEAPCORES",
        "suspicious",
        3,
        "A shared mailbox read over IMAP, without MFA, from a rented server.",
        kinds="range:data_center",
        behaviors=_GUESSING,
    ),
    "carrier": actor(
        "33.171.8.77",
        _MOBILE,
        "MOORLAND-MOBILE",
        "malicious",
        3,
        "A mobile carrier's shared address with a bad reputation: a user's own phone.",
        kinds="connection-type:mobile",
        behaviors="http:bruteforce",
    ),
    "noise": actor(
        "7.198.3.61",
        _EAST,
        "STRAITS-COMPUTE",
        "malicious",
        4,
        "Background noise: a few guesses at accounts that do not exist.",
        kinds="range:data_center",
        behaviors="http:bruteforce tcp:scan",
    ),
}
"""Bad addresses: each has at least one sign-in that becomes a finding."""

DECOYS: dict[str, Actor] = {
    "scanner": actor(
        "214.118.60.5",
        _SCANNER,
        "INTERNET-CENSUS",
        "benign",
        2,
        "Internet census that tries logins; CrowdSec calls it benign.",
        kinds="scanner:shodan",
        behaviors="http:scan tcp:scan",
        host="census5.internet-census.example",
    ),
    "cdn": actor(
        "55.210.18.90",
        _CACHE,
        "EDGE-CACHE",
        "suspicious",
        3,
        "Exit of a content network: its reports are false positives, whatever its reputation.",
        behaviors="http:scan",
        false="cdn:cloudflare_exit_node",
    ),
    "office": actor(
        OFFICES[0].address,
        OFFICES[0].network,
        "NORTHWIND-INSTRUMENTS",
        "known",
        1,
        "The company's own office, seen once in somebody's logs: known is not bad.",
        behaviors="http:crawl",
    ),
    "monitor": actor(
        "21.130.44.12",
        _WATCH,
        "UPTIME-WATCH",
        "safe",
        1,
        "The uptime service that the company pays for: safe.",
        behaviors="http:crawl",
        host="probe12.uptime-watch.example",
    ),
    "relay": actor(
        "55.172.33.140",
        _RELAY,
        "RELAY-EGRESS",
        "unknown",
        0,
        "iCloud Private Relay without a bad report: an employee's phone.",
        kinds="proxy:icloud-private-relay",
    ),
    "relay_six": actor(
        "2d0a:9c01:e0:2b::61d4",
        _RELAY,
        "RELAY-EGRESS",
        "safe",
        0,
        "iCloud Private Relay over IPv6, marked safe: an employee's phone.",
        kinds="proxy:icloud-private-relay",
        false="proxy:icloud-private-relay",
    ),
    "vpn": actor(
        "214.37.30.8",
        _TUNNEL,
        "FJORD-TUNNEL-VPN",
        "unknown",
        0,
        "A VPN that an employee pays for: a VPN alone is no finding.",
        kinds="proxy:vpn",
    ),
    "nulls": with_nulls(
        actor(
            "28.114.250.77",
            _HOME,
            "DALES-BROADBAND",
            "unknown",
            0,
            "A home; CrowdSec's answer is full of nulls.",
        )
    ),
    "faded": actor(
        "28.119.250.13",
        _HOME,
        "DALES-BROADBAND",
        "unknown",
        1,
        "A home whose router was infected a year ago; its reputation has faded to unknown.",
        kinds="connection-type:residential",
        behaviors="tcp:scan",
    ),
    "neighbour": actor(
        "33.171.8.16",
        _MOBILE,
        "MOORLAND-MOBILE",
        "known",
        1,
        "A mobile carrier's shared address that CrowdSec merely knows.",
        kinds="connection-type:mobile",
    ),
}
"""Addresses that CrowdSec knows and that must not become findings."""


def items() -> dict[str, Item]:
    """Return CrowdSec's items by address; it knows no other address."""
    return {one.place.address: one.item for one in (*PLANTED.values(), *DECOYS.values())}


def truth() -> dict[str, dict[str, str]]:
    """Return the stories by address, the planted ones and the decoys."""
    return {
        kind: {one.place.address: one.story for one in actors.values()}
        for kind, actors in (("planted", PLANTED), ("decoys", DECOYS))
    }
