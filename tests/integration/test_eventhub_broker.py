"""The broker of the tests, as the real SDK and an independent AMQP client see it."""

from __future__ import annotations

import asyncio
import gc
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.eventhub import EventData, TransportType
from azure.eventhub.exceptions import AuthenticationError, ConnectError, ConnectionLostError
from proton import Described, Message, symbol
from proton.reactor import Filter
from proton.utils import BlockingConnection, LinkDetached

from tests.servers.eventhub import Broker
from tests.servers.eventhub_client import GROUP, HUB, Checkpoints, Reading, all_of, producer, until
from tests.servers.eventhub_process import BrokerProcess
from tests.servers.eventhub_state import Key, Matching


async def test_what_is_sent_is_received_unchanged() -> None:
    """Batches and single events keep body, properties, key and order."""
    async with Broker({HUB: 2}) as broker, producer(broker) as client:
        batch = await client.create_batch(partition_id="1")
        for number in range(3):
            event = EventData(f"event {number}")
            event.properties = {"number": number, "kind": "sign-in"}
            event.content_type = "application/json"
            batch.add(event)
        await client.send_batch(batch)
        await client.send_event(EventData([b"two ", b"sections"]), partition_id="1")
        async with Reading(broker.connection_string()) as reading:
            bodies = await reading.until(4)
    assert bodies == [b"event 0", b"event 1", b"event 2", b"two sections"]
    assert [event.sequence_number for event in reading.events] == [0, 1, 2, 3]
    assert reading.events[2].properties == {b"number": 2, b"kind": b"sign-in"}
    assert reading.events[2].content_type == "application/json"
    assert {context.partition_id for context in reading.contexts} == {"1"}
    assert broker.received.accepted == broker.received.delivered == {"signins/1": 4}


async def test_a_key_has_one_partition_and_no_key_has_all() -> None:
    """Keys are hashed; without a key partitions take turns."""
    async with Broker({HUB: 4}) as broker, producer(broker) as client:
        for number in range(4):
            await client.send_event(EventData(f"keyed {number}"), partition_key="contoso")
        keyed = dict(broker.received.accepted)
        for _ in range(4):
            await client.send_event(EventData("any"))
        async with Reading(broker.connection_string()) as reading:
            await reading.until(8)
    assert {event.partition_key for event in reading.events} == {b"contoso", None}
    assert (list(keyed.values()), len(broker.received.accepted)) == ([4], 4)


async def test_a_reader_starts_where_it_says() -> None:
    """All forms of position, each in a group of its own; five events are there, one comes later."""
    second = datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
    offset = str(2**40 + 2 * 256)
    positions: list[tuple[str | int | datetime, bool, int]] = [
        ("-1", False, 0),
        ("@latest", False, 5),
        (offset, False, 3),
        (offset, True, 2),
        (2, False, 3),
        (2, True, 2),
        (second, False, 3),
        (second, True, 2),
        (second - timedelta(milliseconds=500), True, 2),
    ]
    groups = [f"group{number}" for number in range(len(positions))]
    async with Broker({HUB: 1}, groups=groups) as broker:
        first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
        broker.fill(HUB, 0, [b"0", b"1", b"2", b"3", b"4"], 5, enqueued=first, step=1000)
        text = broker.connection_string()
        readers = [
            Reading(text, group=group, start=start, starting_position_inclusive=inclusive)
            for group, (start, inclusive, _) in zip(groups, positions, strict=True)
        ]
        async with all_of(readers):
            await until(lambda: all(broker.received.attaches[f"{HUB}/{one}/0"] for one in groups))
            broker.publish(HUB, 0, b"5")
            for reading, (_, _, number) in zip(readers, positions, strict=True):
                await reading.until(6 - number)
    for reading, (_, _, number) in zip(readers, positions, strict=True):
        assert [event.sequence_number for event in reading.events] == list(range(number, 6))
        assert reading.bodies == [b"%d" % one for one in range(number, 6)]


async def test_an_event_has_its_offset_time_and_the_partitions_end() -> None:
    """What the service adds to a message, with and without the runtime metric."""
    async with Broker({HUB: 1}) as broker:
        broker.publish(HUB, 0, b"first", b"second", enqueued=1_767_225_600_000, key="k")
        for track in (False, True):
            options: dict[str, Any] = {"track_last_enqueued_event_properties": track}
            async with Reading(broker.connection_string(), **options) as reading:
                await reading.until(2)
            event = reading.events[0]
            assert event.enqueued_time == datetime(2026, 1, 1, tzinfo=UTC)
            assert int(event.offset or "") + 256 == int(reading.events[1].offset or "")
            assert event.partition_key == b"k"
            found = reading.contexts[1].last_enqueued_event_properties
            assert (found or {}).get("sequence_number") == (1 if track else None)


