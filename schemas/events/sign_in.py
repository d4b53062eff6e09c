"""Sign-ins, and their details, which are read from the record on demand.

A :class:`SignIn` is cheap: most come from addresses with a benign verdict and need no more than
their address.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import orjson

from schemas.events.addresses import usable_address
from schemas.events.lenient_json import MAX_DEPTH, parse_object
from schemas.events.outcomes import (
    RESULT_WORDS,
    Outcome,
    number_of,
    outcome_of_code,
    outcome_of_status,
    outcome_of_word,
)
from schemas.events.tables import RecordFormat, Scalar, joined
from schemas.events.times import is_plausible, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.tables import FieldPath, JoinedPaths

MAX_VALUE_LENGTH = 1_024
"""Maximum length of a text from an event. The service truncates at 64 KB."""

_EMPTY_VALUES = frozenset(("", "-", "<null>"))
_DEEPEST_NAMES = 8
"""Depth of :func:`fold_names`; the longest field path of a layout has four names."""
_TENANT_IN_RESOURCE = re.compile(r"/tenants/([0-9a-fA-F-]{36})(?:/|$)")
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, bidirectional marks and lone surrogates."""


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """The details of a sign-in: what a finding needs, and what the ledger stores while it waits.

    ``addresses`` pairs each canonical address with its original text, first choice first.
    Times are UTC. Missing, null and empty all become None.
    """

    table: str
    event_id: str
    event_time: datetime
    addresses: tuple[tuple[str, str], ...]
    account: str
    outcome: Outcome
    enqueued: datetime | None = None
    account_object_id: str | None = None
    account_type: str | None = None
    aad_tenant_id: str | None = None
    application: str | None = None
    app_id: str | None = None
    resource_name: str | None = None
    result_code: str | None = None
    result_description: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    unique_token_identifier: str | None = None
    client_app_used: str | None = None
    user_agent: str | None = None
    is_interactive: bool | None = None
    authentication_requirement: str | None = None
    conditional_access_status: str | None = None
    device_id: str | None = None
    device_compliant: bool | None = None
    risk_level: str | None = None
    risk_state: str | None = None
    sign_in_country: str | None = None
    sign_in_city: str | None = None
    sign_in_as_number: int | None = None


_TEXT_COLUMNS = [
    "account_object_id",
    "application",
    "app_id",
    "resource_name",
    "result_description",
    "correlation_id",
    "session_id",
    "unique_token_identifier",
    "client_app_used",
    "user_agent",
    "authentication_requirement",
    "conditional_access_status",
    "device_id",
    "risk_level",
    "risk_state",
    "sign_in_country",
    "sign_in_city",
]


def clean_text(value: object, longest: int = MAX_VALUE_LENGTH) -> str | None:
    """Return *value* as bounded text without control characters, or None if empty."""
    if type(value) is str:
        text = value[:longest].strip()
        if not (text.isascii() and text.isprintable()):
            text = _CONTROL.sub("�", text)
        return None if text in _EMPTY_VALUES else text
    if value is None or isinstance(value, dict | list):
        return None
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    text = text[:longest].strip()
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub("�", text)
    return None if text in _EMPTY_VALUES else text


def clean_bool(value: object) -> bool | None:
    """Return *value* as a boolean, from a boolean, 0 or 1, or a word; else None."""
    if isinstance(value, bool):
        return value
    if number_of(value) in (0, 1):
        return number_of(value) == 1
    words = {"true": True, "yes": True, "false": False, "no": False}
    return words.get(value.strip().lower()) if isinstance(value, str) else None


@cache
def lowered(place: FieldPath) -> FieldPath:
    """Return a field path in lower case."""
    return tuple(part.lower() for part in place)


_ZONE = " [utc]"
"""What the Logs portal adds to the names of times in its exports."""


