"""The index of keys against the standard library, whatever was added and taken out."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.intel.address_index import AddressIndex, EveryKey
from tests.properties.strategies import THOROUGH

FOURS = st.integers(0, 255).map(lambda n: str(IPv4Address((81 << 24) + (n << 6))))
SIXES = st.integers(0, 255).map(lambda n: str(IPv6Address((0x2A028108 << 96) + (n << 60))))
ADDRESSES = FOURS | SIXES
"""Few, and close to each other, so that networks hold some of them."""


@st.composite
def networks(draw: st.DrawFn) -> str:
    """Return a network around one of the addresses, in CIDR form."""
    address = draw(ADDRESSES)
    length = draw(st.integers(19, 127) if ":" in address else st.integers(8, 31))
    return str(ip_network((address, length), strict=False))


KEYS = ADDRESSES | networks()
CHANGES = st.lists(st.tuples(st.booleans(), KEYS), max_size=40)
"""Keys, each after whether it is added; else it is taken out."""


def holding(keys: set[str], address: str) -> list[str]:
    """Return the keys that name or hold an address, the most exact first."""
    number = ip_address(address)
    found = [ip_network(key) for key in keys]
    found = [one for one in found if one.version == number.version and number in one]
    found.sort(key=lambda one: -one.prefixlen)
    return [str(one) if one.prefixlen < one.max_prefixlen else address for one in found]


@given(changes=CHANGES, asked=st.lists(ADDRESSES, max_size=20))
@settings(THOROUGH, max_examples=300)
def test_the_index_is_right(changes: list[tuple[bool, str]], asked: list[str]) -> None:
    """Of what is in now: the addresses that it names or holds, by which keys, and how many."""
    index, keys = AddressIndex(), set[str]()
    for adding, key in changes:
        if adding:
            index.add(key)
            keys.add(key)
        else:
            index.discard(key)
            keys.discard(key)
    asked += [key for _, key in changes if "/" not in key]
    for address in asked:
        assert index.keys_of(address) == holding(keys, address)
    assert index.matching(asked) == [one for one in asked if holding(keys, one)]
    assert len(index) == len(keys)
    assert index.networks == sum("/" in key for key in keys)
    assert index.addresses == {key for key in keys if "/" not in key}


@given(keys=st.sets(KEYS, max_size=20), address=ADDRESSES)
@settings(THOROUGH, max_examples=100)
def test_every_key_has_those_that_there_are(keys: set[str], address: str) -> None:
    """What stands for an index that was not read asks for all that could be, in the same order."""
    every = EveryKey()
    assert every.matching([address]) == [address]
    assert [one for one in every.keys_of(address) if one in keys] == holding(keys, address)