async def test_management_tells_of_hubs_and_partitions() -> None:
    """Properties of a hub, of an empty partition, and of one that was trimmed."""
    async with Broker({HUB: 3}) as broker, producer(broker) as client:
        hub = await client.get_eventhub_properties()
        empty = await client.get_partition_properties("0")
        broker.publish(HUB, 1, b"a", b"b", b"c")
        broker.partition(HUB, 1).trim(2)
        full = await client.get_partition_properties("1")
    assert (hub["eventhub_name"], hub["partition_ids"]) == (HUB, ["0", "1", "2"])
    assert (empty["is_empty"], empty["last_enqueued_sequence_number"]) == (True, -1)
    assert empty["last_enqueued_offset"] == "-1"
    assert (full["beginning_sequence_number"], full["last_enqueued_sequence_number"]) == (2, 2)
    assert full["is_empty"] is False


async def test_wrong_keys_and_unknown_hubs_are_refused() -> None:
    """The token tells: 401 for a wrong key, 404 for an unknown hub."""
    async with Broker({HUB: 1}) as broker:
        for options in ({"text": broker.connection_string(key="wrong")}, {"hub": "other"}):
            async with producer(broker, **options) as client:
                with pytest.raises(AuthenticationError):
                    await client.get_eventhub_properties()
    assert broker.received.tokens == {401: 1, 404: 1}


async def test_a_key_is_good_for_what_it_says() -> None:
    """A key to send reads nothing, and a key to listen sends nothing."""
    keys = {"in": Key("a", listen=False), "out": Key("b", send=False)}
    async with Broker({HUB: 1}, keys=keys) as broker:
        broker.publish(HUB, 0, b"x")
        async with producer(broker, text=broker.connection_string(name="out")) as client:
            with pytest.raises((ConnectError, ConnectionLostError)):
                await client.send_event(EventData("no"), timeout=5)
        async with Reading(broker.connection_string(name="in")) as reading:
            await until(lambda: broker.received.refused[f"{HUB}/{GROUP}/0"] >= 2)
        assert reading.events == []
        async with Reading(broker.connection_string(name="out")) as reading:
            assert await reading.until(1) == [b"x"]
    assert broker.received.refused[HUB] >= 1
    assert broker.received.accepted == {}


async def test_refused_links_are_silent_until_they_are_allowed() -> None:
    """The SDK tries again and again without a word; an unknown group does the same for ever."""
    async with Broker({HUB: 2}, groups=("$Default", "mine")) as broker:
        broker.publish(HUB, 0, b"0")
        broker.publish(HUB, 1, b"1")
        refusal = broker.refuse_links(Matching(HUB, 1, "MINE"), "com.microsoft:server-busy")
        text = broker.connection_string()
        async with Reading(text, group="mine") as reading, Reading(text, group="no") as unknown:
            await until(lambda: broker.received.refused["signins/mine/1"] >= 2)
            await until(lambda: broker.received.refused["signins/no/0"] >= 2)
            assert await reading.until(1) == [b"0"]
            broker.allow_links(refusal)
            assert sorted(await reading.until(2)) == [b"0", b"1"]
    assert (reading.errors, unknown.errors, unknown.events) == ([], [], [])


async def test_owner_levels() -> None:
    """Higher and equal ones steal; lower ones and those without are refused."""
    name = f"{HUB}/{GROUP}/0"
    async with Broker({HUB: 1}) as broker:
        broker.publish(HUB, 0, b"x")
        text = broker.connection_string()
        async with Reading(text) as plain:
            await plain.until(1)
            async with Reading(text, owner_level=1) as first:
                await until(lambda: plain.errors)
                await first.until(1)
                async with Reading(text) as without, Reading(text, owner_level=0) as lower:
                    await until(lambda: without.errors and lower.errors)
                assert (without.events, lower.events, first.errors) == ([], [], [])
                async with Reading(text, owner_level=1) as second:
                    await second.until(1)
                    await until(lambda: first.errors)
    assert all("stolen" in str(one[0].errors[0]) for one in ([plain], [first], [lower]))
    assert all(type(one.errors[0]) is ConnectionLostError for one in (plain, first, lower))
    assert broker.received.refused[name] >= 2


async def test_five_may_read_without_an_owner_level() -> None:
    """The sixth is refused until one of them leaves."""
    async with Broker({HUB: 1}) as broker:
        broker.publish(HUB, 0, b"x")
        first, *four, sixth = [Reading(broker.connection_string()) for _ in range(6)]
        async with all_of(four):
            async with first:
                await until(lambda: all(reading.events for reading in (first, *four)))
                await sixth.__aenter__()
                await until(lambda: broker.received.refused[f"{HUB}/{GROUP}/0"])
                assert sixth.events == []
            await sixth.until(1)
            await sixth.__aexit__()


