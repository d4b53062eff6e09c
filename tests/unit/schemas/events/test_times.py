"""Times as Microsoft's services write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from schemas.events.times import iso, parse_time
from tests.recorded import at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2031-05-06T07:08:09Z", at(7, 8, 9), id="plain"),
        pytest.param("2031-05-06T07:08:09.1234567Z", at(7, 8, 9, 123456), id="7 digits, cut"),
        pytest.param("2031-05-06T07:08:09.9999999Z", at(7, 8, 9, 999999), id="cut, not rounded"),
        pytest.param("2031-05-06T07:08:09.123456789Z", at(7, 8, 9, 123456), id="9 digits"),
        pytest.param("2031-05-06T07:08:09.1Z", at(7, 8, 9, 100000), id="1 digit"),
        pytest.param("2031-05-06T07:08:09", at(7, 8, 9), id="no zone"),
        pytest.param("/Date(1935817689123)/", at(7, 8, 9, 123000), id="PowerShell 5.1"),
        pytest.param("/Date(1935817689000+0200)/", at(7, 8, 9), id="PowerShell, offset"),
        pytest.param(1_935_817_689, at(7, 8, 9), id="seconds"),
        pytest.param(1_935_817_689.5, at(7, 8, 9, 500000), id="seconds, a fraction"),
        pytest.param(1_935_817_689_123, at(7, 8, 9, 123000), id="milliseconds"),
        pytest.param("1935817689", at(7, 8, 9), id="seconds in a text"),
        pytest.param("1935817689123", at(7, 8, 9, 123000), id="milliseconds in a text"),
        pytest.param("Tue, 06 May 2031 07:08:09 GMT", at(7, 8, 9), id="RFC 1123"),
        pytest.param("5/6/2031, 7:08:09.000\u202fAM", at(7, 8, 9), id="narrow blank"),
        pytest.param("2031-05-06 07:08:09.123", at(7, 8, 9, 123000), id="blank, no zone"),
        pytest.param("2031-05-06T07:08:09+00:00", at(7, 8, 9), id="offset zero"),
        pytest.param("2031-05-06T07:08:09.1234567-05:00", at(12, 8, 9, 123456), id="offset"),
        pytest.param("2031-05-06T09:08:09+0200", at(7, 8, 9), id="offset without colon"),
        pytest.param("2031-05-06T07:08Z", at(7, 8), id="no seconds"),
        pytest.param("2031-05-06T8:48:50.361Z", at(8, 48, 50, 361000), id="unpadded hour"),
        pytest.param(" 2031-05-06T07:08:09Z\n", at(7, 8, 9), id="white space around"),
        pytest.param("5/6/2031 3:03:58 PM", at(15, 3, 58), id="US"),
        pytest.param("05/06/2031 09:41:00", at(9, 41), id="US, no half of the day"),
        pytest.param("05/06/2031 09:41:00 +01:00", at(8, 41), id="US, offset"),
        pytest.param("5/6/2031 3:03:58 PM +01:00", at(14, 3, 58), id="US, half and offset"),
        pytest.param("5/6/2031, 2:08:45.221 PM", at(14, 8, 45, 221000), id="US, portal"),
        pytest.param("5/6/2031, 2:08:45.221\u202fPM", at(14, 8, 45, 221000), id="US, narrow blank"),
        pytest.param("5/6/2031 12:00:00 AM", at(0, 0), id="US, midnight"),
        pytest.param("5/6/2031 12:00:00 PM", at(12, 0), id="US, noon"),
        pytest.param("5/6/2031 2:08 pm", at(14, 8), id="US, no seconds, small letters"),
    ],
)
def test_a_time_is_read_as_utc(text: str, expected: datetime) -> None:
    """Month first; UTC where no zone is told."""
    assert parse_time(text) == expected
    assert parse_time(text).utcoffset() == timedelta(0)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "redacted",
        "<null>",
        1_936,
        1_936_000_000_000_000,
        float("nan"),
        float("inf"),
        1.5,
        "/Date(193)/",
        "/Date(99999999999999)/",
        "1936",
        "Xxx, 99 Foo 2031 07:08:09 GMT",
        True,
        [],
        {},
        "2031-13-06T07:08:09Z",
        "2031-02-30T07:08:09Z",
        "13/6/2031 3:03:58 PM",
        "5/6/2031 13:03:58 PM",
        "5/6/2031 0:03:58 AM",
        "5/6/31 3:03:58 PM",
        "2031-05-06T25:08:09Z",
        "2031-05-06T07:08:09+99:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T0:00:00Z",
        "2031-05-06T07:08:09Z" + " " * 60,
        "2031-05-06T07:08:0\ud800",
    ],
)
def test_what_tells_no_time_is_none(value: object) -> None:
    """No guess and no error."""
    assert parse_time(value) is None


def test_times_are_written_in_one_form() -> None:
    """UTC, microseconds, Z; and read back unchanged."""
    moment = datetime(2031, 5, 6, 9, 8, 9, 7, tzinfo=timezone(timedelta(hours=2)))
    assert iso(moment) == "2031-05-06T07:08:09.000007Z"
    assert parse_time(iso(moment)) == moment
    assert iso(datetime(31, 5, 6, tzinfo=UTC)) == "0031-05-06T00:00:00.000000Z"
