"""The ingestion sink: bodies within the limit, troubles told apart, patience kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import stamina
from aiohttp import web

from consumers.service.health import Health
from producers.logs_ingestion import (
    MAX_REFUSED_IN_A_ROW,
    MAX_REQUEST_BYTES,
    REQUEST_ERROR_CODES,
    LogsIngestionSink,
    _bodies,
)
from schemas.errors import SinkHeldBack
from tests.servers.ingestion import RULE, Ingestion
from tests.support.service_process import until

if TYPE_CHECKING:
    from schemas.rows.findings import FindingRow


def _rows(count: int, size: int = 10) -> list[FindingRow]:
    return [{"FindingId": str(n), "Account": "x" * size} for n in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, 10), (60_000, 1), (1_000, 2_000), (3, 900_000)])
def test_bodies_stay_within_the_limit(count: int, size: int) -> None:
    """Every row is in one body, in order; no body is larger than the service takes."""
    rows = _rows(count, size)
    bodies = list(_bodies(rows))
    assert max(len(body) for _, body in bodies) <= MAX_REQUEST_BYTES
    assert [row for part, _ in bodies for row in part] == rows
    assert len(bodies) <= 1 + 2 * sum(len(body) for _, body in bodies) // MAX_REQUEST_BYTES


async def test_a_row_too_large_for_any_body_is_refused_alone() -> None:
    """Its neighbours go."""
    ingestion = Ingestion()
    rows = [*_rows(2), *_rows(1, MAX_REQUEST_BYTES), *_rows(2)]
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=5)
        refused = await sink.send(rows)
        await sink.close()
    assert [row for row, _ in refused] == [rows[2]]
    assert ingestion.rows == [*rows[:2], *rows[3:]]
    assert ingestion.largest_body <= MAX_REQUEST_BYTES


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
    assert mend in held.value.remedy
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


def _refusal(code: str | None) -> web.Response:
    error = {"error": {"code": code, "message": "no"}} if code else None
    return web.json_response(error, status=400)


@pytest.mark.parametrize(
    "code", ["InvalidStream", "InvalidDcrImmutableId", "UnsupportedApiVersion", None, "Odd"]
)
async def test_a_refusal_of_the_whole_request_holds_findings_back(code: str | None) -> None:
    """By its code or because no row is accepted: told, and sent when it is mended, once each."""
    health, rows = Health(), _rows(50)
    wrong = [True]
    ingestion = Ingestion(fault=lambda *_: _refusal(code) if wrong[0] else None)
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=None, health=health)
        with stamina.set_testing(True, attempts=10_000, cap=True):
            sending = asyncio.ensure_future(sink.send(rows))
            await until(lambda: bool(health.reasons()), "the trouble")
            assert not sending.done()
            (reason,) = health.reasons()
            wrong[0] = False
            assert await sending == []
        await sink.close()
    assert reason["code"] == "findings-held-back"
    assert "LOGS__RULE_ID" in reason["detail"]
    assert "400" in reason["detail"]
    assert code is None or code in reason["detail"]
    assert {row["FindingId"] for row in ingestion.rows} == {row["FindingId"] for row in rows}
    assert health.reasons() == []


@pytest.mark.parametrize("code", sorted(REQUEST_ERROR_CODES))
async def test_a_refusal_known_to_be_of_the_request_is_not_bisected(code: str) -> None:
    """No smaller upload could help."""
    ingestion = Ingestion(fault=lambda *_: _refusal(code))
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=0.2)
        with pytest.raises(SinkHeldBack, match=code):
            await sink.send(_rows(50))
        await sink.close()
    assert ingestion.requests <= 2


async def test_rows_refused_among_others_are_refused_alone() -> None:
    """Also all of an upload, where another was accepted just before."""

    def fault(_: int, rows: list[Any]) -> web.Response | None:
        return _refusal(None) if any(row["FindingId"] in "357" for row in rows) else None

    ingestion, rows = Ingestion(fault=fault), _rows(10)
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=5)
        refused = await sink.send(rows)
        again = await sink.send([rows[3], rows[5], rows[7]])
        await sink.close()
    assert [row["FindingId"] for row, _ in refused] == ["3", "5", "7"]
    assert [row["FindingId"] for row, _ in again] == ["3", "5", "7"]
    assert len(ingestion.rows) == 7


async def test_single_rows_refused_in_a_row_become_a_trouble_of_the_request() -> None:
    """Findings come one by one: the first may be at fault themselves, not all of them."""
    ingestion = Ingestion(fault=lambda *_: _refusal(None))
    async with ingestion.server() as server:
        sink = LogsIngestionSink(server.url, RULE, None, patience=0.2)
        for row in _rows(MAX_REFUSED_IN_A_ROW - 1):
            assert [bad for bad, _ in await sink.send([row])] == [row]
        with pytest.raises(SinkHeldBack) as held:
            await sink.send(_rows(1))
        await sink.close()
    assert "LOGS__RULE_ID" in held.value.remedy
