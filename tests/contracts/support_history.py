"""What the suites of the history share: what sign-ins say, and what is kept of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from consumers.enrichment.history_entries import AccountEntry, GroupEntry, LocationEntry, pseudonym
from schemas.durations import DAY_SECONDS
from schemas.events.outcomes import Outcome
from schemas.events.ranking_signals import Signals
from schemas.ledger_ports import EntrySpace

if TYPE_CHECKING:
    from schemas.ledger_ports import Ledger

ADA, BO = "ada@example.net", "bo@example.net"
NOON = 20_000.5 * DAY_SECONDS


def signals(account: str = ADA, outcome: Outcome = Outcome.SUCCESS, **more: Any) -> Signals:
    """Return what a sign-in says."""
    told: dict[str, Any] = {
        "person": True,
        "interactive": True,
        "risk_level": "",
        "risk_state": "",
        "device": "",
        "compliant": None,
        "as_number": 3320,
        "country": "de",
        "client": "",
        "event": "1",
    }
    return Signals(account=account, outcome=outcome, **(told | more))


def failed(account: str = ADA, **more: Any) -> Signals:
    """Return what a failure says."""
    return signals(account, Outcome.FAILURE, **more)


async def account_in(ledger: Ledger, name: str) -> AccountEntry | None:
    """Return what is kept of an account."""
    key = f"a|{pseudonym(name)}"
    found = await ledger.get_entries(EntrySpace.HISTORY, [key])
    return msgspec.msgpack.decode(found[key], type=AccountEntry) if found else None


async def place_in(ledger: Ledger, place: str) -> LocationEntry | None:
    """Return what is kept of a place."""
    found = await ledger.get_entries(EntrySpace.HISTORY, [f"p|{place}"])
    return msgspec.msgpack.decode(found[f"p|{place}"], type=LocationEntry) if found else None


async def group_in(ledger: Ledger, key: str) -> GroupEntry | None:
    """Return what is kept of a network or a bad address."""
    found = await ledger.get_entries(EntrySpace.HISTORY, [key])
    return msgspec.msgpack.decode(found[key], type=GroupEntry) if found else None


def names(*accounts: str) -> set[str]:
    """Return what stands for accounts."""
    return set(map(pseudonym, accounts))


def never(key: str, mine: bytes, theirs: bytes) -> bytes:
    """Join nothing: there must be nothing to join."""
    raise AssertionError((key, mine, theirs))
