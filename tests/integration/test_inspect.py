"""``signinwatch inspect`` from outside: what an export holds, with nobody asked."""

from __future__ import annotations

import csv
import gzip
import io
import socket
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fastavro
import orjson
import pytest
from click.testing import CliRunner

from consumers.cli import cli
from consumers.commands.inspect.figures import DistinctCount, NamedCounts
from schemas.errors import ConfigurationError
from tests.support.sign_ins import lines, message, record, row

if TYPE_CHECKING:
    from click.testing import Result

RECORDING = Path(__file__).parents[2] / "producers/demo/recording.ndjson.gz"
ADA, BOB = "81.2.69.160", "81.2.69.161"
ENTRA = (
    "Date (UTC),Request ID,Username,IP address,Status,Sign-in error code,Location,"
    "Autonomous system number\r\n"
    f'2026-03-02T08:00:00Z,a1,ada@example.net,{ADA},Success,None,"Bonn, NRW, DE",3320\r\n'
    f'2026-03-02T09:00:00Z,a2,bob@example.net,{BOB},Failure,50126,"Lyon, ARA, FR",3215\r\n'
)
PURVIEW = 'RecordType,AuditData\r\n15,"{""Id"": ""x""}"\r\n'
LOGS = f'"TimeGenerated [UTC]",IPAddress,Type\r\n"3/2/2026, 8:00:00.000 AM",{ADA},SigninLogs\r\n'
CAPTURE = {
    "type": "record",
    "name": "EventData",
    "fields": [{"name": "Body", "type": ["null", "bytes"]}],
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection and every question about a name."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("inspect asked somebody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def inspect(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, ["inspect", *map(str, arguments)], catch_exceptions=False)


def inspected(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """Return the JSON object of the command."""
    ran = inspect(*arguments, "--format", "json")
    assert ran.exit_code == status, ran.output
    document: dict[str, Any] = orjson.loads(ran.stdout)
    return document


def avro(*bodies: bytes) -> bytes:
    """Return a file of Event Hubs Capture."""
    stream = io.BytesIO()
    fastavro.writer(stream, CAPTURE, [{"Body": body} for body in bodies])
    return stream.getvalue()


def archive(**files: bytes) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for name, content in files.items():
            written.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "signins"),
    [
        (lines(message(row(ADA)), message(record(BOB))), "NDJSON", 2),
        (gzip.compress(lines(message(row(ADA)))), "gzip, NDJSON", 1),
        (orjson.dumps([row(ADA), row(BOB)]), "JSON array in a line", 2),
        (orjson.dumps([row(ADA), row(BOB)], option=orjson.OPT_INDENT_2), "JSON array", 2),
        (orjson.dumps({"value": [row(ADA)]}, option=orjson.OPT_INDENT_2), "JSON document", 1),
        (ENTRA.encode(), "CSV of the Entra portal", 2),
        (ENTRA.encode("utf-16"), "UTF-16, CSV of the Entra portal", 2),
        (LOGS.encode(), "CSV of the Logs portal", 1),
        (LOGS.replace(" [UTC]", "").encode(), "CSV", 1),
        (PURVIEW.encode(), "CSV of Purview", 0),
        (avro(message(row(ADA))), "Avro of Event Hubs Capture", 1),
        (b"", "empty", 0),
    ],
)
def test_a_file_is_recognised_by_its_content(
    tmp_path: Path, content: bytes, kind: str, signins: int
) -> None:
    """Whatever its name is."""
    path = tmp_path / "export"
    path.write_bytes(content)
    document = inspected(path)
    assert [(it["file"], it["kind"]) for it in document["files"]] == [(str(path), kind)]
    assert document["signins"] == document["files"][0]["signins"] == signins


def test_the_files_of_an_archive_are_named_one_by_one(tmp_path: Path) -> None:
    """With what each of them is."""
    path = tmp_path / "all.zip"
    path.write_bytes(archive(a=ENTRA.encode(), b=gzip.compress(lines(message(row(ADA))))))
    files = inspected(path)["files"]
    assert [(it["file"].removeprefix(f"{path}"), it["kind"], it["signins"]) for it in files] == [
        ("", "zip", 0),
        ("/a", "CSV of the Entra portal", 2),
        ("/b", "gzip, NDJSON", 1),
    ]


