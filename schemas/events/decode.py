"""From the bytes of a message body to sign-ins, skips and rejects. Pure, and total: never raises.

The result for a record depends on its own bytes alone. There are two paths. The fast path decodes
a whole body into typed records if it has a known wrapper and all records have the same format. Any
other body is cut into records that are read individually. This slow path reads the same typed
columns first, so that both paths give the same result for a record that both can read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.events.addresses import AddressesMemo, AddressMemo, Unusable, usable_address
from schemas.events.bodies import SingleRecord, WholeBody, ends_deep, loaded
from schemas.events.framing import INVALID, MAX_WRAPPERS, records_in, records_name, texts_in
from schemas.events.lenient_json import TooDeep, where_broken
from schemas.events.record_reader import RecordReader
from schemas.events.record_recovery import recovered
from schemas.events.record_shapes import shape_of
from schemas.events.sign_in import SignIn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.events.fast_decoder import FastDecoder
    from schemas.events.tables import RecordFormat, Tables

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Bytes. An event hub message is at most 20 MB (Dedicated tier); recordings may be larger."""

MAX_REJECTS = 100
"""Rejects of a body that are kept individually."""

NULL_ITEM = "null item"
UNKNOWN_TABLE = "unknown table"
TABLE_OFF = "table not chosen"
NOT_JSON = "not JSON"
NOT_AN_OBJECT = "not an object"
TOO_DEEP = "nested too deeply"

