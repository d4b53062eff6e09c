"""How the demonstration's sign-ins are written: as table rows and as diagnostic records.

A *row* is what a data export rule of a workspace sends, a *record* what the diagnostic settings
of Entra ID send, or Defender's streaming. Both are drawn up from the same :class:`SignIn`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.demo_recording.company import DOMAIN, TENANT, WORKSPACE, Person, Principal

if TYPE_CHECKING:
    from tests.bench.demo_recording.company import App, Device, Place

Event = dict[str, Any]

INTERACTIVE = "SigninLogs"
NON_INTERACTIVE = "AADNonInteractiveUserSignInLogs"
PRINCIPAL = "AADServicePrincipalSignInLogs"
MANAGED = "AADManagedIdentitySignInLogs"
ADFS = "ADFSSignInLogs"
RISK = "AADUserRiskEvents"
IDENTITY = "IdentityLogonEvents"
OKTA = "OktaV2_CL"

CATEGORIES = {
    INTERACTIVE: "SignInLogs",
    NON_INTERACTIVE: "NonInteractiveUserSignInLogs",
    PRINCIPAL: "ServicePrincipalSignInLogs",
    MANAGED: "ManagedIdentitySignInLogs",
    ADFS: "ADFSSignInLogs",
    RISK: "UserRiskEvents",
}
REASONS = {
    7000215: "Invalid client secret is provided.",
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked, the user tried to sign in too many times.",
    50058: "Session information is not sufficient for single-sign-on.",
    50074: "Strong Authentication is required.",
    50076: "User needs to perform multi-factor authentication.",
    50126: "Error validating credentials due to invalid username or password.",
    50140: "This occurred due to 'Keep me signed in' interrupt when the user was signing-in.",
    50173: "The provided grant has expired; a fresh auth token is needed.",
    53003: "Access has been blocked by Conditional Access policies.",
    500121: "Authentication failed during strong authentication request.",
}
_REFUSED = frozenset((50074, 50076, 53003, 500121))
_NAMES = {
    "ipAddress": "IPAddress",
    "location": "LocationDetails",
}
_AS_TEXT = ("Status", "LocationDetails", "DeviceDetail")
_IN_WORKSPACE: Event = {
    "TenantId": WORKSPACE,
    "_Internal_WorkspaceResourceId": "/subscriptions/0b9d8c1e-55a7-4f0c-8e21-9a4d6b7c3f10"
    "/resourceGroups/rg-soc/providers/Microsoft.OperationalInsights/workspaces/nwi-soc",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """One sign-in, before it is written down."""

    table: str
    id: str
    correlation: str
    session: str | None
    """None where the recording leaves it out, and the token's id, to stay small."""
    time: datetime
    delay: float
    who: Person | Principal
    place: Place
    app: App
    device: Device | None
    code: int = 0
    risk: str = "none"
    mfa: bool = False
    """Whether a second factor was given, or a token said so."""
    address: str | None = None
    """The address as the event writes it, where that is not the plain one."""

    @property
    def raw_address(self) -> str:
        """The text in the address fields."""
        return self.place.address if self.address is None else self.address

    @property
    def emitted(self) -> datetime:
        """When the service passed it on."""
        return self.time + timedelta(seconds=self.delay)


def compact(value: object) -> str:
    """Return JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def iso(moment: datetime) -> str:
    """Return a time with the seven digits of Microsoft's services."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}{moment.microsecond % 7}Z"


def us_form(moment: datetime) -> str:
    """Return a time as AD FS and Identity Protection write it: ``3/2/2026 3:03:58 PM``."""
    clock = f"{moment.hour % 12 or 12}:{moment:%M:%S %p}"
    return f"{moment.month}/{moment.day}/{moment.year} {clock}"


def as_row(sign_in: SignIn) -> Event:
    """Return the row of a workspace table."""
    if sign_in.table == OKTA:
        row = _okta(sign_in)
    elif sign_in.table == RISK:
        row = {_capital(name): value for name, value in _risk(sign_in).items()}
        row |= {"CorrelationId": sign_in.correlation, "OperationName": "User Risk Detection"}
    else:
        row = _entra_row(sign_in)
    return {
        "TimeGenerated": iso(sign_in.emitted),
        **row,
        **_IN_WORKSPACE,
        "Type": sign_in.table,
        "_ItemId": sign_in.id[:8] + sign_in.correlation[8:],
    }


