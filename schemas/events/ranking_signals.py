"""What a sign-in says about how much its address deserves a question.

Read for every sign-in whose address is unanswered while lookups are scarce: so it is read quickly,
by the names as they mostly stand, and only where those tell nothing without regard to their case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.events.lenient_json import embedded_object
from schemas.events.outcomes import Outcome
from schemas.events.sign_in import (
    RecordReader,
    as_number,
    clean_bool,
    clean_text,
    outcome_of,
)

if TYPE_CHECKING:
    from schemas.events.sign_in import SignIn
    from schemas.events.tables import FieldPath

MAX_SIGNAL_LENGTH = 200
"""Characters kept of a name."""
PEOPLE = ("", "member", "guest", "user")
"""Account types of people; any other is a program."""


class Signals(msgspec.Struct, frozen=True, gc=False):
    """What the ranking reads of a sign-in. Texts are lower case; empty where it tells nothing."""

    account: str
    outcome: Outcome
    person: bool
    interactive: bool | None
    risk_level: str
    risk_state: str
    device: str
    compliant: bool | None
    as_number: int | None
    country: str
    client: str
    event: str
    """The event's own id, where it has one."""


class _ExactReader(RecordReader):
    """Reads places by their exact names, which spares folding the names of a whole record."""

    __slots__ = ()

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self._parsed = {}

    def at(self, place: FieldPath) -> Any:
        """Return what stands at *place*, or None."""
        value: Any = self.record
        for part in place:
            if type(value) is not dict:
                value = embedded_object(value)
                if value is None:
                    return None
            value = value.get(part)
        return value


def signals_of(signin: SignIn) -> Signals:
    """Read the signals of a sign-in."""
    record = signin.source.record(signin.index)
    found = _read(signin, _ExactReader(record))
    if found.account:
        return found
    return _read(signin, RecordReader(record))


def _read(signin: SignIn, reader: RecordReader) -> Signals:
    form = signin.form
    columns = form.columns
    first = reader.first

    def text(column: str) -> str:
        value = first(columns.get(column, ()))
        if value is None:
            return ""
        if type(value) is str and value.isascii() and value.isprintable():
            return value[:MAX_SIGNAL_LENGTH].strip().lower()
        return (clean_text(value, MAX_SIGNAL_LENGTH) or "").lower()

    def truth(column: str) -> bool | None:
        value = first(columns.get(column, ()))
        return value if value is None or value is True or value is False else clean_bool(value)

    return Signals(
        account=text("account"),
        outcome=outcome_of(reader, form),
        person=(form.account_type or text("account_type")).lower() in PEOPLE,
        interactive=truth("is_interactive"),
        risk_level=text("risk_level"),
        risk_state=text("risk_state"),
        device=text("device_id"),
        compliant=truth("device_compliant"),
        as_number=as_number(first(columns.get("sign_in_as_number", ()))),
        country=text("sign_in_country"),
        client=text("client_app_used"),
        event=text("event_id"),
    )
