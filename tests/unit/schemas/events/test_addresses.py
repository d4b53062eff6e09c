"""Addresses: canonical form, why not, and networks."""

from __future__ import annotations

import pytest

from schemas.events.addresses import (
    MAX_ADDRESS_LENGTH,
    AddressesMemo,
    AddressMemo,
    Networks,
    Unusable,
    usable_address,
)
from tests.recorded import OTHER_V4, V4, V6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(V4, V4, id="v4"),
        pytest.param(f" {V4}\t", V4, id="white space around"),
        pytest.param(f"{V4}:39221", V4, id="v4 with port"),
        pytest.param("2A02:8108:0000:0000:0000:0000:0000:0005", V6, id="expanded capitals"),
        pytest.param("2a02:8108:0:0:0:0:0:5", V6, id="zeros written out"),
        pytest.param(f"[{V6}]", V6, id="brackets"),
        pytest.param(f"[{V6}]:54088", V6, id="brackets and port"),
        pytest.param(f"{V6}%eth0", V6, id="zone"),
        pytest.param(f"[{V6}%25eth0]:443", V6, id="zone in brackets, port"),
        pytest.param(f"::ffff:{V4}", V4, id="mapped"),
        pytest.param("::FFFF:5145:45a0", "81.69.69.160", id="mapped, in hexadecimal"),
        pytest.param(f"[::ffff:{V4}]:443", V4, id="mapped, brackets, port"),
        pytest.param("64:ff9b::5145:45a0", "81.69.69.160", id="NAT64"),
        pytest.param("2002:5145:45a0::1", "81.69.69.160", id="6to4"),
        pytest.param("2a02:0:0:1:0:0:0:1", "2a02:0:0:1::1", id="longest run of zeros shortened"),
        pytest.param("2a02:1:0:0:1:0:0:1", "2a02:1::1:0:0:1", id="first of equal runs shortened"),
        pytest.param("2a02:0:1:1:1:1:1:1", "2a02:0:1:1:1:1:1:1", id="one zero is no run"),
        pytest.param("1.0.0.1", "1.0.0.1", id="lowest v4 block"),
        pytest.param("223.255.255.255", "223.255.255.255", id="last before multicast"),
        pytest.param("172.32.0.1", "172.32.0.1", id="just after a private block"),
        pytest.param("100.128.0.1", "100.128.0.1", id="just after the shared block"),
        pytest.param("192.0.1.1", "192.0.1.1", id="between two special blocks"),
        pytest.param("2001:200::1", "2001:200::1", id="just after the protocol block"),
        pytest.param("2603:10a6::1", "2603:10a6::1", id="Microsoft's own"),
    ],
)
def test_a_public_address_has_one_form(text: str, expected: str) -> None:
    """Dotted decimal or RFC 5952, whatever the spelling."""
    assert usable_address(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, Unusable.MISSING, id="null"),
        pytest.param("", Unusable.MISSING, id="empty"),
        pytest.param("  ", Unusable.MISSING, id="white space"),
        pytest.param("-", Unusable.MISSING, id="dash"),
        pytest.param("<null>", Unusable.MISSING, id="null in words"),
        pytest.param("XX.XX.XX.XX", Unusable.NOT_AN_ADDRESS, id="masked"),
        pytest.param("Unknown IP", Unusable.NOT_AN_ADDRESS, id="words"),
        pytest.param("AWS Internal", Unusable.NOT_AN_ADDRESS, id="AWS"),
        pytest.param("ec2.amazonaws.com", Unusable.NOT_AN_ADDRESS, id="host"),
        pytest.param("ae1e2e3e-0000-4000-8000-000000000000", Unusable.NOT_AN_ADDRESS, id="GUID"),
        pytest.param("12: 192.168.1.1", Unusable.NOT_AN_ADDRESS, id="session field"),
        pytest.param("081.2.69.160", Unusable.NOT_AN_ADDRESS, id="leading zero, maybe octal"),
        pytest.param("81.2.69", Unusable.NOT_AN_ADDRESS, id="three parts"),
        pytest.param("81.2.69.256", Unusable.NOT_AN_ADDRESS, id="256"),
        pytest.param("1359103392", Unusable.NOT_AN_ADDRESS, id="one decimal number"),
        pytest.param("0x51.2.69.160", Unusable.NOT_AN_ADDRESS, id="hexadecimal"),
        pytest.param(f"{V4}, {OTHER_V4}", Unusable.NOT_AN_ADDRESS, id="two"),
        pytest.param("٨١.2.69.160", Unusable.NOT_AN_ADDRESS, id="Arabic digits"),
        pytest.param("81.2.69.160\x00", Unusable.NOT_AN_ADDRESS, id="NUL"),
        pytest.param("\ud800", Unusable.NOT_AN_ADDRESS, id="half a character"),
        pytest.param("[", Unusable.NOT_AN_ADDRESS, id="bracket"),
        pytest.param(":", Unusable.NOT_AN_ADDRESS, id="colon"),
        pytest.param("[]:443", Unusable.NOT_AN_ADDRESS, id="nothing in brackets"),
        pytest.param("1" * (MAX_ADDRESS_LENGTH + 1), Unusable.NOT_AN_ADDRESS, id="too long"),
        pytest.param(1359103392, Unusable.NOT_AN_ADDRESS, id="number"),
        pytest.param(True, Unusable.NOT_AN_ADDRESS, id="boolean"),
        pytest.param([V4], Unusable.NOT_AN_ADDRESS, id="list"),
        pytest.param({"ip": V4}, Unusable.NOT_AN_ADDRESS, id="object"),
        pytest.param("192.0.2.0/24", Unusable.A_NETWORK, id="network"),
        pytest.param(f"{V4}/32", Unusable.A_NETWORK, id="network of one"),
        pytest.param("0.0.0.0", Unusable.UNSPECIFIED, id="all zeros"),  # noqa: S104
        pytest.param("::", Unusable.UNSPECIFIED, id="all zeros, v6"),
        pytest.param("10.1.2.3", Unusable.PRIVATE, id="private 10"),
        pytest.param("172.31.255.255", Unusable.PRIVATE, id="private 172, last"),
        pytest.param("192.168.0.1:80", Unusable.PRIVATE, id="private 192, port"),
        pytest.param("fd00::1", Unusable.PRIVATE, id="unique local"),
        pytest.param("::ffff:10.0.0.1", Unusable.PRIVATE, id="mapped private"),
        pytest.param("2002:a00:1::1", Unusable.PRIVATE, id="6to4 of a private one"),
        pytest.param("64:ff9b::7f00:1", Unusable.LOOPBACK, id="NAT64 of loopback"),
        pytest.param("127.0.0.1", Unusable.LOOPBACK, id="loopback"),
        pytest.param("::1", Unusable.LOOPBACK, id="loopback, v6"),
        pytest.param("169.254.1.1", Unusable.LINK_LOCAL, id="link-local"),
        pytest.param("fe80::1%eth0", Unusable.LINK_LOCAL, id="link-local, v6, zone"),
        pytest.param("100.64.0.1", Unusable.SHARED, id="carrier-grade NAT"),
        pytest.param("100.127.255.255", Unusable.SHARED, id="carrier-grade NAT, last"),
        pytest.param("224.0.0.1", Unusable.MULTICAST, id="multicast"),
        pytest.param("ff02::1", Unusable.MULTICAST, id="multicast, v6"),
        pytest.param("192.0.2.1", Unusable.DOCUMENTATION, id="documentation 1"),
        pytest.param("198.51.100.9:44321", Unusable.DOCUMENTATION, id="documentation 2, port"),
        pytest.param("203.0.113.7", Unusable.DOCUMENTATION, id="documentation 3"),
        pytest.param("2001:0DB8:0000::5", Unusable.DOCUMENTATION, id="documentation, v6"),
        pytest.param("3fff::1", Unusable.DOCUMENTATION, id="documentation, new v6"),
        pytest.param("255.255.255.255", Unusable.RESERVED, id="broadcast"),
        pytest.param("198.18.0.1", Unusable.RESERVED, id="benchmarking"),
        pytest.param("2001::1", Unusable.RESERVED, id="Teredo"),
        pytest.param("100::1", Unusable.RESERVED, id="discard"),
        pytest.param("4000::1", Unusable.RESERVED, id="beyond global unicast"),
        pytest.param(f"::{V4}", Unusable.RESERVED, id="v4-compatible"),
    ],
)
def test_anything_else_says_why_not(value: object, expected: Unusable) -> None:
    """Every other value has one reason, which is counted."""
    assert usable_address(value) is expected


