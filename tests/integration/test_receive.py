"""The SDK's known traps, one by one, against a real broker and a real checkpoint store."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.storage.blob.aio import ContainerClient
from pydantic import SecretStr

from consumers.inputs import receiver as receive
from consumers.inputs.checkpoint_container import CheckpointContainer
from consumers.inputs.eventhub_client import EventHub, forget_delivery_tags
from consumers.inputs.receiver import Receiver
from consumers.inputs.unreadable_guard import UnreadableGuard
from consumers.pipeline.stats import PipelineCounts
from consumers.service.health import Health
from consumers.settings import CheckpointSettings, EventHubSettings
from tests.servers.eventhub import Broker
from tests.support.service_process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from consumers.pipeline.batch import BatchTracker
    from consumers.pipeline.pipeline import Pipeline
    from schemas.events.decode import Reject
    from schemas.ports import Message, Position
    from tests.servers.azurite import Azurite

HUB = "signins"


class Taking:
    """Stands where the pipeline does: notes what it gets, and settles when told."""

    def __init__(self) -> None:
        self.counts = PipelineCounts(exact=False)
        self.bodies: list[bytes] = []
        self.rejected: list[Position] = []
        self.rejects: list[Reject] = []
        self.tickets: list[BatchTracker] = []
        self.keep_open = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def process(self, messages: Iterable[Message], ticket: BatchTracker) -> None:
        """Take a batch, once the gate is open."""
        ticket.add()
        await self.gate.wait()
        taken = [one.body for one in messages]
        self.counts.messages += len(taken)
        self.bodies += taken
        self.tickets.append(ticket)
        if not self.keep_open:
            ticket.done()

    async def reject(self, position: Position, reject: Reject) -> None:
        """Note what has no body of text."""
        self.rejects.append(reject)
        self.rejected.append(position)


class Setup:
    """A receiver with its surroundings."""

    def __init__(self, broker: Broker, azurite: Azurite, container: str) -> None:
        self.broker = broker
        self.taking = Taking()
        self.health = Health()
        self.failures: list[BaseException] = []
        secret = SecretStr(broker.connection_string())
        settings = EventHubSettings(
            connection_string=secret, name=[HUB], balance_interval=1, ownership_expiry=6
        )
        self.checkpoints = CheckpointContainer(
            CheckpointSettings(
                connection_string=SecretStr(azurite.connection_string),
                container=container,
                create=True,
            ),
            None,
            self.health,
        )
        self.receiver = Receiver(
            EventHub(HUB, settings, None, None),
            self.checkpoints,
            cast("Pipeline", self.taking),
            UnreadableGuard(self.taking.counts, self.health, share=0.9),
            self.health,
            failed=self.failures.append,
        )

    def publish(self, *bodies: str) -> None:
        """Publish to the only partition."""
        self.broker.publish(HUB, 0, *(one.encode() for one in bodies))

    def has(self, count: int) -> bool:
        """Tell whether so many different bodies came."""
        return len(set(self.taking.bodies)) >= count

    @property
    def codes(self) -> set[str]:
        """What is wrong."""
        return {one["code"] for one in self.health.reasons()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything be noticed sooner than in a service that runs for months."""
    monkeypatch.setattr(receive, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(receive, "SILENT_SECONDS", 2.5)
    monkeypatch.setattr(receive, "STUCK_SECONDS", 2.0)


@asynccontextmanager
async def _receiving(azurite: Azurite, container: str = "") -> AsyncIterator[Setup]:
    container = container or f"c{uuid.uuid4().hex[:12]}"
    async with Broker({HUB: 1}) as broker:
        setup = Setup(broker, azurite, container)
        running = asyncio.create_task(setup.receiver.run())
        try:
            yield setup
        finally:
            await setup.receiver.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await setup.checkpoints.close()
        assert not setup.failures


async def test_bodies_in_every_form_of_amqp(azurite: Azurite) -> None:
    """Data sections, and values of text or bytes, are read; others are quarantined whole."""
    bodies: list[dict[str, Any]] = [
        {"data_body": [b'{"a"', b":1}"]},
        {"value_body": '{"b":"\u00e9"}'},
        {"value_body": b'{"c":3}'},
        {"value_body": {"records": [{"d": b"x", "when": 4}]}},
        {"value_body": 5},
        {"sequence_body": [["e", 6], ["f"]]},
    ]
    async with _receiving(azurite) as setup:
        hub = EventHub(HUB, setup.receiver._hub.settings, None, None)
        async with hub.producer() as producer:
            batch = await producer.create_batch(partition_id="0")
            for body in bodies:
                batch.add(AmqpAnnotatedMessage(**body))
            await producer.send_batch(batch)
        await until(lambda: len(setup.taking.rejects) == 3, "all bodies")
        read = [orjson.loads(body) for body in setup.taking.bodies]
        assert read == [{"a": 1}, {"b": "\u00e9"}, {"c": 3}]
        kept = [orjson.loads(reject.body) for reject in setup.taking.rejects]
        assert kept == [{"records": [{"d": "x", "when": 4}]}, 5, [["e", 6], ["f"]]]
        assert "AMQP value of type dict" in setup.taking.rejects[0].reason
        assert [one.number for one in setup.taking.rejected] == [3, 4, 5]
        (claim,) = setup.receiver.claims.values()
        assert claim.due() is not None
        assert "AMQP sequence" in setup.taking.rejects[2].reason


async def test_only_what_is_settled_is_checkpointed(azurite: Azurite) -> None:
    """In the order of the batches, however they settle; and never after the partition is lost."""
    async with _receiving(azurite) as setup:
        setup.taking.keep_open = True
        setup.publish("1")
        await until(lambda: setup.has(1), "the first batch")
        setup.publish("2")
        await until(lambda: setup.has(2), "the second batch")
        (claim,) = setup.receiver.claims.values()
        setup.taking.tickets[1].done()
        await setup.receiver.checkpoint()
        assert claim.checkpointed is None, "the first batch is still open"
        setup.taking.tickets[0].done()
        await setup.receiver.checkpoint()
        assert claim.checkpointed is not None
        assert claim.checkpointed.sequence_number == 1
        setup.taking.keep_open = False
        setup.publish("3")
        await until(lambda: setup.has(3), "the third batch")
        await setup.receiver.close()
        assert claim.closed
        assert claim.due() is None


async def test_repeats_are_known_by_what_was_settled(azurite: Azurite) -> None:
    """After a reconnect what was settled is left out, and what was not comes again."""
    async with _receiving(azurite) as setup:
        setup.publish(*(f"{n}" for n in range(500)))
        await until(lambda: setup.has(500), "everything")
        setup.taking.keep_open = True
        setup.publish(*(f"{n}" for n in range(500, 900)))
        await until(lambda: setup.has(800), "some more")
        setup.broker.drop_connections()
        setup.publish("last")
        await until(lambda: setup.has(901), "everything after the reconnect")
        counts = Counter(setup.taking.bodies)
        assert all(counts[f"{n}".encode()] == 1 for n in range(500))


@pytest.mark.parametrize("many", [5, 80])
async def test_a_hub_made_anew_is_read_from_its_start(azurite: Azurite, many: int) -> None:
    """Numbers start again; neither our marks nor the old checkpoint may hide what is new.

    Also when the new hub has come further already than the old one was.
    """
    async with _receiving(azurite) as setup:
        setup.publish(*(f"old {n}" for n in range(50)))
        await until(lambda: setup.has(50), "the old messages")
        await setup.receiver.check_hub()
        await setup.receiver.checkpoint()
        setup.broker.recreate(HUB)
        setup.publish(*(f"new {n}" for n in range(many)))

        async def found() -> bool:
            await setup.receiver.check_hub()
            return setup.has(50 + many)

        await until(found, "the new messages", 60)
        await setup.receiver.checkpoint()
        (claim,) = setup.receiver.claims.values()
        assert claim.checkpointed is not None
        assert claim.checkpointed.sequence_number == many - 1


async def test_a_hub_made_anew_while_nobody_looked(azurite: Azurite) -> None:
    """A checkpoint that is older than its hub means nothing."""
    async with _receiving(azurite) as setup:
        setup.publish("old")
        await until(lambda: setup.has(1), "the old message")
        await setup.receiver.checkpoint()
        await setup.receiver.close()
        store = setup.checkpoints.store
        (namespace, hub, group) = await _names(setup)
        assert len(list(await store.list_checkpoints(namespace, hub, group))) == 1
        store.hub_created(HUB, datetime.now(UTC) + timedelta(seconds=5))
        assert list(await store.list_checkpoints(namespace, hub, group)) == []


async def _names(setup: Setup) -> tuple[str, str, str]:
    names = [blob.name async for blob in setup.checkpoints.store._container_client.list_blobs()]
    namespace, hub, group, *_ = next(one for one in names if "/checkpoint/" in one).split("/")
    return namespace, hub, group


async def test_a_partition_that_falls_silent_is_noticed(azurite: Azurite) -> None:
    """While the hub moves on, the client is started anew."""
    async with _receiving(azurite) as setup:
        setup.publish("1")
        await until(lambda: setup.has(1), "the first message")
        setup.broker.silence(HUB, 0)
        setup.publish("2")
        client = setup.receiver._client

        async def started_anew() -> bool:
            await setup.receiver.check_hub()
            return setup.receiver._client is not client

        await until(started_anew, "another client", 40)
        setup.broker.silence(HUB, 0, silent=False)
        await until(lambda: setup.has(2), "the message that was held up")


async def test_a_held_partition_is_not_silent(azurite: Azurite) -> None:
    """Back-pressure is no fault: the client is left alone."""
    async with _receiving(azurite) as setup:
        setup.publish("1")
        await until(lambda: setup.has(1), "the first message")
        setup.taking.gate.clear()
        setup.publish("2")
        (claim,) = setup.receiver.claims.values()
        await until(lambda: claim.handler_active, "the batch that is held")
        setup.publish("3")
        held_since = claim.last_heartbeat
        await until(lambda: setup.receiver._monotonic() - held_since > 4, "time to pass")
        client = setup.receiver._client
        await setup.receiver.check_hub()
        await setup.receiver.check_partitions()
        assert setup.receiver._client is client
        assert setup.receiver.lags == {"0": 1}
        assert setup.codes == set()
        setup.taking.gate.set()
        await until(lambda: setup.has(3), "the rest")


@pytest.mark.parametrize("heartbeat", [0.5, 3.0])
async def test_a_refused_link_is_told_and_mended(
    azurite: Azurite, heartbeat: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK says nothing of it; we say what the hub said. Also where calls come in between."""
    monkeypatch.setattr(receive, "HEARTBEAT_SECONDS", heartbeat)
    monkeypatch.setattr(receive, "SILENT_SECONDS", 5.0)
    async with _receiving(azurite) as setup:
        setup.publish("1")
        await until(lambda: setup.has(1), "the first message")
        setup.broker.refuse_links(text="the group is gone")
        setup.broker.drop_connections()
        setup.publish("2")

        async def told() -> bool:
            await setup.receiver.check_partitions()
            await setup.receiver.check_hub()
            return "partition-silent" in setup.codes

        await until(told, "the reason", 40)
        (reason,) = setup.health.reasons()
        assert "the group is gone" in reason["detail"]
        setup.broker.allow_links()
        await until(lambda: setup.has(2) and not setup.codes, "all well again", 40)


async def test_delivery_tags_are_forgotten(azurite: Azurite) -> None:
    """The SDK keeps one for each message; that this can be mended hangs on its private names."""
    async with _receiving(azurite) as setup:
        setup.publish(*(f"{n}" for n in range(700)))
        await until(lambda: setup.has(700), "everything")
        client = setup.receiver._client
        assert client is not None
        assert _tags(client) == 700
        assert forget_delivery_tags(client)
        assert _tags(client) == 0


async def test_where_tags_cannot_be_forgotten_links_are_made_anew(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fallback, should the SDK change."""
    monkeypatch.setattr(receive, "forget_delivery_tags", lambda _: False)
    monkeypatch.setattr(receive, "MAX_UNTRACKED_MESSAGES", 100)
    async with _receiving(azurite) as setup:
        setup.publish(*(f"{n}" for n in range(150)))
        await until(lambda: setup.has(150), "everything")
        client = setup.receiver._client
        await setup.receiver.check_hub()
        await until(lambda: setup.receiver._client is not client, "another client", 30)
        setup.publish("last")
        await until(lambda: setup.has(151), "what came after", 30)


def _tags(client: Any) -> int:
    (processor,) = client._event_processors.values()
    (consumer,) = processor._consumers.values()
    return len(consumer._handler._link._received_delivery_tags)


@pytest.mark.parametrize("kind", ["checkpoint", "ownership"])
async def test_one_unreadable_blob_blinds_nobody(azurite: Azurite, kind: str) -> None:
    """A restart reads the partition all the same, from its begin, and tells why."""
    async with _receiving(azurite) as setup:
        setup.publish("1", "2")
        await until(lambda: setup.has(2), "the first messages")
        await setup.receiver.checkpoint()
        names = await _names(setup)
        container = setup.checkpoints.store._container_client.container_name
        await setup.receiver.close()
        blob = "/".join((*names, kind, "0"))
        client = ContainerClient.from_connection_string(azurite.connection_string, container)
        async with client:
            await client.upload_blob(blob, b"", overwrite=True)  # without metadata
        again = Setup(setup.broker, azurite, container)
        running = asyncio.create_task(again.receiver.run())
        told = set[str]()

        def read() -> bool:
            told.update(again.codes)
            return again.has(2 if kind == "checkpoint" else 1)

        setup.publish(*(["3"] if kind == "ownership" else []))
        setup.taking = again.taking
        try:
            await until(read, "the partition to be read again", 40)
            assert "checkpoint-unreadable" in told
            await again.receiver.checkpoint()
            await until(lambda: not again.codes, "all well again")
        finally:
            await again.receiver.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await again.checkpoints.close()
