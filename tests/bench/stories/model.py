"""What a story is, and the parts its records are made of."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

Record = dict[str, Any]

NAMESPACE = uuid.UUID("5b0cbd0e-5b0e-4c35-9d0e-2f4d8f6a7c11")
WORKSPACE = "7d0f6a52-3c7e-4b8e-9d0a-6c1f2e7b9a04"
TENANT = "c2a9e7d4-81f3-4e60-b5d7-0a6b3f9c1e28"
DOMAIN = "noordpoort.example"

INTERACTIVE = "SigninLogs"
NON_INTERACTIVE = "AADNonInteractiveUserSignInLogs"
PRINCIPAL = "AADServicePrincipalSignInLogs"
MANAGED = "AADManagedIdentitySignInLogs"
GRAPH = "MicrosoftGraphActivityLogs"
OFFICE = "OfficeActivity"

RESULTS = {
    "0": "",
    "50034": "The user account does not exist in the directory.",
    "50053": "The account is locked, too many wrong passwords in a row.",
    "50055": "The password is expired.",
    "50072": "The user has to enroll in multifactor authentication first.",
    "50074": "Strong authentication is required and the user did not pass the challenge yet.",
    "50076": "The user must use multifactor authentication to access the resource.",
    "50079": "The user has to register for multifactor authentication.",
    "50089": "The flow token has expired.",
    "50097": "Device authentication is required.",
    "50126": "Invalid username or password or Invalid on-premise username or password.",
    "50140": "Interrupt: keep me signed in.",
    "50158": "An external security challenge was not satisfied.",
    "50173": "The grant was revoked, fresh authentication is needed.",
    "50199": "For security reasons, the user has to confirm the request.",
    "500121": "Authentication failed during strong authentication request.",
    "53000": "The device is not compliant.",
    "53003": "Access has been blocked by Conditional Access policies.",
    "65001": "The user or administrator has not consented to the application.",
    "70016": "The device code authorization is pending.",
    "700082": "The refresh token has expired due to inactivity.",
    "7000215": "Invalid client secret is provided.",
    "7000222": "The provided client secret keys are expired.",
}
NO_SESSION = frozenset({"50034", "50053", "50055", "50126"})
"""Results at which a sign-in has ended before it belongs to a session."""


@dataclass(frozen=True, slots=True)
class Story:
    """An attack with its benign twin; each is to be added to the background alone."""

    name: str
    kind: str
    also: frozenset[str]
    report: str
    twin_is: str
    attack: tuple[Record, ...]
    twin: tuple[Record, ...]
    guilty: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """An address with what Entra ID writes about it."""

    address: str
    network: int
    city: str
    country: str
    latitude: float
    longitude: float

    def at(self, address: str) -> Place:
        """Return another address of the same network and city."""
        return replace(self, address=address)

    def details(self) -> Record:
        """Return ``LocationDetails``."""
        return {
            "city": self.city,
            "state": self.city,
            "countryOrRegion": self.country,
            "geoCoordinates": {"latitude": self.latitude, "longitude": self.longitude},
        }


@dataclass(frozen=True, slots=True)
class Client:
    """A program on a device: what it says of itself and what is known of the device."""

    agent: str
    system: str = ""
    browser: str = ""
    device: str = ""
    used: str = "Browser"

    def details(self) -> Record:
        """Return ``DeviceDetail``."""
        known: Record = {"deviceId": self.device}
        if self.device:
            trust = (
                "Azure AD registered" if self.system[:3] in {"iOS", "And"} else "Azure AD joined"
            )
            known |= {"displayName": f"NP-{self.device[:6].upper()}", "trustType": trust}
            known |= {"isCompliant": True, "isManaged": True}
        return {**known, "operatingSystem": self.system, "browser": self.browser}


@dataclass(frozen=True, slots=True)
class App:
    """An application and the resource it asks for."""

    name: str
    id: str
    resource: str = "Microsoft Graph"
    resource_id: str = "00000003-0000-0000-c000-000000000000"


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return a time in May 2026, UTC."""
    return datetime(2026, 5, day, hour, minute, second, tzinfo=UTC)


def later(when: datetime, minutes: float) -> datetime:
    """Return the time so many minutes later."""
    return when + timedelta(minutes=minutes)


def stamp(when: datetime) -> str:
    """Return a time as workspaces write it."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond:06d}0Z"


def made(*parts: object) -> str:
    """Return the id that these parts always give."""
    return str(uuid.uuid5(NAMESPACE, "|".join(map(str, parts))))


def token(event_id: str) -> str:
    """Return the unique token identifier that belongs to an event id."""
    raw = uuid.UUID(event_id).bytes_le
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def ids(*records: Record) -> frozenset[str]:
    """Return the event ids of records of any table."""
    names = ("Id", "RequestId", "OfficeId")
    return frozenset(next(record[name] for name in names if name in record) for record in records)


def in_order(*groups: Record | tuple[Record, ...] | list[Record]) -> tuple[Record, ...]:
    """Return records and groups of records as one tuple, sorted by time."""
    every: list[Record] = []
    for group in groups:
        every.extend([group] if isinstance(group, dict) else group)
    return tuple(sorted(every, key=began))


def began(record: Record) -> str:
    """Return when the event of a record began."""
    return str(record.get("CreatedDateTime") or record["TimeGenerated"])


def envelope(table: str, when: datetime, place: Place, result: str, seed: str) -> Record:
    """Return what the sign-in tables have in common."""
    event_id = made(table, when, place.address, result, seed)
    location: Any = place.details() if place.address else {}
    status: Any = {"errorCode": int(result), "failureReason": RESULTS.get(result) or "Other."}
    if table != INTERACTIVE:
        location, status = json.dumps(location), json.dumps(status)
    emitted = when + timedelta(seconds=70 + int(event_id[:2], 16))
    row: Record = {
        "TenantId": WORKSPACE,
        "SourceSystem": "Azure AD",
        "TimeGenerated": stamp(emitted),
        "CreatedDateTime": stamp(when),
        "OperationName": "Sign-in activity",
        "ResultType": result,
        "ResultSignature": "SUCCESS" if result == "0" else "FAILURE",
        "ResultDescription": RESULTS.get(result, ""),
        "IPAddress": place.address,
        "AutonomousSystemNumber": place.network,
        "Location": place.country,
        "LocationDetails": location,
        "Status": status,
        "Id": event_id,
        "OriginalRequestId": event_id,
        "CorrelationId": made("flow", event_id),
        "UniqueTokenIdentifier": token(event_id),
    }
    if table != NON_INTERACTIVE:
        row["AADTenantId"] = TENANT
    return {**row, "ResourceTenantId": TENANT, "HomeTenantId": TENANT, "Type": table}


def steps(when: datetime, result: str, second: bool) -> str:
    """Return ``AuthenticationDetails``: which factors were tried, and what came of them."""
    right = result not in {"50126", "50034", "50053"}
    told = "Correct password" if right else RESULTS[result]
    shown = [_step(when, "Password", "Password in the cloud", right, told)]
    if result == "500121":
        shown.append(_step(when, "Mobile app notification", "", False, "MFA denied; no response"))
    elif second and result == "0":
        told = "MFA successfully completed"
        shown.append(_step(when, "Mobile app notification", "", True, told))
    return json.dumps(shown)


def _step(when: datetime, method: str, detail: str, passed: bool, told: str) -> Record:
    return {
        "authenticationStepDateTime": stamp(when),
        "authenticationMethod": method,
        "authenticationMethodDetail": detail,
        "succeeded": passed,
        "authenticationStepResultDetail": told,
    }