def test_the_memo_remembers_and_stays_bounded() -> None:
    """The answer is the same from memory, and memory does not grow without end."""
    memo = AddressMemo(most=3)
    for number in range(10):
        assert memo[f"81.2.69.{number}"] == f"81.2.69.{number}"
        assert memo[f"81.2.69.{number}"] == f"81.2.69.{number}"
    assert len(memo) <= 3
    assert memo["x" * 1000] is Unusable.NOT_AN_ADDRESS
    assert len(memo) <= 3


def test_the_memo_of_several_fields_keeps_order_and_drops_repeats() -> None:
    """Distinct addresses, first choice first; long texts are not kept."""
    memo = AddressesMemo(AddressMemo(), most=2)
    assert memo[(f"{V4}:1", None, V6, V4)] == (V4, V6)
    assert memo[(V6, V4)] == (V6, V4)
    assert memo[(None, "", 7)] == ()
    assert memo[("y" * 1000, V4)] == (V4,)
    assert len(memo) <= 2


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (V4, True),
        ("81.2.70.1", False),
        (V6, True),
        ("2a02:8109::5", False),
        (OTHER_V4, True),
    ],
)
def test_networks_hold_their_addresses(address: str, expected: bool) -> None:
    """Of both families, with host bits set or white space around."""
    networks = Networks([" 81.2.69.7/24 ", "2a02:8108::/32", OTHER_V4])
    assert (address in networks) is expected


def test_a_wrong_network_is_named() -> None:
    """The text that is none is in the error."""
    with pytest.raises(ValueError, match="example"):
        Networks(["example"])
