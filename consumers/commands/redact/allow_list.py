"""The allow-list of column names and values that redaction keeps as they are. Pure.

A value is kept only if its name is listed here, or in ``tables.toml`` for such a column, *and* the
value was chosen by Microsoft, not by a user: a term of :data:`WORDS`, a result code, a time, a
two-letter country code, an AS number. Microsoft's first-party applications keep their names and
ids, which are the same in every tenant; other applications belong to a customer. Terms are compared
case-insensitively.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from schemas.events.outcomes import RESULT_WORDS
from schemas.events.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from schemas.events.tables import RecordFormat, Tables

_BY_COLUMN = {
    "result": "code word",
    "event_time": "time",
    "emitted": "time",
    "sign_in_country": "country",
    "sign_in_as_number": "system",
    "user_agent": "agent",
    **dict.fromkeys(
        "account_type application app_id resource_name operation result_description "
        "client_app_used is_interactive authentication_requirement conditional_access_status "
        "device_compliant risk_level risk_state authentication_protocol authentication_methods "
        "incoming_token_type resource_id".split(),
        "word",
    ),
}
"""Kinds of value that columns of a layout keep, whatever their name in a table."""

_BY_NAME = {
    "type": "word",
    "kind": "word",
    "category": "word",
    "operationversion": "word",
    "level": "word",
    "sourcesystem": "word",
    "signineventtypes": "word",
    "errorcode": "code",
    "resultsignature": "code word",
    "statuscode": "code",
    "httpstatuscode": "code",
    "riskdetail": "word",
    "riskeventtypes": "word",
    "riskeventtypes_v2": "word",
    "risktype": "word",
    "detectiontimingtype": "word",
    "operatingsystem": "program",
    "browser": "program",
    "trusttype": "word",
    "ismanaged": "word",
    "authenticationprotocol": "word",
    "authenticationmethod": "word",
    "incomingtokentype": "word",
    "tokenissuertype": "word",
    "crosstenantaccesstype": "word",
    "clientcredentialtype": "word",
    "resourceid": "word",
    "resourceidentity": "word",
    "country": "country",
    "countryorregion": "country",
    "latitude": "zero",
    "longitude": "zero",
    "lat": "zero",
    "lon": "zero",
    "lng": "zero",
    "srcgeolatitude": "zero",
    "srcgeolongitude": "zero",
}

_USUAL_NAMES = (
    "records properties id _itemid _internal_workspaceresourceid tenantid aadtenantid key value "
    "localizedvalue userdisplayname useridentity identity correlationid sessionid status "
    "locationdetails devicedetail displayname durationms resource resultdescription "
    "failurereason additionaldetails city state geocoordinates mfadetail authenticationdetails "
    "authenticationprocessingdetails conditionalaccesspolicies networklocationdetails "
    "appliedconditionalaccesspolicies resourcegroup originalrequestid "
    "processingtimeinmilliseconds processingtimeinms recordtype organizationid userkey userid "
    "actor additionalfields remoteiptype accountdisplayname accountsid port "
    "destinationipaddress eventdataid hometenantname resourcetenantid flaggedforreview "
    "servicepricipalcredentialkeyid servicepricipalcredentialthumbprint "
).split()
"""Names, given by Microsoft, of columns whose values are replaced."""

FIRST_PARTY = {
    "c44b4083-3bb0-49c1-b47d-974e53cbdf3c": "Azure Portal",
    "00000002-0000-0000-c000-000000000000": "Windows Azure Active Directory",
    "00000003-0000-0000-c000-000000000000": "Microsoft Graph",
    "00000002-0000-0ff1-ce00-000000000000": "Office 365 Exchange Online",
    "00000003-0000-0ff1-ce00-000000000000": "Office 365 SharePoint Online",
    "00000006-0000-0ff1-ce00-000000000000": "Microsoft Office 365 Portal",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013": "Windows Azure Service Management API",
    "04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Microsoft Azure CLI",
    "1950a258-227b-4e31-a9cf-717495945fc2": "Microsoft Azure PowerShell",
    "d3590ed6-52b3-4102-aeff-aad2292ab01c": "Microsoft Office",
    "4765445b-32c6-49b0-83e6-1d93765276ca": "OfficeHome",
    "1fec8e78-bce4-4aaf-ab1b-5451cc387264": "Microsoft Teams",
    "27922004-5251-4030-b22d-91ecd9a37ea4": "Outlook Mobile",
    "4813382a-8fa7-425e-ab75-3b753aab3abb": "Microsoft Authenticator App",
    "29d9ed98-a469-4536-ade2-f981bc1d605e": "Microsoft Authentication Broker",
    "38aa3b87-a06d-4817-b275-7a316988d93b": "Windows Sign In",
    "01cb2876-7ebd-4aa4-9cc9-d28bd4d359a9": "Device Registration Service",
    "2793995e-0a7d-40d7-bd35-6968ba142197": "My Apps",
}
"""Microsoft's most common first-party applications. Others are replaced."""

