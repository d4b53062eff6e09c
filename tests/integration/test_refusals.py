"""What a person did wrong is one clear line and exit status 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.command import replay, signinwatch
from tests.support.sign_ins import address, lines, message, row

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return one sign-in."""
    path = tmp_path / "recording.ndjson"
    path.write_bytes(lines(message(row(address(1)))))
    return path


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        pytest.param({"CROWDSEC__BATCH_SIZE": "101"}, "CROWDSEC__BATCH_SIZE", id="range"),
        pytest.param({"CROWDSEC__APIKEY": "x"}, "CROWDSEC__APIKEY", id="unknown nested"),
        pytest.param({"CROWDZEC__API_KEY": "x"}, "CROWDZEC", id="unknown"),
        pytest.param({"CROWDSEC__URL": "http://example.com"}, "CROWDSEC__URL", id="plain http"),
        pytest.param({"TRUSTED_NETWORKS": "1.2.3.4/33"}, "TRUSTED_NETWORKS", id="network"),
        pytest.param({"TABLES": "SigninLog"}, "TABLES", id="table"),
        pytest.param({"POLICY": "{"}, "policy", id="not JSON"),
        pytest.param(
            {"POLICY__LINES": '[{"name": "x", "severity": "Worst"}]'},
            "POLICY.LINES[0]",
            id="policy",
        ),
        pytest.param({"CROWDSEC__API_KEY": "a b"}, "CROWDSEC__API_KEY", id="key with a space"),
    ],
)
async def test_a_wrong_setting_is_named(
    recording: Path, settings: dict[str, str], named: str
) -> None:
    """The setting is named, its value is not shown."""
    ran = await replay(recording, **settings)
    assert ran.status == 2
    assert len(ran.err.splitlines()) == 1
    assert named in ran.err


async def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    """Nothing is replayed when one of the files is missing."""
    ran = await replay(tmp_path / "nowhere.ndjson")
    assert (ran.status, ran.err.splitlines()[0].endswith("no such file")) == (2, True)


async def test_real_lookups_must_be_allowed(recording: Path) -> None:
    """Under the event clock a CrowdSec that is not on loopback is asked with --spend alone."""
    ran = await replay(recording, CROWDSEC__API_KEY="k" * 20)
    assert ran.status == 2
    assert "--spend" in ran.err
    assert (await replay(recording, "--quota", "0", CROWDSEC__API_KEY="k" * 20)).status == 0


async def test_azure_must_be_configured(recording: Path) -> None:
    """``--findings azure`` without an endpoint names the missing setting."""
    ran = await replay(recording, "--findings", "azure")
    assert (ran.status, "LOGS__ENDPOINT" in ran.err) == (2, True)


async def test_a_ledger_refuses_the_other_clock(recording: Path, tmp_path: Path) -> None:
    """A ledger kept by events does not go on by wall time."""
    state = ("--state", tmp_path / "state")
    assert (await replay(recording, *state)).status == 0
    ran = await replay(recording, *state, "--clock", "wall")
    assert (ran.status, "clock" in ran.err) == (2, True)


async def test_a_damaged_or_newer_ledger_is_refused(recording: Path, tmp_path: Path) -> None:
    """A file that is no ledger is left as it is."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "ledger.sqlite").write_bytes(b"nothing of the kind" * 100)
    ran = await replay(recording, "--state", state)
    assert (ran.status, "ledger.sqlite" in ran.err) == (2, True)


async def test_usage_errors_are_exit_2() -> None:
    """So says the contract."""
    assert (await signinwatch("replay")).status == 2
    assert (await signinwatch("no-such-command")).status == 2


async def test_a_wrong_table_is_answered_with_the_right_one(recording: Path) -> None:
    """In the setting and in the option."""
    ran = await replay(recording, TABLES="Signin")
    assert (ran.status, "did you mean SigninLogs?" in ran.err) == (2, True), ran.err
    ran = await replay(recording, "--table", "SigninLog")
    assert (ran.status, "did you mean SigninLogs?" in ran.err) == (2, True), ran.err
