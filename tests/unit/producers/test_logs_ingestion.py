"""The ingestion sink: bodies within the limit, troubles told apart, patience kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stamina
from aiohttp import web

from producers.logs_ingestion import LARGEST_BODY, LogsIngestionSink, _bodies
from schemas.errors import SinkHeldBack
from tests.servers.ingestion import RULE, Ingestion

if TYPE_CHECKING:
    from schemas.findings import Row


def _rows(count: int, size: int = 10) -> list[Row]:
    return [{"FindingId": str(n), "Account": "x" * size} for n in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, 10), (60_000, 1), (1_000, 2_000), (3, 900_000)])
def test_bodies_stay_within_the_limit(count: int, size: int) -> None:
    """Every row is in one body, in order; no body is larger than the service takes."""
    rows = _rows(count, size)
    bodies = list(_bodies(rows))
    assert max(len(body) for _, body in bodies) <= LARGEST_BODY
    assert [row for part, _ in bodies for row in part] == rows
    assert len(bodies) <= 1 + 2 * sum(len(body) for _, body in bodies) // LARGEST_BODY


async def test_a_row_too_large_for_any_body_is_refused_alone() -> None:
    """Its neighbours go."""
    ingestion = Ingestion()
    rows = [*_rows(2), *_rows(1, LARGEST_BODY), *_rows(2)]
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=5)
        refused = await sink.send(rows)
        await sink.close()
    assert [row for row, _ in refused] == [rows[2]]
    assert ingestion.rows == [*rows[:2], *rows[3:]]
    assert ingestion.largest_body <= LARGEST_BODY


@pytest.mark.parametrize(
    ("status", "mend"),
    [
        (401, "identity"),
        (403, "Monitoring Metrics Publisher"),
        (404, "LOGS__RULE_ID"),
        (503, "busy"),
    ],
)
async def test_patience_ends_with_the_mend(status: int, mend: str) -> None:
    """What holds findings back tells how to mend it; none is refused or accepted by it."""
    ingestion = Ingestion(fault=lambda *_: web.Response(status=status))
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=0.2)
        with pytest.raises(SinkHeldBack) as held:
            await sink.send(_rows(3))
        await sink.close()
    assert str(status) in str(held.value)
    assert mend in held.value.mend
    assert ingestion.rows == []


async def test_an_absurd_retry_after_is_cut() -> None:
    """A day is not waited; nonsense is ignored."""
    headers = iter(["999999", "soon", "-5"])

    def fault(_: int, __: list[Any]) -> web.Response | None:
        text = next(headers, None)
        return web.Response(status=429, headers={"Retry-After": text}) if text else None

    ingestion = Ingestion(fault=fault)
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=600)
        with stamina.set_testing(True, attempts=10):
            assert await sink.send(_rows(1)) == []
        await sink.close()
    assert ingestion.requests == 4
