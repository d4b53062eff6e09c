"""What real events get wrong, one quirk at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events.addresses import Unusable
from schemas.events.decode import UNKNOWN_TABLE
from schemas.events.outcomes import Outcome
from tests.recorded import (
    ENTRA_TENANT,
    FALLBACK,
    OTHER_V4,
    V4,
    V6,
    Record,
    at,
    decoded,
    details_of,
    encoded,
    only,
    read,
)
from tests.recorded.entra import diagnostic, principal, row, user
from tests.recorded.others import ACTIVITY, DEVICE, OFFICE


def _addresses(record: Record) -> list[str]:
    return [address for address, _ in read(record).addresses]


@pytest.mark.parametrize(
    ("caller", "inner", "expected"),
    [
        pytest.param(V4, V4, [V4], id="equal"),
        pytest.param(V4, OTHER_V4, [V4, OTHER_V4], id="two public"),
        pytest.param("10.1.2.3", V4, [V4], id="first one private"),
        pytest.param("", V4, [V4], id="first one empty"),
        pytest.param(None, V4, [V4], id="first one null"),
        pytest.param("<null>", V4, [V4], id="first one null in words"),
        pytest.param(V4, "ae1e2e3e-0000-4000-8000-000000000000", [V4], id="second one a GUID"),
        pytest.param(V4, f"::ffff:{V4}", [V4], id="second one the same, mapped"),
        pytest.param(f"{V4}:44321", V4, [V4], id="first one with a port"),
        pytest.param(V6, "2A02:8108:0:0:0:0:0:0005", [V6], id="the same, expanded"),
    ],
)
@pytest.mark.parametrize("lower", [pytest.param(False, id="A"), pytest.param(True, id="B")])
def test_all_public_addresses_of_a_sign_in_are_judged(
    caller: str | None, inner: str, expected: list[str], lower: bool
) -> None:
    """The union of both fields counts, the caller's first, in shape A as in B."""
    record = diagnostic("SignInLogs", user("x", ipAddress=inner), callerIpAddress=caller)
    if lower:
        properties = record.pop("properties")
        record = {name.lower(): value for name, value in record.items()}
        record["properties"] = properties
    assert _addresses(record) == expected


@pytest.mark.parametrize("name", ["IPAddressFromResourceProvider", "GlobalSecureAccessIpAddress"])
def test_further_addresses_of_a_row_are_judged(name: str) -> None:
    """A filled second address field is worth a look-up."""
    assert _addresses(row("SigninLogs", "x", **{name: OTHER_V4})) == [V4, OTHER_V4]


def test_an_address_in_prose_is_not_taken() -> None:
    """Addresses come from named fields, never from scanning texts."""
    record = diagnostic("SignInLogs", user("x", note=OTHER_V4), Category2=f"12: {OTHER_V4}")
    assert _addresses(record) == [V4]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        pytest.param(f"{V4}:44321", V4, id="port"),
        pytest.param(f"[{V6}]:54088", V6, id="brackets and port"),
        pytest.param(f"::ffff:{V4}", V4, id="mapped"),
        pytest.param("2A02:8108:0000:0000:0000:0000:0000:0005", V6, id="expanded"),
    ],
)
def test_the_address_is_kept_as_it_came(written: str, address: str) -> None:
    """A finding shows both the canonical address and its original spelling."""
    assert read(row("SigninLogs", "x", IPAddress=written)).addresses == ((address, written),)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(
            {
                **diagnostic("ManagedIdentitySignInLogs", principal("x", ipAddress="")),
                "callerIpAddress": "",
            },
            Unusable.MISSING.value,
            id="managed identity",
        ),
        pytest.param(
            diagnostic(
                "ServicePrincipalSignInLogs",
                principal("x", ipAddress="ae1e2e3e-0000-4000-8000-000000000000"),
                callerIpAddress="ae1e2e3e-0000-4000-8000-000000000000",
            ),
            Unusable.NOT_AN_ADDRESS.value,
            id="GUID",
        ),
        pytest.param(
            diagnostic("ADFSSignInLogs", user("x", ipAddress="10.1.2.3"), callerIpAddress=""),
            Unusable.PRIVATE.value,
            id="intranet",
        ),
        pytest.param(
            {"Category": "SignInLogs", "CreatedDateTime": "2031-05-06T07:06:00", "Id": "x"},
            Unusable.MISSING.value,
            id="shape C as recorded",
        ),
        pytest.param(
            {
                "time": "2031-05-06T07:08:09Z",
                "category": "AdvancedHunting-IdentityLogonEvents",
                "operationName": "Publish",
                "properties": {**DEVICE, "LocalIP": OTHER_V4},
            },
            Unusable.MISSING.value,
            id="a category that lies",
        ),
        pytest.param(
            {
                "time": "2031-05-06T07:08:09Z",
                "category": "StorageRead",
                "resourceId": "/subscriptions/x",
                "callerIpAddress": f"{V4}:44321",
            },
            UNKNOWN_TABLE,
            id="storage log",
        ),
        pytest.param(
            {
                "time": "2031-05-06T07:08:09Z",
                "category": "AuditEvent",
                "callerIpAddress": V4,
                "resultType": "Success",
                "properties": {"httpStatusCode": 403},
            },
            UNKNOWN_TABLE,
            id="key vault",
        ),
        pytest.param(
            {
                "Type": "AppEvents",
                "TimeGenerated": "2031-05-06T07:08:09Z",
                "Properties": {"Category": V4},
                "ClientIP": V4,
            },
            UNKNOWN_TABLE,
            id="other row",
        ),
    ],
)
def test_a_record_without_a_public_address_is_skipped_with_a_reason(
    record: Record, reason: str
) -> None:
    """Not an error: counted and left."""
    found = decoded(encoded({"records": [record]}))
    assert (found.signins, dict(found.skips), found.rejects) == ([], {reason: 1}, [])


