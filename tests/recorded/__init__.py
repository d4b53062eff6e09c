"""Recorded-looking events of every shape and table, with what must be read from them.

The data is invented. Addresses are public ones, because documentation ranges are never judged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from schemas.events.decode import Decoded, Decoder
from schemas.events.tables import Tables, load_tables

if TYPE_CHECKING:
    from schemas.events.outcomes import Outcome
    from schemas.events.sign_in import Details, SignIn

Record = dict[str, Any]

V4 = "81.2.69.160"
OTHER_V4 = "93.184.216.34"
V6 = "2a02:8108::5"
ENTRA_TENANT = "0f0e0d0c-1111-4222-8333-444455556666"
WORKSPACE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
FALLBACK = datetime(2031, 5, 6, 12, 0, tzinfo=UTC)
"""The time that an event without any gets."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be read from a recorded event."""

    table: str
    account: str
    outcome: Outcome
    event_id: str
    event_time: datetime
    addresses: tuple[str, ...] = (V4,)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded-looking event. ``shape`` is the letter of the reference, ``form`` its sign."""

    name: str
    shape: str
    form: str
    record: Record = field(repr=False)
    expected: Expected


def at(hour: int, minute: int, second: int = 0, microsecond: int = 0) -> datetime:
    """Return a moment of the day on which everything happens."""
    return datetime(2031, 5, 6, hour, minute, second, microsecond, tzinfo=UTC)


@cache
def every_table() -> Tables:
    """Return the shipped tables, all chosen."""
    return load_tables(["all"])


def encoded(value: Any) -> bytes:
    """Write *value* the way services do: compact, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decoded(body: bytes, tables: Tables | None = None) -> Decoded:
    """Decode *body* with a fresh decoder, by all shipped tables unless told otherwise."""
    return Decoder(tables or every_table()).decode(body)


def only(found: Decoded) -> SignIn:
    """Return the one sign-in that there must be."""
    assert (found.records, len(found.signins)) == (1, 1), found
    return found.signins[0]


def details_of(signin: SignIn) -> Details:
    """Read everything of *signin*."""
    return signin.details(enqueued=None, fallback_time=FALLBACK)


def read(record: Record, tables: Tables | None = None) -> Details:
    """Send one record through in the usual wrapper and read everything."""
    return details_of(only(decoded(encoded({"records": [record]}), tables)))


def summary(details: Details) -> Expected:
    """Return of *details* what an expectation tells."""
    return Expected(
        table=details.table,
        account=details.account,
        outcome=details.outcome,
        event_id=details.event_id,
        event_time=details.event_time,
        addresses=tuple(address for address, _ in details.addresses),
    )


def lowered(value: Any) -> Any:
    """Lower all names in *value*, the way some collectors do."""
    if isinstance(value, dict):
        return {name.lower(): lowered(inner) for name, inner in value.items()}
    return [lowered(inner) for inner in value] if isinstance(value, list) else value
