"""Synthetic records, addresses and intelligence of the sizes and repetitions seen in the field.

Flat rows are those of data export (about 4 KB, ``Type`` last), nested ones those of Entra's
diagnostic settings (about 5 KB). Every record has ids and a user of its own; only addresses,
applications and devices repeat, as they do.
"""

from __future__ import annotations

import ipaddress
import random
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import orjson

from schemas.events.addresses import usable_address
from schemas.ports import Message, Position

Record = dict[str, Any]

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
TENANT = "0f0e0d0c-1111-4222-8333-444455556666"
WORKSPACE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
KNOWN_SHARE, BAD_SHARE = 0.05, 0.01
"""Of the addresses: those CrowdSec knows at all, and those among them that it calls bad."""

_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/132.0.0.0 Safari/537.36 Edg/132.0.0.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Mobile/15E148",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18324; Pro)",
)
_APPLICATIONS = ("Office 365 Exchange Online", "Microsoft Teams", "Azure Portal", "SharePoint")
_CITIES = (("Köln", "DE", 3209), ("Leeds", "GB", 5089), ("Zürich", "CH", 3303))


def addresses(count: int, seed: int = 1) -> list[str]:
    """Return that many distinct, canonical public addresses; one in eight is IPv6."""
    dice = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        six = dice.random() < 0.125
        number = (0x2A02 << 112 | dice.getrandbits(104)) if six else dice.getrandbits(32)
        text = str(ipaddress.IPv6Address(number) if six else ipaddress.IPv4Address(number))
        if usable_address(text) == text:
            found[text] = None
    return list(found)


def repeated(pool: list[str], count: int, seed: int = 2) -> list[str]:
    """Draw *count* addresses from *pool*, each at least once, a few of them very often."""
    dice = random.Random(seed)
    weights = [1 / rank for rank in range(1, len(pool) + 1)]
    drawn = pool + dice.choices(pool, weights, k=count - len(pool))
    dice.shuffle(drawn)
    return drawn


_ALIKE: Record = {
    "authenticationProcessingDetails": [
        {"key": "Login Hint Present", "value": "True"},
        {"key": "Is CAE Token", "value": "False"},
        {"key": "Root Key Type", "value": "Unknown"},
    ],
    "networkLocationDetails": [
        {"networkType": "namedNetwork", "networkNames": ["All trusted locations"]}
    ],
    "sessionLifetimePolicies": [
        {
            "expirationRequirement": "rememberMultifactorAuthenticationOnTrustedDevices",
            "detail": "Remember MFA",
        }
    ],
    "riskDetail": "none",
    "riskLevelAggregated": "none",
    "riskLevelDuringSignIn": "none",
    "riskState": "none",
    "riskEventTypes": [],
    "riskEventTypes_v2": [],
    "authenticationStrengths": [],
    "incomingTokenType": "none",
    "authenticationProtocol": "none",
    "appServicePrincipalId": None,
    "signInTokenProtectionStatus": "none",
    "isThroughGlobalSecureAccess": False,
    "globalSecureAccessIpAddress": "",
}
"""What the properties of all sign-ins have in common here."""


