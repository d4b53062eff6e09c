"""Bodies that somebody might send to break the decoder: nothing raises, nothing takes long."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schemas.events.outcomes import Outcome
from tests.recorded import V4, at, decoded, details_of, encoded, only
from tests.recorded.entra import diagnostic, row, user

if TYPE_CHECKING:
    from schemas.events.decode import Decoded
    from schemas.events.sign_in import Details, SignIn

DEPTHS = [50, 199, 201, 254, 300, 500, 900, 990, 1000, 1010, 1023, 1024, 1025, 5000, 100_000]
ROW = encoded(row("SigninLogs", "x"))
RECORD = encoded(diagnostic("SignInLogs", user("x")))


def _nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def _with(record: bytes, name: bytes, value: bytes) -> bytes:
    """Add a field to a record, or write an existing one again."""
    return record[:-1] + b',"' + name + b'":' + value + b"}"


def _read_all(found: Decoded) -> int:
    for signin in found.signins:
        details_of(signin)
        signin.record_time()
    return found.records


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(b"%s", id="alone"),
        pytest.param(b"[null,%s]", id="in an array"),
        pytest.param(b'{"records":[{"a":%s}]}', id="in a record"),
        pytest.param(b'{"records":[%s]}', id="for a record"),
        pytest.param(b'{"records":%s}', id="for the records"),
        pytest.param(b'{"timestamp":1,"actiontype":%s}', id="action type"),
        pytest.param(b'{"createdDateTime":1,"ipAddress":%s}', id="Graph address"),
        pytest.param(
            b'{"createdDateTime":1,"ipAddress":"81.2.69.160","signInEventTypes":%s}',
            id="Graph kind",
        ),
        pytest.param(_with(ROW, b"Type", b"%s"), id="Type"),
        pytest.param(_with(ROW, b"Id", b"%s"), id="event id"),
        pytest.param(_with(ROW, b"IPAddress", b"%s"), id="address"),
        pytest.param(_with(ROW, b"ResultType", b"%s"), id="result"),
        pytest.param(_with(RECORD, b"properties", b"%s"), id="properties"),
        pytest.param(_with(RECORD, b"other", b"%s"), id="field that nobody reads"),
        pytest.param(
            b'{"Type":"DeviceLogonEvents","RemoteIP":"81.2.69.160","DeviceId":"d",'
            b'"TimeGenerated":"2031-05-06T07:08:09Z","ReportId":%s}',
            id="part of an id",
        ),
    ],
)
def test_nesting_of_any_depth_is_survived(template: bytes, depth: int) -> None:
    """Wherever the brackets stand, and however many."""
    for body in (
        template.replace(b"%s", _nested(depth)),
        template.replace(b"%s", _nested(depth, b'{"a":', b"}").replace(b":}", b":1}")),
        template.replace(b"%s", b"[" * depth),
    ):
        assert _read_all(decoded(body)) >= 1


def _from_deeper(frames: int, signin: SignIn) -> Details:
    return _from_deeper(frames - 1, signin) if frames else details_of(signin)


@pytest.mark.parametrize("depth", [300, 600, 900])
def test_details_may_be_read_from_a_deeper_stack(depth: int) -> None:
    """What could be decoded can be read later, wherever the caller stands."""
    body = b'{"records":[' + _with(RECORD, b"other", _nested(depth)) + b"]}"
    assert _from_deeper(600, only(decoded(body))).event_id == "x"


@pytest.mark.parametrize("record", [RECORD, ROW], ids=["A", "D"])
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"9" * 5000, id="whole number of 5000 digits"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\\ud800"', id="half a character"),
        pytest.param(b"1e999", id="number too large"),
        pytest.param(_nested(300), id="nested 300 deep"),
    ],
)
def test_a_field_that_nobody_reads_changes_nothing(record: bytes, odd: bytes) -> None:
    """Time, account and outcome are read although another field of the record is odd."""
    details = details_of(only(decoded(b'{"records":[' + _with(record, b"other", odd) + b"]}")))
    assert (details.event_time, details.outcome) == (at(7, 6), Outcome.SUCCESS)
    assert (details.account, details.event_id) == ("ada@example.net", "x")


@pytest.mark.parametrize(
    "name", ["resultType", "callerIpAddress", "time", "category", "tenantId", "identity"]
)
@pytest.mark.parametrize(
    "value",
    [
        *(b"--5", b"-", b"---", b" 0", b"+0", b"\\u0660", b"\\u0000", b"\\ud800", b"\xff", b"NaN"),
        *(b"Infinity", b"%s%n", b"9" * 400, b"x" * 70_000, b"\\u202e", b"[", b"{", b"{}", b'{\\"'),
    ],
)
def test_odd_texts_in_known_fields_are_survived(name: str, value: bytes) -> None:
    """Any text may stand in any field."""
    inner = encoded(user("x", autonomousSystemNumber=None))[:-1]
    inner += b',"autonomousSystemNumber":"' + value + b'","isInteractive":"' + value + b'"}'
    body = _with(_with(RECORD, name.encode(), b'"' + value + b'"'), b"properties", inner)
    assert _read_all(decoded(body)) == 1


def _memory() -> int:
    """Return the bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_reject_costs_little_memory() -> None:
    """A message of many small wrong items does not fill the memory of a small container."""
    before = _memory()
    found = decoded(b"[" + b"0," * 100_000 + b"0]")
    assert (found.records, found.signins) == (100_001, [])
    assert _memory() - before < 100 * 1024 * 1024


