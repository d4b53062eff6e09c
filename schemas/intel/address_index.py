"""Index of the addresses and networks in all indicators. Fast: queried for every sign-in.

Addresses are a set of strings. Networks are a set of integers per prefix length, longest first:
few lengths are in use, and a set lookup is as fast as a trie written in C.
"""

from __future__ import annotations

from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class AddressIndex:
    """A set of canonical addresses and networks."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()
        self._networks: dict[bool, dict[int, dict[int, str]]] = {False: {}, True: {}}

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.addresses) + self.networks

    @property
    def networks(self) -> int:
        """Return the number of keys that are networks."""
        return sum(len(keys) for lengths in self._networks.values() for keys in lengths.values())

    def add(self, key: str) -> None:
        """Add an address or a network."""
        if "/" not in key:
            self.addresses.add(key)
            return
        six, length, number = _parsed(key)
        lengths = self._networks[six]
        if length not in lengths:
            lengths[length] = {}
            self._networks[six] = dict(sorted(lengths.items(), reverse=True))
        self._networks[six][length][number] = key

    def discard(self, key: str) -> None:
        """Remove a key if present."""
        if "/" not in key:
            self.addresses.discard(key)
            return
        six, length, number = _parsed(key)
        networks = self._networks[six].get(length, {})
        networks.pop(number, None)
        if not networks:
            self._networks[six].pop(length, None)

    def matching(self, addresses: Iterable[str]) -> list[str]:
        """Return the addresses that equal a key or lie in a network."""
        exact = self.addresses
        if not (self._networks[False] or self._networks[True]):
            return [address for address in addresses if address in exact]
        return [address for address in addresses if address in exact or self._in_network(address)]

    def keys_of(self, address: str) -> list[str]:
        """Return all keys that match an address, most specific first."""
        found = [address] if address in self.addresses else []
        six = ":" in address
        bits, number = _number(address, six)
        for length, networks in self._networks[six].items():
            if (key := networks.get(number >> (bits - length))) is not None:
                found.append(key)
        return found

    def _in_network(self, address: str) -> bool:
        six = ":" in address
        lengths = self._networks[six]
        if not lengths:
            return False
        bits, number = _number(address, six)
        return any(number >> (bits - length) in networks for length, networks in lengths.items())


class EveryKey(AddressIndex):
    """Substitute for an index that was not loaded: yields every key that may match an address.

    Use it to look up a few addresses in a large file.
    """

    def matching(self, addresses: Iterable[str]) -> list[str]:
        """Return all addresses: any of them may match."""
        return list(addresses)

    def keys_of(self, address: str) -> list[str]:
        """Return the address and every network that contains it, most specific first."""
        bits = 128 if ":" in address else 32
        prefixes = range(bits - 1, 0, -1)
        networks = (str(ip_network((address, prefix), strict=False)) for prefix in prefixes)
        return [address, *networks]


def _number(address: str, six: bool) -> tuple[int, int]:
    if six:
        return 128, int.from_bytes(inet_pton(AF_INET6, address))
    return 32, int.from_bytes(inet_pton(AF_INET, address))


def _parsed(key: str) -> tuple[bool, int, int]:
    """Return family, prefix length and prefix bits of a canonical network."""
    address, _, length = key.partition("/")
    six = ":" in address
    bits, number = _number(address, six)
    return six, int(length), number >> (bits - int(length))
