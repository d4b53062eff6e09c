"""Addresses replaced by others so that their structure stays. Pure.

Two addresses share their first n bits after the replacement exactly when they did before, as with
Crypto-PAn (Xu, Fan, Ammar and Moon, 2002): each bit is turned or left by a keyed function of the
bits before it. So networks of any size stay networks, and no address can be told without the key.
Who recognises one all the same, by what happened there, knows the first bits of its neighbours.

Special-purpose ranges stay what they are, and public addresses stay public: the bits that lead to
a special range (those of :mod:`schemas.events.addresses`) are left as they are, its 16 first at
most, and what would still come to lie in one is replaced again until it does not. Of a special
address the bits of its range are kept; unspecified and loopback addresses are kept whole, for they
tell nothing. The price, in both directions: - The exactness has a gap for addresses in
192.0.0.0/16, 192.88.0.0/16, 198.51.0.0/16, 203.0.0.0/16, 2001::/16, 3fff::/16, ::/16 and 64::/16,
which hold small special ranges. There a few networks move within that /16, each as a whole. - Up
to 16 first bits of a public address are kept where a special range is near: 192.169.x.y becomes
192.169.v.w. Elsewhere it is mostly three to eight. An address that carries an IPv4 one (mapped,
NAT64, 6to4) carries its replacement after, so what is one address to the pipeline stays one.
"""

from __future__ import annotations

import ipaddress
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from schemas.events.addresses import MAPPED, NAT64, SIX_TO_FOUR, SPECIAL_V4, SPECIAL_V6

MAX_KEPT_PREFIX = 16
"""Bits on the way to a special range that a public address keeps; more would name its owner."""
_WHOLE = {"0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"}
_CARRIERS = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "2000::/3")

Node = tuple[int, int]
"""How many bits, and which."""


class _Family:
    """The special ranges of one kind of address: ``ranges`` by their bits, ``fixed`` ways there."""

    def __init__(self, width: int, special: tuple[str, ...], ways: tuple[str, ...] = ()) -> None:
        self.width = width
        self.ranges: dict[Node, int] = {}
        self.fixed: set[Node] = set()
        for text in (*special, *ways):
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
        """Return the special range that holds an address."""
        for length in self.lengths:
            node = (length, number >> (self.width - length))
            if node in self.ranges:
                return node
        return None


_V4 = _Family(32, tuple(SPECIAL_V4))
_V6 = _Family(128, tuple(SPECIAL_V6), _CARRIERS)


class AddressMap:
    """The replacement under one key, of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def replaced(self, text: str) -> str | None:
        """Return the replacement of an address, in the usual spelling; None for other text."""
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
            return SIX_TO_FOUR + self._replaced(packed[2:6], _V4) + self._turned(packed, _V6, 0)[6:]
        return self._replaced(packed, _V6)

    def _replaced(self, packed: bytes, family: _Family) -> bytes:
        inside = family.range_of(int.from_bytes(packed))
        found = self._turned(packed, family, family.ranges[inside] if inside else 0)
        # This ends: the turning is one-to-one, so it comes round to the address itself.
        while family.range_of(int.from_bytes(found)) != inside:
            found = self._turned(found, family, 0)
        return found

    def _turned(self, packed: bytes, family: _Family, keep: int) -> bytes:
        """Turn bits after the first *keep*; one hash tells the turns of all ways into a byte."""
        found = bytearray()
        before = 0
        for index, byte in enumerate(packed):
            digest = blake2b(packed[:index], key=self._key, person=b"address %d" % family.width)
            turns = int.from_bytes(digest.digest())
            new, way = 0, 1
            for bit in range(8):
                depth, one = index * 8 + bit, byte >> (7 - bit) & 1
                stays = depth < keep or (depth, before) in family.fixed
                new = new << 1 | (one if stays else one ^ (turns >> way & 1))
                way, before = way << 1 | one, before << 1 | one
            found.append(new)
        return bytes(found)