_WINDOW = 2_048
"""Bytes at either end of a body that are searched for a name that identifies its format."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _RecordHead(msgspec.Struct):
    """The two fields that identify the table of a record."""

    type_name: Any = msgspec.field(default=None, name="Type")
    category: Any = None


_head = msgspec.json.Decoder(_RecordHead)


@dataclass(frozen=True, slots=True)
class Reject:
    """A record, or a whole message, that could not be read."""

    reason: str
    body: bytes


@dataclass(slots=True)
class Decoded:
    """The content of a message body. ``records`` is the sum of the three kinds.

    ``rejects`` holds the first :data:`MAX_REJECTS`; if there are more, the last item represents
    all others and holds the whole body.
    """

    signins: list[SignIn] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    off: Counter[str] = field(default_factory=Counter)
    """The tables of records that are skipped because their table is not enabled."""
    rejects: list[Reject] = field(default_factory=list)
    rejected: int = 0

    @property
    def records(self) -> int:
        """Number of records in the body; an unreadable message counts as a record."""
        return len(self.signins) + self.skips.total() + self.rejected

    def skip_table(self, table: str) -> None:
        """Count a record whose table is not enabled."""
        self.skips[TABLE_OFF] += 1
        self.off[table] += 1

    def reject(self, reason: str, body: bytes) -> None:
        """Count a reject; keep its *body* if it is among the first."""
        self.rejected += 1
        if len(self.rejects) < MAX_REJECTS:
            self.rejects.append(Reject(reason, body))

    def closed(self, body: bytes) -> Decoded:
        """Add a reject that represents those beyond the limit, if any."""
        more = self.rejected - len(self.rejects)
        if more > 0:
            self.rejects.append(Reject(f"{more} more unreadable items", body))
        return self


def _rejected(reason: str, body: bytes) -> Decoded:
    decoded = Decoded()
    decoded.reject(reason, body)
    return decoded


def _near_the_end(body: bytes, name: bytes) -> int:
    return body.rfind(name, -_WINDOW // 4)


def _near_the_start(body: bytes, name: bytes) -> int:
    return body.find(name, 0, _WINDOW)


class Decoder:
    """Decodes message bodies by a set of tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._address = AddressMemo()
        self._addresses = AddressesMemo(self._address)

    def decode(self, body: bytes) -> Decoded:
        """Return the content of *body*. Never raises, whatever the bytes."""
        return self.decode_quickly(body) or self.decode_slowly(body)

    def decode_quickly(self, body: bytes) -> Decoded | None:
        """Return the content of a well-formed *body* of a known table, else None."""
        body = body.removeprefix(_BYTE_ORDER_MARK)
        if len(body) > MAX_BODY_BYTES:
            return _rejected("message too large", body).closed(body)
        decoded = self._decode_quickly(body)
        return None if decoded is None else decoded.closed(body)

    def decode_slowly(self, body: bytes) -> Decoded:
        """Return the content of any body that :meth:`decode_quickly` has not read."""
        body = body.removeprefix(_BYTE_ORDER_MARK)
        return self._decode_slowly(body).closed(body)

    def table_of(self, raw: bytes) -> str | None:
        """Return the table of a record, or None if it is of none that is known."""
        try:
            record = loaded(raw)
        except ValueError:
            return None
        if not isinstance(record, dict):
            return None
        return self._form_of(RecordReader(record).record)[1] or None

    # --- fast path ---

    def _decode_quickly(self, body: bytes) -> Decoded | None:
        typed = self._guess(body)
        if typed is None:
            return None
        try:
            rows, bare = self._rows(body, typed)
        except INVALID:
            return None
        if rows is None or ends_deep(body):  # last, when the body is in the CPU cache
            return None
        return self._decode_rows(rows, typed, WholeBody(body, bare=bare))

    def _rows(self, body: bytes, typed: FastDecoder) -> tuple[list[Any] | None, bool]:
        """Return the typed rows of a body, and whether it is a bare record."""
        if body.lstrip()[:1] == b"[":
            return typed.array.decode(body), False
        if body.find(b'"records"', 0, 256) < 0:
            return [typed.bare.decode(body)], True
        wrapper = typed.wrapper.decode(body)
        tells_its_table = self._known_format(wrapper.Type, wrapper.category) is not None
        return None if tells_its_table else wrapper.records, False

    def _guess(self, body: bytes) -> FastDecoder | None:
        """Guess the format of a body from the first identifying name in it. Verified later."""
        tables = self._tables
        for name, form_of, find in (
            (b'"Type"', tables.form_of_type, _near_the_end),
            (b'"category"', tables.form_of_category, _near_the_start),
            (b'"Type"', tables.form_of_type, _near_the_start),
        ):
            place = find(body, name)
            if place >= 0:
                start = body.find(b'"', place + len(name), place + len(name) + 8) + 1
                value = body[start : body.find(b'"', start, start + 80)]
                form = form_of(value.decode("ascii", "replace"))
                if form is not None:
                    return form.typed
        return None

    def _decode_rows(self, rows: list[Any], typed: FastDecoder, source: WholeBody) -> Decoded:
        decoded = Decoded()
        add, skips, addresses = decoded.signins.append, decoded.skips, self._addresses
        type_of, category_of = typed.type_of, typed.category_of
        addresses_of, written_of, risk_of = typed.addresses_of, typed.written_of, typed.risk_of
        late_values_of = typed.late_values_of
        plain_traits_of, kept_traits_of = typed.plain_traits_of, typed.kept_traits_of
        with_traits = bool(typed.traits)
        form_of_type, form_of_category = self._tables.exact_types, self._tables.exact_categories
        for index, row in enumerate(rows):
            if row is None:
                skips[NULL_ITEM] += 1
                continue
            form = form_of_type[type_of(row)] or form_of_category[category_of(row)]
            if form is None or form.typed is not typed:
                self._add_item(source.raw(index), decoded)
            elif not form.enabled:
                decoded.skip_table(form.table or type_of(row))
            else:
                try:
                    values = addresses_of(row)
                    # If the first path has no value, its name in another case may have one.
                    found = () if values[0] is None else addresses[values]
                    written, risk = written_of(row), risk_of(row)
                    late_values = late_values_of(row) if late_values_of is not None else None
                    traits = (plain_traits_of(row), kept_traits_of(row)) if with_traits else None
                except (
                    AttributeError,
                    TypeError,
                ):  # no object on the path, or one at its end
                    found = ()
                if found:
                    name = form.table or type_of(row)
                    add(
                        SignIn(form, name, found, written, source, index, risk, late_values, traits)
                    )
                else:
                    self._add_item(source.raw(index), decoded)
        return decoded

    # --- slow path ---

    def _decode_slowly(self, body: bytes) -> Decoded:
        decoded = Decoded()
        for text in texts_in(body):
            items = records_in(text)
            if items is None or self.tells_its_table(text):
                self._add_record(text, decoded)
            else:
                for item in items:
                    self._add_item(item, decoded)
        return decoded

    def _add_item(self, raw: bytes, decoded: Decoded, wrappers: int = MAX_WRAPPERS) -> None:
        """Add an item of an envelope: a record, or an envelope of records."""
        items = records_in(raw, arrays=False) if wrappers else None
        if items is None or self.tells_its_table(raw):
            self._add_record(raw, decoded)
        else:
            for item in items:
                self._add_item(item, decoded, wrappers - 1)

    def tells_its_table(self, raw: bytes) -> bool:
        """Return True for a record of a known table: its field ``records`` is not an envelope."""
        if raw[:1] != b"{":
            return False
        try:
            if not ends_deep(raw):
                head = _head.decode(raw)
                return self._known_format(head.type_name, head.category) is not None
        except INVALID:
            pass
        try:
            record = loaded(raw)
        except ValueError:
            return False
        return self._known_format(record.get("Type"), record.get("category")) is not None

    def _add_record(self, raw: bytes, decoded: Decoded) -> None:
        try:
            record = loaded(raw)
        except TooDeep:
            decoded.reject(TOO_DEEP, raw)
            return
        except ValueError:
            for whole, piece in recovered(raw, self.tells_its_table):
                if whole:
                    self._add_record(piece, decoded)
                else:
                    decoded.reject(f"{NOT_JSON}: {where_broken(piece)}", piece)
            return
        if isinstance(record, dict) and (name := records_name(record)) is not None:
            known = self._known_format(record.get("Type"), record.get("category"))
            record = record if known is not None else record[name]  # an envelope of a single record
        if record is None:
            decoded.skips[NULL_ITEM] += 1
        elif not isinstance(record, dict):
            decoded.reject(NOT_AN_OBJECT, raw)
        elif not self._add_as_typed(record, raw, decoded):
            self._add_object(record, raw, decoded)

    def _add_as_typed(self, record: dict[str, Any], raw: bytes, decoded: Decoded) -> bool:
        """Add a record as the fast path would; return False if that path would not accept it."""
        form = self._known_format(record.get("Type"), record.get("category"))
        if form is None:
            return False
        if not form.enabled:
            decoded.skip_table(form.table or record["Type"])
            return True
        typed = form.typed
        try:
            row = msgspec.convert(record, typed.row)
            values = typed.addresses_of(row)
            found = () if values[0] is None else self._addresses[values]
            written, risk = typed.written_of(row), typed.risk_of(row)
            late_values = typed.late_values_of(row) if typed.late_values_of is not None else None
        except (msgspec.ValidationError, AttributeError, TypeError):
            return False
        if not found:
            return False
        table = form.table or record["Type"]
        source = SingleRecord(record, raw)
        decoded.signins.append(SignIn(form, table, found, written, source, 0, risk, late_values))
        return True

    def _known_format(self, type_name: object, category: object) -> RecordFormat | None:
        """Return the format that a record's exact ``Type`` or ``category`` identifies."""
        names = (type_name, self._tables.exact_types), (category, self._tables.exact_categories)
        return next((form for name, forms in names if (form := _named_format(name, forms))), None)

    def _add_object(self, record: dict[str, Any], raw: bytes, decoded: Decoded) -> None:
        """Add a record whose field names may have any case."""
        reader = RecordReader(record)
        form, table = self._form_of(reader.record)
        if form is None:
            decoded.skips[UNKNOWN_TABLE] += 1
            return
        if not form.enabled:
            decoded.skip_table(table)
            return
        answers = [self._answer(reader.at(place)) for (place,) in form.columns["address"]]
        found = tuple(dict.fromkeys(answer for answer in answers if isinstance(answer, str)))
        if found:
            risk = reader.first(form.columns.get("risk_level", ()))
            source = SingleRecord(record, raw)
            decoded.signins.append(SignIn(form, table, found, None, source, 0, risk))
        else:
            known = (answer for answer in answers if isinstance(answer, Unusable))
            reason = next((why for why in known if why is not Unusable.MISSING), Unusable.MISSING)
            decoded.skips[reason.value] += 1

    def _answer(self, value: object) -> str | Unusable:
        return self._address[value] if isinstance(value, str) else usable_address(value)

    def _form_of(self, record: dict[str, Any]) -> tuple[RecordFormat | None, str]:
        """Return the format of a record with lower-case names, and the name of its table."""
        tables = self._tables
        if form := tables.form_of_type(record.get("type")):
            return form, form.table or str(record["type"])
        if form := tables.form_of_category(record.get("category")):
            if _lost_its_type(record, form):
                form = tables.form_of_type(form.table) or form
            return form, form.table
        form = tables.by_looks.get(shape_of(record) or "")
        return form, form.table if form else ""


def _lost_its_type(record: dict[str, Any], form: RecordFormat) -> bool:
    """Return True if a record with lower-case names is a row with a category but no type."""
    nested = any("properties" in place for (place,) in form.columns["address"])
    return nested and "properties" not in record and "ipaddress" in record


def _named_format(name: object, forms: Mapping[object, RecordFormat | None]) -> RecordFormat | None:
    return forms[name] if isinstance(name, str) else None
