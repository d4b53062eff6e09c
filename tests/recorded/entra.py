"""Entra ID: sign-ins and risk events in shapes A to F."""

from __future__ import annotations

from typing import Any

from schemas.events.outcomes import Outcome
from tests.recorded import (
    ENTRA_TENANT,
    OTHER_V4,
    V4,
    V6,
    WORKSPACE,
    Expected,
    Record,
    Recorded,
    at,
)

USER_ID = "10000000-0000-4000-8000-00000000000a"
PRINCIPAL_ID = "20000000-0000-4000-8000-00000000000b"
APP_ID = "30000000-0000-4000-8000-00000000000c"
BEGAN = at(7, 6, 0, 0)
"""When every event here began, unless it says otherwise; the record was emitted later."""


def diagnostic(category: str, properties: Record, **envelope: Any) -> Record:
    """Return a record of shape A."""
    return {
        "time": "2031-05-06T07:08:09.1234567Z",
        "resourceId": f"/tenants/{ENTRA_TENANT}/providers/Microsoft.aadiam",
        "operationName": "Sign-in activity",
        "operationVersion": "1.0",
        "category": category,
        "tenantId": ENTRA_TENANT,
        "resultType": "0",
        "resultSignature": "None",
        "durationMs": 0,
        "callerIpAddress": V4,
        "correlationId": "c0c0c0c0-0000-4000-8000-000000000001",
        "identity": "Ada Example",
        "Level": 4,
        **envelope,
        "properties": properties,
    }


def user(event_id: str, **more: Any) -> Record:
    """Return the ``properties`` of a user's sign-in."""
    return {
        "id": event_id,
        "createdDateTime": "2031-05-06T07:06:00.0000001+00:00",
        "userDisplayName": "Ada Example",
        "userPrincipalName": "Ada@Example.net",
        "userId": USER_ID,
        "appId": APP_ID,
        "appDisplayName": "Example Portal",
        "ipAddress": V4,
        "status": {"errorCode": 0, "additionalDetails": "MFA requirement satisfied by claim"},
        "deviceDetail": {"deviceId": "", "operatingSystem": "Windows 10", "browser": "Edge 99"},
        "location": {"city": "Köln", "countryOrRegion": "DE", "geoCoordinates": {}},
        "isInteractive": True,
        "autonomousSystemNumber": 3209,
        "authenticationProcessingDetails": [
            {"key": "IP Addresses Involved in Auth Flow", "value": OTHER_V4}
        ],
        **more,
    }


def principal(event_id: str, **more: Any) -> Record:
    """Return the ``properties`` of a service principal's or managed identity's sign-in."""
    return {
        "id": event_id,
        "createdDateTime": "2031-05-06T07:06:00Z",
        "userPrincipalName": "",
        "userId": None,
        "servicePrincipalId": PRINCIPAL_ID,
        "servicePrincipalName": "Build Robot",
        "appId": APP_ID,
        "resourceDisplayName": "Example Vault",
        "ipAddress": V4,
        "status": {"errorCode": 0},
        **more,
    }


def row(table: str, event_id: str, **more: Any) -> Record:
    """Return a user's sign-in as a row, shape D."""
    return {
        "TenantId": WORKSPACE,
        "SourceSystem": "Azure AD",
        "TimeGenerated": "2031-05-06T07:08:09.1234567Z",
        "CreatedDateTime": "2031-05-06T07:06:00.0000001Z",
        "Category": "SignInLogs",
        "ResultType": "0",
        "AADTenantId": ENTRA_TENANT,
        "IPAddress": V4,
        "UserPrincipalName": "ada@example.net",
        "UserId": USER_ID,
        "Id": event_id,
        "Status": {"errorCode": 0},
        "LocationDetails": {"city": "Köln", "countryOrRegion": "DE"},
        "DeviceDetail": {"deviceId": "", "isCompliant": ""},
        "MfaDetail": None,
        "AuthenticationDetails": '[{"authenticationMethod":"Password"}]',
        **more,
        "Type": table,
    }


def _user(table: str, event_id: str, outcome: Outcome, *addresses: str) -> Expected:
    return Expected(table, "ada@example.net", outcome, event_id, BEGAN, addresses or (V4,))


def _robot(table: str, event_id: str, outcome: Outcome = Outcome.SUCCESS) -> Expected:
    return Expected(table, "build robot", outcome, event_id, BEGAN)


GRAPH_USER = {**user("f-1", status={"errorCode": 50126}), "signInEventTypes": ["interactiveUser"]}

