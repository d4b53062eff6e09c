"""Which addresses any indicator names: asked for every address of the stream, so it is quick.

Addresses are a set of texts. Networks are a set of numbers for each length of prefix, longest
first: lengths in use are few, and a set answers as fast as a trie written in C.
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
        """Return how many keys there are."""
        return len(self.addresses) + self.networks

    @property
    def networks(self) -> int:
        """Return how many of the keys are networks."""
        return sum(len(one) for kind in self._networks.values() for one in kind.values())

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
        """Take a key out, if it is in."""
        if "/" not in key:
            self.addresses.discard(key)
            return
        six, length, number = _parsed(key)
        networks = self._networks[six].get(length, {})
        networks.pop(number, None)
        if not networks:
            self._networks[six].pop(length, None)

    def matching(self, addresses: Iterable[str]) -> list[str]:
        """Return those addresses that a key names or holds."""
        exact = self.addresses
        if not (self._networks[False] or self._networks[True]):
            return [one for one in addresses if one in exact]
        return [one for one in addresses if one in exact or self._held(one)]

    def keys_of(self, address: str) -> list[str]:
        """Return all keys that name or hold an address, the most exact first."""
        found = [address] if address in self.addresses else []
        six = ":" in address
        bits, number = _number(address, six)
        for length, networks in self._networks[six].items():
            if (key := networks.get(number >> (bits - length))) is not None:
                found.append(key)
        return found

    def _held(self, address: str) -> bool:
        six = ":" in address
        lengths = self._networks[six]
        if not lengths:
            return False
        bits, number = _number(address, six)
        return any(number >> (bits - length) in networks for length, networks in lengths.items())


class EveryKey(AddressIndex):
    """Stands for an index that was not read: every key that could name an address.

    For looking at a few addresses in a file of many.
    """

    def matching(self, addresses: Iterable[str]) -> list[str]:
        """Return all of them: any may be named."""
        return list(addresses)

    def keys_of(self, address: str) -> list[str]:
        """Return the address, and every network that holds it, the most exact first."""
        bits = 128 if ":" in address else 32
        lengths = range(bits - 1, 0, -1)
        return [address, *(str(ip_network((address, one), strict=False)) for one in lengths)]


def _number(address: str, six: bool) -> tuple[int, int]:
    if six:
        return 128, int.from_bytes(inet_pton(AF_INET6, address))
    return 32, int.from_bytes(inet_pton(AF_INET, address))


def _parsed(key: str) -> tuple[bool, int, int]:
    """Return family, length and bits of a canonical network; there may be many to read."""
    address, _, length = key.partition("/")
    six = ":" in address
    bits, number = _number(address, six)
    return six, int(length), number >> (bits - int(length))