@pytest.mark.parametrize(
    ("result", "code", "expected"),
    [
        pytest.param("Success", 50126, Outcome.FAILURE, id="word against number"),
        pytest.param("Failure", 0, Outcome.SUCCESS, id="word against zero"),
        pytest.param("Success", None, Outcome.SUCCESS, id="word alone"),
        pytest.param("0", 50126, Outcome.SUCCESS, id="two numbers, the first"),
        pytest.param("", 50126, Outcome.FAILURE, id="empty, number inside"),
        pytest.param(None, "0", Outcome.SUCCESS, id="null, number as text inside"),
        pytest.param(None, None, Outcome.UNKNOWN, id="nothing"),
        pytest.param(0, None, Outcome.SUCCESS, id="zero as number"),
        pytest.param(50126.0, None, Outcome.FAILURE, id="number as fraction"),
        pytest.param("--5", None, Outcome.UNKNOWN, id="no number, two signs"),
        pytest.param("redacted", None, Outcome.UNKNOWN, id="a word that tells nothing"),
    ],
)
def test_numbers_win_over_words(result: Any, code: Any, expected: Outcome) -> None:
    """A missing result is Unknown, never a success."""
    status = {} if code is None else {"errorCode": code}
    record = diagnostic("SignInLogs", user("x", status=status), resultType=result)
    assert read(record).outcome is expected


def test_status_as_text_is_read() -> None:
    """An object written as text counts like the object."""
    status = json.dumps({"errorCode": 50126, "failureReason": "Wrong password"})
    details = read(row("AADNonInteractiveUserSignInLogs", "x", ResultType=None, Status=status))
    assert (details.outcome, details.result_code) == (Outcome.FAILURE, "50126")
    assert details.result_description == "Wrong password"


def test_properties_as_text_are_read() -> None:
    """Even the whole inner object may be text."""
    record = diagnostic("SignInLogs", user("x"))
    as_text = {**record, "properties": json.dumps(record["properties"])}
    assert read(as_text) == read(record)


def test_names_inside_properties_may_be_in_any_case() -> None:
    """A collector that capitalises names changes nothing but the hash of nothing."""
    record = diagnostic("SignInLogs", user("x"))
    inner = {name[0].upper() + name[1:]: value for name, value in record["properties"].items()}
    assert read({**record, "properties": inner}) == read(record)


def test_a_further_field_does_not_change_the_form() -> None:
    """An activity record with an address field of another name is read alike on both ways."""
    record = {**ACTIVITY, "category": "Administrative", "eventDataId": "x", "ipAddress": None}
    quick, slow = decoded(encoded([record])), decoded(encoded([record, 7]))
    assert type(only(quick).source) is not type(slow.signins[0].source)
    assert only(quick).written == slow.signins[0].written
    assert details_of(slow.signins[0]) == details_of(only(quick))
    assert read(record).account == "ada@example.net"


