"""``signinwatch explain``: why, by whom, and what would change it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.servers.crowdsec import CrowdSec
from tests.servers.taxii import TaxiiServer, indicator
from tests.support.command import Ran, crowdsec_at, findings_in, replay, signinwatch
from tests.support.feed_commands import BAD, OTHER, feed_at, recording
from tests.support.sign_ins import row

if TYPE_CHECKING:
    from pathlib import Path

NAMED = indicator(BAD, labels=["botnet:example"])


@pytest.fixture
async def findings(tmp_path: Path) -> Path:
    """Return findings: one by a feed, one by CrowdSec, one of a valid password."""
    taxii, crowdsec, path = TaxiiServer(), CrowdSec(), tmp_path / "found"
    taxii.add(NAMED)
    crowdsec.serve_bad(OTHER)
    events = recording(
        tmp_path,
        row(BAD, UserAgent="\x1b[31maxios/1.6", AppDisplayName="Azure CLI"),
        row(OTHER, "eve@example.net"),
        row(OTHER, "bob@example.net", ResultType="50126"),
    )
    async with taxii.server() as server, crowdsec.server() as cti:
        ran = await replay(events, "--findings", path, **feed_at(server), **crowdsec_at(cti.url))
    assert ran.status == 0, ran.err
    return path


def finding(path: Path, account: str) -> dict[str, Any]:
    """Return the finding of an account."""
    return next(one for one in findings_in(path) if one["Account"].startswith(account))


async def explained(path: Path, finding_id: str) -> dict[str, Any]:
    """Return what the command says."""
    ran = await signinwatch("explain", finding_id, "--findings", path, "--json")
    assert ran.status == 0, ran.err
    found: dict[str, Any] = orjson.loads(ran.out)
    return found


def severity_if(found: dict[str, Any], condition: str) -> str | None:
    """Return the severity under another condition; None if it is the same."""
    return next((it["severity"] for it in found["changes"] if it["condition"] == condition), None)


async def test_why_and_what_would_change_it(findings: Path) -> None:
    """The line, each source's word, the context, and only conditions that change the severity."""
    found = await explained(findings, finding(findings, "ada")["FindingId"])
    assert (found["line"], found["why"]) == (
        "malicious-success",
        "success from a malicious address",
    )
    ((source, said),) = found["sources"]
    assert source == "sekoia"
    assert NAMED["id"] in said
    assert "botnet:example" in said
    assert found["context"]["Application"] == "Azure CLI"
    assert severity_if(found, "the outcome were Failure") == "Low"
    assert severity_if(found, "the sources said suspicious") == "Medium"
    assert severity_if(found, "the sources said unknown") == "no finding"
    assert severity_if(found, "the address were of class mobile") == "Medium"
    assert severity_if(found, "its source called it a false positive") == "no finding"
    assert severity_if(found, "the outcome were PasswordAccepted") is None
    other = await explained(findings, finding(findings, "bob")["FindingId"][:8])
    assert severity_if(other, "the outcome were Success") == "High"


async def test_own_lines_are_heard(findings: Path, tmp_path: Path) -> None:
    """What would change it is by the policy that is configured."""
    config = tmp_path / "config.toml"
    config.write_text(
        '[[policy.lines]]\nname = "mine"\noutcome = ["Failure"]\nseverity = "Medium"\n', "utf-8"
    )
    ran = await signinwatch(
        "--config", config, "explain", finding(findings, "ada")["FindingId"],
        "--findings", findings, "--json",
    )  # fmt: skip
    change = next(
        it
        for it in orjson.loads(ran.out)["changes"]
        if it["condition"] == "the outcome were Failure"
    )
    assert (change["severity"], change["line"]) == ("Medium", "mine")


async def test_the_worst_version_is_explained(findings: Path) -> None:
    """A finding may be written again: as Medium, then as High."""
    worst = finding(findings, "ada")
    lines = [orjson.dumps(worst | {"Severity": "Medium", "MatchReason": "one-feed-alone: x"})]
    findings.write_bytes(b"\n".join([*lines, orjson.dumps(worst), *lines]) + b"\n")
    found = await explained(findings, worst["FindingId"])
    assert (found["line"], found["versions"]) == ("malicious-success", 3)


async def test_lines_outside_the_policy_name_their_remedy(findings: Path) -> None:
    """What a person can do about a cap."""
    capped = finding(findings, "ada") | {"Severity": "Low", "MatchReason": "familiar-address: 20"}
    findings.write_bytes(orjson.dumps(capped))
    found = await explained(findings, capped["FindingId"])
    assert "feeds release" in found["changes"][0]["condition"]


async def test_on_a_screen(findings: Path) -> None:
    """No control characters of events, and all that matters."""
    ran = await signinwatch(
        "explain", finding(findings, "ada")["FindingId"], "--findings", findings
    )
    text = ran.out.decode()
    assert ran.status == 0
    assert "\x1b[31m" not in text
    assert "Policy line malicious-success" in text
    assert "if the outcome were Failure" in text


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("abc", None, 2, "at least 6"),
        ("ffffffffffff", None, 2, "no such finding"),
        ("aaaaaa", b'{"FindingId": "aaaaaa1"}\n{"FindingId": "aaaaaa2"}\n', 2, "2 findings"),
        ("aaaaaa", b"{}\n", 1, "line 1 is not a finding"),
        ("aaaaaa", b"\n\xff\n", 1, "line 2 is not a finding"),
    ],
)
async def test_what_cannot_be_explained(
    findings: Path, name: str, content: bytes | None, status: int, said: str
) -> None:
    """One line."""
    if content is not None:
        findings.write_bytes(content)
    ran: Ran = await signinwatch("explain", name, "--findings", findings)
    assert (ran.status, said in ran.err, ran.err.count("\n")) == (status, True, 1), ran.err


async def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """Is named."""
    ran = await signinwatch("explain", "aaaaaa", "--findings", tmp_path / "none")
    assert (ran.status, "No such file" in ran.err) == (1, True), ran.err
