"""Exports as portals, commands and scripts write them: read at once, or told why not."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fastavro
import orjson
import pytest
from backports import zstd

from consumers.inputs import json_export
from consumers.inputs.recording import expand_names, read_recording
from schemas.errors import ConfigurationError, RecordingRefused, RecordingUnreadable
from schemas.events.decode import Decoder
from schemas.events.outcomes import Outcome
from schemas.events.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from schemas.events.sign_in import Details

ADA, BOB = ("81.2.69.160", "ada@example.net"), ("81.2.69.161", "bob@example.net")
BOTH = [(*ADA, Outcome.SUCCESS), (*BOB, Outcome.FAILURE)]
TIME = "2026-03-02T08:00:00"
NEVER = datetime(1999, 1, 1, tzinfo=UTC)
"""The time of a record that has none."""
ROWS: list[dict[str, Any]] = [
    {
        "TimeGenerated": f"{TIME}Z",
        "Id": f"a{code}",
        "IPAddress": address,
        "UserPrincipalName": account,
        "ResultType": code,
        "AppDisplayName": "Ünïcode, “quoted” ☃",
        "Type": "SigninLogs",
    }
    for (address, account), code in ((ADA, "0"), (BOB, "50126"))
]
GRAPH: list[dict[str, Any]] = [
    {
        "id": row["Id"],
        "createdDateTime": row["TimeGenerated"],
        "userPrincipalName": row["UserPrincipalName"],
        "ipAddress": row["IPAddress"],
        "status": {"errorCode": int(row["ResultType"]), "failureReason": "Other."},
        "location": {"city": "London", "geoCoordinates": {"latitude": 51.5}},
    }
    for row in ROWS
]
LINES = b"\n".join(map(orjson.dumps, ROWS))


def pretty(value: object) -> bytes:
    """Return a document over many lines."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def table(rows: Sequence[Sequence[str]], **dialect: Any) -> bytes:
    """Return a CSV file."""
    text = io.StringIO()
    csv.writer(text, **dialect).writerows(rows)
    return text.getvalue().encode()


def portal(name: str = "TimeGenerated [UTC]", **dialect: Any) -> bytes:
    """Return what the Logs portal exports."""
    names = [name, *list(ROWS[0])[1:]]
    rows = [["3/2/2026, 8:00:00.000\u202fAM", *list(row.values())[1:]] for row in ROWS]
    return table([names, *rows], **dialect)


def entra(*more: str) -> bytes:
    """Return what the Entra admin centre exports."""
    names = ["Date (UTC)", "Request ID", "User", "Username", "Application", "IP address",
             "Location", "Status", "Sign-in error code", "Failure reason", "Device ID",
             *more]  # fmt: skip
    rows = [
        [f"{TIME}Z", "a0", "Ada", ADA[1], "Office", ADA[0], "London, England, GB", "Success",
         "None", "Other.", "", *more],
        [f"{TIME}Z", "a1", "Bob", BOB[1], "Office", BOB[0], "Bern, Bern, CH", "Failure", "50126",
         "Invalid user name or password.", "d-1", *more],
    ]  # fmt: skip
    return table([names, *rows], quoting=csv.QUOTE_ALL)


def purview() -> bytes:
    """Return what Purview's audit search exports."""
    audits = [
        {
            "CreationTime": TIME,
            "Id": row["Id"],
            "Operation": "UserLoggedIn" if row["ResultType"] == "0" else "UserLoginFailed",
            "RecordType": 15,
            "ResultStatus": "Success" if row["ResultType"] == "0" else "Failed",
            "Workload": "AzureActiveDirectory",
            "ClientIP": row["IPAddress"],
            "UserId": row["UserPrincipalName"],
        }
        for row in ROWS
    ]
    names = ["RecordId", "CreationDate", "RecordType", "Operation", "UserId", "AuditData"]
    rows = [
        [str(audit["Id"]), TIME, "15", str(audit["Operation"]), "x", orjson.dumps(audit).decode()]
        for audit in audits
    ]
    return table([names, *rows])


def zipped(**files: bytes) -> bytes:
    """Return a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


def captured(codec: str) -> bytes:
    """Return what Event Hubs Capture writes."""
    schema = {
        "type": "record",
        "name": "EventData",
        "fields": [
            {"name": "EnqueuedTimeUtc", "type": "string"},
            {"name": "Body", "type": ["null", "bytes"]},
        ],
    }
    events = [{"EnqueuedTimeUtc": f"{TIME}Z", "Body": orjson.dumps(row)} for row in ROWS]
    packed = io.BytesIO()
    fastavro.writer(packed, fastavro.parse_schema(schema), events, codec=codec)
    return packed.getvalue()


def response(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the query API answers."""
    columns = [{"name": name, "type": "string"} for name in rows[0]]
    return {
        "tables": [
            {
                "name": "PrimaryResult",
                "columns": columns,
                "rows": [list(row.values()) for row in rows],
            }
        ]
    }