def as_record(sign_in: SignIn) -> Event:
    """Return the record of diagnostic settings, or of Defender's streaming."""
    if sign_in.table == IDENTITY:
        return _identity(sign_in)
    odd = sign_in.table in (ADFS, RISK)
    record: Event = {
        "time": us_form(sign_in.emitted) if odd else iso(sign_in.emitted),
        "resourceId": f"/tenants/{TENANT}/providers/Microsoft.aadiam",
        "operationName": "User Risk Detection" if sign_in.table == RISK else "Sign-in activity",
        "operationVersion": "1.0",
        "category": CATEGORIES[sign_in.table],
        "tenantId": TENANT,
    }
    if sign_in.table == RISK:
        return record | {"correlationId": sign_in.correlation, "properties": _risk(sign_in)}
    return record | _outcome(sign_in) | {"properties": _entra(sign_in)}


def _outcome(sign_in: SignIn) -> Event:
    """Return the fields of a diagnostic record that a sign-in's properties repeat."""
    fields: Event = {"resultType": str(sign_in.code), "resultSignature": "None"}
    if sign_in.code:
        fields["resultDescription"] = REASONS[sign_in.code]
    fields["durationMs"] = 0
    if sign_in.table != MANAGED:
        fields["callerIpAddress"] = sign_in.raw_address
    fields["Level"] = 4
    if isinstance(sign_in.who, Person):
        fields["location"] = sign_in.place.network.country
    return fields


def _entra_row(sign_in: SignIn) -> Event:
    row = {_NAMES.get(name, _capital(name)): value for name, value in _entra(sign_in).items()}
    if sign_in.table == NON_INTERACTIVE:
        row |= {name: compact(row[name]) for name in _AS_TEXT}
    if sign_in.code:
        row["ResultDescription"] = REASONS[sign_in.code]
    return row | {
        "ResultType": str(sign_in.code),
        "Location": sign_in.place.network.country,
        "OperationName": "Sign-in activity",
        "Category": CATEGORIES[sign_in.table],
        "AADTenantId": TENANT,
    }


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _entra(sign_in: SignIn) -> Event:
    """Return the properties of an Entra sign-in, named as in diagnostic records."""
    odd = sign_in.table == ADFS
    status: Event = {"errorCode": sign_in.code}
    if sign_in.code:
        status["failureReason"] = REASONS[sign_in.code]
    elif sign_in.mfa:
        status["additionalDetails"] = "MFA requirement satisfied by claim in the token"
    shared: Event = {
        "id": sign_in.id,
        "createdDateTime": us_form(sign_in.time) if odd else iso(sign_in.time),
        "correlationId": sign_in.correlation,
        "status": status,
        "appDisplayName": sign_in.app.name,
        "appId": sign_in.app.id,
        "resourceDisplayName": sign_in.app.resource,
        "ipAddress": sign_in.raw_address,
        "autonomousSystemNumber": sign_in.place.network.asn,
        "location": _location(sign_in),
    }
    if isinstance(sign_in.who, Principal):
        return shared | _of_principal(sign_in.who)
    return shared | _of_person(sign_in, sign_in.who)


def _of_principal(who: Principal) -> Event:
    return {
        "servicePrincipalName": who.name,
        "servicePrincipalId": who.object_id,
        "appId": who.app_id,
        "userId": None,
        "conditionalAccessStatus": "notApplied",
    }


def _of_person(sign_in: SignIn, who: Person) -> Event:
    hidden = sign_in.table == ADFS
    properties: Event = {
        "userDisplayName": who.name,
        "userPrincipalName": who.upn,
        "userId": who.object_id,
        "userType": "Member",
        "isInteractive": sign_in.table != NON_INTERACTIVE,
        "riskLevelDuringSignIn": "hidden" if hidden else sign_in.risk,
        "riskLevelAggregated": "hidden" if hidden else sign_in.risk,
        "riskState": "none" if sign_in.risk == "none" else "atRisk",
        "authenticationRequirement": _requirement(sign_in),
        "conditionalAccessStatus": _access(sign_in),
        "clientAppUsed": sign_in.app.client,
        "userAgent": sign_in.device.agent if sign_in.device else "",
        "deviceDetail": _device(sign_in.device),
    }
    if sign_in.session:
        properties["sessionId"] = sign_in.session
        foreign = sign_in.device and not sign_in.device.managed and not sign_in.code
        if foreign and sign_in.table in (INTERACTIVE, NON_INTERACTIVE):
            properties["uniqueTokenIdentifier"] = base64.b64encode(sign_in.id.encode()).decode()
    return properties


