"""How the sign-ins of a made-up company are written down, in either envelope, about 1 KB each."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from tests.bench.company.world import Place

Row = dict[str, Any]

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""
TENANT = "7c1f3f0e-2b54-4a8e-9f7e-51b8d2a6c093"
WORKSPACE = "d94c2a17-6e0b-4f53-8a3d-0c7be1f2a655"
INTERACTIVE, RENEWED, PRINCIPAL = range(3)
TABLES = ("SigninLogs", "AADNonInteractiveUserSignInLogs", "AADServicePrincipalSignInLogs")
_CATEGORIES = ("SignInLogs", "NonInteractiveUserSignInLogs", "ServicePrincipalSignInLogs")

RIGHT_PASSWORD = frozenset({50055, 50074, 50076, 50072, 53003, 500121})
"""Codes that tell that the password was right and something later stopped the sign-in."""
_WHY = {
    0: "",
    16000: "Either multiple user identities are available or the account is not supported.",
    50034: "The user account does not exist in the directory.",
    50053: "The account is locked or the sign-in came from an address with malicious activity.",
    50055: "The password is expired.",
    50057: "The user account is disabled.",
    50058: "Session information is not sufficient for single-sign-on.",
    50072: "User needs to enroll for multi-factor authentication.",
    50074: "Strong Authentication is required.",
    50076: "User needs to perform multi-factor authentication.",
    50126: "Error validating credentials due to invalid username or password.",
    50140: "This occurred due to 'Keep me signed in' interrupt when the user was signing-in.",
    50173: "The provided grant has expired; a fresh auth token is needed.",
    53003: "Access has been blocked by Conditional Access policies.",
    65001: "The user or administrator has not consented to use the application.",
    70043: "The refresh token has expired or is invalid due to sign-in frequency checks.",
    500121: "Authentication failed during strong authentication request.",
    700082: "The refresh token has expired due to inactivity.",
    7000215: "Invalid client secret is provided.",
}


class Device(NamedTuple):
    """A device and the program on it. *id* is empty for one that the tenant does not know."""

    id: str
    system: str
    browser: str
    agent: str
    managed: bool

    def detail(self) -> Row:
        """Return what a log tells of it."""
        known = bool(self.id)
        return {
            "deviceId": self.id,
            "operatingSystem": self.system,
            "browser": self.browser,
            "isCompliant": self.managed,
            "isManaged": self.managed,
            "trustType": ("Hybrid Azure AD joined" if self.managed else "Azure AD registered")
            if known
            else "",
        }


class App(NamedTuple):
    """An application, and the kind of program that signs in to it."""

    name: str
    id: str
    client: str = "Mobile Apps and Desktop clients"


class Account(NamedTuple):
    """Who signs in."""

    name: str
    id: str
    app_id: str = ""
    """Of a service principal."""


class Risk(NamedTuple):
    """What Identity Protection says: at sign-in, with what it learned since, and what became."""

    during: str
    aggregated: str
    state: str


NO_RISK = Risk("none", "none", "none")


class SignIn(NamedTuple):
    """One sign-in, before it is written."""

    time: float
    """Seconds since the start of the recording."""
    table: int
    who: Account
    place: Place
    device: Device
    app: App
    code: int = 0
    mfa: bool = False
    risk: Risk = NO_RISK
    evil: str = ""
    """The kind of attack; for the truth only, never written."""


class Writer:
    """Writes sign-ins as rows, and messages of them."""

    def __init__(self, seed: str, *, with_risk: bool) -> None:
        self._dice = random.Random(f"{seed} ids")
        self._with_risk = with_risk
        self._details: dict[Device, tuple[Row, str]] = {}
        self._places: dict[tuple[str, str], tuple[Row, str]] = {}

    def guid(self) -> str:
        """Return a GUID."""
        text = f"{self._dice.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-9{text[17:20]}-{text[20:]}"

    def written(self, one: SignIn, event_id: str, *, nested: bool) -> Row:
        """Return a record of either envelope."""
        moment = (START + timedelta(seconds=one.time)).isoformat(timespec="microseconds")
        time = moment[:26] + "Z"
        write = self._principal if one.table == PRINCIPAL else self._user
        place, place_text = self._where(one.place)
        flat: Row = {
            "TimeGenerated": time,
            "OperationName": "Sign-in activity",
            "Category": _CATEGORIES[one.table],
            "ResultType": str(one.code),
            "ResultDescription": _WHY[one.code],
            "CorrelationId": self.guid(),
            "CreatedDateTime": time,
            "Id": event_id,
            "IPAddress": one.place.address,
            "AutonomousSystemNumber": one.place.asn,
            "LocationDetails": place_text if one.table and not nested else place,
            **write(one, text=not nested),
        }
        if nested:
            return _record(flat)
        return {"TenantId": WORKSPACE, **flat, "AADTenantId": TENANT, "Type": TABLES[one.table]}

    def _user(self, one: SignIn, *, text: bool) -> Row:
        device, device_text = self._device(one.device)
        risk = one.risk if self._with_risk else Risk("", "", "")
        refused = one.code in (53003, 50076, 50074, 500121)
        return {
            "UserPrincipalName": one.who.name,
            "UserId": one.who.id,
            "UserType": "Member",
            "AppDisplayName": one.app.name,
            "AppId": one.app.id,
            "ClientAppUsed": one.app.client,
            "UserAgent": one.device.agent,
            "DeviceDetail": device_text if text and one.table else device,
            "RiskLevelDuringSignIn": risk.during,
            "RiskLevelAggregated": risk.aggregated,
            "RiskState": risk.state,
            "AuthenticationRequirement": "multiFactorAuthentication"
            if one.mfa
            else "singleFactorAuthentication",
            "ConditionalAccessStatus": "failure"
            if refused
            else ("success" if one.mfa else "notApplied"),
            "IsInteractive": one.table == INTERACTIVE,
        }

    @staticmethod
    def _principal(one: SignIn, *, text: bool) -> Row:
        del text
        return {
            "ServicePrincipalName": one.who.name,
            "ServicePrincipalId": one.who.id,
            "AppId": one.who.app_id,
            "ResourceDisplayName": one.app.name,
            "ConditionalAccessStatus": "notApplied",
        }

    def _device(self, device: Device) -> tuple[Row, str]:
        found = self._details.get(device)
        if found is None:
            detail = device.detail()
            found = self._details[device] = detail, orjson.dumps(detail).decode()
        return found

    def _where(self, place: Place) -> tuple[Row, str]:
        key = (place.country, place.city)
        found = self._places.get(key)
        if found is None:
            detail = {"city": place.city, "state": "", "countryOrRegion": place.country}
            found = self._places[key] = detail, orjson.dumps(detail).decode()
        return found


_FOR_ALL = ("TimeGenerated", "OperationName", "Category", "ResultType", "ResultDescription")


def _record(flat: Row) -> Row:
    """Return the record of diagnostic settings that tells the same as a row."""
    properties = {
        name[0].lower() + name[1:]: value for name, value in flat.items() if name not in _FOR_ALL
    }
    properties["ipAddress"] = properties.pop("iPAddress")
    location = properties["location"] = properties.pop("locationDetails")
    code = int(flat["ResultType"])
    properties["status"] = {"errorCode": code, "failureReason": flat["ResultDescription"]}
    return {
        "time": flat["TimeGenerated"],
        "operationName": flat["OperationName"],
        "category": flat["Category"],
        "tenantId": TENANT,
        "resultType": flat["ResultType"],
        "resultDescription": flat["ResultDescription"],
        "callerIpAddress": flat["IPAddress"],
        "correlationId": flat["CorrelationId"],
        "location": location["countryOrRegion"],
        "properties": properties,
    }
