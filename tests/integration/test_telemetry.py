"""The measurements reach Azure Monitor's ingestion endpoint, and nothing else is told."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from consumers.service.azure_monitor import exported
from consumers.service.health import Health
from consumers.service.metrics import MetricsCollector
from schemas.errors import ConfigurationError
from schemas.health import Problem
from tests.servers.loopback import Loopback

if TYPE_CHECKING:
    from schemas.ledger_ports import Ledger

KEY = "00000000-0000-0000-0000-00000000beef"


def _measures(health: Health) -> MetricsCollector:
    ledger: Any = None
    never_asked: Ledger = ledger
    return MetricsCollector(health=health, ledger=never_asked)


async def test_measurements_arrive() -> None:
    """By the names and labels of the other places."""
    told: list[dict[str, Any]] = []
    paths: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        paths.add(request.path)
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = orjson.loads(body)
        told.extend(items)
        answer = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        return web.json_response(answer)

    health = Health()
    health.report(Problem.KEY_REFUSED, "make another", part="crowdsec")
    async with Loopback(take) as server:
        where = f"InstrumentationKey={KEY};IngestionEndpoint={server.url}/"

        def export() -> None:
            with exported(where, "one", _measures(health)):
                pass  # what there is goes out at the end

        await asyncio.to_thread(export)
    metrics = {
        one["data"]["baseData"]["metrics"][0]["name"]: one["data"]["baseData"] for one in told
    }
    assert metrics["ready"]["metrics"][0]["value"] == 0.0
    assert metrics["trouble"]["properties"] == {"code": "key-refused", "part": "crowdsec"}
    assert all(path.endswith("/track") for path in paths)


def test_a_wrong_string_is_named() -> None:
    """And not shown."""
    with (
        pytest.raises(ConfigurationError, match="SERVICE__TELEMETRY") as caught,
        exported("InstrumentationKey=nonsense", "one", _measures(Health())),
    ):
        pass
    assert "nonsense" not in str(caught.value)