class Writer:
    """Writes records one after the other, each with ids, a user and a time of its own."""

    def __init__(self, seed: int = 3, people: int | None = None) -> None:
        """Every record is of another user, or of one of *people*, who sign in again and again."""
        self._dice = random.Random(seed)
        self._people = people
        self._count = 0

    def _guid(self) -> str:
        text = f"{self._dice.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"

    def properties(self, address: str) -> Record:
        """Return the properties of a user's sign-in, as diagnostic settings write them."""
        self._count += 1
        dice, number = self._dice, self._count
        person = dice.randrange(self._people) if self._people else number
        time = START + timedelta(seconds=number * 0.05)
        city, country, asn = dice.choice(_CITIES)
        failed = dice.random() < 0.2
        return {
            "id": self._guid(),
            "createdDateTime": f"{time:%Y-%m-%dT%H:%M:%S.%f}1+00:00",
            "userDisplayName": f"Ada Example {person}",
            "userPrincipalName": f"ada.example{person}@contoso.example",
            "userId": self._guid(),
            "appId": self._guid(),
            "appDisplayName": dice.choice(_APPLICATIONS),
            "ipAddress": address,
            "status": {
                "errorCode": 50126 if failed else 0,
                "failureReason": "Invalid username or password." if failed else "Other.",
                "additionalDetails": "MFA requirement satisfied by claim in the token",
            },
            "clientAppUsed": "Browser",
            "userAgent": dice.choice(_AGENTS),
            "deviceDetail": {
                "deviceId": self._guid(),
                "displayName": f"LAPTOP-{number:06}",
                "operatingSystem": "Windows 10",
                "browser": "Edge 132.0.0",
                "isCompliant": True,
                "isManaged": True,
                "trustType": "Azure AD joined",
            },
            "location": {
                "city": city,
                "state": "",
                "countryOrRegion": country,
                "geoCoordinates": {"latitude": 50.93, "longitude": 6.95},
            },
            "correlationId": self._guid(),
            "conditionalAccessStatus": "success",
            "appliedConditionalAccessPolicies": [self._policy(one) for one in range(5)],
            "authenticationContextClassReferences": [],
            "originalRequestId": self._guid(),
            "isInteractive": True,
            "tokenIssuerName": "",
            "tokenIssuerType": "AzureAD",
            "processingTimeInMilliseconds": dice.randrange(40, 900),
            "resourceDisplayName": "Windows Azure Active Directory",
            "resourceId": self._guid(),
            "resourceTenantId": TENANT,
            "homeTenantId": TENANT,
            "authenticationMethodsUsed": [],
            "authenticationRequirement": "multiFactorAuthentication",
            "authenticationDetails": [self._step(time, one) for one in ("Password", "Push")],
            "autonomousSystemNumber": asn,
            "crossTenantAccessType": "none",
            "privateLinkDetails": {},
            "ssoExtensionVersion": "",
            "uniqueTokenIdentifier": self._guid()[:22],
            "resourceServicePrincipalId": self._guid(),
            "sessionId": self._guid(),
            "userType": "Member",
            "flaggedForReview": False,
            "isTenantRestricted": False,
            **_ALIKE,
        }

    def _policy(self, number: int) -> Record:
        return {
            "id": self._guid(),
            "displayName": f"CA{number:03}: Require multifactor authentication for all users",
            "enforcedGrantControls": ["Mfa"],
            "enforcedSessionControls": ["SignInFrequency"],
            "result": "success" if number == 0 else "notApplied",
            "conditionsSatisfied": 23,
            "conditionsNotSatisfied": 0,
        }

    @staticmethod
    def _step(time: datetime, method: str) -> Record:
        return {
            "authenticationStepDateTime": f"{time:%Y-%m-%dT%H:%M:%S.%f}1+00:00",
            "authenticationMethod": method,
            "authenticationMethodDetail": "Password Hash Sync",
            "succeeded": True,
            "authenticationStepResultDetail": "Correct password",
            "authenticationStepRequirement": "Primary authentication",
            "StatusSequence": 0,
            "RequestSequence": 1,
        }

    def nested(self, address: str) -> Record:
        """Return a record of Entra's diagnostic settings."""
        properties = self.properties(address)
        code = properties["status"]["errorCode"]
        return {
            "time": properties["createdDateTime"].replace("+00:00", "Z"),
            "resourceId": f"/tenants/{TENANT}/providers/Microsoft.aadiam",
            "operationName": "Sign-in activity",
            "operationVersion": "1.0",
            "category": "SignInLogs",
            "tenantId": TENANT,
            "resultType": str(code),
            "resultSignature": "None",
            "resultDescription": properties["status"]["failureReason"],
            "durationMs": 0,
            "callerIpAddress": address,
            "correlationId": properties["correlationId"],
            "identity": properties["userDisplayName"],
            "Level": 4,
            "location": properties["location"]["countryOrRegion"],
            "properties": properties,
        }

    def flat(self, address: str) -> Record:
        """Return a row of data export: one level, what is no text as text, ``Type`` last."""
        told = self.properties(address)
        del told["authenticationDetails"][1:], told["appliedConditionalAccessPolicies"][3:]
        for name in ("id", "location", "ipAddress"):
            told[f"_{name}"] = told.pop(name)
        row: Record = {
            "TenantId": WORKSPACE,
            "SourceSystem": "Azure AD",
            "TimeGenerated": told["createdDateTime"].replace("+00:00", "Z"),
            "ResourceId": f"/tenants/{TENANT}/providers/Microsoft.aadiam",
            "OperationName": "Sign-in activity",
            "Category": "SignInLogs",
            "ResultType": str(told["status"]["errorCode"]),
            "ResultDescription": told["status"]["failureReason"],
            "DurationMs": 0,
            "Location": told["_location"]["countryOrRegion"],
            "IPAddress": told.pop("_ipAddress"),
            "Id": told.pop("_id"),
            "LocationDetails": told.pop("_location"),
            "AADTenantId": TENANT,
        }
        row |= {name[0].upper() + name[1:]: _as_text(value) for name, value in told.items()}
        row["_ItemId"] = self._guid()
        return row | {"_Internal_WorkspaceResourceId": "/subscriptions/x", "Type": "SigninLogs"}

    def body(self, kind: str, of: list[str]) -> bytes:
        """Return a message body with one record for each address."""
        write = self.flat if kind == "flat" else self.nested
        return orjson.dumps({"records": [write(address) for address in of]})


