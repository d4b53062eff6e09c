"""Who signs in: people and workloads, and the records that they leave."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.bench.stories.model import (
    DOMAIN,
    GRAPH,
    INTERACTIVE,
    MANAGED,
    NO_SESSION,
    NON_INTERACTIVE,
    OFFICE,
    PRINCIPAL,
    TENANT,
    WORKSPACE,
    App,
    Client,
    Place,
    Record,
    envelope,
    later,
    made,
    stamp,
    steps,
)

if TYPE_CHECKING:
    from datetime import datetime

HOME_PAGE = App("OfficeHome", "4765445b-32c6-49b0-83e6-1d93765276ca", "OfficeHome")
OUTLOOK_WEB = App(
    "One Outlook Web",
    "9199bf20-a13f-4107-85dc-02114787ef48",
    "Office 365 Exchange Online",
    "00000002-0000-0ff1-ce00-000000000000",
)
OUTLOOK_MOBILE = replace(
    OUTLOOK_WEB, name="Outlook Mobile", id="27922004-5251-4030-b22d-91ecd9a37ea4"
)
EXCHANGE = replace(
    OUTLOOK_WEB, name="Office 365 Exchange Online", id="00000002-0000-0ff1-ce00-000000000000"
)
TEAMS = App("Microsoft Teams", "1fec8e78-bce4-4aaf-ab1b-5451cc387264", "Microsoft Teams Services")
OFFICE_APPS = App("Microsoft Office", "d3590ed6-52b3-4102-aeff-aad2292ab01c")
SHAREPOINT = App(
    "SharePoint Online Web Client Extensibility",
    "08e18876-6177-487e-b8b5-cf950c1e598c",
    "Office 365 SharePoint Online",
)
BROKER = App("Microsoft Authentication Broker", "29d9ed98-a469-4536-ade2-f981bc1d605e")
AZURE_CLI = App("Microsoft Azure CLI", "04b07795-8ddb-461a-bbee-02f9e1bf7b46")
AAD_POWERSHELL = App(
    "Azure Active Directory PowerShell",
    "1b730954-1685-4b74-9bfd-dac224a7b894",
    "Windows Azure Active Directory",
    "00000002-0000-0000-c000-000000000000",
)
PORTAL = App("Azure Portal", "c44b4083-3bb0-49c1-b47d-974e53cbdf3c", "Azure Resource Manager")
MY_SIGN_INS = App("My Signins", "19db86c3-b2b9-44cc-b339-36da233a3be2")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a home, an office, a laptop and a phone."""

    name: str
    home: Place
    office: Place
    carrier: Place
    laptop: Client
    mobile: Client
    address: str = ""

    @property
    def upn(self) -> str:
        """The account's name."""
        return self.address or f"{self.name.lower().replace(' ', '.')}@{DOMAIN}"

    @property
    def id(self) -> str:
        """The account's object id."""
        return made("person", self.name)

    def session(self, of: int | str) -> str:
        """Return the session of the laptop on a day of the month, or of something else."""
        return "00" + made("session", self.name, of)[2:]

    def sign_in(self, when: datetime, place: Place, **changes: Any) -> Record:
        """Return an interactive sign-in; see ``_row`` for what can be changed."""
        return self._row(INTERACTIVE, when, place, **changes)

    def refresh(self, when: datetime, place: Place, **changes: Any) -> Record:
        """Return a non-interactive sign-in; see ``_row`` for what can be changed."""
        return self._row(NON_INTERACTIVE, when, place, **changes)

    def prompted(
        self, when: datetime, place: Place, first: str = "50074", **changes: Any
    ) -> tuple[Record, ...]:
        """Return a sign-in that stops for the second factor and then goes on."""
        stopped = self.sign_in(when, place, result=first, **changes)
        linked = {"CorrelationId": stopped["CorrelationId"], "OriginalRequestId": stopped["Id"]}
        passed = self.sign_in(later(when, 0.4), place, second=True, **{**changes, **linked})
        return stopped, passed

    def graph(self, when: datetime, place: Place, uri: str, **changes: Any) -> Record:
        """Return a request to Microsoft Graph with a token of the account."""
        return {
            "TenantId": WORKSPACE,
            "TimeGenerated": stamp(when),
            "RequestId": made("graph", self.upn, when, uri, place.address),
            "OperationId": made("graph operation", self.upn, when, uri),
            "ClientRequestId": made("graph client", self.upn, when, uri),
            "ApiVersion": "v1.0",
            "RequestMethod": "GET",
            "RequestUri": f"https://graph.microsoft.com/v1.0/{uri}",
            "ResponseStatusCode": 200,
            "IPAddress": place.address,
            "UserId": self.id,
            "AppId": OFFICE_APPS.id,
            "AadTenantId": TENANT,
            "UserAgent": self.laptop.agent,
            "SessionId": self.session(when.day),
            "C_Sid": changes.get("SessionId", self.session(when.day)),
            "Location": "West Europe",
            **changes,
            "Type": GRAPH,
        }

    def office_365(self, when: datetime, place: Place, operation: str, **changes: Any) -> Record:
        """Return an action in Exchange Online, as its audit log writes it."""
        session = changes.pop("session", self.session(when.day))
        return {
            "TenantId": WORKSPACE,
            "TimeGenerated": stamp(when),
            "OfficeId": made("office", self.upn, when, operation, place.address),
            "RecordType": "ExchangeItemAggregated",
            "Operation": operation,
            "OrganizationId": TENANT,
            "UserType": "Regular",
            "UserKey": self.id.replace("-", "")[:16],
            "OfficeWorkload": "Exchange",
            "ResultStatus": "Succeeded",
            "UserId": self.upn,
            "ClientIP": place.address,
            "Client_IPAddress": place.address,
            "ClientInfoString": "Client=OWA;Action=ViaProxy",
            "AppId": OUTLOOK_WEB.id,
            "AppAccessContext": json.dumps({"AADSessionId": session}),
            **changes,
            "Type": OFFICE,
        }

    def _row(
        self,
        table: str,
        when: datetime,
        place: Place,
        *,
        client: Client | None = None,
        app: App = OUTLOOK_WEB,
        result: str = "0",
        session: str | None = None,
        second: bool = False,
        **changes: Any,
    ) -> Record:
        client = client or self.laptop
        seed = f"{self.upn} {client.agent} {app.id} {sorted(changes.items())}"
        interactive = table == INTERACTIVE
        device: Any = client.details()
        if session is None:
            session = "" if result in NO_SESSION else self._session_of(client, place, when)
        return {
            **envelope(table, when, place, result, seed),
            **self._names(),
            "Category": "SignInLogs" if interactive else "NonInteractiveUserSignInLogs",
            "AppDisplayName": app.name,
            "AppId": app.id,
            "ResourceDisplayName": app.resource,
            "ResourceIdentity": app.resource_id,
            "IsInteractive": interactive,
            "UserAgent": client.agent,
            "ClientAppUsed": client.used,
            "DeviceDetail": device if interactive else json.dumps(device),
            "SessionId": session,
            "AuthenticationDetails": steps(when, result, second) if interactive else "[]",
            "AuthenticationRequirement": _requirement(result, second, interactive),
            "AuthenticationProtocol": "none",
            "OriginalTransferMethod": "none",
            "IncomingTokenType": "none" if interactive else "refreshToken",
            **changes,
        }

    def _session_of(self, client: Client, place: Place, when: datetime) -> str:
        if client == self.laptop:
            return self.session(when.day)
        if client == self.mobile:
            return self.session("phone")
        return self.session(f"{client.agent} {place.network} {when.day}")

    def _names(self) -> Record:
        return {
            "Identity": self.name,
            "UserDisplayName": self.name,
            "UserPrincipalName": self.upn,
            "UserId": self.id,
            "UserType": "Member",
            "AlternateSignInName": self.upn,
            "SignInIdentifier": self.upn,
            "ConditionalAccessStatus": "notApplied",
            "TokenIssuerType": "AzureAD",
            "CrossTenantAccessType": "none",
            "NetworkLocationDetails": "[]",
            "RiskLevelDuringSignIn": "none",
            "RiskLevelAggregated": "none",
            "RiskState": "none",
        }