def _seconds(body: bytes, details: int = 3) -> tuple[float, Decoded]:
    start = time.process_time()
    found = decoded(body)
    for signin in found.signins[:details]:
        details_of(signin)
    return time.process_time() - start, found


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{" * 1_000_000, id="braces"),
        pytest.param(b'{"a":' * 200_000, id="open objects"),
        pytest.param(b"[1,[" * 250_000, id="open lists"),
        pytest.param(b'"' * 1_000_000, id="quotes"),
        pytest.param(b"\\" * 1_000_000, id="backslashes"),
        pytest.param(b"\n" * 1_000_000, id="empty lines"),
        pytest.param(b"{}\n" * 300_000, id="lines of nothing"),
        pytest.param(b"0\n" * 500_000, id="lines of zeros"),
        pytest.param(b"[" + b"0," * 500_000 + b"0]", id="zeros"),
        pytest.param(b"[" + b"{}," * 300_000 + b"{}]", id="empty objects"),
        pytest.param(b"[" + b"null," * 200_000 + b"null]", id="nulls"),
        pytest.param(bytes(range(256)) * 4000, id="binary"),
        pytest.param(RECORD + b"\n[\n" * 300_000, id="one record, then broken lines"),
        pytest.param(b'{"records":[' + b",".join([RECORD] * 1000) + b',{"a":', id="cut off"),
        pytest.param(b"-" * 1_000_000, id="signs"),
        pytest.param(b"9" * 1_000_000, id="digits"),
        pytest.param(
            _with(RECORD, b"properties", b'"{' + b'\\"a\\":[' * 150_000 + b'"'), id="text, nested"
        ),
        pytest.param(
            _with(RECORD, b"properties", b'"{\\"a\\":NaN' + b',\\"a\\":[]' * 100_000 + b'}"'),
            id="text, long, NaN",
        ),
    ],
)
def test_a_megabyte_of_anything_is_done_in_seconds(body: bytes) -> None:
    """The largest message of the usual tier cannot stop the service."""
    seconds, found = _seconds(body)
    assert found.records >= 1
    assert seconds < 5


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b"7", id="number"),
        pytest.param(b'{"category":["a"]}', id="list where a text belongs"),
        pytest.param(b'{"a":"\\ud800"}', id="half a character"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"category":"\xff"}', id="not UTF-8 where it is read"),
    ],
)
def test_one_odd_record_among_ten_thousand_is_read_around_in_seconds(odd: bytes) -> None:
    """A body that leaves the fast way is still read whole, large as it is.

    Twice as many records take twice as long; what a second is worth depends on the machine.
    """
    records = [encoded(diagnostic("SignInLogs", user(f"x-{number}"))) for number in range(10_000)]
    records[2_500] = odd
    half, _ = _seconds(_body(records[:5_000]), details=100)
    seconds, found = _seconds(_body(records), details=100)
    assert (len(found.signins), found.records) == (9_999, 10_000)
    assert found.signins[0].addresses == (V4,)
    assert seconds < 3 * half + 0.5


def _body(records: list[bytes]) -> bytes:
    return b'{"records":[' + b",".join(records) + b"]}"
