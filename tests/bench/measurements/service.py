"""A site for the whole service: broker, storage, CrowdSec and ingestion, all other processes."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import served
from tests.bench.measurements.data import Writer, repeated
from tests.servers.azurite import Azurite
from tests.servers.eventhub_process import BrokerProcess
from tests.support.service_process import run_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

SIZE = 20
"""Records a message."""
QUOTA = 10**8
"""Lookups a month: more than anybody asks here."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Site:
    """Where the peers are."""

    broker: BrokerProcess
    storage: str
    cti: str
    ingestion: str

    def settings(self, hub: str, state: Path | None, **more: str) -> dict[str, str]:
        """Return settings as users have them, but for the addresses of the peers.

        Each call names a new checkpoint container, and a new table if the ledger is in one.
        """
        given = run_settings(
            hub=self.broker.connection_string(),
            storage=self.storage,
            crowdsec=self.cti,
            ingestion=self.ingestion,
            state=state,
        )
        for name in ("EVENTHUB__BALANCE_INTERVAL", "EVENTHUB__OWNERSHIP_EXPIRY"):
            del given[name]
        del given["SERVICE__CHECKPOINT_INTERVAL"]
        given |= {"EVENTHUB__NAME": hub, "CROWDSEC__MONTHLY_QUOTA": str(QUOTA)}
        return given | more


@asynccontextmanager
async def site(
    hubs: Mapping[str, int], *, arrivals: bool = False, **cti: float
) -> AsyncIterator[Site]:
    """Start all peers; *cti* are the options of CrowdSec's stand-in."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(BrokerProcess(hubs))
        azurite = await stack.enter_async_context(Azurite())
        url = stack.enter_context(served("cti", **cti))
        sink = stack.enter_context(served("ingestion", arrivals=int(arrivals)))
        yield Site(broker, azurite.connection_string, url, sink)


def templates(pool: list[str], bodies: int) -> list[bytes]:
    """Return message bodies of flat rows from all addresses of *pool*, a few of them often."""
    of = repeated(pool, bodies * SIZE)
    writer = Writer()
    return [writer.body("flat", of[at : at + SIZE]) for at in range(0, len(of), SIZE)]


def resident(pid: int) -> int:
    """Return the bytes that a process keeps in memory; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a process has used; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK
