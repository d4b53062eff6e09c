"""What no feed may cause: findings about addresses that everybody uses, or about whole networks.

The shipped list is ``schemas/intel/never_named.toml``. Classes of feeds are believed; only that an
address is bad is not.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from schemas.events.addresses import Networks

if TYPE_CHECKING:
    from collections.abc import Iterable

OWN_LIST = "GUARD__NEVER_NAMED"
DEFAULT_WIDEST = 16
"""Shortest prefix length of an IPv4 network that a feed may name; twice that for IPv6."""


@cache
def _shipped() -> tuple[tuple[str, Networks], ...]:
    text = resources.files("schemas.intel").joinpath("never_named.toml").read_text("utf-8")
    return tuple(
        (part["name"], Networks(part["networks"])) for part in tomllib.loads(text)["parts"]
    )


class FeedGuard:
    """Says which indicators are not believed, and why."""

    def __init__(self, never_named: Iterable[str] = ()) -> None:
        """*never_named* are the user's own networks, beside the shipped ones."""
        self._parts = (*_shipped(), (OWN_LIST, Networks(never_named)))

    def refusal(self, address: str, key: str, widest: int) -> str | None:
        """Return why a feed's indicator *key* is not believed about an address, or None.

        *widest* is the shortest IPv4 prefix length that the feed may name.
        """
        _, slash, length = key.partition("/")
        if slash and int(length) < (widest * 2 if ":" in key else widest):
            return f"{key} is wider than WIDEST allows"
        name = next((name for name, networks in self._parts if address in networks), None)
        return None if name is None else f"{address} is of {name}, which no feed may name"
