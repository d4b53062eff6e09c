"""``signinwatch export`` against a query API that cuts, throttles, times out and refuses."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from tests.servers.crowdsec import CrowdSec
from tests.servers.logs_query import WORKSPACE, LogsQuery, error
from tests.support.command import Ran, crowdsec_at, replay, signinwatch
from tests.support.sign_ins import address

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = ("--since", "2026-03-01T00:00:00Z", "--until", "2026-03-03T00:00:00Z")


def rows(count: int, hours: float = 48.0) -> list[dict[str, Any]]:
    """Return rows at even intervals."""
    step = timedelta(hours=hours) / count
    return [
        {
            "TimeGenerated": (START + step * number).isoformat(),
            "Id": f"e{number}",
            "IPAddress": address(number % 7),
            "UserPrincipalName": "ada@example.net",
            "ResultType": "0",
            "DeviceDetail": '{"deviceId": ""}',
        }
        for number in range(count)
    ]


async def export(service: LogsQuery, folder: Path, *more: str, workspace: str = WORKSPACE) -> Ran:
    """Export two days of one table."""
    async with service.server() as server:
        return await signinwatch(
            *("export", "--table", "SigninLogs", *SPAN, "--output", folder, "--summary", "-"),
            *more,
            settings={"SENTINEL__QUERY_URL": server.url, "SENTINEL__WORKSPACE_ID": workspace},
        )


def exported(folder: Path) -> list[dict[str, Any]]:
    """Return the rows in the files, in order of the files' names."""
    return [
        orjson.loads(line)
        for path in sorted(folder.glob("*.ndjson.gz"))
        for line in gzip.decompress(path.read_bytes()).splitlines()
    ]


def ids(folder: Path) -> list[str]:
    """Return the ids of the rows."""
    return [row["Id"] for row in exported(folder)]


async def test_what_is_exported_is_replayed(tmp_path: Path) -> None:
    """Every row once and in order, with its table; nothing waits for a real token."""
    service = LogsQuery({"SigninLogs": rows(500)})
    ran = await export(service, tmp_path / "out")
    assert ran.status == 0, ran.err
    assert ran.summary["SigninLogs"]["rows"] == 500
    assert ids(tmp_path / "out") == [f"e{number}" for number in range(500)]
    assert exported(tmp_path / "out")[0] == {
        **{name: value for name, value in rows(500)[0].items() if name != "TimeGenerated"},
        "TimeGenerated": "2026-03-01T00:00:00Z",
        "Type": "SigninLogs",
    }
    assert service.tokens == {"Bearer placeholder"}
    crowdsec = CrowdSec()
    crowdsec.serve_bad(address(3))
    async with crowdsec.server() as server:
        found = await replay(tmp_path / "out", **crowdsec_at(server.url))
    assert (found.summary["signins"], found.summary["findings"]) == (500, 71)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("most", [400, 37, 5])
async def test_limits_cut_nothing(tmp_path: Path, most: int, silent: bool) -> None:
    """A result that is cut is asked for again in halves, whether or not the service tells."""
    service = LogsQuery({"SigninLogs": rows(480)}, most=most, silent=silent)
    ran = await export(service, tmp_path)
    assert ran.status == 0, ran.err
    assert ids(tmp_path) == [f"e{number}" for number in range(480)]
    assert service.queries["rows"] >= 480 / most


async def test_a_second_with_more_than_the_service_returns_is_told(tmp_path: Path) -> None:
    """It cannot be split further; what is complete stays."""
    crowd = rows(20, hours=0.0001)
    service = LogsQuery({"SigninLogs": [*rows(10, hours=1.0), *crowd]}, most=12)
    ran = await export(service, tmp_path)
    assert ran.status == 1
    assert "fewer than" in ran.err
    assert "one second" in ran.err


async def test_an_hour_of_many_rows_is_split_beforehand(tmp_path: Path) -> None:
    """No slice is larger than what should be in memory."""
    busy = rows(60_000, hours=1.0)
    service = LogsQuery({"SigninLogs": busy})
    ran = await export(service, tmp_path)
    assert ran.status == 0, ran.err
    assert ran.summary["SigninLogs"] == {
        **ran.summary["SigninLogs"],
        "rows": 60_000,
        "files": 4,
    }
    assert len(set(ids(tmp_path))) == 60_000


@pytest.mark.parametrize(
    "response",
    [
        lambda: web.Response(status=429, headers={"Retry-After": "0"}),
        lambda: error(503),
        lambda: error(500),
    ],
)
async def test_a_busy_service_is_asked_again(tmp_path: Path, response: Any) -> None:
    """A bounded number of times, after the pause that it names."""
    service = LogsQuery({"SigninLogs": rows(50)})
    service.fault = lambda number: response() if number in (1, 3) else None
    ran = await export(service, tmp_path)
    assert ran.status == 0, ran.err
    assert len(ids(tmp_path)) == 50
    assert service.requests == 4


async def test_a_query_that_takes_too_long_is_split(tmp_path: Path) -> None:
    """The service gives up after ten minutes."""
    service = LogsQuery({"SigninLogs": rows(50)})
    service.fault = lambda number: error(504, "GatewayTimeout") if number == 2 else None
    ran = await export(service, tmp_path)
    assert ran.status == 0, ran.err
    assert (len(ids(tmp_path)), ran.summary["SigninLogs"]["files"]) == (50, 2)


async def test_an_export_goes_on_where_it_ended(tmp_path: Path) -> None:
    """What is complete is not read again, and a file that was not finished does not count."""
    service = LogsQuery({"SigninLogs": rows(480)}, most=100)
    service.fault = lambda number: error(403) if number > 12 else None
    ran = await export(service, tmp_path)
    assert ran.status == 2
    assert "Log Analytics Data Reader" in ran.err
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.gz")}
    assert 0 < len(ids(tmp_path)) < 480
    (tmp_path / "SigninLogs-x.ndjson.gz.part").write_bytes(b"half")
    service.fault = lambda _: None
    ran = await export(service, tmp_path)
    assert ran.status == 0, ran.err
    assert ids(tmp_path) == [f"e{number}" for number in range(480)]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    asked = service.queries["rows"]
    again = await export(service, tmp_path)
    assert (again.summary["SigninLogs"]["rows"], service.queries["rows"]) == (0, asked)


async def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    """Of all sign-in tables most workspaces have a few."""
    service = LogsQuery({"SigninLogs": rows(5)})
    ran = await export(service, tmp_path, "--table", "ADFSSignInLogs")
    assert ran.status == 0
    assert "ADFSSignInLogs: not in this workspace" in ran.err
    assert ran.summary["ADFSSignInLogs"]["missing"] is True
    assert len(ids(tmp_path)) == 5


@pytest.mark.parametrize(
    ("arguments", "workspace", "told"),
    [
        ((), "22222222-2222-4333-8444-555555555555", "there is no such workspace"),
        ((), "mine", "WORKSPACE_ID"),
        (("--table", "Nonsense"), WORKSPACE, "no known table"),
        (("--since", "yesterday"), WORKSPACE, "--since yesterday"),
        (("--since", "2026-03-04"), WORKSPACE, "before --until"),
    ],
)
async def test_wrong_usage_is_told(
    tmp_path: Path, arguments: tuple[str, ...], workspace: str, told: str
) -> None:
    """In one line that names what to change, with status 2."""
    ran = await export(LogsQuery({}), tmp_path, *arguments, workspace=workspace)
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert told in ran.err
