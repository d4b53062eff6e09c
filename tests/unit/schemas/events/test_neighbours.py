"""What a record becomes depends on its own bytes alone, whatever stands beside it."""

from __future__ import annotations

import time

import pytest

from schemas.events.decode import NOT_JSON, TOO_DEEP
from tests.fuzz.mutated_bodies import search
from tests.recorded import decoded, details_of, encoded

DAY = "2031-05-06T08:00:00Z"


def _row(number: int, *members: bytes, **values: str) -> bytes:
    record = {"Type": "SigninLogs", "TimeGenerated": DAY, "Id": f"n-{number}"}
    record |= {"IPAddress": f"81.2.69.{number}", "UserPrincipalName": "ada@example.net"}
    record |= {"ResultType": "0", **values}
    return b",".join([encoded(record)[:-1], *members]) + b"}"


GOOD = _row(1), _row(2)
ODD = {
    "brackets in a text": _row(9, UserAgent="[" * 201),
    "closing brackets in a text, not UTF-8": _row(9, b'"x":"\xff"', UserAgent="]" * 800),
    "half a character": _row(9, b'"x":"\\ud83d"'),
    "not UTF-8": _row(9, b'"x":"caf\xe9"'),
    "a number that no double holds": _row(9, b'"x":1e400'),
    "not a number": _row(9, b'"x":NaN'),
    "900 deep": _row(9, b'"y":' + b"[" * 900 + b"]" * 900),
    "500 deep, beside a number that no double holds": _row(
        9, b'"x":1e400,"y":' + b"[" * 500 + b"]" * 500
    ),
    "1,100 deep, loosely": _row(9, b'"y":' + b"[ " * 1_100 + b" ]" * 1_100),
    "names in capitals": _row(9)
    .upper()
    .replace(b"SIGNINLOGS", b"SigninLogs")
    .replace(b"N-9", b"n-9"),
    "a list of records of its own": _row(9, b'"records":[{"a":1}]'),
    "the same name twice": _row(9, b'"IPAddress":"81.2.69.77"'),
}
UNREADABLE = {
    "971 deep, beside a number that no double holds": (
        _row(9, b'"x":1e400,"y":' + b"[" * 971 + b"]" * 971),
        TOO_DEEP,
    ),
    "1,000 deep, with records of its own": (
        _row(9, b'"Records":{},"x":NaN,"y":' + b"[" * 1_000 + b"]" * 1_000),
        TOO_DEEP,
    ),
    "1,100 deep": (_row(9, b'"y":' + b'{"a":' * 1_100 + b"0" + b"}" * 1_100), TOO_DEEP),
    "a tab in a text": (_row(9, b'"x":"a\tb"'), f"{NOT_JSON}: invalid character"),
    "no value": (_row(9, b'"x":'), f"{NOT_JSON}: invalid character"),
    "a single quote": (_row(9, b"\"x\":'a'"), f"{NOT_JSON}: invalid character"),
}


def _around(record: bytes) -> list[bytes]:
    """Return bodies in which *record* stands between the good ones."""
    first, second = GOOD
    joined = b",".join((first, record, second))
    return [
        b"[" + joined + b"]",
        b'{"records":[' + joined + b"]}",
        b'{"records":[\n' + b",\n".join((first, record, second)) + b"\n]}",
        b'{"Records":[' + joined + b'],"more":NaN}',
        b'[{"records":[]},{"records":['
        + first
        + b']},{"records":['
        + record
        + b"]},"
        + second
        + b"]",
        b"\n".join((first, record, second)),
    ]


@pytest.mark.parametrize("record", [pytest.param(ODD[name], id=name) for name in ODD])
def test_an_odd_record_is_read_among_others_as_alone(record: bytes) -> None:
    """And so are its neighbours."""
    alone = decoded(record).signins
    assert [details_of(signin).event_id for signin in alone] == ["n-9"]
    for body in _around(record):
        found = decoded(body)
        assert found.rejects == []
        assert [details_of(one).event_id for one in found.signins] == ["n-1", "n-9", "n-2"]
        assert details_of(found.signins[1]) == details_of(alone[0])
        assert found.signins[1].addresses == alone[0].addresses


@pytest.mark.parametrize(
    ("record", "reason"), [pytest.param(*UNREADABLE[name], id=name) for name in UNREADABLE]
)
def test_an_unreadable_record_costs_no_neighbour(record: bytes, reason: str) -> None:
    """It alone is set aside, with its own bytes."""
    for body in (record, b"[" + record + b"]", *_around(record)):
        found = decoded(body)
        why, _, place = found.rejects[0].reason.partition(" at byte ")
        assert [(why, one.body) for one in found.rejects] == [(reason, record)]
        assert (place != "") is (reason != TOO_DEEP)
        good = [] if record in (body, body[1:-1]) else ["n-1", "n-2"]
        assert [details_of(one).event_id for one in found.signins] == good


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": 1,}', "trailing comma in object at byte 8"),
        (b"{'a': 1}", "object keys must be strings at byte 1"),
        (b'{"a": "x', "it ends after 8 bytes"),
        (b'{"a": "\\q"}', "invalid escape character in string at byte 9"),
        (b"nonsense", "invalid character at byte 4"),
    ],
)
def test_the_reason_tells_where_it_broke(body: bytes, reason: str) -> None:
    """In bytes from the start of what lies in quarantine."""
    assert [one.reason for one in decoded(body).rejects] == [f"{NOT_JSON}: {reason}"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mutated_events_are_read_alone_as_among_others(seed: int) -> None:
    """A small part of the search that ``python -m tests.fuzz.mutated_bodies`` makes."""
    bodies, odd = search(seed, 1_500)
    assert bodies >= 1_500
    assert odd == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"records":["' + b'\\"' * 500_000, id="a text without an end"),
        pytest.param(b'"' * 1_000_001, id="quotes"),
        pytest.param(b'[{"a":"' * 150_000, id="texts and brackets"),
        pytest.param(b"[" * 1_000_000, id="brackets"),
        pytest.param(b'{"records":[' * 90_000, id="wrappers"),
        pytest.param(b"\\" * 1_000_000, id="backslashes"),
        pytest.param(b'{"records":1,' * 80_000, id="names"),
    ],
)
def test_a_megabyte_is_cut_in_linear_time(body: bytes) -> None:
    """No text makes the scanner go over it again and again: twice as much takes twice as long.

    Compared with half of it, because what a second is worth depends on the machine.
    """
    half, whole = _cpu_seconds(body[: len(body) // 2]), _cpu_seconds(body)
    assert whole < 3 * half + 0.5


def _cpu_seconds(body: bytes) -> float:
    before = time.process_time()
    assert decoded(body).records >= 1
    return time.process_time() - before
