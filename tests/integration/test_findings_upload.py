"""Findings to an ingestion service that refuses, fails and hesitates."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from producers.quarantine.directory import DirectoryQuarantine
from tests.servers.crowdsec import CrowdSec
from tests.servers.ingestion import Ingestion
from tests.support.command import crowdsec_at, logs_at, replay, signinwatch
from tests.support.sign_ins import address, lines, message, row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAD = [address(n) for n in range(40)]
SIGNINS = 1_200


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return successes from bad addresses, with texts as long as they may get."""
    path = tmp_path / "recording.ndjson"
    long = "agent " * 400
    rows = [row(BAD[n % 40], f"user-{n}@example.net", UserAgent=long) for n in range(SIGNINS)]
    path.write_bytes(lines(*(message(*rows[n : n + 20]) for n in range(0, SIGNINS, 20))))
    return path


async def _replayed(
    recording: Path, ingestion: Ingestion, tmp_path: Path
) -> tuple[dict[str, Any], str]:
    crowdsec = CrowdSec()
    crowdsec.serve_bad(*BAD)
    async with crowdsec.server() as intel, ingestion.server() as logs:
        ran = await replay(
            recording,
            "--findings",
            "azure",
            "--state",
            tmp_path / "state",
            **crowdsec_at(intel.url),
            **logs_at(logs.url),
        )
    assert ran.status == 0, ran.err
    return ran.summary, ran.err


def _accepted_once(ingestion: Ingestion, expected: int = SIGNINS) -> bool:
    counted = Counter(one["FindingId"] for one in ingestion.rows)
    return len(counted) == expected and set(counted.values()) == {1}


def _status(code: int, **headers: str) -> web.Response:
    return web.Response(status=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda n, _: None, id="none"),
        pytest.param(lambda n, _: _status(429) if n == 1 else None, id="429"),
        pytest.param(lambda n, _: _status(429, Retry_After="1") if n < 3 else None, id="429 after"),
        pytest.param(lambda n, _: _status(500) if n == 2 else None, id="500"),
        pytest.param(lambda n, _: _status(503) if n == 1 else None, id="503"),
        pytest.param(lambda n, _: _status(408) if n == 1 else None, id="408"),
        pytest.param(lambda n, _: "reset" if n == 2 else None, id="reset"),
        pytest.param(lambda n, rows: _status(413) if len(rows) > 100 else None, id="413"),
        pytest.param(lambda n, _: _status(403) if n < 4 else None, id="403 for a while"),
        pytest.param(lambda n, _: _status(401) if n < 2 else None, id="401 for a while"),
        pytest.param(lambda n, _: _status(404) if n < 2 else None, id="404 for a while"),
    ],
)
async def test_every_finding_is_accepted_once(
    recording: Path, tmp_path: Path, fault: Callable[[int, list[Any]], Any]
) -> None:
    """Through each passing trouble; no body is larger than the service takes."""
    ingestion = Ingestion(fault=fault)
    summary, _ = await _replayed(recording, ingestion, tmp_path)
    assert _accepted_once(ingestion)
    assert summary["findings"] == SIGNINS
    assert 500_000 < ingestion.largest_body <= 1_000_000
    assert ingestion.tokens == {"Bearer placeholder"}


async def test_one_bad_row_costs_no_other(recording: Path, tmp_path: Path) -> None:
    """A 400 is halved until the row is found; it lies in quarantine and can be sent again."""

    def fault(_: int, rows: list[Any]) -> web.Response | None:
        wrong = any(one["Account"] == "user-777@example.net" for one in rows)
        return _status(400) if wrong else None

    ingestion = Ingestion(fault=fault)
    summary, _ = await _replayed(recording, ingestion, tmp_path)
    assert _accepted_once(ingestion, SIGNINS - 1)
    assert (summary["findings"], summary["findings_refused"]) == (SIGNINS - 1, 1)
    kept = [one async for one in DirectoryQuarantine(tmp_path / "state").items()]
    assert [(one.kind, b"user-777@" in one.body) for one in kept] == [("finding", True)]
    ingestion.fault = lambda *_: None
    async with ingestion.server() as logs:
        again = await signinwatch(
            "quarantine", "retry", "--state", tmp_path / "state", settings=logs_at(logs.url)
        )
    assert again.status == 0, again.err
    assert _accepted_once(ingestion)
    assert [one async for one in DirectoryQuarantine(tmp_path / "state").items()] == []


async def test_a_missing_role_tells_the_mend_and_loses_nothing(
    recording: Path, tmp_path: Path
) -> None:
    """With patience at its end the run fails, nothing is quarantined, the next run delivers."""
    ingestion = Ingestion(fault=lambda *_: _status(403))
    crowdsec = CrowdSec()
    crowdsec.serve_bad(*BAD)
    state = ("--state", tmp_path / "state", "--findings", "azure")
    async with crowdsec.server() as intel, ingestion.server() as logs:
        settings = {**crowdsec_at(intel.url), **logs_at(logs.url)}
        failed = await replay(recording, *state, **settings, LOGS__RETRY_LIMIT="1")
        asked = crowdsec.asked.total()
        ingestion.fault = lambda *_: None
        mended = await replay(recording, *state, **settings)
    assert failed.status == 1
    assert "Monitoring Metrics Publisher" in failed.err
    assert mended.status == 0
    assert _accepted_once(ingestion)
    assert crowdsec.asked.total() == asked == 40
    assert [one async for one in DirectoryQuarantine(tmp_path / "state").items()] == []
