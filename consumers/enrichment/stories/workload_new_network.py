"""A service principal from a network that it never used.

A job that moves among the addresses of its provider stays in its network. A program that is in a
new network every few days, as shared build agents are, says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject

MAX_NETWORKS = 4
"""Networks of a program on earlier days, beyond which a new one says nothing."""


def workload_new_network(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if it.person or not it.succeeded or not it.established or not it.new_network or it.shared:
        return None
    known = sum(first < it.day for first, _ in it.account.networks.values())
    if known > MAX_NETWORKS:
        return None
    return f"the program never used {it.network}; it was in {known} networks before"
