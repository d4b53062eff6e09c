"""Prefix-preserving pseudonymisation of IP addresses. Pure.

Two IP addresses share their first n bits after the replacement exactly if they did before, as with
Crypto-PAn (Xu, Fan, Ammar and Moon, 2002): a keyed function of the preceding bits flips each bit or
not. So networks of any size stay networks, and no IP address can be recovered without the key. If
one is recognised by the activity there, the first bits of its neighbours are known too.

Special-purpose ranges are preserved, and public IP addresses stay public: bits on the path to a
special range (see :mod:`schemas.events.addresses`) are kept, at most its first 16, and a result
inside a special range is replaced again until it is outside. A special IP address keeps the bits
of its range; unspecified and loopback addresses are kept entirely, as they identify nothing. This
has two costs:

- Prefixes are not preserved exactly in 192.0.0.0/16, 192.88.0.0/16, 198.51.0.0/16, 203.0.0.0/16,
  2001::/16, 3fff::/16, ::/16 and 64::/16, which contain small special ranges. There a few networks
  move within that /16, each as a whole.
- Up to 16 first bits of a public IP address are kept near a special range: 192.169.x.y becomes
  192.169.v.w. Elsewhere it is mostly three to eight bits.

An IPv6 address that embeds an IPv4 address (mapped, NAT64, 6to4) embeds its replacement, so that
the pipeline still treats both as the same.
"""

from __future__ import annotations

import ipaddress
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from schemas.events.addresses import MAPPED, NAT64, SIX_TO_FOUR, SPECIAL_V4, SPECIAL_V6

MAX_KEPT_PREFIX = 16
"""Bits on the path to a special range that a public IP address keeps; more would reveal its
owner."""
_WHOLE = {"0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"}
_CARRIERS = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2000::/3")

Node = tuple[int, int]
"""A prefix: its length in bits, and the bits."""


class _Family:
    """The special ranges of an IP version, and the ``fixed`` prefixes on the path to them."""

    def __init__(self, width: int, special: tuple[str, ...], paths: tuple[str, ...] = ()) -> None:
        self.width = width
        self.ranges: dict[Node, int] = {}
        self.fixed: set[Node] = set()
        for text in (*special, *paths):
            network = ipaddress.ip_network(text)
            bits, length = int(network.network_address), network.prefixlen
            if text != "2000::/3":  # all that is public
                node = (length, bits >> (width - length))
                self.ranges[node] = width if text in _WHOLE else length
            self.fixed |= {
                (depth, bits >> (width - depth)) for depth in range(min(length, MAX_KEPT_PREFIX))
            }
        self.lengths = sorted({length for length, _ in self.ranges})

    def range_of(self, number: int) -> Node | None:
        """Return the special range that contains an IP address, or None."""
        for length in self.lengths:
            node = (length, number >> (self.width - length))
            if node in self.ranges:
                return node
        return None


_V4 = _Family(32, tuple(SPECIAL_V4))
_V6 = _Family(128, tuple(SPECIAL_V6), _CARRIERS)


class AddressMap:
    """The replacement of IP addresses with a key of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def replaced(self, text: str) -> str | None:
        """Return the replacement of an IP address in standard notation; None for other text."""
        try:
            if ":" in text:
                return inet_ntop(AF_INET6, self._v6(inet_pton(AF_INET6, text)))
            return inet_ntop(AF_INET, self._replaced(inet_pton(AF_INET, text), _V4))
        except (OSError, ValueError):
            return None

    def _v6(self, packed: bytes) -> bytes:
        if packed[:12] in (MAPPED, NAT64):
            return packed[:12] + self._replaced(packed[12:], _V4)
        if packed[:2] == SIX_TO_FOUR:
            return (
                SIX_TO_FOUR + self._replaced(packed[2:6], _V4) + self._flipped(packed, _V6, 0)[6:]
            )
        return self._replaced(packed, _V6)

    def _replaced(self, packed: bytes, family: _Family) -> bytes:
        inside = family.range_of(int.from_bytes(packed))
        found = self._flipped(packed, family, family.ranges[inside] if inside else 0)
        # This ends: flipping is one-to-one, so it returns to the IP address itself.
        while family.range_of(int.from_bytes(found)) != inside:
            found = self._flipped(found, family, 0)
        return found

    def _flipped(self, packed: bytes, family: _Family, keep: int) -> bytes:
        """Flip bits after the first *keep*; a hash per byte decides for all paths through it."""
        found = bytearray()
        before = 0
        for index, byte in enumerate(packed):
            digest = blake2b(packed[:index], key=self._key, person=b"address %d" % family.width)
            flips = int.from_bytes(digest.digest())
            new, path = 0, 1
            for bit in range(8):
                depth, value = index * 8 + bit, byte >> (7 - bit) & 1
                kept = depth < keep or (depth, before) in family.fixed
                new = new << 1 | (value if kept else value ^ (flips >> path & 1))
                path, before = path << 1 | value, before << 1 | value
            found.append(new)
        return bytes(found)
