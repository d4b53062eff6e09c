"""All columns of the output tables: type, origin, and the meaning of null."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.events.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

FINDINGS_TABLE = "SignInWatchFindings_CL"
VERDICTS_TABLE = "SignInWatchVerdicts_CL"
HEALTH_TABLE = "SignInWatchHealth_CL"
SCHEMA_VERSION = 1
MAX_TEXT_LENGTH = 4_096
"""Maximum characters of a text in a row. The ingestion service truncates at 64 KB."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. ``kind`` is a Log Analytics type, ``null`` the meaning of a missing value."""

    name: str
    kind: str
    origin: str
    null: str | None = None
    """None for a column that always holds a value."""
    words: tuple[str, ...] = ()
    """Permitted values of a text; empty for any."""


def _always(name: str, kind: str, origin: str, words: str = "") -> Column:
    return Column(name, kind, origin, None, tuple(words.split()))


def _sign_in(name: str, kind: str = "string", null: str = "not in the record") -> Column:
    return Column(name, kind, "sign-in", null)


def _intel(name: str, kind: str = "string", words: str = "") -> Column:
    return Column(name, kind, "source", "no source provides it", tuple(words.split()))


FINDING_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall-clock time at which the row was created"),
    _always("FindingId", "string", "hash of SourceTable, EventId and IPAddress"),
    Column("EventTime", "datetime", "start of the sign-in", "the record has no readable time"),
    _always(
        "EventTimeSource",
        "string",
        "where EventTime comes from",
        "record envelope enqueued none",
    ),
    _always("EventId", "string", "id of the event, else _ItemId, else a hash of the record"),
    _always("SourceTable", "string", "the Log Analytics table"),
    _always("IPAddress", "string", "client IP of the sign-in, in canonical form"),
    _always("Account", "string", "user principal name or service principal name, lower case"),
    _always(
        "Outcome",
        "string",
        "result of the sign-in",
        "Success PasswordAccepted Interrupted Failure Unknown",
    ),
    Column("SignInSucceeded", "boolean", "True if Outcome is Success", "no result in the record"),
    _always(
        "Reputation",
        "string",
        "most severe verdict of all sources; unknown if only stories speak",
        "malicious suspicious unknown",
    ),
    _always("Severity", "string", "policy", "High Medium Low Informational"),
    _always("Sources", "dynamic", "sources that know the address, most severe verdict first"),
    _always("MatchReason", "string", "policy line that matched, and its reason"),
    _always("Origin", "string", "how the finding was made", "live late replay test"),
    _always("DelaySeconds", "real", "seconds from the event, or its arrival, to the finding"),
    _always("SchemaVersion", "int", "version of this table's columns"),
    _sign_in("AccountObjectId"),
    _sign_in("AccountType"),
    _sign_in("AadTenantId"),
    _sign_in("Application"),
    _sign_in("AppId"),
    _sign_in("ResourceName"),
    _sign_in("ResultCode"),
    _sign_in("ResultDescription"),
    _sign_in("CorrelationId"),
    _sign_in("SessionId"),
    _sign_in("UniqueTokenIdentifier"),
    _sign_in("SourceIPAddress", null="the row aggregates several sign-ins"),
    _sign_in("ClientAppUsed"),
    _sign_in("UserAgent"),
    _sign_in("IsInteractive", "boolean"),
    _sign_in("AuthenticationRequirement"),
    _sign_in("ConditionalAccessStatus"),
    _sign_in("DeviceId"),
    _sign_in("DeviceCompliant", "boolean"),
    _sign_in("RiskLevel"),
    _sign_in("RiskState"),
    _sign_in("SignInCountry"),
    _sign_in("SignInCity"),
    _sign_in("SignInAsNumber", "int"),
    _sign_in("AuthenticationProtocol"),
    _sign_in("AuthenticationMethods", "dynamic"),
    _sign_in("IncomingTokenType"),
    _sign_in("ResourceId"),
    Column(
        "AddressClass",
        "string",
        "source, else derived from the AS number",
        "never null in rows of this version",
        ("tor", "vpn", "proxy", "relay", "hosting", "residential", "mobile", "unknown"),
    ),
    Column("AccountsFromAddress", "int", "ledger", "never null in rows of this version"),
    _intel("Confidence", words="high medium low"),
    _intel("Score", "int"),
    _intel("BackgroundNoise", "int"),
    _intel("Behaviors", "dynamic"),
    _intel("Classifications", "dynamic"),
    _intel("FalsePositives", "dynamic"),
    _intel("MitreTechniques", "dynamic"),
    _intel("Cves", "dynamic"),
    _intel("IntelCountry"),
    _intel("IntelAsNumber", "int"),
    _intel("IntelAsName"),
    _intel("IpRange"),
    _intel("ReverseDns"),
    _intel("IntelFirstSeen", "datetime"),
    _intel("IntelLastSeen", "datetime"),
    Column(
        "VerdictTime",
        "datetime",
        "time of the CrowdSec lookup, or of its replica",
        "only feeds know the address",
    ),
    Column("ReportUrl", "string", "CrowdSec page of the address", "no verdict of CrowdSec"),
    Column("Context", "dynamic", "history: reasons with code, points and text", "no history"),
    Column("Stories", "dynamic", "names of the stories that speak", "no story speaks"),
    Column("NewCountry", "boolean", "history of the account", "new account, or no country"),
    Column("NewNetwork", "boolean", "history of the account", "new account"),
    Column("NewDevice", "boolean", "history of the account", "new account"),
    _sign_in("EntraDetections", "dynamic", "Entra ID detected nothing, or the record has no field"),
    Column(
        "SessionFirstNetwork", "string", "network where the session was seen first", "no session id"
    ),
    Column("Evidence", "dynamic", "details of each source and story", "no details"),
)

