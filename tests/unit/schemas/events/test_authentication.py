"""How somebody authenticated, and for what: columns that the record fills by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recorded import V4, read

DETAILS = [
    {"authenticationMethod": "Password", "succeeded": True},
    {"authenticationMethod": "Mobile app notification", "succeeded": False},
    {"authenticationMethod": "Password", "succeeded": True},
]
TEXT = (
    '[{"authenticationMethod":"Password","succeeded":true},'
    '{"authenticationMethod":"Mobile app notification"}]'
)


def row(**more: Any) -> dict[str, Any]:
    """Return a row of a workspace table."""
    return {"Type": "SigninLogs", "Id": "1", "IPAddress": V4, **more}


def record(**more: Any) -> dict[str, Any]:
    """Return a record of diagnostic settings."""
    return {"category": "SignInLogs", "callerIpAddress": V4, "properties": {"id": "1", **more}}


@pytest.mark.parametrize(
    "read_from",
    [
        row(
            AuthenticationProtocol="deviceCode",
            IncomingTokenType="primaryRefreshToken",
            ResourceIdentity="r-1",
            ResourceId="/tenants/x/providers/Microsoft.aadiam",
        ),
        record(
            authenticationProtocol="deviceCode",
            incomingTokenType="primaryRefreshToken",
            resourceId="r-1",
        ),
    ],
    ids=["row", "record"],
)
def test_protocol_token_and_resource(read_from: dict[str, Any]) -> None:
    """The resource is the one signed in to, not Entra ID's own."""
    details = read(read_from)
    assert details.authentication_protocol == "deviceCode"
    assert (details.incoming_token_type, details.resource_id) == ("primaryRefreshToken", "r-1")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (DETAILS, ("Password", "Mobile app notification")),
        (TEXT, ("Password", "Mobile app notification")),
        (["Password", "Passkey"], ("Password", "Passkey")),
        ("Password, Passkey", ("Password", "Passkey")),
        ("Password", ("Password",)),
        ([], ()),
        ("[]", ()),
        ("[", ("[",)),
        (None, ()),
        ([None, {"authenticationMethod": None}, {"other": 1}], ()),
        ([{"authenticationMethod": f"m{n}"} for n in range(99)], tuple(f"m{n}" for n in range(10))),
    ],
)
def test_methods(value: object, expected: tuple[str, ...]) -> None:
    """Each once and in order, whatever form the list has; bounded."""
    assert read(row(AuthenticationDetails=value)).authentication_methods == expected
    assert read(record(authenticationDetails=value)).authentication_methods == expected


@pytest.mark.parametrize(
    "target",
    [
        [{"type": "User", "displayName": "Ada"}, {"type": "AppInstance", "displayName": "Payroll"}],
        '[{"type":"User","displayName":"Ada"},{"type":"AppInstance","displayName":"Payroll"}]',
    ],
    ids=["list", "text"],
)
def test_the_application_of_okta_is_among_the_targets(target: object) -> None:
    """Not the first target, but the one that is an application."""
    event = {
        "uuid": "k",
        "published": "2031-05-06T07:08:09Z",
        "eventType": "user.authentication.sso",
    }
    assert read({**event, "client": {"ipAddress": V4}, "target": target}).application == "Payroll"
    old = {"Type": "OktaV2_CL", "SrcIpAddr": V4, "EventOriginalUid": "k", "OriginalTarget": target}
    assert read(old).application == "Payroll"


def test_no_application_among_the_targets() -> None:
    """A user is none."""
    event = {"uuid": "k", "published": "2031-05-06T07:08:09Z", "eventType": "user.session.start"}
    target = [{"type": "User", "displayName": "Ada"}]
    assert read({**event, "client": {"ipAddress": V4}, "target": target}).application is None