CODECS = ("null", "deflate", "snappy", "zstandard")
PAGE = {"@odata.context": "https://graph.example/$metadata#auditLogs/signIns", "value": GRAPH}
POWERSHELL = [{name[0].upper() + name[1:]: value for name, value in row.items()} for row in GRAPH]
EXPORTS = {
    "lines": LINES,
    "lines with blanks": b"\r\n\r\n" + LINES.replace(b"\n", b"\r\n\r\n") + b"\r\n \r\n",
    "an array": orjson.dumps(ROWS),
    "an array over lines": pretty(ROWS),
    "records over lines": pretty({"records": ROWS}),
    "Records over lines": pretty({"Records": ROWS}),
    "a page of Graph": orjson.dumps(PAGE),
    "a page of Graph over lines": pretty(PAGE),
    "a page of Graph with its link last": pretty({**PAGE, "@odata.nextLink": "https://a/[{"}),
    "a page of Graph with its link first": pretty({"@odata.nextLink": "https://a/x", **PAGE}),
    "two pages": pretty({**PAGE, "value": GRAPH[:1]}) + b"\n" + pretty({"value": GRAPH[1:]}),
    "Graph PowerShell": pretty(POWERSHELL),
    "objects over lines": b"\n".join(map(pretty, ROWS)),
    "the query API": orjson.dumps(response(ROWS)),
    "the query API over lines": pretty(response(ROWS)),
    "the Logs portal": portal(),
    "the Logs portal, quoted": portal(quoting=csv.QUOTE_ALL),
    "semicolons": portal("TimeGenerated", delimiter=";"),
    "tabs": portal("timegenerated (UTC)", delimiter="\t"),
    "PowerShell's Export-Csv": b"#TYPE Selected.Row\r\n" + portal(quoting=csv.QUOTE_ALL),
    "for Excel": b"sep=;\n" + portal(delimiter=";"),
    "the Entra admin centre": entra(),
    "Purview": purview(),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + LINES,
    "UTF-16": LINES.decode().encode("utf-16"),
    "UTF-16 over lines": pretty(ROWS).decode().encode("utf-16"),
    "UTF-16 without a mark": LINES.decode().encode("utf-16-le"),
    "UTF-16, the other way round": LINES.decode().encode("utf-16-be"),
    "CSV in UTF-16": portal().decode().encode("utf-16"),
    "CSV with a mark": b"\xef\xbb\xbf" + portal(),
    "gzip": gzip.compress(pretty(ROWS)),
    "gzip of UTF-16": gzip.compress(LINES.decode().encode("utf-16")),
    "zip": zipped(
        **{"one.json": pretty(ROWS[:1]), "two.csv": portal().replace(ADA[0].encode(), b"")}
    ),
    "gzip in zip": zipped(**{"one.gz": gzip.compress(LINES)}),
    "zstd": zstd.compress(LINES),
    **{
        f"Capture, {codec}": captured(codec) for codec in ("null", "deflate", "snappy", "zstandard")
    },
}


def read(path: Path, name: str | None = None) -> tuple[list[Details], int]:
    """Return the sign-ins of a file, and the number of what was rejected."""
    decoder = Decoder(load_tables(["all"]))
    decoded = [
        decoder.decode(message.body) for message in read_recording(str(path), lambda _: None, name)
    ]
    found = [
        signin.details(enqueued=None, fallback_time=NEVER)
        for one in decoded
        for signin in one.signins
    ]
    return found, sum(one.rejected for one in decoded)


def told(found: Sequence[Details]) -> list[tuple[str, str, Outcome]]:
    """Return who signed in from where, and how it went."""
    return [(one.addresses[0][0], one.account, one.outcome) for one in found]


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_is_read_at_the_first_attempt(tmp_path: Path, kind: str) -> None:
    """Whatever its name; each record once, with its time, and nothing is rejected."""
    path = tmp_path / "export"
    path.write_bytes(EXPORTS[kind])
    found, rejected = read(path)
    assert (told(found), rejected) == (BOTH, 0)
    assert {one.event_time.isoformat() for one in found} == {f"{TIME}+00:00"}


@pytest.mark.parametrize(
    ("file", "body", "tables"),
    [
        ("InteractiveSignIns_2026.csv", entra(), {"SigninLogs"}),
        ("NonInteractiveSignIns_2026.csv", entra(), {"AADNonInteractiveUserSignInLogs"}),
        ("export.csv", entra("Service principal ID"), {"AADServicePrincipalSignInLogs"}),
        ("MSISignIns_2026.csv", entra(), {"AADManagedIdentitySignInLogs"}),
    ],
)
def test_the_kinds_of_the_entra_admin_centre(
    tmp_path: Path, file: str, body: bytes, tables: set[str]
) -> None:
    """By the name that it gives its files, or by a column that only one of them has."""
    path = tmp_path / file
    path.write_bytes(body)
    found, _ = read(path)
    assert {one.table for one in found} == tables


