"""Client addresses: their canonical form, and which of them can be looked up.

The special ranges are those of the IANA special-purpose address registries (RFC 6890 and its
updates). They are listed here, not taken from :mod:`ipaddress`, which classifies the same address
differently in different Python releases, and calls multicast, NAT64 and 6to4 global.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from enum import Enum
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_ADDRESS_LENGTH = 64
"""Longest notation of an address with brackets, zone and port."""


class Unusable(Enum):
    """Why a text in an address field is not an address that can be looked up."""

    MISSING = "address missing"
    NOT_AN_ADDRESS = "not an address"
    A_NETWORK = "a network, not an address"
    UNSPECIFIED = "unspecified address"
    PRIVATE = "private address"
    LOOPBACK = "loopback address"
    LINK_LOCAL = "link-local address"
    SHARED = "carrier-grade NAT address"
    MULTICAST = "multicast address"
    DOCUMENTATION = "documentation address"
    RESERVED = "reserved address"


SPECIAL_V4 = {
    "0.0.0.0/8": Unusable.UNSPECIFIED,
    "10.0.0.0/8": Unusable.PRIVATE,
    "100.64.0.0/10": Unusable.SHARED,
    "127.0.0.0/8": Unusable.LOOPBACK,
    "169.254.0.0/16": Unusable.LINK_LOCAL,
    "172.16.0.0/12": Unusable.PRIVATE,
    "192.0.0.0/24": Unusable.RESERVED,
    "192.0.2.0/24": Unusable.DOCUMENTATION,
    "192.88.99.0/24": Unusable.RESERVED,
    "192.168.0.0/16": Unusable.PRIVATE,
    "198.18.0.0/15": Unusable.RESERVED,
    "198.51.100.0/24": Unusable.DOCUMENTATION,
    "203.0.113.0/24": Unusable.DOCUMENTATION,
    "224.0.0.0/4": Unusable.MULTICAST,
    "240.0.0.0/4": Unusable.RESERVED,
}
SPECIAL_V6 = {
    "::/128": Unusable.UNSPECIFIED,
    "::1/128": Unusable.LOOPBACK,
    "2001::/23": Unusable.RESERVED,
    "2001:db8::/32": Unusable.DOCUMENTATION,
    "3fff::/20": Unusable.DOCUMENTATION,
    "fc00::/7": Unusable.PRIVATE,
    "fe80::/10": Unusable.LINK_LOCAL,
    "fec0::/10": Unusable.PRIVATE,
    "ff00::/8": Unusable.MULTICAST,
}
_GLOBAL_UNICAST_V6 = (0x2000 << 112, 0x4000 << 112)
"""2000::/3, the only block that IANA hands out for global unicast (RFC 4291 section 2.4)."""

MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
NAT64 = bytes.fromhex("0064ff9b0000000000000000")  # 64:ff9b::/96, RFC 6052 section 2.1
SIX_TO_FOUR = b"\x20\x02"  # 2002::/16, RFC 3056 section 2

Ranges = tuple[list[int], list[tuple[int, Unusable]]]


def _ranges(special: dict[str, Unusable]) -> Ranges:
    networks = sorted((ipaddress.ip_network(text), why) for text, why in special.items())
    starts = [int(network.network_address) for network, _ in networks]
    return starts, [(int(network.broadcast_address), why) for network, why in networks]


_V4 = _ranges(SPECIAL_V4)
_V6 = _ranges(SPECIAL_V6)


def _special(number: int, ranges: Ranges) -> Unusable | None:
    starts, ends = ranges
    place = bisect_right(starts, number) - 1
    if place >= 0 and number <= ends[place][0]:
        return ends[place][1]
    return None


def _judge_v4(packed: bytes) -> str | Unusable:
    return _special(int.from_bytes(packed), _V4) or inet_ntop(AF_INET, packed)


def _judge_v6(packed: bytes) -> str | Unusable:
    if packed[:12] in (MAPPED, NAT64):
        return _judge_v4(packed[12:])
    if packed[:2] == SIX_TO_FOUR:
        return _judge_v4(packed[2:6])
    number = int.from_bytes(packed)
    first, end = _GLOBAL_UNICAST_V6
    why = _special(number, _V6)
    if why is None and not first <= number < end:
        why = Unusable.RESERVED
    return why or inet_ntop(AF_INET6, packed)


def _without_port_and_zone(text: str) -> str:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return text.partition("%")[0]


def usable_address(value: object) -> str | Unusable:
    """Return the canonical public address in *value*, or the reason that there is none.

    Accepts ``a.b.c.d`` and IPv6 in any notation, with or without a port (``a.b.c.d:port``,
    ``[v6]:port``) or a zone. Addresses that embed an IPv4 address (mapped, NAT64, 6to4) become
    that address. The canonical form is dotted decimal, or RFC 5952 for IPv6. Never raises.
    """
    if value is None:
        return Unusable.MISSING
    if not isinstance(value, str):
        return Unusable.NOT_AN_ADDRESS
    text = value.strip()
    if text in ("", "-", "<null>"):
        return Unusable.MISSING
    if len(text) > MAX_ADDRESS_LENGTH:
        return Unusable.NOT_AN_ADDRESS
    if "/" in text:
        return Unusable.A_NETWORK
    text = _without_port_and_zone(text)
    try:
        if ":" in text:
            return _judge_v6(inet_pton(AF_INET6, text))
        return _judge_v4(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        return Unusable.NOT_AN_ADDRESS


class AddressMemo(dict[object, "str | Unusable"]):
    """Caches the result of :func:`usable_address` by text; bounded.

    Look up with ``memo[text]``: a hit costs one dictionary access, which is what makes this step
    cheaper than everything around it. A full cache is emptied, because tracking the order of use
    would cost more than parsing again.
    """

    def __init__(self, most: int = 65_536) -> None:
        super().__init__()
        self._most = most

    def __missing__(self, text: object) -> str | Unusable:
        """Parse a text seen for the first time."""
        answer = usable_address(text)
        if text is None or (isinstance(text, str) and len(text) <= MAX_ADDRESS_LENGTH):
            if len(self) >= self._most:
                self.clear()
            self[text] = answer
        return answer


class AddressesMemo(dict[tuple[object, ...], tuple[str, ...]]):
    """Caches the distinct addresses of a combination of address fields; bounded.

    The key is the values of all fields together, because most records repeat them.
    """

    def __init__(self, single: AddressMemo, most: int = 65_536) -> None:
        super().__init__()
        self._single = single
        self._most = most

    def __missing__(self, values: tuple[object, ...]) -> tuple[str, ...]:
        """Resolve a combination seen for the first time."""
        answers = [self._single[value] for value in values]
        found = tuple(dict.fromkeys(entry for entry in answers if isinstance(entry, str)))
        if all(value is None or len(str(value)) <= MAX_ADDRESS_LENGTH for value in values):
            if len(self) >= self._most:
                self.clear()
            self[values] = found
        return found


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _unmapped(network: Network) -> Network:
    """Return the IPv4 network of a mapped IPv6 network, since addresses are unmapped too."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return ipaddress.ip_network((int(inner), network.prefixlen - 96))
    return network


class Networks:
    """A set of networks; ``address in networks`` tests a canonical address."""

    def __init__(self, networks: Iterable[str]) -> None:
        """*networks* are CIDRs; ValueError names an invalid one."""
        parsed = [_unmapped(ipaddress.ip_network(text.strip(), strict=False)) for text in networks]
        self._by_version: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for network in parsed:
            self._by_version[network.version].append(
                (int(network.network_address), int(network.netmask))
            )

    def __contains__(self, address: str) -> bool:
        networks = self._by_version[6 if ":" in address else 4]
        if not networks:
            return False
        number = int(ipaddress.ip_address(address))
        return any(number & mask == start for start, mask in networks)
