"""Every sink, through one suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from producers.findings_file import FileSink
from producers.logs_ingestion import LogsIngestionSink
from tests.servers.ingestion import RULE, Ingestion

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.ports import Sink
    from schemas.rows.findings import FindingRow

Delivered = Callable[[], list[Any]]


@pytest.fixture(params=["file", "logs ingestion"])
async def sink(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Sink, Delivered]]:
    """Return a sink, and a way to read what has arrived."""
    if request.param == "file":
        path = tmp_path / "findings.jsonl"
        file = FileSink(str(path))
        yield file, lambda: [orjson.loads(line) for line in path.read_bytes().splitlines()]
        await file.close()
        return
    ingestion = Ingestion()
    async with ingestion.server() as server:
        logs = LogsIngestionSink(server.url, RULE, None, patience=5)
        yield logs, lambda: ingestion.rows
        await logs.close()


def _rows(count: int, size: int = 100) -> list[FindingRow]:
    moment = datetime(2026, 3, 2, tzinfo=UTC).isoformat()
    return [
        {"FindingId": f"{n}", "TimeGenerated": moment, "Account": "ä" * size, "Cves": ["CVE-1"]}
        for n in range(count)
    ]


async def test_rows_have_arrived_when_send_returns(sink: tuple[Sink, Delivered]) -> None:
    """In order, unchanged, and none refused."""
    target, delivered = sink
    assert await target.send(_rows(3)) == []
    assert delivered() == _rows(3)
    assert await target.send(_rows(2)) == []
    assert delivered() == _rows(3) + _rows(2)


async def test_any_number_of_any_size_arrives_once(sink: tuple[Sink, Delivered]) -> None:
    """Small rows, whose separators weigh; large rows, of which few fit into one body."""
    target, delivered = sink
    rows = _rows(30_000, 1) + _rows(300, 8_000)
    assert await target.send(rows) == []
    assert delivered() == rows
