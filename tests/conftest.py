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
QUICK = 2
"""The rank of tests that begin last."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait for processes, those of minutes first; deal them to workers.

    Workers get equal parts of the list, in order, and the last tests of a part run alone.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ranked = sorted(items, key=_rank)
    dealt = sum(_rank(item) < QUICK for item in items)
    share = -(-(len(items) - dealt) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (
            *ranked[worker:dealt:workers],
            *ranked[dealt + worker * share : dealt + (worker + 1) * share],
        )
    ]


def _rank(item: pytest.Item) -> int:
    mark = item.get_closest_marker("timeout")
    if mark is not None and mark.args[0] > USUAL_SECONDS:
        return 0
    return 1 if "integration" in item.path.parts else QUICK


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own settings and proxies out."""
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
