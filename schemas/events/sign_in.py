"""Sign-ins, and their details, which are read from the record on demand.

A :class:`SignIn` is cheap: most come from addresses with a benign verdict and need no more than
their address.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import orjson

from schemas.events.addresses import usable_address
from schemas.events.fast_decoder import Scalar
from schemas.events.lenient_json import MAX_DEPTH
from schemas.events.outcomes import Outcome
from schemas.events.record_outcomes import outcome_of
from schemas.events.record_reader import RecordReader, fold_names
from schemas.events.tables import RecordFormat
from schemas.events.times import is_plausible, parse_time
from schemas.values import MAX_VALUE_LENGTH, clean_bool, clean_text, number_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schemas.events.fast_decoder import JoinedPaths

_TENANT_IN_RESOURCE = re.compile(r"/tenants/([0-9a-fA-F-]{36})(?:/|$)")


class TimeSource(StrEnum):
    """Where the time of an event comes from, the best first."""

    RECORD = "record"
    ENVELOPE = "envelope"
    """The time that Azure Monitor writes around the record of a service."""
    ENQUEUED = "enqueued"
    """When the event hub received the message."""
    NONE = "none"
    """Nothing: the event counts as happening when it is read, and its finding has no EventTime."""


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
    authentication_protocol: str | None = None
    authentication_methods: tuple[str, ...] = ()
    incoming_token_type: str | None = None
    resource_id: str | None = None
    detections: tuple[str, ...] = ()
    """What Entra ID detected, in its own words."""
    risk_detail: str | None = None
    request_id: str | None = None
    """The id of the sign-in that a risk is about."""
    coordinates: tuple[float, float] | None = None
    """Latitude and longitude of the address, as the record has them."""
    event_time_source: TimeSource = TimeSource.RECORD


_TEXT_COLUMNS = [
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
    "authentication_protocol",
    "incoming_token_type",
    "resource_id",
    "risk_detail",
    "request_id",
]
MAX_METHODS = 10
MAX_METHOD_LENGTH = 100


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
    written: Scalar
    source: Records
    index: int
    risk: Scalar = None
    """Entra ID's risk level, raw."""
    late_columns: tuple[Scalar, ...] | None = None
    """The raw first values of ``tables.LATE_COLUMNS``, if they were decoded."""
    traits: tuple[tuple[Scalar, ...], tuple[msgspec.Raw, ...]] | None = None
    """The raw values of the format's traits, if they were decoded: those that are plain values, and
    objects that are kept as they stand."""

    def record_time(self) -> datetime | None:
        """Return when the record was written, else the event time; None without either."""
        time = parse_time(self.written)
        if time is None:
            reader = RecordReader(self.source.record(self.index))
            for column in ("emitted", "event_time"):
                time = time or parse_time(reader.first(self.form.columns.get(column, ())))
        return time

    def has_time(self) -> bool:
        """Return whether the record has a time."""
        try:
            return self.record_time() is not None
        except ValueError:  # unreadable now; quarantined when it is evaluated
            return False

    def event_time(self) -> datetime | None:
        """Return when the sign-in happened, or None if the record does not say."""
        return self._event_time(RecordReader(self.source.record(self.index)))[0]

    def details(self, *, enqueued: datetime | None, fallback_time: datetime) -> Details:
        """Read everything. The event time falls back to *enqueued*, then to *fallback_time*."""
        record = self.source.record(self.index)
        reader = RecordReader(record)
        columns = self.form.columns

        def first(column: str) -> Scalar:
            return reader.first(columns.get(column, ()))

        texts = {column: clean_text(first(column)) for column in _TEXT_COLUMNS}
        event_time, time_source = self._event_time(reader)
        if event_time is None:
            time_source = TimeSource.NONE if enqueued is None else TimeSource.ENQUEUED
        return Details(
            table=self.table,
            event_id=_event_id(first("event_id"), reader, self.form),
            event_time=event_time or enqueued or fallback_time,
            addresses=tuple(self._spelled(reader)),
            account=(clean_text(first("account")) or "").lower(),
            outcome=outcome_of(reader, self.form),
            enqueued=enqueued,
            account_object_id=known_object_id(clean_text(first("account_object_id"))),
            account_type=clean_text(first("account_type")) or self.form.account_type,
            aad_tenant_id=_tenant(reader, columns.get("aad_tenant_id", ())),
            result_code=clean_text(first("result")),
            is_interactive=clean_bool(first("is_interactive")),
            device_compliant=clean_bool(first("device_compliant")),
            sign_in_as_number=as_number(first("sign_in_as_number")),
            authentication_methods=_methods(reader, columns.get("authentication_methods", ())),
            detections=_detections(reader, columns.get("detections", ())),
            coordinates=coordinates(first("latitude"), first("longitude")),
            event_time_source=time_source,
            **texts,
        )

    def _event_time(self, reader: RecordReader) -> tuple[datetime | None, TimeSource]:
        """Return the first plausible time, else the first one, and where it stands."""
        paths = self.form.columns.get("event_time", ())
        read = [(parse_time(reader.first((path,))), path) for path in paths]
        times = [(time, path) for time, path in read if time is not None]
        plausible = [(time, path) for time, path in times if is_plausible(time)]
        if not times:
            return None, TimeSource.NONE
        time, path = (plausible or times)[0]
        within = self.form.under
        outside = within is not None and path[0][0] != within
        return time, TimeSource.ENVELOPE if outside else TimeSource.RECORD

    def _spelled(self, reader: RecordReader) -> Iterable[tuple[str, str]]:
        written = {
            usable_address(reader.at(place)): reader.at(place)
            for (place,) in reversed(self.form.columns["address"])
        }
        for address in self.addresses:
            yield address, clean_text(written.get(address)) or address