def test_the_figures_of_an_export(tmp_path: Path) -> None:
    """Period, tables, accounts, addresses, countries, networks and outcomes."""
    path = tmp_path / "InteractiveSignIns.csv"
    path.write_text(ENTRA)
    document = inspected(path)
    assert document["first"] == "2026-03-02T08:00:00.000000Z"
    assert document["last"] == "2026-03-02T09:00:00.000000Z"
    assert document["accounts"] == document["addresses"] == {"count": 2, "over": False}
    assert [it["country"] for it in document["countries"]] == ["DE", "FR"]
    assert [it["network"] for it in document["networks"]] == ["AS3320", "AS3215"]
    assert document["outcomes"] == {"Success": 1, "Failure": 1}
    assert [(it["records"], it["signins"]) for it in document["tables"]] == [(2, 2)]


def test_the_size_of_a_record_is_that_of_the_export(tmp_path: Path) -> None:
    """Without the envelope around it; the records without an address count as well."""
    rows = [row(ADA), row("", Padding="x" * 300)]
    path = tmp_path / "rows.ndjson"
    path.write_bytes(lines(message(*rows)))
    average = round(sum(len(orjson.dumps(it)) for it in rows) / 2)
    assert inspected(path)["tables"] == [
        {"table": "SigninLogs", "records": 2, "signins": 1, "average_bytes": average}
    ]


def test_what_is_skipped_or_unreadable_is_named_with_its_first_position(tmp_path: Path) -> None:
    """By reason; the details are those of the first."""
    path = tmp_path / "rows.ndjson"
    path.write_bytes(
        lines(
            message(row(ADA), row("10.0.0.1")),
            b'{"Type": "SigninLogs", "IPAddress": ',
            b'{"Type": broken}',
            orjson.dumps({"Type": "Heartbeat"}),
            message(row("10.0.0.2"), None),
            orjson.dumps(row(BOB, Type="AuditLogs")),
        )
    )
    document = inspected(path)
    places = {it["reason"]: (it["records"], it["position"]) for it in document["skipped"]}
    assert places == {
        "private address": (2, "line 1, record 2"),
        "unknown table": (1, "line 4"),
        "null item": (1, "line 5, record 2"),
        "table not chosen: AuditLogs": (1, "line 6"),
    }
    assert document["unreadable"] == [
        {
            "reason": "not JSON",
            "records": 2,
            "file": str(path),
            "position": "line 2",
            "detail": "it ends after 35 bytes",
        }
    ]
    assert document["records"] == 8


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (orjson.dumps([row(ADA)] * 150 + [3], option=orjson.OPT_INDENT_2), "record 151"),
        (avro(message(row(ADA)), message(row(ADA), 3)), "event 2, record 2"),
        (lines(orjson.dumps([row(ADA)] * 2 + [3])), "line 1, record 3"),
        (b'A,AuditData\r\n1,"{}"\r\n2,3\r\n', "record 2 from line 2 on"),
    ],
)
def test_positions_are_those_of_the_kind_of_file(
    tmp_path: Path, content: bytes, position: str
) -> None:
    """Records of a document, events of a capture, lines of others."""
    path = tmp_path / "export"
    path.write_bytes(content)
    unreadable = inspected(path)["unreadable"]
    assert [(it["reason"], it["position"]) for it in unreadable] == [("not an object", position)]


def test_a_line_that_becomes_several_messages_has_its_records_numbered(tmp_path: Path) -> None:
    """As with a table given, which is written into each record."""
    untyped = {name: value for name, value in row(ADA).items() if name != "Type"}
    path = tmp_path / "rows.ndjson"
    path.write_bytes(lines(orjson.dumps([untyped] * 150 + [3]), orjson.dumps([4])))
    unreadable = inspected(path, "--table", "SigninLogs")["unreadable"]
    assert [(it["records"], it["position"]) for it in unreadable] == [(2, "line 1, record 151")]


def test_a_record_that_has_records_of_its_own_is_a_record(tmp_path: Path) -> None:
    """If it says of which table it is."""
    path = tmp_path / "rows.ndjson"
    path.write_bytes(lines(orjson.dumps(row(ADA, records=[{"a": 1}, {"b": 2}]))))
    document = inspected(path)
    assert (document["records"], document["signins"]) == (1, 1)


@pytest.mark.parametrize("time", [None, "soon", "1601-01-01T00:00:00Z"])
def test_a_time_that_is_none_does_not_stretch_the_period(tmp_path: Path, time: str | None) -> None:
    """Services write the start of a calendar for "no time"."""
    path = tmp_path / "rows.ndjson"
    odd = row(BOB, TimeGenerated=time, CreatedDateTime=time)
    path.write_bytes(lines(message(row(ADA), odd)))
    document = inspected(path)
    assert document["without_time"] == 1
    assert document["first"] == document["last"] > "2026"
    assert "No readable time: 1 sign-in" in " ".join(inspect(path).stdout.split())


