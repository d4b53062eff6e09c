"""Device code, password grant or legacy protocol, new to the account, from a network new to it.

A scanner that has always sent mail so, or a device code at the office, is not new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject


def new_protocol(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if not (it.new_way and it.new_network) or it.calm or it.shared:
        return None
    return f"{it.way} is new to the account, and so is the network {it.network}"