def count_without_time(signins: Iterable[SignIn]) -> int:
    """Return the number of records without a time. Texts of this century are not parsed."""
    odd = [
        signin
        for signin in signins
        if type(signin.written) is not str or signin.written[:2] != "20"
    ]
    return sum(not signin.has_time() for signin in odd)


def _methods(reader: RecordReader, alternatives: Iterable[JoinedPaths]) -> tuple[str, ...]:
    """Return the distinct methods of authentication: a list, or texts separated by commas.

    An item is a text, or an object of Entra ID's ``AuthenticationDetails``.
    """
    for (path,) in alternatives:
        value = reader.at(path)
        items = reader.parsed(value)
        if items is None and isinstance(value, str):
            items = value.split(",")
        found: dict[str, None] = {}
        for item in items if isinstance(items, list) else [items]:
            method = (
                fold_names(item).get("authenticationmethod") if isinstance(item, dict) else item
            )
            if text := clean_text(method, MAX_METHOD_LENGTH):
                found[text] = None
        if found:
            return tuple(found)[:MAX_METHODS]
    return ()


def _detections(reader: RecordReader, alternatives: Iterable[JoinedPaths]) -> tuple[str, ...]:
    """Return the distinct detections of Entra ID: a list, or texts separated by commas."""
    for (path,) in alternatives:
        value = reader.at(path)
        if path[-1] == "IsAnonymousProxy":
            return ("anonymousProxy",) if clean_bool(value) else ()
        items = reader.parsed(value)
        if items is None and isinstance(value, str):
            items = value.split(",")
        texts = [clean_text(item, MAX_METHOD_LENGTH) for item in items or () if item]
        if found := dict.fromkeys(text for text in texts if text):
            return tuple(found)[:MAX_METHODS]
    return ()


def coordinates(latitude: object, longitude: object) -> tuple[float, float] | None:
    """Return a position in degrees, or None if it is none."""
    try:
        position = float(str(latitude)), float(str(longitude))
    except ValueError:
        return None
    valid = abs(position[0]) <= 90 and abs(position[1]) <= 180
    return position if valid and position != (0.0, 0.0) else None


def _tenant(reader: RecordReader, alternatives: Iterable[JoinedPaths]) -> str | None:
    text = clean_text(reader.first(alternatives))
    if text and (inside := _TENANT_IN_RESOURCE.search(text)):
        return inside.group(1)
    return None if text and "/" in text else text


_NO_GOOGLE_ID = "105250506097979753968"
"""What Google writes for an actor outside Google Workspace (Microsoft's reference of the table)."""


def known_object_id(text: str | None) -> str | None:
    """Return an object id, or None for those that many accounts share.

    The empty GUID stands for accounts that do not exist: all names that a password spray guesses
    would be one account.
    """
    return None if text is None or text == _NO_GOOGLE_ID or not text.strip("0-") else text


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