VERDICT_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall-clock time at which the row was created"),
    _always("IPAddress", "string", "address in canonical form"),
    _always(
        "Verdict",
        "string",
        "most severe verdict of all sources",
        "malicious suspicious benign unknown unanswered",
    ),
    Column("Reason", "string", "verdict of each source, or why there is none", "no details"),
    _always("Sources", "dynamic", "sources that know the address, most severe verdict first"),
    _intel("Score", "int"),
    _intel("Confidence"),
    _always("Classifications", "dynamic", "source"),
    _always("AddressClass", "string", "source"),
    Column("ExpiresTime", "datetime", "end of the verdict", "unanswered, or without expiry"),
    Column("ReportUrl", "string", "CrowdSec page of the address", "no verdict of CrowdSec"),
)
"""One row for each change of an address's verdict, or of the reason why it has none."""

HEALTH_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall-clock time of the measurement"),
    _always("Instance", "string", "SERVICE__INSTANCE, else host name and process id"),
    _always("Version", "string", "version of signinwatch"),
    _always("Metric", "string", "name as in /metrics, without the prefix"),
    _always("Value", "real", "value of the metric; counters start at 0 with the process"),
    Column("Detail", "dynamic", "labels of the metric", "no labels"),
)
"""One row per metric and process, every SERVICE__REPORT_INTERVAL seconds."""

TABLES: dict[str, tuple[Column, ...]] = {
    FINDINGS_TABLE: FINDING_COLUMNS,
    VERDICTS_TABLE: VERDICT_COLUMNS,
    HEALTH_TABLE: HEALTH_COLUMNS,
}
_BY_NAME = {table: {column.name: column for column in columns} for table, columns in TABLES.items()}


def _is_whole(text: str) -> bool:
    """Return True if *text* can be encoded as UTF-8: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH and _is_whole(value)
        case "datetime":
            return parse_time(value) is not None
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
        case "real":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            return number and math.isfinite(value)
        case _:
            return isinstance(value, list | dict)


def row_error(row: Mapping[str, Any], table: str = FINDINGS_TABLE) -> str | None:
    """Return why *row* is not a valid row of *table*, or None if it is valid.

    The ingestion service accepts values that do not fit their column and drops them silently, so
    only this check finds such a row.
    """
    for name, value in row.items():
        column = _BY_NAME[table].get(name)
        if column is None:
            return f"unknown column {name[:80]}"
        if value is None:
            continue
        if not _fits(column.kind, value):
            return f"{name} is not a valid {column.kind}"
        if column.words and value not in column.words:
            return f"{name} is not one of {', '.join(column.words)}"
    for column in TABLES[table]:
        if column.null is None and row.get(column.name) is None:
            return f"{column.name} is missing"
    return None
