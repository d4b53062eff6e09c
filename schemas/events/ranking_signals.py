"""The properties of a sign-in that rank its address for a lookup.

Read for every sign-in without a verdict while lookups are scarce, so reading is fast: by the usual
field names first, and ignoring case only if those have no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from schemas.events.lenient_json import embedded_object
from schemas.events.outcomes import Outcome
from schemas.events.record_outcomes import outcome_of
from schemas.events.record_reader import RecordReader
from schemas.events.sign_in import as_number, known_object_id
from schemas.values import clean_bool, clean_text

if TYPE_CHECKING:
    from schemas.events.fast_decoder import FieldPath
    from schemas.events.sign_in import SignIn

MAX_SIGNAL_LENGTH = 200
"""Maximum length of a name."""
PEOPLE = ("", "member", "guest", "user")
"""Account types of people; any other type is a program."""


class Signals(msgspec.Struct, frozen=True, gc=False):
    """What the ranking reads from a sign-in. Texts are in lower case, empty if not recorded."""

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
    """The id of the event, if it has one."""
    object_id: str = ""
    """The object id of the account, by which it is known whatever its name is."""


class _ExactReader(RecordReader):
    """Reads fields by their exact names, which avoids folding all names of a record."""

    __slots__ = ()

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self._parsed = {}

    def at(self, place: FieldPath) -> Any:
        """Return the value at *place*, or None."""
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
        object_id=known_object_id(text("account_object_id")) or "",
    )
