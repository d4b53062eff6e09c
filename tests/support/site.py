"""A whole site on loopback: hub, storage, CrowdSec, ingestion, and what was planted in it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azure.storage.blob.aio import ContainerClient

from tests.servers.crowdsec import CrowdSec
from tests.servers.eventhub import Broker
from tests.servers.ingestion import Ingestion
from tests.support.service_process import run_settings
from tests.support.sign_ins import address, message, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PARTITIONS = 4


@dataclass
class Site:
    """All peers, and what was planted."""

    broker: Broker
    storage: str
    crowdsec: CrowdSec
    ingestion: Ingestion
    settings: dict[str, str]
    planted: set[str] = field(default_factory=set)

    def publish(self, bad: int, good: int, *, start: int = 0, each: int = 10) -> None:
        """Publish sign-ins: from *bad* bad addresses, and from *good* ones that nobody knows."""
        addresses = [address(start + n) for n in range(bad + good)]
        self.crowdsec.serve_bad(*addresses[:bad])
        rows = [row(one) for one in addresses]
        self.planted |= {one["Id"] for one in rows[:bad]}
        mixed = sorted(rows, key=lambda one: hash(one["Id"]))
        for number in range(0, len(mixed), each):
            partition = number // each % PARTITIONS
            self.broker.publish("signins", partition, message(*mixed[number : number + each]))

    def found(self) -> bool:
        """Tell whether every planted sign-in has a finding."""
        return self.planted <= {one["EventId"] for one in self.ingestion.rows}

    def one_id_each(self) -> bool:
        """Tell whether repeats share their FindingId, and only planted ones were found."""
        pairs = {
            (one["EventId"], one["FindingId"])
            for one in self.ingestion.rows
            if one["Origin"] != "test"
        }
        return {event for event, _ in pairs} == self.planted and len(pairs) == len(self.planted)

    async def checkpoints(self) -> dict[str, int]:
        """Return the sequence numbers that are checkpointed, by partition."""
        container = ContainerClient.from_connection_string(
            self.storage, self.settings["CHECKPOINT__CONTAINER"]
        )
        found: dict[str, int] = {}
        async with container:
            if not await container.exists():
                return found  # the service has not made it yet
            async for blob in container.list_blobs(include=["metadata"]):
                if "/checkpoint/" in blob.name and blob.metadata:
                    number = int(blob.metadata["sequencenumber"])
                    found[blob.name.rpartition("/")[2]] = number
        return found

    def ends(self) -> dict[str, int]:
        """Return the sequence number of the last message of each partition that has one."""
        last = {str(n): self.broker.partition("signins", n).last()[0] for n in range(PARTITIONS)}
        return {partition: number for partition, number in last.items() if number >= 0}

    async def all_checkpointed(self) -> bool:
        """Tell whether everything is settled and checkpointed."""
        return await self.checkpoints() == self.ends()


@asynccontextmanager
async def open_site(storage: str, state: Path | None = None) -> AsyncIterator[Site]:
    """Start the peers; *state* is the directory of the ledger, None for Table Storage."""
    crowdsec, ingestion = CrowdSec(), Ingestion()
    async with (
        Broker({"signins": PARTITIONS}) as broker,
        crowdsec.server() as cti,
        ingestion.server() as logs,
    ):
        settings = run_settings(
            hub=broker.connection_string(),
            storage=storage,
            crowdsec=cti.url,
            ingestion=logs.url,
            state=state,
        )
        yield Site(broker, storage, crowdsec, ingestion, settings)