_PHRASES = (
    "Sign-in activity;User Risk Detection;Microsoft Graph Activity;Publish;1.0;Azure AD;"
    "Informational;Information;Warning;Error;None;Started;Start;Accepted;Active;Updated;Resolved;"
    "PartiallySucceeded;LogonAttempted;LogonSuccess;LogonFailed;SUCCESS;yes;no;"
    "interactiveUser;nonInteractiveUser;servicePrincipal;managedIdentity;"
    "UserLoggedIn;UserLoginFailed;MailItemsAccessed;FileDownloaded;FileAccessed;ConsoleLogin;"
    "user.session.start;user.authentication.auth_via_mfa;user.authentication.sso;"
    "low;medium;high;hidden;atRisk;confirmedSafe;remediated;dismissed;confirmedCompromised;"
    "unknownFutureValue;realtime;nearRealtime;offline;notDefined;aiConfirmedSigninSafe;"
    "userPassedMFADrivenByRiskBasedPolicy;userPerformedSecuredPasswordReset;"
    "adminConfirmedSigninSafe;adminConfirmedSigninCompromised;adminDismissedAllRiskForUser;"
    "unfamiliarFeatures;anonymizedIPAddress;maliciousIPAddress;leakedCredentials;passwordSpray;"
    "unlikelyTravel;impossibleTravel;newCountry;anomalousToken;suspiciousIPAddress;generic;"
    "suspiciousBrowser;investigationsThreatIntelligence;riskyIPAddress;adminConfirmedUserCompromised;"
    "Browser;Mobile Apps and Desktop clients;Exchange ActiveSync;Exchange Web Services;IMAP4;IMAP;"
    "POP3;POP;SMTP;Authenticated SMTP;MAPI Over HTTP;Autodiscover;Other clients;"
    "Exchange Online PowerShell;Outlook Anywhere (RPC over HTTP);Offline Address Book;"
    "Reporting Web Services;Universal Outlook;Kerberos;Ntlm;Ldap;RemoteInteractive;Interactive;"
    "Network;Batch;Service;CachedInteractive;Unlock;"
    "singleFactorAuthentication;multiFactorAuthentication;"
    "notApplied;notEnabled;Member;Guest;User;ManagedIdentity;SystemPrincipal;Regular;Admin;System;"
    "Application;Azure AD joined;Azure AD registered;Hybrid Azure AD joined;AzureAd;Workplace;"
    "ServerAd;oAuth2;saml20;wsFederation;deviceCode;ropc;Password;FIDO2 security key;"
    "Windows Hello for Business;Text message;Mobile app notification;Previously satisfied;"
    "primaryRefreshToken;refreshToken;remoteDesktopToken;AzureADBackupAuth;ADFederationServices;"
    "b2bCollaboration;b2bDirectConnect;microsoftSupport;clientSecret;clientAssertion;"
    "federatedIdentityCredential;certificate;GET;PUT;POST;PATCH;DELETE;Exchange;SharePoint;"
    "OneDrive;AzureActiveDirectory;MicrosoftTeams;Microsoft 365;Core Directory;NetworkAccess;"
    "Azure Event Hubs;Azure Log Analytics;Microsoft Intune;admin#reports#activity;login"
)
WORDS = frozenset(
    term.lower()
    for term in (*_PHRASES.split(";"), *RESULT_WORDS, *FIRST_PARTY, *FIRST_PARTY.values())
)
PATH_WORDS = frozenset(
    "tenants subscriptions resourcegroups providers workspaces microsoft.aadiam http: https: "
    "microsoft.operationalinsights users groups me messages devices v1.0 beta".split()
)
"""Parts of resource ids and URLs that are kept."""

AGENTS = (
    "Edg Edge OPR Opera Firefox Chrome CriOS Safari MSIE Trident Outlook Teams Dalvik "
    "python-requests python-urllib aiohttp axios node-fetch curl Go-http-client okhttp fasthttp "
    "PostmanRuntime PowerShell BAV2ROPC CBAInPROD CBAInTAR MSAL AADInternals azurehound ROADtools "
    "Windows-AzureAD-Authentication-Provider Mozilla"
).split()
"""Families of user agents, the most specific first."""