class RecordReader:
    """Reads fields of a record, ignoring the case of names.

    An object in a text is read like an object. Of a list of objects the first is used. An empty
    value counts as missing.
    """

    __slots__ = ("_parsed", "record")

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = fold_names(record)
        if zoned := [name for name in self.record if name.endswith(_ZONE)]:
            bare = {name.removesuffix(_ZONE): self.record[name] for name in zoned}
            self.record = bare | self.record
        self._parsed: dict[str, dict[str, Any] | None] = {}

    def at(self, place: FieldPath) -> Any:
        """Return the value at *place*, or None."""
        value: Any = self.record
        for part in lowered(place):
            if type(value) is not dict:
                value = self._object_in(value)
                if value is None:
                    return None
            value = value.get(part)
        return value

    def _object_in(self, value: Any) -> dict[str, Any] | None:
        """Return an object: itself, parsed from a text, or the first of a list; else None."""
        if isinstance(value, str):
            if value not in self._parsed:
                found = parse_object(value)
                self._parsed[value] = None if found is None else fold_names(found)
            return self._parsed[value]
        first = value[0] if isinstance(value, list) and value else None
        return fold_names(first) if isinstance(first, dict) else None

    def first(self, alternatives: Iterable[JoinedPaths]) -> Scalar:
        """Return the value of the first of *alternatives* that has one, or None."""
        for alternative in alternatives:
            if len(alternative) == 1:
                value = self.at(alternative[0])
                if value is None:
                    continue
            else:
                value = joined([self.at(place) for place in alternative])
            if type(value) is str:
                if value[:MAX_VALUE_LENGTH].strip() not in _EMPTY_VALUES:
                    return value
            elif isinstance(value, str | int | float) and clean_text(value) is not None:
                return value
        return None


def fold_names(record: dict[str, Any], depth: int = _DEEPEST_NAMES) -> dict[str, Any]:
    """Return *record* with names in lower case; of equal names the first with a value is used."""
    folded: dict[str, Any] = {}
    for name, value in record.items():
        low = name.lower()
        if folded.get(low) in (None, ""):
            inner = isinstance(value, dict) and depth > 0
            folded[low] = fold_names(value, depth - 1) if inner else value
    return folded


def is_risky(level: Scalar) -> bool:
    """Return True if Entra ID itself rates the sign-in as risky."""
    return isinstance(level, str) and level.lower() in ("low", "medium", "high")


class Records(Protocol):
    """Access to the records of a message body; ``size`` is its approximate size in bytes."""

    size: int

    def record(self, index: int) -> dict[str, Any]:
        """Return the record at *index*. Never raises."""

    def raw(self, index: int) -> bytes:
        """Return the bytes of the record at *index*."""


class SignIn(msgspec.Struct, gc=False):
    """A readable record of an enabled table that has a usable public address.

    ``addresses`` are the distinct canonical addresses, first choice first. ``written`` is the raw
    time at which the record was written, if the fast path decoded it. A struct rather than a
    class, because every record needs an instance.
    """

    form: RecordFormat
    table: str
    addresses: tuple[str, ...]
    raw_address: Scalar
    source: Records
    index: int
    risk: Scalar = None
    """Entra ID's risk level, raw."""
    late_columns: tuple[Scalar, ...] | None = None
    """The raw first values of ``tables.LATE_COLUMNS``, if they were decoded."""

    def record_time(self) -> datetime | None:
        """Return when the record was written, else the event time; None without either."""
        time = parse_time(self.raw_address)
        if time is None:
            reader = RecordReader(self.source.record(self.index))
            for column in ("emitted", "event_time"):
                time = time or parse_time(reader.first(self.form.columns.get(column, ())))
        return time

    def details(self, *, enqueued: datetime | None, fallback_time: datetime) -> Details:
        """Read everything. The event time falls back to *enqueued*, then to *fallback_time*."""
        record = self.source.record(self.index)
        reader = RecordReader(record)
        columns = self.form.columns

        def first(column: str) -> Scalar:
            return reader.first(columns.get(column, ()))

        texts = {column: clean_text(first(column)) for column in _TEXT_COLUMNS}
        read = [parse_time(reader.first((paths,))) for paths in columns.get("event_time", ())]
        times = [time for time in read if time is not None]
        event_time = next(filter(is_plausible, times), None) or next(iter(times), None)
        return Details(
            table=self.table,
            event_id=_event_id(first("event_id"), reader, self.form),
            event_time=event_time or enqueued or fallback_time,
            addresses=tuple(self._spelled(reader)),
            account=(clean_text(first("account")) or "").lower(),
            outcome=outcome_of(reader, self.form),
            enqueued=enqueued,
            account_type=clean_text(first("account_type")) or self.form.account_type,
            aad_tenant_id=_tenant(reader, columns.get("aad_tenant_id", ())),
            result_code=clean_text(first("result")),
            is_interactive=clean_bool(first("is_interactive")),
            device_compliant=clean_bool(first("device_compliant")),
            sign_in_as_number=as_number(first("sign_in_as_number")),
            **texts,
        )

    def _spelled(self, reader: RecordReader) -> Iterable[tuple[str, str]]:
        written = {
            usable_address(reader.at(place)): reader.at(place)
            for (place,) in reversed(self.form.columns["address"])
        }
        for address in self.addresses:
            yield address, clean_text(written.get(address)) or address