def test_rows_that_do_not_name_their_table(tmp_path: Path) -> None:
    """They look like sign-ins; ``--table`` names another table, and changes no record that does."""
    path = tmp_path / "export"
    bare = [{name: value for name, value in row.items() if name != "Type"} for row in ROWS]
    path.write_bytes(orjson.dumps(response(bare)) + b"\n" + orjson.dumps(ROWS[0]))
    assert told(read(path)[0]) == [*BOTH, BOTH[0]]
    named = read(path, "AADNonInteractiveUserSignInLogs")[0]
    assert told(named) == [*BOTH, BOTH[0]]
    assert [one.table for one in named] == [*["AADNonInteractiveUserSignInLogs"] * 2, "SigninLogs"]


BROKEN = pretty(ROWS[0]).replace(b"Office", b"Off\x01ice").replace(b'"a0"', b'"a\t0\\q"')


@pytest.mark.parametrize(
    ("body", "kept", "rejected"),
    [
        (b"[" + BROKEN + b",\n" + pretty(ROWS[1]) + b"]", BOTH[1:], 1),
        (b"[\n" + pretty(ROWS[0]) + b",,\n" + pretty(ROWS[1]) + b",\n]", BOTH, 0),
        (b"[\n" + pretty(ROWS[0]) + b",\n" + pretty(ROWS[1])[:60], BOTH[:1], 1),
        (b'[\n17, "x", null, ' + pretty(ROWS[1]) + b"]", BOTH[1:], 2),
        (pretty(ROWS[0]) + b"\nnonsense\n" + pretty(ROWS[1]), BOTH, 1),
        (b'{"records":[{"a":1},\xff\n' + LINES, BOTH, 1),
        (orjson.dumps(ROWS[0])[:-1] + b"\n" + orjson.dumps(ROWS[1]), BOTH[1:], 1),
    ],
    ids=["control characters", "commas", "cut", "other values", "between", "lines", "a line"],
)
def test_a_broken_record_of_a_document_costs_no_other(
    tmp_path: Path, body: bytes, kept: list[Any], rejected: int
) -> None:
    """It alone is rejected."""
    path = tmp_path / "export"
    path.write_bytes(body)
    found, count = read(path)
    assert (told(found), count) == (kept, rejected)


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("kind", ["an array over lines", "two pages", "objects over lines"])
def test_documents_are_cut_wherever_a_read_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, chunk: int
) -> None:
    """A large one comes in many pieces."""
    monkeypatch.setattr(json_export, "_CHUNK_BYTES", chunk)
    path = tmp_path / "export"
    path.write_bytes(EXPORTS[kind])
    found, rejected = read(path)
    assert (told(found), rejected) == (BOTH, 0)


REFUSED = {
    "an Excel workbook: save it as CSV": zipped(**{"xl/workbook.xml": b"<x/>"}),
    "a Word document": zipped(**{"word/document.xml": b"<x/>"}),
    "a PDF": b"%PDF-1.7\n",
    "a Parquet file": b"PAR1\x15\x04",
    "a web page": b"\xef\xbb\xbf\r\n<!DOCTYPE html><html>",
    "an XML document": '<?xml version="1.0"?>'.encode("utf-16"),
    "a Windows event log": b"ElfFile\x00\x00",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_recording_is_named(tmp_path: Path, what: str) -> None:
    """With what to do; it is not read as thousands of broken lines."""
    path = tmp_path / "export"
    path.write_bytes(REFUSED[what])
    with pytest.raises(RecordingRefused, match=what):
        read(path)


@pytest.mark.parametrize("body", [b"", b"\n \r\n", b"\xef\xbb\xbf", "\r\n".encode("utf-16")])
def test_an_empty_file_has_no_messages(tmp_path: Path, body: bytes) -> None:
    """Whatever its encoding."""
    path = tmp_path / "export"
    path.write_bytes(body)
    assert read(path) == ([], 0)


def test_archives_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Cut ones give what is there."""
    path = tmp_path / "export"
    path.write_bytes(zstd.compress(LINES)[:-9])
    with pytest.raises(RecordingUnreadable):
        read(path)
    path.write_bytes(zipped(one=LINES)[:-20])
    with pytest.raises(RecordingUnreadable, match="archive"):
        read(path)


def test_folders_and_patterns(tmp_path: Path) -> None:
    """Each file once, in the order of their names; what is not there is told."""
    for name in ("b.csv", "a.json", "sub/c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(LINES)
    files = [str(tmp_path / name) for name in ("a.json", "b.csv", "sub/c.json")]
    assert expand_names([str(tmp_path)]) == files
    assert expand_names([str(tmp_path / "*.json"), str(tmp_path / "**/*.json"), "-"]) == [
        files[0],
        files[2],
        "-",
    ]
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "*.txt", "x.json"):
        with pytest.raises(ConfigurationError):
            expand_names([str(tmp_path / missing)])
