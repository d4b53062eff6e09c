"""What a replay shows: by address and account, in each format, and its exit statuses."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.recorded import OTHER_V4, V4
from tests.servers.crowdsec import CrowdSec, item
from tests.support.command import Ran, crowdsec_at, findings_in, signinwatch
from tests.support.service_process import until
from tests.support.sign_ins import address, lines, message, row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = "2405:7c67:7f7:1fba:e390:2a33:3402:c3b2"
TIMES = ("2026-03-02T08:00:00Z", "2026-03-05T08:00:00Z")
NAMES = ("ada.lovelace@manufacturing.contoso.example", "bo@contoso.example")


def recording(tmp_path: Path, *more: dict[str, Any]) -> Path:
    """Write sign-ins of two accounts from three addresses, two of them bad."""
    early, late = ({"CreatedDateTime": time, "TimeGenerated": time} for time in TIMES)
    events = [
        row(V4, NAMES[0], Id="a", **early),
        row(V4, NAMES[1], Id="b", ResultType="50126", **late),
        row(LONG, NAMES[0], Id="c", ResultType="50126", **late),
        row(OTHER_V4, NAMES[1], Id="d", **late),
        *more,
    ]
    path = tmp_path / "sign-ins.ndjson"
    path.write_bytes(lines(*map(message, events)))
    return path


async def answered(path: Path, *options: str | Path, columns: int | None = None) -> Ran:
    """Replay with a CrowdSec that knows two of the addresses."""
    crowdsec = CrowdSec({V4: item(V4), LONG: item(LONG, "suspicious")})
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url)
        os.environ.pop("COLUMNS", None)
        if columns is not None:
            os.environ["COLUMNS"] = str(columns)
        try:
            return await signinwatch(
                "replay", path, "--quota", "100000", *options, settings=settings
            )
        finally:
            os.environ.pop("COLUMNS", None)


@pytest.mark.parametrize("columns", [80, 90, 100, 120, 130, 160, 200, None])
async def test_no_width_breaks_an_address_or_overflows(tmp_path: Path, columns: int | None) -> None:
    """From 80 columns on, and whole when piped, where nothing is left out."""
    ran = await answered(recording(tmp_path), "--details", columns=columns)
    shown = ran.out.decode()
    assert ran.status == 0, ran.err
    tables, _, _ = shown.partition("╭─ Summary")
    for text in (V4, LONG):
        assert tables.count(text) >= 2, "by address, and in the details"
    assert "2 IP addresses" in tables
    assert "2 accounts" in tables
    assert "3 findings (times in UTC)" in tables
    if columns is not None:
        assert max(map(len, shown.splitlines())) <= columns
    else:
        assert NAMES[0] in tables
        for head in ("First to last", "Country", "Network", "Application", "MFA", "Why"):
            assert head in tables
        assert "2026-03-02 08:00" in tables, "with the year"


async def test_each_format_has_all_findings(tmp_path: Path) -> None:
    """On standard output, or in a file whose name says the format; the summary goes beside it."""
    path = recording(tmp_path)
    formats: dict[str, Callable[[str], list[str]]] = {
        "json": lambda text: [it["EventId"] for it in orjson.loads(text)["findings"]],
        "jsonl": lambda text: [orjson.loads(line)["EventId"] for line in text.splitlines()],
        "csv": lambda text: [it["EventId"] for it in csv.DictReader(io.StringIO(text))],
        "sarif": lambda text: [
            it["properties"]["EventId"] for it in orjson.loads(text)["runs"][0]["results"]
        ],
        "html": lambda text: sorted(set(re.findall(r"<dd>([abc])</dd>", text))),
    }
    for name, read in formats.items():
        ran = await answered(path, "--format", name)
        assert "3 findings" in ran.err
        assert sorted(read(ran.out.decode())) == ["a", "b", "c"], name
        assert sorted(read((await _into(tmp_path, path, name)).read_text())) == ["a", "b", "c"]
    markdown = (await answered(path, "-f", "markdown")).out.decode()
    assert V4 in markdown
    assert "| Severity |" in markdown


async def _into(tmp_path: Path, path: Path, name: str) -> Path:
    written = tmp_path / f"result.{name}"
    ran = await answered(path, "--output", written)
    assert ran.status == 0, ran.err
    return written


@pytest.mark.parametrize("option", ["--summary", "--findings"])
async def test_standard_output_has_one_thing(tmp_path: Path, option: str) -> None:
    """What was asked for is written or refused, never left out in silence."""
    path, out = recording(tmp_path), tmp_path / "out.json"
    ran = await answered(path, option, "-", "-f", "json")
    assert (ran.status, ran.out, f"{option} - writes" in ran.err) == (2, b"", True)
    ran = await answered(path, option, "-", "-f", "json", "-o", out)
    assert (ran.status, len(orjson.loads(out.read_bytes())["findings"])) == (0, 3)
    assert ran.out


async def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    """Neither the result nor the findings nor the summary."""
    path, kept = recording(tmp_path), tmp_path / "kept.json"
    kept.write_bytes(b"precious")
    for option in ("--output", "--findings", "--summary"):
        ran = await answered(path, option, kept)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert f"{option} {kept}: exists; use --force" in ran.err
    assert kept.read_bytes() == b"precious"
    assert (await answered(path, "--output", kept, "--force")).status == 0
    assert orjson.loads(kept.read_bytes())["summary"]["signins"] == 4


@pytest.mark.parametrize(
    ("options", "events"),
    [
        (["--account", "ADA*"], "ac"),
        (["--address", V4], "ab"),
        (["--address", "2405:7c67::/32"], "c"),
        (["--min-severity", "high"], "a"),
        (["--outcome", "failure"], "bc"),
        (["--outcome", "failure", "--address", V4], "b"),
        (["--from", "2026-03-02", "--to", "2026-03-02T08:00"], ""),
        (["--from", "2026-03-02T08:00", "--to", "2026-03-03"], "a"),
        (["--from", "2026-03-02 09:00", "--to", "2026-03-03", "--timezone", "Europe/Berlin"], "a"),
        (["--table", "SigninLogs"], "abc"),
        (["--table", "AADNonInteractiveUserSignInLogs"], ""),
    ],
)
async def test_filters_say_what_is_shown(tmp_path: Path, options: list[str], events: str) -> None:
    """All is judged; the summary counts all."""
    path, found = recording(tmp_path), tmp_path / "found.jsonl"
    ran = await answered(path, "-f", "jsonl", "--findings", found, *options)
    shown = [orjson.loads(line)["EventId"] for line in ran.out.splitlines()]
    assert "".join(sorted(shown)) == events
    assert "".join(sorted(it["EventId"] for it in findings_in(found))) == events
    assert "3 findings: " in ran.err


async def test_times_are_shown_in_a_zone(tmp_path: Path) -> None:
    """With its name; an unknown one is refused."""
    path = recording(tmp_path)
    ran = await answered(path, "--details", "--timezone", "Asia/Kolkata")
    assert "2026-03-02 13:30" in ran.out.decode()
    assert "times in Asia/Kolkata" in ran.out.decode()
    ran = await answered(path, "--timezone", "Mars/Olympus")
    assert (ran.status, "Mars/Olympus: is unknown" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 0),
        (["--fail-on", "high"], 3),
        (["--fail-on", "low"], 3),
        (["--fail-on", "high", "--account", "bo*"], 0),
        (["--fail-on", "low", "--account", "bo*"], 3),
        (["--strict"], 0),
        (["--strict", "--quota", "0"], 4),
        (["--strict", "--fail-on", "high"], 3),
        (["--require-sign-ins"], 0),
        (["--no-such-option"], 2),
    ],
)
async def test_exit_statuses(tmp_path: Path, options: list[str], status: int) -> None:
    """Findings come before what is unanswered."""
    ran = await answered(recording(tmp_path), "-f", "jsonl", *options)
    assert ran.status == status, ran.err
    assert "Traceback" not in ran.err


async def test_exit_statuses_without_findings(tmp_path: Path) -> None:
    """Nothing recognised is an error; no sign-ins only if they are required."""
    noise, other = tmp_path / "noise.txt", tmp_path / "other.ndjson"
    noise.write_bytes(b"hello\nworld\n")
    other.write_bytes(lines(message({"Type": "AuditLogs", "Id": "1"})))
    assert (await answered(noise)).status == 1
    ran = await answered(other)
    assert (ran.status, "AuditLogs" in ran.out.decode()) == (0, True)
    assert (await answered(other, "--require-sign-ins")).status == 1
    broken = recording(tmp_path)
    broken.write_bytes(broken.read_bytes() + b"{]\n")
    assert (await answered(broken)).status == 0
    assert (await answered(broken, "--strict")).status == 4


async def test_hostile_texts_are_data(tmp_path: Path) -> None:
    """No control characters on a terminal, no markup in a page, no formula in a spreadsheet."""
    name = '=cmd|"/c calc"!A1@x.example'
    agent = "<script>alert(1)</script>\x1b[31m|`x`\u202e"
    event = row(V4, name, Id="evil", UserAgent=agent, AppDisplayName=agent)
    path = recording(tmp_path, event)
    screen = (await answered(path, "--details")).out
    assert b"\x1b" not in screen
    page = (await answered(path, "-f", "html")).out.decode()
    assert "<script" not in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"'](?!https://app\.crowdsec\.net)", page)
    table = (await answered(path, "-f", "csv")).out.decode()
    assert any(it["Account"].startswith("'=") for it in csv.DictReader(io.StringIO(table)))
    markdown = (await answered(path, "-f", "markdown")).out.decode()
    assert "<script" not in markdown.replace("\\<script", "")


async def test_no_encoding_is_a_reason_to_fail(tmp_path: Path) -> None:
    """What the terminal cannot show is replaced."""
    path = recording(tmp_path, row(V4, "łukasz@contoso.example", Id="n"))
    os.environ["PYTHONIOENCODING"] = "ascii"
    try:
        for command in (("replay", path, "--quota", "0"), ("plan", path)):
            ran = await signinwatch(*command)
            assert (ran.status, "Traceback" in ran.err) == (0, False), ran.err
    finally:
        del os.environ["PYTHONIOENCODING"]


async def test_an_interrupted_replay_says_how_to_go_on(tmp_path: Path) -> None:
    """With 130, what was reached and what is kept; the same command goes on."""
    path, state = tmp_path / "many.ndjson", tmp_path / "state"
    path.write_bytes(lines(*(message(row(address(n), Id=str(n))) for n in range(3_000))))
    crowdsec = CrowdSec(delay=0.3)
    async with crowdsec.server() as server:
        own = crowdsec_at(server.url)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "consumers.cli", "replay", path, "--state", state),
            *("--quota", "100000"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **{f"SIGNINWATCH_{name}": value for name, value in own.items()}},
        )

        async def asking() -> bool:
            return crowdsec.requests > 2

        await until(asking, "lookups", 60)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
        said, status = errors.decode(), process.returncode
    assert status == 130, said
    assert re.search(r"interrupted after [\d,]+ sign-ins?", said), said
    assert "run the same command to go on" in said
    assert "Traceback" not in said
