"""Message bodies: every wrapper, and one bad record among good ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events.addresses import Unusable
from schemas.events.decode import MAX_BODY_BYTES, NULL_ITEM, TABLE_OFF, UNKNOWN_TABLE
from schemas.events.tables import load_tables
from tests.recorded import decoded, details_of, encoded
from tests.recorded.entra import RECORDS as ENTRA
from tests.recorded.entra import diagnostic, row, user
from tests.recorded.others import RECORDS as OTHERS
from tests.recorded.providers import RECORDS as PROVIDERS

ONE, TWO, THREE = (diagnostic("SignInLogs", user(f"n-{number}")) for number in (1, 2, 3))
EXPORTED = row("SigninLogs", "n-9")
OKTA = next(case.record for case in OTHERS if case.shape == "K")
BOM = b"\xef\xbb\xbf"


def _ids(body: bytes) -> list[str]:
    return sorted(details_of(signin).event_id for signin in decoded(body).signins)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(encoded({"records": [ONE, TWO]}), ["n-1", "n-2"], id="wrapper"),
        pytest.param(encoded([ONE, TWO]), ["n-1", "n-2"], id="array"),
        pytest.param(encoded(ONE), ["n-1"], id="object"),
        pytest.param(encoded({"records": ONE}), ["n-1"], id="wrapper of one object"),
        pytest.param(encoded({"Records": [ONE, TWO]}), ["n-1", "n-2"], id="wrapper, capital"),
        pytest.param(
            encoded({"Records": [OKTA, OKTA]}), ["k-1", "k-1"], id="wrapper, capital, Okta"
        ),
        pytest.param(
            encoded({"meta": "x" * 400, "records": [ONE, TWO]}),
            ["n-1", "n-2"],
            id="wrapper after a long field",
        ),
        pytest.param(
            encoded({"records": [ONE], "source": "a" * 3000}), ["n-1"], id="wrapper, then more"
        ),
        pytest.param(
            encoded([{"records": [ONE, TWO]}, {"records": [THREE]}]),
            ["n-1", "n-2", "n-3"],
            id="array of wrappers",
        ),
        pytest.param(
            encoded([{"records": [EXPORTED]}]), ["n-9"], id="array of one wrapper of a row"
        ),
        pytest.param(
            encoded(ONE) + b"\n" + encoded(TWO) + b"\n", ["n-1", "n-2"], id="lines of objects"
        ),
        pytest.param(
            encoded(ONE) + b"\r\n\r\n" + encoded(TWO), ["n-1", "n-2"], id="lines, CR LF, empty line"
        ),
        pytest.param(
            encoded({"records": [ONE, TWO]}) + b"\n" + encoded({"records": [THREE]}),
            ["n-1", "n-2", "n-3"],
            id="lines of wrappers",
        ),
        pytest.param(
            encoded([ONE, TWO]) + b"\n" + encoded([THREE]),
            ["n-1", "n-2", "n-3"],
            id="lines of arrays",
        ),
        pytest.param(
            encoded(ONE) + b"\nthe end\n" + encoded(TWO), ["n-1", "n-2"], id="lines, one no JSON"
        ),
        pytest.param(BOM + encoded({"records": [ONE]}), ["n-1"], id="byte order mark, wrapper"),
        pytest.param(
            BOM + encoded(ONE) + b"\n" + encoded(TWO), ["n-1", "n-2"], id="byte order mark, lines"
        ),
        pytest.param(
            json.dumps({"records": [ONE, TWO]}, indent=4).encode(),
            ["n-1", "n-2"],
            id="pretty-printed wrapper",
        ),
        pytest.param(json.dumps(ONE, indent="\t").encode(), ["n-1"], id="pretty-printed object"),
        pytest.param(
            b" \r\n\t" + encoded([ONE]) + b"\n\n", ["n-1"], id="white space around an array"
        ),
        pytest.param(
            encoded({"records": [ONE, EXPORTED, OKTA]}),
            ["k-1", "n-1", "n-9"],
            id="three shapes in one wrapper",
        ),
        pytest.param(
            json.dumps({"records": [ONE]})
            .replace("callerIpAddress", "caller\\u0049pAddress")
            .replace("ipAddress", "\\u0069pAddress")
            .encode(),
            ["n-1"],
            id="names written with escapes",
        ),
    ],
)
def test_every_wrapper_gives_all_its_records(body: bytes, expected: list[str]) -> None:
    """Whatever lies around the records, each is found once."""
    assert _ids(body) == expected


@pytest.mark.parametrize(
    ("odd", "skips", "rejects"),
    [
        pytest.param(b"null", {NULL_ITEM: 1}, [], id="null"),
        pytest.param(b"{}", {UNKNOWN_TABLE: 1}, [], id="empty object"),
        pytest.param(b"42", {}, ["not an object"], id="number"),
        pytest.param(b'"text"', {}, ["not an object"], id="text"),
        pytest.param(b"[1,2]", {}, ["not an object"], id="list"),
        pytest.param(b"true", {}, ["not an object"], id="boolean"),
        pytest.param(b'{"a":NaN}', {UNKNOWN_TABLE: 1}, [], id="NaN"),
        pytest.param(b'{"a":-Infinity}', {UNKNOWN_TABLE: 1}, [], id="infinity"),
        pytest.param(b'{"a":"\xff\xfe"}', {UNKNOWN_TABLE: 1}, [], id="not UTF-8"),
        pytest.param(b'{"a":"\\ud800"}', {UNKNOWN_TABLE: 1}, [], id="half a character"),
        pytest.param(b'{"a":1e999}', {UNKNOWN_TABLE: 1}, [], id="number too large"),
        pytest.param(
            b'{"a":' + b"9" * 5000 + b"}",
            {UNKNOWN_TABLE: 1},
            [],
            id="whole number of 5000 digits",
        ),
        pytest.param(
            b'{"a":' + b"[" * 400 + b"]" * 400 + b"}", {UNKNOWN_TABLE: 1}, [], id="nested 400 deep"
        ),
        pytest.param(
            b'{"category":"SignInLogs","category":"StorageRead"}',
            {UNKNOWN_TABLE: 1},
            [],
            id="a name twice",
        ),
        pytest.param(
            b'{"category":"SignInLogs","callerIpAddress":["81.2.69.160"],"properties":[]}',
            {Unusable.NOT_AN_ADDRESS.value: 1},
            [],
            id="objects where values belong",
        ),
    ],
)
def test_an_odd_record_does_not_spoil_its_neighbours(
    odd: bytes, skips: dict[str, int], rejects: list[str]
) -> None:
    """The good records of the same body are read, the odd one is counted, nothing is lost."""
    for body in (
        b'{"records":[' + b",".join((encoded(ONE), odd, encoded(TWO))) + b"]}",
        b"[" + b",".join((encoded(EXPORTED), odd, encoded(EXPORTED))) + b"]",
    ):
        found = decoded(body)
        assert (len(found.signins), dict(found.skips)) == (2, skips)
        assert [reject.reason for reject in found.rejects] == rejects
        assert found.records == 3


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \n\t", id="white space"),
        pytest.param(BOM, id="byte order mark alone"),
        pytest.param(b"<html>busy</html>", id="a web page"),
        pytest.param(bytes(range(256)) * 8, id="binary"),
        pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", id="gzip"),
        pytest.param(b"[" * 100_000, id="brackets"),
        pytest.param(b"[1, 2", id="an array without objects, cut off"),
        pytest.param(b'{"records":["a",', id="a wrapper without objects, cut off"),
        pytest.param('{"records":[]}'.encode("utf-16"), id="UTF-16"),
    ],
)
def test_an_unreadable_body_is_one_reject(body: bytes) -> None:
    """An unreadable message counts as one record, kept whole for the quarantine."""
    found = decoded(body)
    assert (found.records, len(found.rejects)) == (1, 1)
    assert found.rejects[0].body == body.removeprefix(BOM)


@pytest.mark.parametrize(
    ("body", "event_ids", "broken"),
    [
        pytest.param(
            encoded({"records": [ONE, TWO]})[:-5], ["n-1"], [encoded(TWO)[:-3]], id="cut off"
        ),
        pytest.param(
            encoded({"records": [ONE, TWO]})[:-1], ["n-1", "n-2"], [], id="cut at the end"
        ),
        pytest.param(
            b'{"records":[' + encoded(ONE) + b',{"a":},' + encoded(TWO) + b"]}",
            ["n-1", "n-2"],
            [b'{"a":}'],
            id="a value is missing",
        ),
        pytest.param(
            b"[" + encoded(ONE) + b',{"a":"x\ty"},' + encoded(TWO) + b",]",
            ["n-1", "n-2"],
            [b'{"a":"x\ty"}'],
            id="a tab in a text, a comma at the end",
        ),
        pytest.param(
            encoded({"records": [ONE]}) + encoded({"Records": [TWO]}),
            ["n-1", "n-2"],
            [],
            id="two wrappers",
        ),
        pytest.param(
            b"[" + encoded({"records": [ONE]})[:-1] + b',"x":NaN,"y":},' + encoded(TWO) + b"]",
            ["n-1", "n-2"],
            [],
            id="a broken wrapper in a list",
        ),
        pytest.param(b"[" + encoded(ONE) + b"] and more", ["n-1"], [b"and more"], id="more behind"),
    ],
)
def test_a_broken_record_is_rejected_alone(
    body: bytes, event_ids: list[str], broken: list[bytes]
) -> None:
    """Whatever can be told apart is judged; the broken piece alone goes to quarantine."""
    found = decoded(body)
    assert [details_of(signin).event_id for signin in found.signins] == event_ids
    assert [reject.body for reject in found.rejects] == broken


@pytest.mark.parametrize("body", [b'{"records":[]}', b"[]"])
def test_an_empty_wrapper_holds_nothing(body: bytes) -> None:
    """No record, no reject."""
    assert decoded(body).records == 0


def test_a_body_beyond_the_limit_is_rejected_unread() -> None:
    """A body that no service sends is not decoded."""
    found = decoded(b" " * (MAX_BODY_BYTES + 1))
    assert [reject.reason for reject in found.rejects] == ["message too large"]


def test_one_bad_number_in_a_large_body_rejects_one_record() -> None:
    """What a small body survives, one of more than four megabytes survives as well."""
    good = [encoded(diagnostic("SignInLogs", user(f"x-{n}", note="x" * 4000))) for n in range(1200)]
    for odd in (b'{"a":NaN}', b'{"a":"\\ud800"}', b'{"a":"\xff"}'):
        found = decoded(b'{"records":[' + b",".join((*good, odd)) + b"]}")
        assert (len(found.signins), found.records) == (1200, 1201), odd[:12]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name) for case in (*ENTRA, *OTHERS, *PROVIDERS)]
)
def test_a_table_that_is_not_chosen_is_skipped(case: Any) -> None:
    """Records of tables that do not count are told apart from unknown ones."""
    other = "SigninLogs" if case.expected.table != "SigninLogs" else "AuditLogs"
    found = decoded(encoded({"records": [case.record]}), load_tables([other]))
    assert (found.signins, dict(found.skips)) == ([], {TABLE_OFF: 1})
