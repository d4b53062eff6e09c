"""The tree tells the architecture: who may import whom."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    path
    for package in ("schemas", "consumers", "producers")
    for path in (ROOT / package).rglob("*.py")
)
OUTER = ("consumers/wiring", "consumers/commands")
PURE_SCHEMAS_MAY = {"msgspec", "orjson"}
EDGES = {
    "aiohttp": {
        "consumers/ledger/table/service.py",
        "consumers/wiring/azure.py",
        "consumers/service/http_endpoints.py",
        "consumers/sources/http.py",
        "producers/demo/stand_in.py",
    },
    "azure": {
        "consumers/wiring/azure.py",
        "consumers/inputs/amqp_body.py",
        "consumers/inputs/checkpoint_store.py",
        "consumers/inputs/checkpoint_container.py",
        "consumers/inputs/eventhub_client.py",
        "consumers/inputs/workspace.py",
        "consumers/ledger/blob_container.py",
        "consumers/ledger/table/client.py",
        "consumers/ledger/table/endpoint.py",
        "consumers/ledger/table/service.py",
        "consumers/inputs/receiver.py",
        "consumers/service/azure_monitor.py",
        "consumers/wiring/identity.py",
        "producers/quarantine/blob.py",
        "producers/eventhub.py",
        "producers/sentinel/upload.py",
        "producers/logs_ingestion.py",
    },
    "opentelemetry": {"consumers/service/azure_monitor.py"},
    "prometheus_client": {"consumers/service/http_endpoints.py", "consumers/service/metrics.py"},
    "sqlite3": {
        "consumers/sources/feeds/indicator_store.py",
        "consumers/sources/paid_answers.py",
        "consumers/sources/feeds/indicator_schema.py",
        "consumers/ledger/sqlite/schema.py",
        "consumers/ledger/sqlite/recent.py",
    },
    "duckdb_kql": {"producers/demo/rule.py"},
    "yaml": {"producers/demo/rule.py"},
    "maxminddb": {"consumers/sources/crowdsec/replica.py", "consumers/sources/mmdb.py"},
    "stix2patterns": {"consumers/sources/taxii/stix_pattern.py"},
    "fastavro": {"consumers/inputs/recording.py"},
    "pydantic_settings": {
        "consumers/settings/fields.py",
        "consumers/settings/load.py",
        "consumers/settings/model.py",
        "consumers/settings/origins.py",
    },
    "click": {
        "consumers/cli.py",
        "consumers/commands/check/command.py",
        "consumers/commands/completion.py",
        "consumers/commands/config.py",
        "consumers/commands/demo.py",
        "consumers/commands/lookup.py",
        "consumers/commands/formats.py",
        "consumers/commands/replay/command.py",
        "consumers/commands/run.py",
        "consumers/commands/feeds.py",
        "consumers/commands/feeds_review.py",
        "consumers/commands/forget.py",
        "consumers/commands/global_options.py",
        "consumers/commands/options.py",
        "consumers/commands/plan/command.py",
        "consumers/commands/explain.py",
        "consumers/commands/inspect/command.py",
        "consumers/commands/export.py",
        "consumers/commands/publish.py",
        "consumers/commands/quarantine.py",
        "consumers/commands/redact/command.py",
    },
}
STANDARD = {"asyncio", "socket", "sqlite3", "subprocess", "urllib", "http"}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            found.add(node.module or "")
    return found


def _tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_follow_the_tree(path: Path) -> None:
    """Everything may import schemas; consumers meet producers in wiring and commands."""
    tops, name = _tops(path), _name(path)
    assert "tests" not in tops
    if name.startswith("schemas/"):
        assert not tops & {"consumers", "producers", "asyncio", "aiohttp", "azure", "pydantic"}
        assert not tops & (STANDARD - {"socket"}), "schemas do no input or output"
    if name.startswith("producers/"):
        assert "consumers" not in tops
    if name.startswith("consumers/") and not name.startswith(OUTER):
        assert "producers" not in tops
    if name == "consumers/pipeline/judge.py":
        assert not tops & {"asyncio", "aiohttp", "azure", "sqlite3"}


@pytest.mark.parametrize(("library", "files"), EDGES.items())
def test_each_foreign_library_has_its_edge(library: str, files: set[str]) -> None:
    """One place to look when a library changes."""
    assert {_name(path) for path in MODULES if library in _tops(path)} == files


def test_only_settings_read_the_environment() -> None:
    """No other module knows of environment variables."""
    reading = re.compile(r"os\.environ|getenv")
    assert [_name(path) for path in MODULES if reading.search(path.read_text("utf-8"))] == [
        "consumers/settings/clouds.py",
        "consumers/settings/load.py",
        "consumers/settings/model.py",
        "consumers/settings/proxies.py",
    ]


def test_tasks_start_in_few_places() -> None:
    """Concurrency has its homes: `check`, lookups, receiving, what is stored later, the loops."""
    starting = re.compile(r"create_task|TaskGroup|ensure_future")
    assert [_name(path) for path in MODULES if starting.search(path.read_text("utf-8"))] == [
        "consumers/commands/check/connections.py",
        "consumers/enrichment/lookup_queue.py",
        "consumers/inputs/eventhub_client.py",
        "consumers/inputs/receiver.py",
        "consumers/pipeline/enqueuer.py",
        "consumers/service/service.py",
    ]