def _tenant(reader: RecordReader, alternatives: Iterable[JoinedPaths]) -> str | None:
    text = clean_text(reader.first(alternatives))
    if text and (inside := _TENANT_IN_RESOURCE.search(text)):
        return inside.group(1)
    return None if text and "/" in text else text


def as_number(value: object) -> int | None:
    """Return *value* as the number of an autonomous system, or None."""
    number = number_of(value)
    return number if number is not None and 0 < number < 2**31 else None


def _event_id(own: Scalar, reader: RecordReader, form: RecordFormat) -> str:
    """Return the source's own id, else ``_ItemId``, else a hash of the canonical record."""
    text = clean_text(own, longest=MAX_VALUE_LENGTH + 1)
    if text is None and form.row:
        text = clean_text(reader.at(("_ItemId",)), longest=MAX_VALUE_LENGTH + 1)
    if text is None:
        return record_hash(reader.record)
    return text if len(text) <= MAX_VALUE_LENGTH else record_hash({"id": text})


def record_hash(record: dict[str, Any]) -> str:
    """Return a hash that is independent of the order of names and of white space."""
    try:
        canonical = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a lone surrogate, a number beyond 64 bits, or too deep for orjson
        canonical = json.dumps(_shallow(record, MAX_DEPTH), sort_keys=True).encode()
    return hashlib.sha256(canonical).hexdigest()[:32]


def _shallow(value: Any, depth: int) -> Any:
    """Return *value* with None below *depth* levels, because json recurses on the stack."""
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {name: _shallow(inner, depth - 1) for name, inner in value.items()}
    return [_shallow(inner, depth - 1) for inner in value]


def outcome_of(reader: RecordReader, form: RecordFormat) -> Outcome:
    """Return the outcome of the sign-in, which each table records differently."""
    places = form.columns.get("result", ())
    results = [reader.first((paths,)) for paths in places]
    match form.outcome:
        case "code":
            return outcome_of_code(*results)
        case "status":
            return next(
                (
                    found
                    for found in map(outcome_of_status, results)
                    if found is not Outcome.UNKNOWN
                ),
                Outcome.UNKNOWN,
            )
        case "audit":
            return _audit_outcome(reader, form)
        case "cloudtrail":
            return _cloudtrail_outcome(*results)
        case "word":
            return _word_outcome(results, form)
        case _:
            return Outcome.UNKNOWN


def _word_outcome(results: list[Scalar], form: RecordFormat) -> Outcome:
    for result in results:
        word = str(result).strip().lower() if result is not None else ""
        if word in form.success:
            return Outcome.SUCCESS
        if word in form.failure:
            return Outcome.FAILURE
        known = RESULT_WORDS.get(word) or outcome_of_word(result)
        if known is not Outcome.UNKNOWN:
            return known
    return Outcome.UNKNOWN


def _audit_outcome(reader: RecordReader, form: RecordFormat) -> Outcome:
    """Microsoft 365 audit records: for sign-ins the operation decides, never ``ResultStatus``.

    Recorded ``UserLoginFailed`` events mostly say ``ResultStatus`` "Success".
    """
    operation = str(reader.first(form.columns["operation"]) or "").lower()
    if operation == "userloggedin":
        return Outcome.SUCCESS
    if operation == "userloginfailed":
        given = outcome_of_code(number_of(reader.at(("ErrorNumber",))))
        known = (Outcome.PASSWORD_ACCEPTED, Outcome.INTERRUPTED)
        return given if given in known else Outcome.FAILURE
    return outcome_of_word(reader.at(("ResultStatus",)))


def _cloudtrail_outcome(error: Scalar, console: Scalar) -> Outcome:
    """AWS: a console sign-in has a response; any other call succeeded if it has no error."""
    given = outcome_of_word(console)
    if given is not Outcome.UNKNOWN:
        return given
    return Outcome.SUCCESS if error is None else Outcome.FAILURE
