"""From the bytes of a message body to sign-ins, skips and rejects. Pure, and total: never raises.

Two ways lead through here. The fast one decodes a whole body into typed records, when it is one
of the known wrappers and all its records are of one form. Whatever the fast way does not take
goes record by record through the slow one, which is the authority on what a record is.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from schemas.addresses import AddressesMemo, AddressMemo, Unusable, usable_address
from schemas.jsontext import load_json
from schemas.looks import looks_of
from schemas.records import RecordReader, SignIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schemas.tables import Form, Tables, Typed

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes. An event hub message is at most 20 MB (Dedicated tier); recordings may hold more."""

MOST_REJECTS = 100
"""Rejects of one body that are kept one by one."""

NULL_ITEM = "null item"
UNKNOWN_TABLE = "unknown table"
TABLE_OFF = "table not chosen"
NOT_JSON = "not JSON"
NOT_AN_OBJECT = "not an object"
TOO_DEEP = "nested too deeply"

_WINDOW = 2_048
"""Bytes at either end of a body in which a name that tells its form is looked for."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class _RawWrapper(msgspec.Struct):
    records: list[msgspec.Raw]


_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
_raw_wrapper = msgspec.json.Decoder(_RawWrapper)
_BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on input that is not what its type says."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record, or a whole message, that could not be read."""

    reason: str
    body: bytes


@dataclass(slots=True)
class Decoded:
    """What one message body holds. ``records`` is the sum of the three kinds.

    ``rejects`` holds the first :data:`MOST_REJECTS`; if there are more, the last one stands for
    all others and holds the whole body.
    """

    signins: list[SignIn] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    rejected: int = 0

    @property
    def records(self) -> int:
        """How many records the body held; an unreadable message counts as one."""
        return len(self.signins) + self.skips.total() + self.rejected

    def reject(self, reason: str, body: Callable[[], bytes]) -> None:
        """Count a reject; keep its *body* if it is among the first."""
        self.rejected += 1
        if len(self.rejects) < MOST_REJECTS:
            self.rejects.append(Reject(reason, body()))

    def add(self, other: Decoded) -> None:
        """Take over what another part of the same body held."""
        self.signins += other.signins
        self.skips += other.skips
        self.rejected += other.rejected
        self.rejects += other.rejects[: MOST_REJECTS - len(self.rejects)]

    def closed(self, body: bytes) -> Decoded:
        """Let one last reject stand for those beyond the first, if there are any."""
        more = self.rejected - len(self.rejects)
        if more > 0:
            self.rejects.append(Reject(f"{more} more unreadable items", body))
        return self


def _rejected(reason: str, body: bytes) -> Decoded:
    decoded = Decoded()
    decoded.reject(reason, lambda: body)
    return decoded


class _Body:
    """A body that was decoded the fast way, kept to read single records of it again."""

    __slots__ = ("_data", "_items", "_split", "size")

    def __init__(self, data: bytes, split: Callable[[bytes], list[msgspec.Raw]]) -> None:
        self._data = data
        self._split = split
        self._items: list[msgspec.Raw] | None = None
        self.size = len(data)

    def record(self, index: int) -> dict[str, Any]:
        """Read one record again. What only the typed decoder can read comes back as its text."""
        try:
            record = load_json(bytes(self._apart()[index]))
        except _BROKEN:  # called from a deep stack, which the splitter minds and orjson does not
            record = list(items_of(load_json(self._data)))[index]
        except ValueError:
            record = None
        return record if isinstance(record, dict) else {"unread": index, "of": repr(self._data)}

    def _apart(self) -> list[msgspec.Raw]:
        if self._items is None:
            self._items = self._split(self._data)
        return self._items


class _Single:
    """A record that was decoded the slow way."""

    __slots__ = ("_record", "size")

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record
        self.size = 100 * len(record)  # near enough; counting would cost more than it tells

    def record(self, index: int) -> dict[str, Any]:  # noqa: ARG002 - there is only one
        """Return the record."""
        return self._record


def _split_array(data: bytes) -> list[msgspec.Raw]:
    return _raw_items.decode(data)


def _split_wrapper(data: bytes) -> list[msgspec.Raw]:
    return _raw_wrapper.decode(data).records


