"""Runs recordings of stories through the pipeline without any source, by one instance or two."""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from consumers.clock import EventClock
from consumers.ledger.cache import VerdictCache
from consumers.ledger.sqlite.ledger import SqliteLedger
from consumers.ledger.table.client import StateTable
from consumers.ledger.table.ledger import TableLedger
from consumers.pipeline.judge import Judge
from consumers.pipeline.outbox import Outbox
from consumers.pipeline.record_guard import RecordGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.service.health import Health
from consumers.settings import Settings
from consumers.wiring.pipeline import Outputs, build_pipeline
from producers.quarantine.directory import DirectoryQuarantine
from schemas.ports import Message, Position
from schemas.rows.policy import Policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from consumers.pipeline.pipeline import Pipeline
    from schemas.ledger_ports import Ledger
    from tests.bench.stories.model import Record

PER_MESSAGE, LINGER_SECONDS = 20, 600.0
LARGE: dict[str, Any] = {"size": 500, "seconds": 43_200.0}
"""Messages of the background, which are not what is tested."""
SHUFFLED_SECONDS = 3_600.0
LATE_SECONDS, LATE_SHARE = 3_600.0, 0.3


@dataclass
class ListSink:
    """Keeps the findings."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    async def send(self, rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
        """Accept all."""
        self.rows += rows
        return []

    async def close(self) -> None:
        """Do nothing."""


def time_of(record: Record) -> float:
    """Return when a record happened."""
    text = record.get("CreatedDateTime") or record["TimeGenerated"]
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records in the order of their times."""
    return sorted(records, key=time_of)


def disordered(records: Iterable[Record], seed: str) -> list[Record]:
    """Return records in an order in which they may arrive: shuffled, and some an hour late."""
    dice = random.Random(seed)

    def arrival(record: Record) -> float:
        late = LATE_SECONDS if dice.random() < LATE_SHARE else 0.0
        return time_of(record) + dice.random() * SHUFFLED_SECONDS + late

    return [record for _, _, record in sorted((arrival(it), n, it) for n, it in enumerate(records))]


def messages_of(
    records: Iterable[Record], *, size: int = PER_MESSAGE, seconds: float = LINGER_SECONDS
) -> list[Message]:
    """Return records as messages, of one table each."""
    messages: list[Message] = []
    waiting: dict[str, list[Record]] = {}

    def send(table: str) -> None:
        body = orjson.dumps({"records": waiting.pop(table)})
        messages.append(Message(body, Position("bench", len(messages))))

    first = 0.0
    for record in records:
        if waiting and abs(time_of(record) - first) > seconds:
            for table in list(waiting):
                send(table)
        if not waiting:
            first = time_of(record)
        group = waiting.setdefault(record["Type"], [])
        group.append(record)
        if len(group) >= size:
            send(record["Type"])
    for table in list(waiting):
        send(table)
    return messages


@asynccontextmanager
async def opened(
    ledger: Ledger, clock: EventClock, folder: Path
) -> AsyncIterator[tuple[Pipeline, ListSink]]:
    """Open a pipeline without sources on a ledger."""
    settings, sink = Settings(tables=["all"]), ListSink()
    quarantine = DirectoryQuarantine(folder)
    judge = Judge(Policy(), origin="replay", most_per_hour=settings.policy.findings_per_hour)
    outputs = Outputs(
        judge,
        Outbox(sink, quarantine),
        RecordGuard(PipelineCounts(), quarantine),
        health=Health(),
    )
    parts = build_pipeline(settings, ledger, VerdictCache(ledger, clock), clock, None, outputs)
    yield parts.pipeline, sink
    await parts.pipeline.drain()


class Prepared:
    """A state folder that has learned the background; each run works on a copy of it."""

    def __init__(self, background: Sequence[Record]) -> None:
        self._background = background
        self._folder = Path(tempfile.mkdtemp(prefix="stories-"))
        self.findings: list[dict[str, Any]] = []

    async def learn(self) -> None:
        """Run the background."""
        self.findings = await self._run(self._folder / "base", self._background)

    async def run(self, records: Iterable[Record]) -> list[dict[str, Any]]:
        """Run records after the background; return their findings."""
        copy = self._folder / uuid4().hex
        shutil.copytree(self._folder / "base", copy)
        try:
            return await self._run(copy, list(records))
        finally:
            shutil.rmtree(copy)

    async def _run(self, folder: Path, records: Sequence[Record]) -> list[dict[str, Any]]:
        folder.mkdir(exist_ok=True)
        clock = EventClock()
        ledger = SqliteLedger(folder, clock, waiting_per_address=100, keep=True)
        try:
            async with opened(ledger, clock, folder) as (pipeline, sink):
                await pipeline.process(messages_of(records))
            return sink.rows
        finally:
            await ledger.close()

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


async def run_shared(
    connection_string: str, background: Sequence[Record], records: Sequence[Record], instances: int
) -> list[dict[str, Any]]:
    """Run records in their order of arrival by instances that share a table."""
    name = f"t{uuid4().hex}"
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stories-")))
        running: list[tuple[Pipeline, ListSink]] = []
        for number in range(instances):
            clock = EventClock()
            table = StateTable.at(name, Health(), connection_string=connection_string)
            ledger = TableLedger(table, clock, waiting_per_address=100, instance=f"i{number}")
            await ledger.open()
            stack.push_async_callback(ledger.close)
            running.append(await stack.enter_async_context(opened(ledger, clock, folder)))
        for part, bounds in ((background, LARGE), (records, {})):
            dealt = [messages_of(part[number::instances], **bounds) for number in range(instances)]
            for turn in range(max(map(len, dealt))):
                for (pipeline, _), messages in zip(running, dealt, strict=True):
                    if turn < len(messages):
                        await pipeline.process([messages[turn]])
            for _ in range(2):
                for pipeline, _ in running:
                    await pipeline.flush()
        return [row for _, sink in running for row in sink.rows]