def _as_text(value: object) -> object:
    return orjson.dumps(value).decode() if isinstance(value, list) else value


def messages(kind: str, of: list[str], size: int = 100) -> list[Message]:
    """Return messages with *size* records each."""
    writer = Writer()
    parts = (of[start : start + size] for start in range(0, len(of), size))
    return [
        Message(writer.body(kind, part), Position("bench", number))
        for number, part in enumerate(parts, 1)
    ]


@cache
def item(address: str, reputation: str) -> bytes:
    """Return what CrowdSec tells of an address that it knows: 7 KB, most of it prose."""
    bad = reputation in ("malicious", "suspicious")
    total = {"malicious": 4, "suspicious": 3}.get(reputation, 1)
    score = dict.fromkeys(("aggressiveness", "threat", "trust", "anomaly", "total"), total)
    prose = (
        "Adversaries may use brute force techniques to gain access to accounts when passwords are "
        "unknown or when password hashes are obtained. Without knowledge of the password for an "
        "account or set of accounts, an adversary may systematically guess the password using a "
        "repetitive or iterative mechanism. "
    )
    names = ("http:bruteforce", "cloud:bruteforce", "http:scan")
    told: Record = {
        "ip": address,
        "reputation": reputation,
        "confidence": "high" if bad else "low",
        "background_noise": "medium",
        "background_noise_score": 6,
        "ip_range": "198.18.0.0/15",
        "ip_range_score": total,
        "ip_range_24": "198.18.7.0/24",
        "ip_range_24_reputation": reputation,
        "ip_range_24_score": total,
        "proxy_or_vpn": False,
        "as_name": "EXAMPLE-NET",
        "as_num": 64501,
        "reverse_dns": "host-7.example.net",
        "location": {"country": "NL", "city": "Delft", "latitude": 52.0, "longitude": 4.36},
        "history": {
            "first_seen": "2025-11-14T04:15:00+00:00",
            "last_seen": "2026-03-01T21:45:00+00:00",
            "full_age": 108,
            "days_age": 107,
        },
        "behaviors": [{"name": one, "label": one, "description": prose[:140]} for one in names],
        "attack_details": [
            {
                "name": f"crowdsecurity/{one}-bf",
                "label": one,
                "description": prose[:90],
                "references": [],
            }
            for one in ("http-generic", "ssh", "http-probing", "wordpress")
        ],
        "classifications": {
            "false_positives": [],
            "classifications": [
                {"name": "range:data_center", "label": "Data center", "description": prose[:90]}
            ],
        },
        "mitre_techniques": [
            {"name": one, "label": one, "description": prose * 5}
            for one in ("T1110", "T1595", "T1190")
        ],
        "cves": [],
        "references": [{"name": "list:example", "label": "Example", "description": prose[:90]}],
        "target_countries": {"FR": 41, "DE": 33, "US": 26},
        "scores": dict.fromkeys(("overall", "last_day", "last_week", "last_month"), score),
    }
    return orjson.dumps(told)


@cache
def reputations(count: int, seed: int, known: float, *, spread: bool = False) -> dict[str, str]:
    """Tell which of ``addresses(count, seed)`` are known, and as what.

    The last ones are: in :func:`repeated` they are the rare ones, and a rare address is more
    likely to be bad than the office's own. With *spread* they are anywhere.
    """
    pool = addresses(count, seed)
    several = round(count * known)
    words = ["malicious", "suspicious"] * (round(several * BAD_SHARE / KNOWN_SHARE) // 2)
    words += ["benign", "known"] * (several // 2 + 1)
    chosen = random.Random(seed).sample(pool, several) if spread else pool[::-1]
    return dict(zip(chosen, words[:several], strict=False))
