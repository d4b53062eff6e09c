"""How stories name networks, places, programs, devices and sessions in the ledger."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network

from consumers.enrichment.history_entries import place_of, pseudonym
from schemas.events.user_agents import user_agent_of


@lru_cache(maxsize=100_000)
def network_of(address: str, as_number: int) -> str:
    """Return the autonomous system, or the /16 or /32 around the address if it is not recorded."""
    if as_number:
        return f"AS{as_number}"
    return str(ip_network(f"{address}/{32 if ':' in address else 16}", strict=False))


def device_key(device: str) -> str:
    """Return the name of a device in the ledger."""
    return pseudonym(device.lower())


def program_key(agent: str, device: str) -> str:
    """Return the program, and whether it showed a device; empty if no user agent is recorded.

    A browser that always showed a device, and does not now, is another one.
    """
    name = user_agent_of(agent).name
    return f"{name} on a device" if name and device else name


def session_key(session: str) -> str:
    """Return the name of a session in the ledger."""
    return pseudonym(session.lower())


def place_entry(address: str, as_number: int) -> str:
    """Return the key of the crowd of a place."""
    return f"g|place {place_of(address, as_number or None)}"


def network_entry(network: str) -> str:
    """Return the key of the crowd of a network."""
    return f"g|network {network}"


def agent_entry(agent: str) -> str:
    """Return the key of the crowd of a user agent, with its version."""
    return f"g|agent {pseudonym(agent)}"