def _split_bare(data: bytes) -> list[msgspec.Raw]:
    return [msgspec.Raw(data)]


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
        """Return what *body* holds; see :class:`Decoded`. Never raises on any bytes."""
        body = body.removeprefix(_BYTE_ORDER_MARK)
        if len(body) > LARGEST_BODY:
            return _rejected("message too large", body)
        return (self._decode_quickly(body) or self._decode_slowly(body)).closed(body)

    # --- the fast way ---

    def _decode_quickly(self, body: bytes) -> Decoded | None:
        typed = self._guess(body)
        if typed is None:
            return None
        try:
            if body.lstrip()[:1] == b"[":
                return self._decode_rows(typed.array.decode(body), typed, body, _split_array)
            if body.find(b'"records"', 0, 256) >= 0:
                rows = typed.wrapper.decode(body).records
                return self._decode_rows(rows, typed, body, _split_wrapper)
            return self._decode_rows([typed.bare.decode(body)], typed, body, _split_bare)
        except _BROKEN:
            return None

    def _guess(self, body: bytes) -> Typed | None:
        """Guess the form of a body from the first name in it that could tell. Verified later."""
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

    def _decode_rows(
        self,
        rows: list[Any],
        typed: Typed,
        body: bytes,
        split: Callable[[bytes], list[msgspec.Raw]],
    ) -> Decoded:
        decoded = Decoded()
        source = _Body(body, split)
        add, skips, addresses = decoded.signins.append, decoded.skips, self._addresses
        type_of, category_of = typed.type_of, typed.category_of
        addresses_of, written_of, risk_of = typed.addresses_of, typed.written_of, typed.risk_of
        noted_of = typed.noted_of
        form_of_type, form_of_category = self._tables.exact_types, self._tables.exact_categories
        for index, row in enumerate(rows):
            if row is None:
                skips[NULL_ITEM] += 1
                continue
            form = form_of_type[type_of(row)] or form_of_category[category_of(row)]
            if form is None or form.typed is not typed:
                self._add_value(source.record(index), decoded)
            elif not form.on:
                skips[TABLE_OFF] += 1
            else:
                try:
                    values = addresses_of(row)
                    # Without a value of first choice, another spelling of its name may hold it.
                    found = () if values[0] is None else addresses[values]
                    written, risk = written_of(row), risk_of(row)
                    noted = noted_of(row) if noted_of is not None else None
                except (AttributeError, TypeError):  # no object on the way, or one at its end
                    found = ()
                if found:
                    name = form.table or type_of(row)
                    add(SignIn(form, name, found, written, source, index, risk, noted))
                else:
                    self._add_record(source.record(index), decoded)
        return decoded

    # --- the slow way ---

    def _decode_slowly(self, body: bytes) -> Decoded:
        decoded = Decoded()
        try:
            self._add_value(load_json(body), decoded)
        except (ValueError, RecursionError):
            return self._decode_parts(body)
        return decoded

    def _decode_parts(self, body: bytes) -> Decoded:
        """Decode a body that is no single JSON text: lines, or a list with a broken record."""
        whole = Decoded()
        for part in records_apart(body) or lines_apart(body) or [body]:
            decoded = Decoded()
            try:
                self._add_value(load_json(part), decoded)
            except ValueError as error:
                deep = "deep" in str(error)
                decoded = _rejected(TOO_DEEP if deep else NOT_JSON, part)
            except RecursionError:
                decoded = _rejected(TOO_DEEP, part)
            whole.add(decoded)
        return whole

    def _add_value(self, value: Any, decoded: Decoded) -> None:
        for item in items_of(value):
            self._add_record(item, decoded)

    def _add_record(self, record: Any, decoded: Decoded) -> None:
        if record is None:
            decoded.skips[NULL_ITEM] += 1
        elif isinstance(record, dict):
            self._add_object(record, decoded)
        else:
            decoded.reject(NOT_AN_OBJECT, lambda: _written(record))

    def _add_object(self, record: dict[str, Any], decoded: Decoded) -> None:
        reader = RecordReader(record)
        form, table = self._form_of(reader.record)
        if form is None:
            decoded.skips[UNKNOWN_TABLE] += 1
            return
        if not form.on:
            decoded.skips[TABLE_OFF] += 1
            return
        answers = [self._answer(reader.at(place)) for (place,) in form.columns["address"]]
        found = tuple(dict.fromkeys(answer for answer in answers if isinstance(answer, str)))
        if found:
            risk = reader.first(form.columns.get("risk_level", ()))
            decoded.signins.append(SignIn(form, table, found, None, _Single(record), 0, risk))
        else:
            told = (answer for answer in answers if isinstance(answer, Unusable))
            reason = next((one for one in told if one is not Unusable.MISSING), Unusable.MISSING)
            decoded.skips[reason.value] += 1

    def _answer(self, value: object) -> str | Unusable:
        return self._address[value] if isinstance(value, str) else usable_address(value)

    def _form_of(self, record: dict[str, Any]) -> tuple[Form | None, str]:
        """Return the form of a record of lower-case names, and the name of its table."""
        tables = self._tables
        if form := tables.form_of_type(record.get("type")):
            return form, form.table or str(record["type"])
        if form := tables.form_of_category(record.get("category")):
            if _lost_its_type(record, form):
                form = tables.form_of_type(form.table) or form
            return form, form.table
        form = tables.by_looks.get(looks_of(record) or "")
        return form, form.table if form else ""


def _lost_its_type(record: dict[str, Any], form: Form) -> bool:
    """Tell whether a record of lower-case names is a row that is told by its category alone."""
    nested = any("properties" in place for (place,) in form.columns["address"])
    return nested and "properties" not in record and "ipaddress" in record


def items_of(value: Any) -> Iterator[Any]:
    """Yield the records that a JSON value holds: a wrapper, a list of either, or one record."""
    if isinstance(value, dict):
        wrapped = next((name for name in value if name.lower() == "records"), None)
        if wrapped is None:
            yield value
        elif isinstance(value[wrapped], list):
            yield from value[wrapped]
        else:
            yield value[wrapped]
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and isinstance(item.get("records"), list):
                yield from item["records"]
            else:
                yield item
    else:
        yield value


def records_apart(body: bytes) -> list[bytes] | None:
    """Take a wrapper or a list apart without looking into its records."""
    for split in (_split_wrapper, _split_array):
        try:
            return [bytes(item) for item in split(body)]
        except _BROKEN:
            continue
    return None


def lines_apart(body: bytes) -> list[bytes] | None:
    """Return the lines of newline-delimited JSON, or None if no line is an object or a list."""
    lines = [line for line in body.split(b"\n") if line.strip()]
    return lines if len(lines) > 1 and any(map(_is_container, lines)) else None


def _is_container(line: bytes) -> bool:
    try:
        return isinstance(load_json(line), dict | list)
    except ValueError:
        return False


def _written(value: Any) -> bytes:
    """Write a value that is no record, in a bytes object no larger than it needs."""
    return json.dumps(value).encode("utf-8")
