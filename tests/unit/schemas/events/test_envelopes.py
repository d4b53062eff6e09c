"""Splitting a body that is too large: every record once, unchanged, in the same envelope."""

from __future__ import annotations

import orjson
import pytest

from schemas.events.decode import Decoder
from schemas.events.envelopes import count_records, split_envelope
from schemas.events.tables import load_tables
from tests.support.sign_ins import address, message, row

RECORDS = [row(address(n), note="é" * n) for n in range(20)]


@pytest.mark.parametrize("room", [1, 700, 3_000, 10_000_000])
@pytest.mark.parametrize(
    "body",
    [
        message(*RECORDS),
        orjson.dumps(RECORDS),
        orjson.dumps({"v": 1, "records": RECORDS, "end": None}, option=orjson.OPT_INDENT_2),
        b"\xef\xbb\xbf " + orjson.dumps({"Records": RECORDS}),
    ],
    ids=["wrapper", "list", "more in it", "byte order mark"],
)
def test_parts_hold_every_record_once_and_fit(body: bytes, room: int) -> None:
    """Only a record that is larger than the room makes a larger part."""
    decoder = Decoder(load_tables(["all"]))
    parts = split_envelope(body, room)
    found = [orjson.loads(part) for part in parts]
    records = [one if isinstance(one, list) else one[_name(one)] for one in found]
    assert [record for group in records for record in group] == RECORDS
    assert all(len(part) <= room or count_records(part) == 1 for part in parts)
    assert len(parts) > 1 or room > 1_000_000
    assert sum(len(decoder.decode(part).signins) for part in parts) == len(RECORDS)
    if isinstance(found[0], dict):
        whole = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
        assert all(one.keys() == whole.keys() for one in found)


def _name(body: dict[str, object]) -> str:
    return next(name for name in body if name.lower() == "records")


def test_records_keep_their_bytes() -> None:
    """Not even a number or a space is written anew: an event without an id is known by them."""
    records = [b'{"a": 1.50, "b":"\\u00e9"}', b'{"n":12345678901234567890123}']
    body = b'{"records": [' + b" , ".join(records) + b"]}"
    assert split_envelope(body, 10) == [b'{"records":[' + one + b"]}" for one in records]


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"{", b'{"a":1}', b'{"records":1}', b'{"records":[1]}', b"[1]", b"[1,", b"1"],
)
def test_what_is_no_envelope_stays_as_it_is(body: bytes) -> None:
    """And counts as one record."""
    assert split_envelope(body, 1) == [body]
    assert count_records(body) == 1
