"""What every test stands on: a clean environment, and retries that do not wait."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
import stamina

from consumers.commands.logging import start_logging
from tests.servers.azurite import Azurite
from tests.support.service_process import Running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Running.forked = True
USUAL_SECONDS = 120
"""The time limit of a test that does not set its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take minutes: each worker with its share of them.

    Workers get equal parts of the list, in order. A long test at the end of one would run alone.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    marks = [(item, item.get_closest_marker("timeout")) for item in items]
    long = [item for item, mark in marks if mark and mark.args[0] > USUAL_SECONDS]
    rest = [item for item in items if item not in long]
    share = -(-len(rest) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *rest[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep the developer's own settings, proxies and state out."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("home")))
    for name in list(os.environ):
        if name.startswith("SIGNINWATCH_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Let retries follow each other without a pause; their number stays as it is."""
    with stamina.set_testing(True, attempts=1_000, cap=True):
        yield


@pytest.fixture(autouse=True, scope="session")
def logging_as_in_commands() -> None:
    """Log the way commands do."""
    start_logging(verbose=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def azurite() -> AsyncIterator[Azurite]:
    """Serve blobs and tables for all tests; each takes a container or table of its own."""
    async with Azurite() as server:
        yield server