def _requirement(sign_in: SignIn) -> str:
    asked = sign_in.mfa or sign_in.code in _REFUSED
    return "multiFactorAuthentication" if asked else "singleFactorAuthentication"


def _access(sign_in: SignIn) -> str:
    if sign_in.code in _REFUSED:
        return "failure"
    return "success" if sign_in.mfa and not sign_in.code else "notApplied"


def _device(device: Device | None) -> Event:
    if device is None:
        return {"operatingSystem": "", "browser": "", "deviceId": ""}
    return {
        "operatingSystem": device.system,
        "browser": device.browser,
        "isCompliant": device.managed,
        "isManaged": device.managed,
        "trustType": "Azure AD joined" if device.managed else "",
        "deviceId": device.id if device.managed else "",
    }


def _location(sign_in: SignIn) -> Event:
    network = sign_in.place.network
    return {
        "city": network.city,
        "state": network.state,
        "countryOrRegion": network.country,
    }


def _risk(sign_in: SignIn) -> Event:
    assert isinstance(sign_in.who, Person)
    return {
        "id": sign_in.id,
        "requestId": sign_in.session,
        "riskEventType": "unfamiliarFeatures",
        "riskState": "atRisk",
        "riskLevel": sign_in.risk,
        "detectionTimingType": "realtime",
        "activity": "signin",
        "ipAddress": sign_in.raw_address,
        "activityDateTime": us_form(sign_in.time),
        "detectedDateTime": us_form(sign_in.time),
        "userId": sign_in.who.object_id,
        "userDisplayName": sign_in.who.name,
        "userPrincipalName": sign_in.who.upn,
        "location": _location(sign_in),
    }


def _identity(sign_in: SignIn) -> Event:
    assert isinstance(sign_in.who, Person)
    inside = not sign_in.place.network.country
    return {
        "time": iso(sign_in.emitted),
        "tenantId": TENANT,
        "operationName": "Publish",
        "category": "AdvancedHunting-IdentityLogonEvents",
        "properties": {
            "Timestamp": iso(sign_in.time),
            "ActionType": "LogonFailed" if sign_in.code else "LogonSuccess",
            "Application": "Active Directory" if inside else "Microsoft 365",
            "LogonType": "Interactive" if inside else "OAuth2:Token",
            "Protocol": "Kerberos" if inside else "OAuth2",
            "FailureReason": "WrongPassword" if sign_in.code else None,
            "AccountName": sign_in.who.upn.partition("@")[0],
            "AccountDomain": DOMAIN,
            "AccountUpn": sign_in.who.upn,
            "AccountObjectId": sign_in.who.object_id,
            "AccountDisplayName": sign_in.who.name,
            "DeviceName": sign_in.device.name if sign_in.device else "",
            "OSPlatform": sign_in.device.system if sign_in.device else "",
            "IPAddress": sign_in.raw_address,
            "Port": "",
            "Location": sign_in.place.network.country,
            "ReportId": sign_in.id,
        },
        "Tenant": "DefaultTenant",
    }


def _okta(sign_in: SignIn) -> Event:
    assert isinstance(sign_in.who, Person)
    network = sign_in.place.network
    return {
        "EventStartTime": iso(sign_in.time),
        "EventOriginalUid": sign_in.id,
        "EventOriginalType": "user.session.start",
        "EventMessage": "User login to Okta",
        "EventResult": "Failure" if sign_in.code else "Success",
        "OriginalOutcomeResult": "FAILURE" if sign_in.code else "SUCCESS",
        "EventOriginalResultDetails": "INVALID_CREDENTIALS" if sign_in.code else None,
        "SrcIpAddr": sign_in.raw_address,
        "SrcGeoCountry": network.country,
        "SrcGeoCity": network.city,
        "OriginalActorAlternateId": sign_in.who.upn,
        "ActorDisplayName": sign_in.who.name,
        "ActorUserId": "00u" + sign_in.who.object_id[:8] + "NwI5d7",
        "ActorUserType": "User",
        "ActorSessionId": sign_in.session,
        "OriginalTarget": [{"type": "AppInstance", "displayName": sign_in.app.name}],
        "HttpUserAgent": sign_in.device.agent if sign_in.device else "",
    }