_CODE = re.compile(r"\s*-?[0-9]{1,7}\s*")
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_SYSTEM_NUMBER = re.compile(r"[0-9]{1,10}")
_TIMESTAMP = re.compile(
    r"[0-9]{1,4}[-/][0-9]{1,2}[-/][0-9]{1,4}[Tt, ]{1,3}[0-9]{1,2}:[0-9]{2}"
    r"(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?\s?(?:[AaPp]\.?[Mm]\.?)?\s?"
    r"(?:Z|z|UTC|[+-][0-9]{2}:?[0-9]{2})?"
)
_PROGRAM = re.compile(
    r"((?:(?:Windows|MacOs|Ios|Android|Linux|ChromeOS|iPadOS)|(?:Mobile )?"
    r"(?:Chrome|Edge|Firefox|Safari|Opera|IE|Internet Explorer)(?: Mobile)?)"
    r"(?: ?[0-9]{1,3})?)(?:\.[0-9.]{1,16})?",
    re.IGNORECASE,
)


class AllowList:
    """The allow-list for a set of tables; custom tables keep their names and result terms."""

    def __init__(self, tables: Tables) -> None:
        forms = [*tables.by_type.values(), *tables.by_category.values(), *tables.by_looks.values()]
        self._words = WORDS | tables.by_type.keys() | tables.by_category.keys()
        self._rules: dict[str, set[str]] = {n: set(rule.split()) for n, rule in _BY_NAME.items()}
        self.names: set[str] = {*_USUAL_NAMES, *_BY_NAME}
        """Known names in lower case, which are kept."""
        for form in forms:
            self._words |= form.words.keys()
            self._words |= set(_selected_values(form))
            for column, name in _names(form):
                self.names.add(name)
                self._rules.setdefault(name, set()).update(_rules_of(column))

    def kept_part(self, name: str, text: str) -> str | None:
        """Return the kept part of a text under *name* (lower case), or None."""
        rules = self._rules.get(name, set())
        bare = text.strip()
        if ("word" in rules and bare.lower() in self._words) or (
            "code" in rules and _CODE.fullmatch(text)
        ):
            return text
        if _is_time(name, rules, bare) and parse_time(text):
            return text
        if "country" in rules and _COUNTRY.fullmatch(bare):
            return text
        if "system" in rules and _SYSTEM_NUMBER.fullmatch(bare):
            return text
        if "program" in rules and (found := _PROGRAM.fullmatch(bare)):
            return found[1]
        return None

    def keeps_number(self, name: str, number: float) -> bool:
        """Return True if a number under *name* is kept."""
        rules = self._rules.get(name, set())
        return ("code" in rules and abs(number) < 10**7) or (
            "system" in rules and 0 <= number < 2**32
        )

    def is_place(self, name: str) -> bool:
        """Return True if *name* is a coordinate."""
        return "zero" in self._rules.get(name, ())

    def is_agent(self, name: str) -> bool:
        """Return True if *name* is a user agent."""
        return "agent" in self._rules.get(name, ())


def family_of(agent: str) -> str:
    """Return the family of a user agent."""
    low = agent.lower()
    return next((family for family in AGENTS if family.lower() in low), "agent")


def _is_time(name: str, rules: Collection[str], text: str) -> bool:
    """Return True if *text* looks like a time and *name* may hold one.

    A date alone does not count: it may be a date of birth.
    """
    timely = "time" in rules or "time" in name or "date" in name or name == "published"
    return timely and _TIMESTAMP.fullmatch(text) is not None


def _rules_of(column: str) -> Iterable[str]:
    return _BY_COLUMN.get(column, "").split()


def _names(form: RecordFormat) -> Iterator[tuple[str, str]]:
    """Yield (column, name) for a record format; parent names have an empty column."""
    for column, alternatives in form.columns.items():
        for place in (place for alternative in alternatives for place in alternative):
            for part in place[:-1]:
                name, _, value = part.lower().strip("[]").partition("=")
                yield "operation" if value else "", name  # a selecting value is kept like a word
            last = place[-1].lower()
            yield column, place[-2].lower() if last == "value" and len(place) > 1 else last


def _selected_values(form: RecordFormat) -> Iterator[str]:
    """Yield the values by which paths select an object of a list, in lower case."""
    for alternatives in form.columns.values():
        for place in (place for alternative in alternatives for place in alternative):
            for part in place:
                if part.startswith("["):
                    yield part.lower().strip("[]").partition("=")[2]