def _requirement(result: str, second: bool, interactive: bool) -> str:
    asked = second or not interactive or result in {"50074", "50076", "50072", "50079", "500121"}
    return "multiFactorAuthentication" if asked else "singleFactorAuthentication"


@dataclass(frozen=True, slots=True)
class Workload:
    """A service principal or a managed identity."""

    name: str
    place: Place
    resource: str = "Microsoft Graph"
    managed: bool = False

    def sign_in(self, when: datetime, place: Place | None = None, **changes: Any) -> Record:
        """Return a sign-in of the workload, from where it lives if no place is given."""
        table = MANAGED if self.managed else PRINCIPAL
        result = str(changes.pop("result", "0"))
        resource = str(changes.pop("resource", self.resource))
        return {
            **envelope(table, when, place or self.place, result, f"{self.name} {resource}"),
            "Category": "ManagedIdentitySignInLogs"
            if self.managed
            else "ServicePrincipalSignInLogs",
            "ServicePrincipalName": self.name,
            "ServicePrincipalId": made("principal", self.name),
            "AppId": made("application", self.name),
            "ResourceDisplayName": resource,
            "ResourceIdentity": made("resource", resource),
            "ServicePrincipalCredentialKeyId": "" if self.managed else made("key", self.name),
            "ClientCredentialType": "managedIdentity" if self.managed else "clientSecret",
            "ConditionalAccessStatus": "notApplied",
            "SessionId": "",
            **changes,
        }