@pytest.mark.parametrize("fault", ["drop", "detach"])
async def test_a_reader_goes_on_after_a_lost_connection(fault: str) -> None:
    """What was handed out is not sent again; the rest is."""
    async with Broker({HUB: 1}) as broker:
        broker.publish(HUB, 0, b"before")
        async with Reading(broker.connection_string()) as reading:
            await reading.until(1)
            lost = broker.drop_connections() if fault == "drop" else broker.detach_links()
            broker.publish(HUB, 0, b"after")
            assert await reading.until(2) == [b"before", b"after"]
    assert lost == 1
    assert broker.received.attaches[f"{HUB}/{GROUP}/0"] == 2


async def test_a_silent_partition_delivers_nothing() -> None:
    """The link is up, the other partition delivers; later all comes."""
    async with Broker({HUB: 2}) as broker:
        broker.silence(HUB, 0)
        broker.publish(HUB, 0, b"silent")
        async with Reading(broker.connection_string()) as reading:
            await until(lambda: broker.received.attaches[f"{HUB}/{GROUP}/0"])
            broker.publish(HUB, 1, b"loud")
            assert await reading.until(1) == [b"loud"]
            broker.silence(HUB, 0, silent=False)
            assert await reading.until(2) == [b"loud", b"silent"]


async def test_a_hub_made_anew_numbers_from_zero() -> None:
    """Positions of the old one are refused, though the SDK does not say so."""
    async with Broker({HUB: 1}) as broker:
        broker.fill(HUB, 0, [b"old"], 100)
        async with Reading(broker.connection_string()) as reading:
            await reading.until(100)
        broker.recreate(HUB)
        broker.publish(HUB, 0, b"new")
        old = reading.events[-1].offset
        async with Reading(broker.connection_string(), start=old) as lost:
            await until(lambda: broker.received.refused[f"{HUB}/{GROUP}/0"])
        async with Reading(broker.connection_string()) as found:
            assert await found.until(1) == [b"new"]
    assert (found.events[0].sequence_number, lost.events) == (0, [])


async def test_a_log_is_longer_than_memory() -> None:
    """Ten million messages are there at once, and read from anywhere."""
    async with Broker({HUB: 1}) as broker:
        broker.fill(HUB, 0, [bytes([n]) * 1000 for n in range(7)], 10_000_000)
        async with Reading(broker.connection_string(), start=9_999_996) as reading:
            bodies = await reading.until(3)
    assert [event.sequence_number for event in reading.events] == [9999997, 9999998, 9999999]
    assert [body[0] for body in bodies] == [n % 7 for n in (9999997, 9999998, 9999999)]


async def test_large_messages_are_split_both_ways() -> None:
    """A megabyte sent in several frames, and one larger than a frame delivered."""
    large = os.urandom(900_000)
    async with Broker({HUB: 1}) as broker, producer(broker) as client:
        await client.send_event(EventData(large), partition_id="0")
        broker.publish(HUB, 0, large * 3, b"after")
        async with Reading(broker.connection_string()) as reading:
            assert await reading.until(3) == [large, large * 3, b"after"]


async def test_many_messages_come_in_order_beyond_the_window() -> None:
    """More than a session's window of 65,536 transfers."""
    async with Broker({HUB: 1}) as broker:
        broker.fill(HUB, 0, [b"x"], 70_000)
        options: dict[str, Any] = {"prefetch": 5000, "max_batch_size": 5000}
        async with Reading(broker.connection_string(), **options) as reading:
            await until(lambda: len(reading.events) >= 70_000, 60)
    assert [event.sequence_number for event in reading.events] == list(range(70_000))


@pytest.mark.filterwarnings("ignore:ssl=None is deprecated")  # the SDK's, for ws:// alone
async def test_amqp_over_websocket() -> None:
    """Sends and receives, also after all connections were dropped."""
    async with Broker({HUB: 1}) as broker:
        options: dict[str, Any] = {
            "transport_type": TransportType.AmqpOverWebsocket,
            "custom_endpoint_address": broker.websocket_endpoint,
        }
        async with producer(broker, **options) as client:
            await client.send_event(EventData("one"))
        async with Reading(broker.connection_string(), **options) as reading:
            await reading.until(1)
            assert broker.drop_connections() == 1
            broker.publish(HUB, 0, b"two")
            assert await reading.until(2) == [b"one", b"two"]
    gc.collect()  # a session that was left open would warn


async def test_a_connection_given_up_while_it_opens_is_closed() -> None:
    """At whatever point it is cancelled: a socket that was left open would warn."""
    async with Broker({HUB: 1}) as broker:
        for steps in range(30):
            async with producer(broker) as client:
                asking = asyncio.create_task(client.get_eventhub_properties())
                for _ in range(steps):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            gc.collect()


