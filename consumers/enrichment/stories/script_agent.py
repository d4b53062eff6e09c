"""A success of an HTTP library or tool from a network that is new to the account.

Left out: a program that the account used before; a service that many colleagues use from the same
network; and servers of an application that act for a session which began on a usual network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers.enrichment.stories.subject import Subject


MAX_AGENT_LENGTH = 60


def script_agent(it: Subject) -> str | None:
    """Return what was seen, or None."""
    if not (it.person and it.succeeded and it.script and it.new_agent and it.new_network):
        return None
    if it.shared or it.common or it.serves_application:
        return None
    agent = (it.details.user_agent or "")[:MAX_AGENT_LENGTH]
    return f"a script ({agent}) succeeded from {it.network}; both are new to the account"
