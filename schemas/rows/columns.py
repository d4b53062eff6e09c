"""Every column of our tables, defined once: type, origin, and what null means."""

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
"""Characters of any text in a row; the service cuts at 64 KB."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``kind`` is a Log Analytics type; ``null`` says what a missing value means."""

    name: str
    kind: str
    origin: str
    null: str | None = None
    """None for a column that always holds a value."""
    words: tuple[str, ...] = ()
    """The only values a text may have; empty for any."""


def _always(name: str, kind: str, origin: str, words: str = "") -> Column:
    return Column(name, kind, origin, None, tuple(words.split()))


def _sign_in(name: str, kind: str = "string", null: str = "the record does not tell") -> Column:
    return Column(name, kind, "sign-in", null)


def _intel(name: str, kind: str = "string", words: str = "") -> Column:
    return Column(name, kind, "source", "no source tells", tuple(words.split()))


FINDING_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall time at which the row was made"),
    _always("FindingId", "string", "hash of SourceTable, EventId and IPAddress"),
    _always("EventTime", "datetime", "when the sign-in began"),
    _always("EventId", "string", "the event's own id, else _ItemId, else a hash of the record"),
    _always("SourceTable", "string", "the Log Analytics table"),
    _always("IPAddress", "string", "canonical address that was judged"),
    _always("Account", "string", "user or service principal name, lower case"),
    _always(
        "Outcome",
        "string",
        "how far the sign-in got",
        "Success PasswordAccepted Interrupted Failure Unknown",
    ),
    Column("SignInSucceeded", "boolean", "Outcome is Success", "the record does not tell"),
    _always("Reputation", "string", "worst word of all sources", "malicious suspicious"),
    _always("Severity", "string", "policy", "High Medium Low Informational"),
    _always(
        "Sources", "dynamic", "names of the sources that know the address, the worst word first"
    ),
    _always("MatchReason", "string", "the policy line that decided, and why"),
    _always("Origin", "string", "how the row came to be", "live late replay test"),
    _always("DelaySeconds", "real", "seconds from event to finding"),
    _always("SchemaVersion", "int", "version of these columns"),
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
    _sign_in("SourceIPAddress", null="the row stands for several sign-ins"),
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
    Column(
        "AddressClass",
        "string",
        "source, else the AS number",
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
        "when CrowdSec was asked, or made its replica",
        "only feeds speak",
    ),
    Column("ReportUrl", "string", "the address's CrowdSec page", "CrowdSec told nothing"),
    Column("Evidence", "dynamic", "what each source said", "nothing to add"),
)

VERDICT_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall time at which the row was made"),
    _always("IPAddress", "string", "canonical address"),
    _always("Verdict", "string", "worst word", "malicious suspicious benign unknown unanswered"),
    Column("Reason", "string", "who says so, or why there is no answer", "nothing to add"),
    _always(
        "Sources", "dynamic", "names of the sources that know the address, the worst word first"
    ),
    _intel("Score", "int"),
    _intel("Confidence"),
    _always("Classifications", "dynamic", "source"),
    _always("AddressClass", "string", "source"),
    Column("ExpiresTime", "datetime", "until when it is believed", "unanswered, or without an end"),
    Column("ReportUrl", "string", "the address's CrowdSec page", "CrowdSec told nothing"),
)
"""One row whenever the verdict on an address, or the reason why it has none, changes."""

HEALTH_COLUMNS: tuple[Column, ...] = (
    _always("TimeGenerated", "datetime", "wall time of the measurement"),
    _always("Instance", "string", "SERVICE__INSTANCE, else host name and process id"),
    _always("Version", "string", "version of signinwatch"),
    _always("Metric", "string", "name as under /metrics, without the prefix"),
    _always("Value", "real", "the measurement; counters count from the start of the process"),
    Column("Detail", "dynamic", "labels of the measurement", "it has none"),
)
"""A row for each measurement, every SERVICE__REPORT_INTERVAL seconds and process."""

TABLES: dict[str, tuple[Column, ...]] = {
    FINDINGS_TABLE: FINDING_COLUMNS,
    VERDICTS_TABLE: VERDICT_COLUMNS,
    HEALTH_TABLE: HEALTH_COLUMNS,
}
_BY_NAME = {table: {column.name: column for column in columns} for table, columns in TABLES.items()}


def _is_whole(text: str) -> bool:
    """Tell whether *text* can be written as UTF-8: it holds no half of a character."""
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
    """Return what makes *row* no row of *table*, or None if nothing does.

    The ingestion service accepts what does not fit and drops it without a word, so this is the
    only place where such a row is noticed.
    """
    for name, value in row.items():
        column = _BY_NAME[table].get(name)
        if column is None:
            return f"no column is called {name[:80]}"
        if value is None:
            continue
        if not _fits(column.kind, value):
            return f"{name} is no {column.kind}"
        if column.words and value not in column.words:
            return f"{name} is none of {', '.join(column.words)}"
    for column in TABLES[table]:
        if column.null is None and row.get(column.name) is None:
            return f"{column.name} is missing"
    return None
