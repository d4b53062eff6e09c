"""The index of keys, where its edges are."""

from __future__ import annotations

import pytest

from schemas.intel.address_index import AddressIndex, EveryKey
from tests.contracts.support_ledger import A, B, C


def index_of(*keys: str) -> AddressIndex:
    """Return an index of keys."""
    index = AddressIndex()
    for key in keys:
        index.add(key)
    return index


def test_an_empty_index_names_nothing() -> None:
    """And has nothing to take out."""
    index = AddressIndex()
    index.discard(A)
    index.discard("81.2.69.0/24")
    assert (len(index), index.networks) == (0, 0)
    assert index.matching([A, B]) == []
    assert index.keys_of(A) == index.keys_of(B) == []


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("81.2.68.255", False),
        ("81.2.69.0", True),
        ("81.2.69.255", True),
        ("81.2.70.0", False),
        ("2a02:8107:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("2a02:8108::", True),
        ("2a02:8108:ffff:ffff:ffff:ffff:ffff:ffff", True),
        ("2a02:8109::", False),
    ],
)
def test_the_edges_of_a_network(address: str, inside: bool) -> None:
    """Its first and last address are in it."""
    index = index_of("81.2.69.0/24", "2a02:8108::/32")
    assert index.matching([address]) == ([address] if inside else [])
    assert bool(index.keys_of(address)) == inside


def test_the_two_kinds_are_not_mixed_up() -> None:
    """The same bits in a network of the other kind are another network."""
    index = index_of("81.2.64.0/20", f"{0x5102:x}:4000::/20")
    index.discard("81.2.64.0/20")
    assert index.keys_of(A) == []
    assert index.networks == 1


def test_what_is_added_twice_is_in_once() -> None:
    """One discard takes it out."""
    index = index_of(A, A, "81.2.69.0/24", "81.2.69.0/24", B)
    assert (len(index), index.networks) == (3, 1)
    index.discard(A)
    index.discard("81.2.69.0/24")
    assert index.keys_of(A) == []
    assert index.matching([A, B, C]) == [B]


def test_among_keeps_order_and_repeats() -> None:
    """It filters, no more."""
    index = index_of(A, "2a02:8108::/32")
    assert index.matching([B, C, A, A, B]) == [B, A, A, B]


def test_every_key_of_an_address() -> None:
    """The address, and each length of prefix but none at all."""
    four, six = EveryKey().keys_of(A), EveryKey().keys_of(B)
    assert (len(four), four[0], four[1], four[8], four[-1]) == (
        32,
        A,
        "81.2.69.160/31",
        "81.2.69.0/24",
        "0.0.0.0/1",
    )
    assert (len(six), six[0], six[-1]) == (128, B, "::/1")
