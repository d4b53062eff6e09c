"""Records of CSV exports: of the Logs portal, the Entra portal, Purview, or any table with names.

Sources: the columns of the Entra admin centre's "Download sign-ins" (interactive, non-interactive,
service principals, managed identities); the Logs portal's "Export to CSV", which adds the time zone
to the names of times; Purview's "Audit search", whose column AuditData is the record.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import orjson

from schemas.errors import RecordingUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_FIELD_CHARACTERS = 16 * 1024 * 1024
"""Characters of a field; Purview's are records of some kilobytes."""
ENTRA, LOGS, PURVIEW, OTHER_CSV = (
    "CSV of the Entra portal",
    "CSV of the Logs portal",
    "CSV of Purview",
    "CSV",
)
_FIRST_LINES = ("#type ", "sep=")
"""What PowerShell writes before the names, and what is written for Excel."""
_TIME_ZONES = (" [utc]", " (utc)")
_ENTRA = {
    "date (utc)": "createdDateTime",
    "request id": "id",
    "user agent": "userAgent",
    "correlation id": "correlationId",
    "user id": "userId",
    "user": "userDisplayName",
    "username": "userPrincipalName",
    "user principal name": "userPrincipalName",
    "application": "appDisplayName",
    "application id": "appId",
    "resource": "resourceDisplayName",
    "resource id": "resourceId",
    "ip address": "ipAddress",
    "client app": "clientAppUsed",
    "conditional access": "conditionalAccessStatus",
    "authentication requirement": "authenticationRequirement",
    "service principal id": "servicePrincipalId",
    "service principal name": "servicePrincipalName",
    "incoming token type": "incomingTokenType",
    "unique token identifier": "uniqueTokenIdentifier",
    "session id": "sessionId",
    "autonomous system number": "autonomousSystemNumber",
    "home tenant id": "homeTenantId",
    "resource tenant id": "resourceTenantId",
}
"""Microsoft Graph's names of the columns of the Entra admin centre."""
_ENTRA_MARKS = {"request id", "ip address", "date (utc)"}
_KINDS = {
    "noninteractive": "nonInteractiveUser",
    "application": "servicePrincipal",
    "serviceprincipal": "servicePrincipal",
    "msi": "managedIdentity",
    "managedidentity": "managedIdentity",
}
"""What the Entra admin centre names its files after, by the start of the name."""


def looks_like_csv(first: bytes) -> bool:
    """Return True if a line names several columns."""
    text = first.decode("utf-8", "replace").strip()
    if text.lower().startswith(_FIRST_LINES):
        return True
    if text[:1] in ("", "{", "["):
        return False
    try:
        names = _names(text)
    except csv.Error:  # binary, or lines that end as on a Macintosh of long ago
        return False
    return len(names) > 1 and all(len(name) < 100 for name in names) and any(names)


def csv_records(
    stream: io.BufferedReader[Any], first: bytes, name: str, recognised: Callable[[str, str], None]
) -> Iterator[tuple[int, bytes]]:
    """Yield line number and record of each row. *first* is the line with the names.

    *name* is that of the file, which shows what kind of sign-ins the Entra admin centre wrote.
    *recognised* receives the name and whose export the file is.
    Raises RecordingUnreadable where the quoting is broken.
    """
    text = first.decode("utf-8", "replace").strip()
    if text.lower().startswith(_FIRST_LINES):
        first = stream.readline(MAX_FIELD_CHARACTERS)
        text = first.decode("utf-8", "replace").strip()
    names = _names(text)
    whose = _whose(names)
    recognised(name, whose)
    convert = _converter(whose, names, name)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    lines = io.TextIOWrapper(stream, "utf-8", "replace", newline="")
    rows = csv.reader(lines, delimiter=_delimiter_of(text))
    try:
        for row in rows:
            if any(row):
                yield rows.line_num + 1, orjson.dumps(convert(dict(zip(names, row, strict=False))))
    except csv.Error as error:
        raise RecordingUnreadable(f"unreadable after line {rows.line_num + 1}: {error}") from None
    finally:
        lines.detach()


def _names(text: str) -> list[str]:
    found = next(csv.reader([text], delimiter=_delimiter_of(text)), [])
    return [name.strip().lstrip("\ufeff") for name in found]


def _delimiter_of(text: str) -> str:
    return max(",;\t", key=text.count)


def _whose(names: list[str]) -> str:
    known = {name.lower() for name in names}
    if "auditdata" in known:
        return PURVIEW
    if known >= _ENTRA_MARKS:
        return ENTRA
    return LOGS if any(name.endswith(_TIME_ZONES) for name in known) else OTHER_CSV


def _converter(whose: str, names: list[str], file: str) -> Callable[[dict[str, str]], Any]:
    if whose == PURVIEW:
        return _audit_record
    if whose == ENTRA:
        kind = _kind_of({name.lower() for name in names}, file)
        return lambda row: _entra_record(row, kind)
    return _table_row


def _audit_record(row: Mapping[str, str]) -> Any:
    """Return the record in Purview's column AuditData; a text that is no JSON is rejected later."""
    data = next(value for name, value in row.items() if name.lower() == "auditdata")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


def _table_row(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row of a Log Analytics table. An empty field is one without a value."""
    return {_bare(name): value for name, value in row.items() if value != ""}


def _bare(name: str) -> str:
    lower = name.lower()
    return next((name[: -len(zone)] for zone in _TIME_ZONES if lower.endswith(zone)), name)


def _kind_of(known: set[str], file: str) -> str | None:
    begin = file.replace("\\", "/").rpartition("/")[2].lower().replace("_", "").replace("-", "")
    named = next((kind for start, kind in _KINDS.items() if begin.startswith(start)), None)
    return named or ("servicePrincipal" if "service principal id" in known else None)


def _entra_record(row: Mapping[str, str], kind: str | None) -> dict[str, Any]:
    """Return a row of the Entra admin centre as Microsoft Graph writes it."""
    fields = {name.lower(): value.strip() for name, value in row.items() if value.strip()}
    record: dict[str, Any] = {
        _ENTRA[name]: value for name, value in fields.items() if name in _ENTRA
    }
    code = fields.get("sign-in error code", "None")
    record["status"] = {
        "errorCode": fields.get("status") if code == "None" else code,  # either is the outcome
        "failureReason": fields.get("failure reason"),
    }
    city, _, rest = fields.get("location", "").partition(", ")
    record["location"] = {"city": city, "countryOrRegion": rest.rpartition(", ")[2]}
    record["deviceDetail"] = {
        "deviceId": fields.get("device id"),
        "browser": fields.get("browser"),
        "operatingSystem": fields.get("operating system"),
        "isCompliant": {"yes": True, "no": False}.get(fields.get("compliant", "").lower()),
    }
    if kind is not None:
        record["signInEventTypes"] = [kind]
    return record
