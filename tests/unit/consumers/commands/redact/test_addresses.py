"""Replacing addresses: networks stay networks, special stays special, and nothing can be told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.commands.redact.addresses import AddressMap
from consumers.commands.redact.redactor import Redactor
from schemas.events.addresses import usable_address
from tests.properties.strategies import THOROUGH
from tests.recorded import encoded, every_table

KEY = bytes(range(64))
MAP = AddressMap(KEY)

_V4 = st.integers(0, 2**32 - 1).map(ip_address)
_NEAR_V4 = st.sampled_from([10, 100, 126, 127, 128, 169, 172, 192, 198, 203, 223, 224])
_V4S = _V4 | st.builds(
    lambda first, rest: ip_address(first << 24 | rest), _NEAR_V4, st.integers(0, 2**24 - 1)
)
_V6S = st.integers(0x2000 << 112, (0x4000 << 112) - 1).map(ip_address) | st.integers(
    0, 2**128 - 1
).map(ip_address)
_GAPS = ("192.0.", "192.88.", "198.51.", "203.0.", "2001:", "3fff:", "::", "0:", "64:")


def _shared(one: Any, other: Any) -> int:
    """Return how many first bits two addresses share."""
    return int(one.max_prefixlen) - (int(one) ^ int(other)).bit_length()


def _new(address: Any) -> Any:
    new = MAP.replaced(str(address))
    assert new is not None
    return ip_address(new)


def _text(text: str) -> str:
    """Return what becomes of a text in a record."""
    return str(orjson.loads(Redactor(KEY, every_table()).message(encoded([text])))[0])


def _in_gap(address: Any) -> bool:
    number = int(address) >> (address.max_prefixlen - 16)
    first = f"{number >> 8}.{number & 255}." if address.version == 4 else f"{number:x}:"
    return first in _GAPS or (address.version == 6 and number == 0x2002)


@given(_V4S | _V6S, st.integers(0, 128), st.integers(0, 2**128 - 1))
@THOROUGH
def test_networks_stay_networks(one: Any, shared: int, noise: int) -> None:
    """Two addresses share as many first bits as before, whatever network they lie in."""
    width = one.max_prefixlen
    other = type(one)(int(one) ^ (noise & (2**width - 1)) >> min(shared, width))
    before, after = _shared(one, other), _shared(_new(one), _new(other))
    if _in_gap(one) and _in_gap(other) and before >= 16:
        assert after >= 16
    else:
        assert after == before


@pytest.mark.parametrize("network", ["192.0.0.", "203.0.112.", "203.0.114.", "198.51.99."])
def test_near_small_special_ranges_a_24_stays_one(network: str) -> None:
    """And its owner is not told by it."""
    found = [_new(ip_address(f"{network}{n}")) for n in (1, 77, 200)]
    assert min(_shared(found[0], one) for one in found) >= 24
    assert _shared(_new(ip_address("203.0.112.1")), _new(ip_address("203.0.112.2"))) >= 24


@given(_V4S | _V6S)
@THOROUGH
def test_special_stays_special_and_public_stays_public(address: Any) -> None:
    """For the same reason."""
    before, after = usable_address(str(address)), usable_address(str(_new(address)))
    assert before == after or (isinstance(before, str) and isinstance(after, str))


@given(_V4, st.sampled_from(["{}:443", "::ffff:{}", "64:ff9b::{}", " {} ", "{}%eth0", "[{}]:1"]))
@THOROUGH
def test_one_address_stays_one_in_any_spelling(address: Any, spelling: str) -> None:
    """Canonical equality is kept."""
    before = usable_address(spelling.format(address))
    after = usable_address(_text(spelling.format(address)))
    expected = usable_address(_text(str(address)))
    if isinstance(before, str):
        assert (before, after) == (str(address), expected)
    assert (after == expected) == (before == usable_address(str(address)))


def test_six_to_four_and_loopback() -> None:
    """The carried address decides; loopback and unspecified addresses are kept whole."""
    assert usable_address(_text("2002:5102:45a0::1")) == usable_address(_text("81.2.69.160"))
    for same in ("127.0.0.1", "0.0.0.0", "::1", "::"):  # noqa: S104 - an address
        assert _text(same) == same


def test_no_two_addresses_become_one() -> None:
    """A whole /16 that holds a small special range is shuffled, one to one."""
    every = [ip_address((203 << 24) + n * 7) for n in range(2**16 // 7)]
    assert len(set(map(_new, every))) == len(every)
