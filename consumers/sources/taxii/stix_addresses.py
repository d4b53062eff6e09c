"""The addresses and networks in STIX patterns: which text is one, and which are public."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum

from schemas.events.addresses import (
    MAPPED,
    NAT64,
    SIX_TO_FOUR,
    SPECIAL_V4,
    SPECIAL_V6,
    Network,
    Unusable,
    usable_address,
)
from schemas.intel.indicators import WhySkipped

WIDEST_V4 = 8
"""Shortest prefix length. No network may be larger than the largest blocks that IANA assigns."""
WIDEST_V6 = 19
_ADDRESS = re.compile(r"([0-9A-Fa-f:.]{2,45})(?:/([0-9]{1,3}))?")


class AddressRole(Enum):
    """The properties of a pattern that may contain an address."""

    V4 = "ipv4-addr"
    V6 = "ipv6-addr"
    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class AddressTest:
    """A test of a pattern that an address makes true."""

    key: str
    role: AddressRole
    version: int
    """4 or 6, as written in the pattern."""


def address_test(text: str, role: AddressRole) -> AddressTest | WhySkipped:
    """Return the test for the address or network *text*, or the reason why it is skipped.

    A port or a zone is not part of an address. The text decides on the version, not the type that
    the pattern gives it.
    """
    match = _ADDRESS.fullmatch(text.strip())
    colons = text.count(":")
    version = 6 if colons else 4
    if match is None or colons == 1:
        return WhySkipped.NO_ADDRESS
    address, prefix = match.groups()
    key = _address_key(address) if prefix is None else _network_key(address, int(prefix))
    return key if isinstance(key, WhySkipped) else AddressTest(key, role, version)


def _address_key(text: str) -> str | WhySkipped:
    result = usable_address(text)
    if isinstance(result, str):
        return result
    none = result in (Unusable.NOT_AN_ADDRESS, Unusable.MISSING)
    return WhySkipped.NO_ADDRESS if none else WhySkipped.NOT_PUBLIC


def _network_key(address: str, prefix: int) -> str | WhySkipped:
    try:
        network = _embedded_ipv4(ipaddress.ip_network(f"{address}/{prefix}", strict=False))
    except ValueError:
        return WhySkipped.NO_ADDRESS
    if network.prefixlen == network.max_prefixlen:
        return _address_key(str(network.network_address))
    if _is_special(network):
        return WhySkipped.NOT_PUBLIC
    widest = WIDEST_V4 if network.version == 4 else WIDEST_V6
    return WhySkipped.TOO_WIDE if network.prefixlen < widest else str(network)


_CARRIERS = ((MAPPED, 96), (NAT64, 96), (SIX_TO_FOUR, 16))
"""Blocks whose addresses carry an IPv4 address, with the bit at which it starts."""


def _embedded_ipv4(network: Network) -> Network:
    """Return the IPv4 network that *network* carries, otherwise *network* itself."""
    packed = network.network_address.packed
    for begin, bits in _CARRIERS:
        if network.version == 6 and network.prefixlen >= bits and packed.startswith(begin):
            inner = packed[len(begin) : len(begin) + 4]
            prefix = min(network.prefixlen - bits, 32)
            return ipaddress.IPv4Network((inner, prefix), strict=False)
    return network


_SPECIAL_V4 = [ipaddress.IPv4Network(text) for text in SPECIAL_V4]
_SPECIAL_V6 = [ipaddress.IPv6Network(text) for text in SPECIAL_V6]
_GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
"""The only block that IANA assigns for global unicast (RFC 4291 section 2.4)."""


def _is_special(network: Network) -> bool:
    """Return True if *network* contains no public address."""
    if isinstance(network, ipaddress.IPv4Network):
        return any(network.subnet_of(special) for special in _SPECIAL_V4)
    return not network.overlaps(_GLOBAL_UNICAST_V6) or any(
        network.subnet_of(special) for special in _SPECIAL_V6
    )
