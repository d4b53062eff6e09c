"""``signinwatch plan`` from outside: right figures, one page, and nobody asked."""

from __future__ import annotations

import socket
import tempfile
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import orjson
import pytest

from consumers.cli import cli
from consumers.commands.plan.traffic import PLANS
from tests.bench.company.__main__ import RECORDING, generate
from tests.servers.crowdsec import CrowdSec
from tests.support.command import crowdsec_at, signinwatch
from tests.support.html_page import Page
from tests.support.sign_ins import START, address, lines, message, row

if TYPE_CHECKING:
    from pathlib import Path


def at(minutes: float, where: str, account: str = "ada@example.net", **more: Any) -> bytes:
    """Return a message with one sign-in that was written at a time."""
    time = (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    return message(row(where, account, TimeGenerated=time, CreatedDateTime=time, **more))


def recording(folder: Path, *bodies: bytes) -> Path:
    """Write a recording."""
    path = folder / "recording.ndjson"
    path.write_bytes(lines(*bodies))
    return path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection and every question about a name."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("plan asked somebody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def plan(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    """Run the command in this process; return its object."""
    out = folder / "plan.json"
    cli.main(["plan", *map(str, arguments), "--json", str(out)], standalone_mode=False)
    told: dict[str, Any] = orjson.loads(out.read_bytes())
    return told


@pytest.mark.usefixtures("nobody")
def test_a_burst_is_answered_as_far_as_a_days_share_goes(tmp_path: Path) -> None:
    """Forty addresses within a minute: the free plan has a few of them, every other one all."""
    bodies = [at(number / 60, address(number)) for number in range(40)]
    told = plan(tmp_path, recording(tmp_path, *bodies))
    assert (told["signins"]["all"], told["addresses"], told["lookups_wanted"]) == (40, 40, 40)
    assert told["lookups_wanted_a_month"] is None
    assert [one["lookups_a_month"] for one in told["plans"]] == list(PLANS)
    free, *others = told["plans"]
    assert 1 <= free["addresses"] == free["lookups"] <= 120 / 30
    assert free["signins"]["all"]["still_waiting"] == 40 - free["addresses"]
    for one in others:
        assert one["signins"]["all"]["at_once"] == one["addresses"] == one["lookups"] == 40
    assert [one["no_better_than"] for one in told["plans"]] == [None, None, 1_500, 1_500, 1_500]
    assert told["recommended"] == 1_500


@pytest.mark.usefixtures("nobody")
def test_what_waits_is_answered_when_its_turn_comes(tmp_path: Path) -> None:
    """The free plan has about four lookups a day: seven addresses take until the next day."""
    bodies = [at(number / 60, address(number)) for number in range(7)]
    bodies += [at(minutes, address(0)) for minutes in range(10, 2 * 24 * 60, 10)]
    told = plan(tmp_path, recording(tmp_path, *bodies))
    free, premium = (one["signins"]["new"] for one in told["plans"][:2])
    assert free["of"] == premium["of"] == 7
    assert 1 <= free["at_once"] <= 4
    assert free["at_once"] < free["answered"] <= 7
    assert 60 <= free["wait_95_minutes"] <= 24 * 60
    assert premium["at_once"] == 7
    assert premium["wait_95_minutes"] == 0


@pytest.mark.usefixtures("nobody")
def test_a_quota_is_never_exceeded_and_a_wider_one_answers_more(tmp_path: Path) -> None:
    """On a company of sixty people for four days."""
    generate(tmp_path, "manufacturer", 1, 60, 4)
    page = tmp_path / "plan.html"
    told = plan(tmp_path, tmp_path / RECORDING, "--html", page)
    truth = orjson.loads((tmp_path / "truth.json").read_bytes())
    assert told["addresses"] == truth["distinct_addresses"]
    assert told["signins"]["all"] == truth["signins"]
    for one in told["plans"]:
        assert one["lookups"] <= one["lookups_a_month"] / 30 * (told["days"] + 1) + 1
        for counted in one["signins"].values():
            assert counted["at_once"] <= counted["answered"] <= counted["of"]
            assert counted["answered"] + counted["still_waiting"] <= counted["of"]
    for kind in ("all", "new"):
        answered = [one["signins"][kind]["answered"] for one in told["plans"]]
        assert answered == sorted(answered)
        assert answered[0] < answered[-1] == told["signins"][kind]
    read = Page(page.read_text("utf-8"))
    assert told["recommendation"] in read.texts
    assert [one["network"] for one in told["egress"]] == [
        text for text in read.texts if "/3" in text and text[0].isdigit()
    ]


@pytest.mark.usefixtures("nobody")
def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ledger, no quarantine, not even for what could not be read."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = recording(tmp_path, at(0, address(1)), b"not json", b"[1, 2")
    told = plan(tmp_path, path)
    assert (told["records"], told["rejected"], told["signins"]["all"]) == (3, 2, 1)
    assert list(temporary.iterdir()) == []
    assert told["notes"][0].startswith("Most records could not be read.")


async def test_a_key_that_is_set_is_not_used(tmp_path: Path) -> None:
    """Nor a state: a plan asks nobody, and looks into no ledger."""
    path = recording(tmp_path, at(0, address(1)))
    crowdsec = CrowdSec()
    async with crowdsec.server() as server:
        settings = crowdsec_at(server.url, STATE__DIR=str(tmp_path / "state"))
        ran = await signinwatch("plan", path, "--json", "-", settings=settings)
    assert ran.status == 0, ran.err
    assert ran.summary["plans"][0]["lookups"] == 1
    assert crowdsec.asked == {}
    assert [one.name for one in tmp_path.iterdir()] == ["recording.ndjson"]


async def test_it_needs_nothing_and_reads_standard_input() -> None:
    """A table for people; JSON alone on standard output where that is asked for."""
    body = lines(at(0, address(1)), at(3 * 24 * 60, address(2)))
    shown = await signinwatch("plan", "-", stdin=body)
    assert (shown.status, shown.err) == (0, "")
    text = shown.out.decode()
    assert "The free plan of 120 lookups per month is enough" in " ".join(text.split())
    assert "100,000" in text
    assert "█" in text
    told = await signinwatch("plan", "-", "--json", "-", stdin=body)
    assert len(told.out.splitlines()) == 1
    assert told.summary["lookups_wanted_a_month"] == 20
    assert "free plan" in told.err


async def test_hostile_texts_reach_neither_terminal_nor_page(tmp_path: Path) -> None:
    """Accounts are never shown, and what is no address is none."""
    bad = "<img src=x onerror=alert(1)>\x1b]0;owned\x07\u202e"
    bodies = [
        at(day * 24 * 60 + number, address(1), f"{bad}{number}", AppDisplayName=bad, **office)
        for day in range(4)
        for number in range(8)
        for office in [{"DeviceDetail": {"isCompliant": True, "deviceId": bad}}]
    ]
    bodies.append(at(5_000, bad))
    page = tmp_path / "plan.html"
    ran = await signinwatch("plan", recording(tmp_path, *bodies), "--html", page)
    assert ran.status == 0, ran.err
    text = page.read_text("utf-8")
    Page(text)
    for told in (text, ran.out.decode(), ran.err):
        assert "owned" not in told
        assert "onerror" not in told
        assert "\x1b" not in told
    assert f"{address(1)}/32" in text


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("missing.ndjson",),
        ("*.csv",),
        ("recording.ndjson", "--html", "-"),
        ("recording.ndjson", "--html", "recording.ndjson"),
        ("recording.ndjson", "--html", "no/such/folder.html"),
        ("recording.ndjson", "--html", "same", "--json", "same"),
        ("recording.ndjson", "--plans", "5"),
    ],
    ids=" ".join,
)
async def test_bad_usage_is_told_before_anything_is_done(
    tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2, and the recording is as it was."""
    path = recording(tmp_path, at(0, address(1)))
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    ran = await signinwatch("plan", *arguments)
    assert (ran.status, ran.out) == (2, b"")
    assert "Traceback" not in ran.err
    assert path.read_bytes() == before


async def test_an_empty_recording_is_told_of(tmp_path: Path) -> None:
    """It has no plan, and that is no failure."""
    page = tmp_path / "plan.html"
    ran = await signinwatch("plan", "-", "--html", page, "--json", "-")
    assert ran.status == 0, ran.err
    assert ran.summary["recommendation"] == "There are no sign-ins to plan for."
    assert ran.summary["recommended"] is None
    Page(page.read_text("utf-8"))
