"""Ids of events: numbers keep their digits, and what is no number is no id."""

from __future__ import annotations

import pytest

from tests.recorded import V4, decoded, details_of, only, read

BIG = 123456789012345678901234


@pytest.mark.parametrize("number", [7, -7, 2**63, 2**64, BIG, -BIG])
@pytest.mark.parametrize(
    "form",
    [
        '{"Type":"SigninLogs","Id":%s,"IPAddress":"%s"}',
        '{"records":[{"Type":"SigninLogs","Id":%s,"IPAddress":"%s"}]}',
        '{"type":"SigninLogs","id":%s,"ipaddress":"%s"}',
    ],
    ids=["bare", "wrapped", "lower case"],
)
def test_a_numeric_id_keeps_its_digits(number: int, form: str) -> None:
    """Whatever way it is read."""
    body = (form % (number, V4)).encode()
    assert details_of(only(decoded(body))).event_id == str(number)


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_no_id(written: str) -> None:
    """Two events that have none are two events."""
    ids = set()
    for event in ("one", "two"):
        body = f'{{"Type":"SigninLogs","Id":{written},"IPAddress":"{V4}","UserId":"{event}"}}'
        ids.add(details_of(only(decoded(body.encode()))).event_id)
    assert len(ids) == 2
    assert all(len(one) == 32 for one in ids)


def test_a_joined_id_needs_all_of_its_values() -> None:
    """NaN is none of them."""
    row = {"Type": "DeviceLogonEvents", "RemoteIP": V4, "DeviceId": "d", "Timestamp": "t"}
    assert read({**row, "ReportId": 1}).event_id == "1:d:t"
    assert len(read({**row, "ReportId": float("nan")}).event_id) == 32


@pytest.mark.parametrize(
    "nobody", ["00000000-0000-0000-0000-000000000000", "105250506097979753968"]
)
def test_an_object_id_that_many_share_is_none(nobody: str) -> None:
    """Else all names that a password spray guesses would be one account."""
    row = {"Type": "SigninLogs", "IPAddress": V4, "UserPrincipalName": "ada@example.net"}
    assert read({**row, "UserId": nobody}).account_object_id is None
    assert read({**row, "UserId": "0a0a"}).account_object_id == "0a0a"