@pytest.mark.parametrize(
    ("operation", "status", "number", "expected"),
    [
        ("UserLoginFailed", "Success", "50126", Outcome.FAILURE),
        ("UserLoginFailed", "Success", None, Outcome.FAILURE),
        ("UserLoginFailed", "Success", "0", Outcome.FAILURE),
        ("UserLoginFailed", "Success", "50076", Outcome.PASSWORD_ACCEPTED),
        ("UserLoginFailed", "Success", 50158, Outcome.PASSWORD_ACCEPTED),
        ("UserLoginFailed", "Success", "50140", Outcome.INTERRUPTED),
        ("UserLoggedIn", "Success", "50140", Outcome.SUCCESS),
        ("UserLoggedIn", "Failed", None, Outcome.SUCCESS),
        ("New-InboxRule", "TRUE", None, Outcome.SUCCESS),
        ("New-InboxRule", "False", None, Outcome.FAILURE),
        ("Update", "PartiallySucceeded", None, Outcome.UNKNOWN),
        ("FileAccessed", None, None, Outcome.UNKNOWN),
    ],
)
def test_audit_records_of_sign_ins_are_told_by_the_operation(
    operation: str, status: str | None, number: object, expected: Outcome
) -> None:
    """Most failed sign-ins say ``ResultStatus`` Success, so it is never asked."""
    record = {
        **OFFICE,
        "RecordType": 15,
        "Operation": operation,
        "ResultStatus": status,
        "ErrorNumber": number,
        "ClientIP": V4,
        "Id": "x",
    }
    assert read(record).outcome is expected


@pytest.mark.parametrize(
    ("inside", "time", "expected"),
    [
        ("2031-05-06T07:06:00.0000001-05:00", "2031-05-06T13:00:00Z", at(12, 6)),
        ("redacted", "2031-05-06T07:08:09Z", at(7, 8, 9)),
        (None, "5/6/2031 3:03:58 PM", at(15, 3, 58)),
        ("", "2031-05-06T8:48:50.361Z", at(8, 48, 50, 361000)),
        (None, None, FALLBACK),
        (1_936, "", FALLBACK),
    ],
)
def test_the_event_time_falls_back(inside: object, time: str | None, expected: object) -> None:
    """From when it began, to when it was emitted, to what the caller knows."""
    record = diagnostic("SignInLogs", user("x", createdDateTime=inside), time=time)
    assert read(record).event_time == expected


def test_the_enqueued_time_comes_before_the_last_resort() -> None:
    """An event without any time of its own happened when the hub got it."""
    record = diagnostic("SignInLogs", user("x", createdDateTime=None), time=None)
    signin = only(decoded(encoded([record])))
    assert signin.details(enqueued=at(9, 9), fallback_time=FALLBACK).event_time == at(9, 9)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ENTRA_TENANT),
        ({"AADTenantId": "", "ResourceId": f"/tenants/{ENTRA_TENANT}/providers/x"}, ENTRA_TENANT),
        (
            {
                "AADTenantId": None,
                "HomeTenantId": "99999999-9999-4999-8999-999999999999",
                "ResourceId": f"/tenants/{ENTRA_TENANT}/providers/x",
            },
            ENTRA_TENANT,
        ),
        ({"AADTenantId": None}, None),
    ],
    ids=["own column", "inside the resource", "a guest from another tenant", "never the workspace"],
)
def test_the_tenant_of_a_row_is_entras(change: Record, expected: str | None) -> None:
    """``TenantId`` of a row is the workspace; a guest's home tenant is not the tenant either."""
    assert read(row("SigninLogs", "x", **change)).aad_tenant_id == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"userPrincipalName": "ADA@Example.net"}, "ada@example.net"),
        ({"userPrincipalName": "", "userId": "U-1"}, "u-1"),
        ({"userPrincipalName": None, "userId": None}, "ada example"),
        ({"userPrincipalName": "Ada Example @example.net"}, "ada example @example.net"),
        ({"userPrincipalName": "Müller@exämple.net"}, "müller@exämple.net"),
        ({"userPrincipalName": "EXAMPLE\\ada"}, "example\\ada"),
        ({"userPrincipalName": 4711}, "4711"),
    ],
)
def test_the_account_is_the_first_name_that_is_filled(change: Record, expected: str) -> None:
    """User principal name, else id, else display name; no @ is required."""
    assert read(diagnostic("SignInLogs", user("x", **change))).account == expected