def test_a_truncated_file_counts_up_to_where_it_breaks(tmp_path: Path) -> None:
    """The reason is that of the file, and no other file suffers."""
    packed = gzip.compress(lines(*(message(row(ADA)) for _ in range(2_000))))
    cut, whole = tmp_path / "a.gz", tmp_path / "b.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    whole.write_bytes(packed)
    document = inspected(cut, whole)
    first, second = document["files"]
    assert 0 < first["signins"] < 2_000 == second["signins"]
    assert first["problem"].startswith("unreadable after line")
    assert second["problem"] is None
    assert document["unreadable"][0]["position"].startswith("after line ")


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"%PDF-1.7", 1), (b"nothing\nof it\n", 1), (b"", 0), (lines(message(row(ADA)), b"{x"), 0)],
)
def test_the_status_is_1_if_nothing_was_recognised(
    tmp_path: Path, content: bytes, status: int
) -> None:
    """Not if there is nothing, or if something was."""
    path = tmp_path / "export"
    path.write_bytes(content)
    inspected(path, status=status)


def test_the_table_of_rows_that_do_not_name_it(tmp_path: Path) -> None:
    """As for replay."""
    path = tmp_path / "rows.csv"
    path.write_text(f"TimeGenerated,IPAddress,Foo\r\n2026-03-02T08:00:00Z,{ADA},1\r\n")
    assert inspected(path)["skipped"][0]["reason"] == "unknown table"
    assert inspected(path, "--table", "SigninLogs")["tables"][0]["table"] == "SigninLogs"


def test_the_rows_of_csv_have_every_figure(tmp_path: Path) -> None:
    """One table, whose first column says what each row is about."""
    path, out = tmp_path / "rows.ndjson", tmp_path / "out.csv"
    path.write_bytes(lines(message(row(ADA, Location="=cmd()"), row("10.0.0.1")), b"{x"))
    assert inspect(path, "--output", out).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))
    assert [it["figure"] for it in rows] == [
        *("all", "accounts", "addresses", "file", "table", "country", "outcome", "skipped"),
        "unreadable",
    ]
    assert (rows[0]["records"], rows[0]["signins"]) == ("3", "1")
    assert rows[5]["name"] == "'=cmd()"
    with pytest.raises(ConfigurationError, match="exists"):
        inspect(path, "--output", out)


def test_findings_have_a_format_that_an_export_has_not(tmp_path: Path) -> None:
    """It is refused."""
    (tmp_path / "export").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="sarif"):
        inspect(tmp_path / "export", "--format", "sarif")


@pytest.mark.parametrize("format_", ["table", "csv", "markdown", "html", "jsonl", "json"])
def test_hostile_texts_are_shown_as_texts(tmp_path: Path, format_: str) -> None:
    """No control character reaches a terminal, no mark-up a page."""
    path = tmp_path / "rows\x1b[31m.ndjson"
    country = "\x1b[2J<script>[bold]\u202e" + "x" * 5_000
    path.write_bytes(lines(message(row(ADA, Location=country)), b"\x1b]0;x\x07"))
    shown = inspect(path, "--format", format_)
    assert shown.exit_code == 0
    assert "script" in shown.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown.stdout)
    assert "x" * 400 not in shown.stdout
    if format_ == "html":
        assert "<script>[bold]" not in shown.stdout


def test_times_are_shown_in_a_time_zone(tmp_path: Path) -> None:
    """On the screen; machines read UTC."""
    path = tmp_path / "entra.csv"
    path.write_text(ENTRA)
    shown = " ".join(inspect(path, "--timezone", "Europe/Berlin").stdout.split())
    assert "2026-03-02 09:00 to 10:00 (Europe/Berlin)" in shown


def test_counts_are_bounded() -> None:
    """Whatever the export holds."""
    distinct, named = DistinctCount(limit=2), NamedCounts(limit=2)
    for text in ("a", "b", "a", "c", "d"):
        distinct.add(text)
        named.add(text)
    assert (len(distinct), distinct.over) == (2, True)
    assert named.top(1) == [("a", 2), ("others", 3)]
    assert dict(named.counts) == {"a": 2, "b": 1}


def test_the_sums_are_those_of_replay(tmp_path: Path) -> None:
    """The records are cut one by one here, and messages as a whole there."""
    path = tmp_path / "summary"
    CliRunner().invoke(cli, ["replay", str(RECORDING), "--quota", "0", "--summary", str(path)])
    summary = orjson.loads(path.read_bytes())
    document = inspected(RECORDING)
    assert (document["records"], document["signins"], document["addresses"]["count"]) == (
        summary["records"],
        summary["signins"],
        summary["distinct_ips"],
    )
    assert sum(it["records"] for it in document["skipped"]) == summary["skipped"]
    assert sum(it["records"] for it in document["unreadable"]) == summary["rejected"]