async def test_a_checkpoint_store_divides_and_resumes() -> None:
    """Two processes share the partitions; a third resumes where they were."""
    store = Checkpoints()
    options: dict[str, Any] = {"checkpoint_store": store, "load_balancing_interval": 0.5}
    async with Broker({HUB: 2}) as broker:
        text = broker.connection_string()
        async with Reading(text, **options) as one, Reading(text, **options) as two:
            await until(lambda: len({o["owner_id"] for o in store.owners.values()}) == 2, 30)
            broker.publish(HUB, 0, b"a")
            broker.publish(HUB, 1, b"b")
            await until(lambda: set(one.bodies + two.bodies) == {b"a", b"b"})
            await until(lambda: len(store.checkpoints) == 2)
        broker.publish(HUB, 0, b"c")
        broker.publish(HUB, 1, b"d")
        async with Reading(text, **options) as three:
            assert sorted(await three.until(2)) == [b"c", b"d"]


def _as_proton(url: str, token: str) -> tuple[list[Any], str]:
    connection = BlockingConnection(url, timeout=10, allowed_mechs="ANONYMOUS")
    try:
        answers = connection.create_receiver("$cbs", credit=10)
        asking = connection.create_sender("$cbs")
        asked = {"operation": "put-token", "name": f"sb://x/{HUB}", "type": "jwt"}
        asking.send(Message(body=token, id="7", properties=asked))
        answer: Any = answers.receive()
        assert (answer.correlation_id, answer.properties["status-code"]) == ("7", 202)
        connection.create_sender(HUB + "/Partitions/0").send(Message(body=b"from proton"))
        name = symbol("apache.org:selector-filter:string")
        wanted = "amqp.annotation.x-opt-sequence-number >= '1'"
        path = f"{HUB}/ConsumerGroups/{GROUP}/Partitions/0"
        options = Filter({name: Described(name, wanted)})
        receiver = connection.create_receiver(path, credit=10, options=options)
        got = [receiver.receive() for _ in range(2)]
        try:
            connection.create_receiver(path.replace(GROUP, "other"), credit=1).receive()
        except LinkDetached as detached:
            return got, str(detached)
        return got, ""
    finally:
        connection.close()


async def test_an_independent_client_understands_every_byte() -> None:
    """Proton, which shares no code with the broker or the SDK."""
    async with Broker({HUB: 1}, bearers={"a-bearer": Key("")}) as broker:
        broker.publish(HUB, 0, b"skipped")
        broker.publish(HUB, 0, b"direct", properties={"kind": "x"}, key="k")
        url = f"127.0.0.1:{broker.port}"
        got, refused = await asyncio.to_thread(_as_proton, url, "a-bearer")
    assert [bytes(message.body) for message in got] == [b"direct", b"from proton"]
    assert got[0].properties == {"kind": "x"}
    assert got[0].annotations["x-opt-sequence-number"] == 1
    assert got[0].annotations["x-opt-partition-key"] == "k"
    assert got[1].annotations["x-opt-offset"] == str(2**40 + 512)
    assert "amqp:not-found" in refused


async def _refused(process: BrokerProcess, name: str) -> bool:
    return name in (await process.received())["refused"]


async def test_a_broker_of_its_own_is_filled_and_controlled() -> None:
    """All controls over HTTP; the process ends with its context."""
    async with BrokerProcess({HUB: 2}, groups=("mine",)) as process:
        await process.fill(HUB, 0, [b"a", b"b"], 5)
        await process.control("silence", hub=HUB, partition=1)
        await process.control("publish", hub=HUB, partition=1, bodies=["eA=="])
        await process.control("refuse", hub=HUB, partition=0, condition="amqp:not-found")
        text = process.connection_string()
        async with Reading(text, group="mine") as reading:
            await until(lambda: _refused(process, f"{HUB}/mine/0"))
            assert reading.events == []
            await process.control("allow")
            assert await reading.until(5) == [b"a", b"b", b"a", b"b", b"a"]
            await process.control("silence", hub=HUB, partition=1, silent=False)
            assert (await reading.until(6))[5] == b"x"
            assert await process.control("drop") == 2
            before = datetime.now(UTC).timestamp()
            await process.rate(HUB, [b"r0", b"r1"], 1000)
            await reading.until(206)
            await process.rate(HUB, [], 0)
        late = [one.enqueued_time for one in reading.events[6:]]
        assert all(one and one.timestamp() >= before - 0.001 for one in late)
        assert {body[:1] for body in reading.bodies[6:]} == {b"r"}
        ends = (await process.received())["logs"]
        await process.control("recreate", hub=HUB)
        assert ends != (await process.received())["logs"]
        with pytest.raises(RuntimeError, match="unknown control"):
            await process.control("nonsense")
        pid = process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
