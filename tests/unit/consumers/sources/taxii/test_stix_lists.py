"""Patterns that are too long to parse, and only list addresses."""

from __future__ import annotations

from consumers.sources.taxii.stix_pattern import Pattern, read_pattern
from schemas.intel.indicators import WhySkipped
from tests.unit.consumers.sources.taxii.test_stix_pattern import IS_A, A


def test_a_long_list_of_addresses_is_read() -> None:
    """Whole, however it is written; anything else between the addresses is not read at all."""
    listed = [f"145.110.{n // 250}.{n % 250 + 1}" for n in range(2_000)]
    tests = [f"ipv4-addr:value = '{address}'" for address in listed]
    together = ", ".join(repr(address) for address in listed)
    for long in (
        f"[{' OR '.join(tests)}]",
        " OR ".join(f"[{test}]" for test in tests),
        f"[ipv4-addr:value IN ({together})]",
        f"[ipv4-addr:value IN ({together}) OR {IS_A}]",
    ):
        found = read_pattern(long)
        assert isinstance(found, Pattern)
        assert list(found.keys) == [*listed, A][: len(found.keys)]
        assert len(found.keys) >= len(listed)
    for odd in (
        f"[{' AND '.join(tests)}]",
        f"[{' OR '.join(tests)} OR url:value = 'x']",
        f"[{' OR '.join(tests)}] WITHIN 5 SECONDS",
        f"[ipv4-addr:value NOT IN ({together})]",
        f"[ipv4-addr:value IN ({together} x)]",
        f"[NOT {' OR '.join(tests)}]",
    ):
        assert read_pattern(odd) is WhySkipped.UNREADABLE
    assert read_pattern(" ".join(["OR"] * 20_000)) is WhySkipped.NO_ADDRESS
    assert read_pattern("[" * 3_000_000) is WhySkipped.UNREADABLE