RECORDS = [
    Recorded(
        "A interactive, wrong password",
        "A",
        "category:SignInLogs",
        diagnostic("SignInLogs", user("a-1", status={"errorCode": 50126}), resultType="50126"),
        _user("SigninLogs", "a-1", Outcome.FAILURE),
    ),
    Recorded(
        "A non-interactive from IPv6",
        "A",
        "category:NonInteractiveUserSignInLogs",
        diagnostic(
            "NonInteractiveUserSignInLogs",
            user("a-2", ipAddress="2A02:8108:0000::0005", isInteractive=False),
            callerIpAddress=V6,
        ),
        _user("AADNonInteractiveUserSignInLogs", "a-2", Outcome.SUCCESS, V6),
    ),
    Recorded(
        "A service principal, US time, expired secret",
        "A",
        "category:ServicePrincipalSignInLogs",
        diagnostic(
            "ServicePrincipalSignInLogs",
            principal("a-3", createdDateTime="5/6/2031 7:06:00 AM"),
            time="5/6/2031 3:03:58 PM",
            resultType="7000222",
            identity="",
        ),
        _robot("AADServicePrincipalSignInLogs", "a-3", Outcome.FAILURE),
    ),
    Recorded(
        "A managed identity that has an address",
        "A",
        "category:ManagedIdentitySignInLogs",
        diagnostic("ManagedIdentitySignInLogs", principal("a-4", servicePrincipalName="")),
        Expected("AADManagedIdentitySignInLogs", PRINCIPAL_ID, Outcome.SUCCESS, "a-4", BEGAN),
    ),
    Recorded(
        "A service principal of Microsoft's own",
        "A",
        "category:MicrosoftServicePrincipalSignInLogs",
        diagnostic(
            "MicrosoftServicePrincipalSignInLogs", principal("a-9", servicePrincipalName="Exchange")
        ),
        Expected("MicrosoftServicePrincipalSignInLogs", "exchange", Outcome.SUCCESS, "a-9", BEGAN),
    ),
    Recorded(
        "A AD FS, US time, level as text",
        "A",
        "category:ADFSSignInLogs",
        diagnostic(
            "ADFSSignInLogs",
            user("a-5", createdDateTime="5/6/2031 7:06:00 AM", riskState="hidden"),
            time="5/6/2031 7:13:27 AM",
            level="4",
            durationMs="0",
        ),
        _user("ADFSSignInLogs", "a-5", Outcome.SUCCESS),
    ),
    Recorded(
        "A risk event with its only address inside",
        "A",
        "category:UserRiskEvents",
        {
            "time": "5/6/2031 3:03:58 PM",
            "category": "UserRiskEvents",
            "operationName": "User Risk Detection",
            "tenantId": ENTRA_TENANT,
            "properties": {
                "id": "a-6",
                "ipAddress": V4,
                "userPrincipalName": "ada@example.net",
                "activityDateTime": "2031-05-06T7:06:00Z",
                "riskEventType": "unfamiliarFeatures",
                "riskLevel": "medium",
            },
        },
        _user("AADUserRiskEvents", "a-6", Outcome.UNKNOWN),
    ),
    Recorded(
        "B lower-case names, result as number",
        "B",
        "category:SignInLogs",
        {
            "time": "2031-05-06 07:08:09.123",
            "operationname": "Sign-in activity",
            "category": "SignInLogs",
            "tenantid": ENTRA_TENANT,
            "resulttype": 0,
            "calleripaddress": V4,
            "level": 4,
            "properties": user("b-1"),
        },
        _user("SigninLogs", "b-1", Outcome.SUCCESS),
    ),
    Recorded(
        "C PascalCase without time and result",
        "C",
        "category:SignInLogs",
        {
            "Category": "SignInLogs",
            "CreatedDateTime": "2031-05-06T07:06:00",
            "IPAddress": V4,
            "Id": "c-1",
            "UserPrincipalName": "ada@example.net",
        },
        _user("SigninLogs", "c-1", Outcome.UNKNOWN),
    ),
    Recorded(
        "D interactive row, MFA asked",
        "D",
        "type:SigninLogs",
        row("SigninLogs", "d-1", ResultType="50076", Status={"errorCode": 50076}),
        _user("SigninLogs", "d-1", Outcome.PASSWORD_ACCEPTED),
    ),
    Recorded(
        "D portal CSV, everything text",
        "D",
        "type:SigninLogs",
        row(
            "SigninLogs",
            "d-2",
            TimeGenerated="5/6/2031, 7:08:09.123 AM",
            CreatedDateTime="5/6/2031, 7:06:00.000 AM",
            Status='{"errorCode":0}',
            IsInteractive="true",
            LocationDetails='{"city":"Köln","countryOrRegion":"DE"}',
        ),
        _user("SigninLogs", "d-2", Outcome.SUCCESS),
    ),
    Recorded(
        "E exported row",
        "E",
        "type:SigninLogs",
        row(
            "SigninLogs",
            "e-1",
            ResultType=50140,
            _ItemId="5f5f5f5f-0000-4000-8000-000000000001",
            _Internal_WorkspaceResourceId="/subscriptions/x/workspaces/y",
        ),
        _user("SigninLogs", "e-1", Outcome.INTERRUPTED),
    ),
    Recorded(
        "E non-interactive row, status only as text",
        "E",
        "type:AADNonInteractiveUserSignInLogs",
        {
            "TenantId": WORKSPACE,
            "TimeGenerated": "2031-05-06T07:06:00.0000000Z",
            "ProcessingTimeInMs": "12",
            "IPAddress": V6,
            "UserPrincipalName": "ada@example.net",
            "Id": "e-2",
            "Status": '{"errorCode":50126,"failureReason":"Wrong"}',
            "_ItemId": "5f5f5f5f-0000-4000-8000-000000000002",
            "Type": "AADNonInteractiveUserSignInLogs",
        },
        _user("AADNonInteractiveUserSignInLogs", "e-2", Outcome.FAILURE, V6),
    ),
    Recorded(
        "E service principal row",
        "E",
        "type:AADServicePrincipalSignInLogs",
        row(
            "AADServicePrincipalSignInLogs",
            "e-3",
            UserPrincipalName="",
            UserId=None,
            ServicePrincipalName="Build Robot",
            ServicePrincipalId=PRINCIPAL_ID,
        ),
        _robot("AADServicePrincipalSignInLogs", "e-3"),
    ),
    Recorded(
        "E managed identity row",
        "E",
        "type:AADManagedIdentitySignInLogs",
        row(
            "AADManagedIdentitySignInLogs",
            "e-4",
            UserPrincipalName=None,
            ServicePrincipalName="Build Robot",
        ),
        _robot("AADManagedIdentitySignInLogs", "e-4"),
    ),
    Recorded(
        "E service principal of Microsoft's own",
        "E",
        "type:MicrosoftServicePrincipalSignInLogs",
        row(
            "MicrosoftServicePrincipalSignInLogs",
            "e-14",
            UserPrincipalName=None,
            ServicePrincipalName="Build Robot",
        ),
        _robot("MicrosoftServicePrincipalSignInLogs", "e-14"),
    ),
    Recorded(
        "E AD FS row, locked",
        "E",
        "type:ADFSSignInLogs",
        row("ADFSSignInLogs", "e-5", ResultType="50053"),
        _user("ADFSSignInLogs", "e-5", Outcome.FAILURE),
    ),
    Recorded(
        "E risk row",
        "E",
        "type:AADUserRiskEvents",
        {
            "TenantId": WORKSPACE,
            "TimeGenerated": "2031-05-06T07:08:09Z",
            "ActivityDateTime": "2031-05-06T07:06:00Z",
            "IpAddress": V4,
            "UserPrincipalName": "ada@example.net",
            "Id": "e-6",
            "RiskLevel": "high",
            "Type": "AADUserRiskEvents",
        },
        _user("AADUserRiskEvents", "e-6", Outcome.UNKNOWN),
    ),
    Recorded(
        "F Graph sign-in",
        "F",
        "looks:graph_interactive",
        GRAPH_USER,
        _user("SigninLogs", "f-1", Outcome.FAILURE),
    ),
    Recorded(
        "F Graph non-interactive sign-in",
        "F",
        "looks:graph_non_interactive",
        {**user("f-2"), "signInEventTypes": ["nonInteractiveUser"]},
        _user("AADNonInteractiveUserSignInLogs", "f-2", Outcome.SUCCESS),
    ),
    Recorded(
        "F Graph service principal",
        "F",
        "looks:graph_service_principal",
        {**principal("f-3"), "signInEventTypes": ["servicePrincipal"]},
        _robot("AADServicePrincipalSignInLogs", "f-3"),
    ),
    Recorded(
        "F Graph managed identity",
        "F",
        "looks:graph_managed_identity",
        {**principal("f-4"), "signInEventTypes": ["managedIdentity"]},
        _robot("AADManagedIdentitySignInLogs", "f-4"),
    ),
]
