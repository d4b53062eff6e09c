"""An Event Hubs-compatible broker on loopback: AMQP over TCP and over WebSocket.

In a test: ``async with Broker(hubs={"signins": 4}) as broker``. As a process of its own, for
benchmarks: ``python -m tests.servers.eventhub --hub signins:4``, which ``BrokerProcess`` of
``tests.servers.eventhub_process`` starts and controls. Why it is not made of proton is told in
``tests.servers.eventhub_frames``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from aiohttp import WSMsgType, web

from tests.servers.eventhub_connection import Connection
from tests.servers.eventhub_links import Consumer, Producer
from tests.servers.eventhub_log import Hub, Partition, Stored, now_ms
from tests.servers.eventhub_state import NOT_FOUND, Key, Matching, Received, Refusal, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HOST = "127.0.0.1"
KEY_NAME = "k"
KEY = "v"
DETACH_FORCED = "amqp:link:detach-forced"


def connection_string(port: int, hub: str | None, secret: str, name: str = KEY_NAME) -> str:
    """Return a connection string for a broker on this port."""
    text = f"Endpoint=sb://{HOST}:{port};SharedAccessKeyName={name};"
    text += f"SharedAccessKey={secret};UseDevelopmentEmulator=true"
    return text if hub is None else f"{text};EntityPath={hub}"


class Broker:
    """Serves hubs, given as their numbers of partitions; use as an async context manager.

    ``keys`` are shared access keys by name (by default ``k`` with the secret ``v``); ``bearers``
    are bearer tokens that are taken as well. Groups are those of every hub.
    """

    def __init__(
        self,
        hubs: Mapping[str, int],
        *,
        groups: Iterable[str] = ("$Default",),
        keys: Mapping[str, Key] | None = None,
        bearers: Mapping[str, Key] | None = None,
        port: int = 0,
    ) -> None:
        known = frozenset(group.lower() for group in groups)
        self.state = State(
            {
                n.lower(): Hub(n, [Partition() for _ in range(size)], known)
                for n, size in hubs.items()
            },
            dict(keys or {KEY_NAME: Key(KEY)}),
            dict(bearers or {}),
        )
        self.port = port
        self.websocket_port = 0
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        make = lambda: Connection(self.state, self._connections)  # noqa: E731
        self._server = await loop.create_server(make, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        app = web.Application()
        app.router.add_get("/$servicebus/websocket{slash:/?}", self._websocket)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.websocket_port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._runner is not None
        self._server.close()
        self.drop_connections()
        await self._runner.cleanup()
        await self._server.wait_closed()
        await asyncio.sleep(0)  # the transports close their sockets in the next round

    @property
    def received(self) -> Received:
        """What clients did so far."""
        return self.state.received

    @property
    def websocket_url(self) -> str:
        """Where AMQP over WebSocket is served."""
        return f"ws://{HOST}:{self.websocket_port}/$servicebus/websocket"

    @property
    def websocket_endpoint(self) -> str:
        """The ``custom_endpoint_address`` with which clients use the WebSocket."""
        return f"sb://{HOST}:{self.websocket_port}"

    def connection_string(
        self, hub: str | None = None, key: str | None = None, name: str = KEY_NAME
    ) -> str:
        """Return the connection string of a key (its own secret, unless told otherwise)."""
        secret = key if key is not None else self.state.keys[name].secret
        return connection_string(self.port, hub, secret, name)

    def partition(self, hub: str, partition: int | str) -> Partition:
        """Return the log of a partition."""
        return self.state.hubs[hub.lower()].partitions[int(partition)]

    def publish(
        self,
        hub: str,
        partition: int | str,
        *bodies: bytes | Sequence[bytes],
        properties: Mapping[str, object] | None = None,
        key: str | None = None,
        enqueued: int | None = None,
    ) -> int:
        """Append messages without AMQP; returns the sequence number of the first.

        A body may be several data sections. ``enqueued`` is in milliseconds, by default now.
        """
        messages = [Stored.of(body, properties, key) for body in bodies]
        return self.partition(hub, partition).append(messages, enqueued=enqueued)

    def fill(
        self, hub: str, partition: int | str, bodies: Sequence[bytes], count: int,
        enqueued: int | None = None, step: float = 0,
    ) -> int:  # fmt: skip
        """Append *count* messages that repeat the bodies, without storing copies.

        The enqueued times begin at ``enqueued`` and lie ``step`` milliseconds apart.
        """
        messages = [Stored.of(body) for body in bodies]
        return self.partition(hub, partition).append(messages, count, enqueued, step)

    async def publish_at(self, hub: str, bodies: Sequence[bytes], per_second: float) -> None:
        """Append to all partitions in turn at this rate until cancelled.

        Enqueued times are those of the append, which is within 5 ms of when a message is due. Of a
        partition, the last 100,000 appends at least are kept.
        """
        messages = [Stored.of(body) for body in bodies]
        partitions = self.state.hubs[hub.lower()].partitions
        start, done = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - start) * per_second)
            for number, partition in enumerate(partitions):
                first = done + (number - done) % len(partitions)
                count = len(range(first, due, len(partitions)))
                if count:
                    skip = first // len(partitions) % len(messages)
                    partition.append(messages, count, skip=skip)
                if len(partition.runs) > 200_000:
                    partition.trim(partition.runs[100_000].first)
            done = max(due, done)
            await asyncio.sleep(0.005)

    def drop_connections(self) -> int:
        """Reset all connections, and say how many."""
        connections = list(self._connections)
        for connection in connections:
            connection.reset()
        return len(connections)

    def refuse_links(
        self, matching: Matching | None = None, condition: str = NOT_FOUND, text: str = "refused",
    ) -> Refusal:  # fmt: skip
        """Refuse matching links (all readers, unless told) until ``allow_links``."""
        refusal = Refusal(matching or Matching(), condition, text)
        self.state.refusals.append(refusal)
        return refusal

    def allow_links(self, refusal: Refusal | None = None) -> None:
        """Take back a refusal, or all."""
        gone = [refusal] if refusal is not None else list(self.state.refusals)
        self.state.refusals = [one for one in self.state.refusals if one not in gone]

    def detach_links(
        self, matching: Matching | None = None, condition: str = DETACH_FORCED,
        text: str = "The link is force detached",
    ) -> int:  # fmt: skip
        """Detach matching links with an error, and say how many."""
        wanted = matching or Matching()
        links = [
            link
            for connection in list(self._connections)
            for link in connection.links()
            if isinstance(link, Consumer | Producer) and wanted.has(link.node)
        ]
        for link in links:
            link.detach(condition, text)
        return len(links)

    def silence(self, hub: str, partition: int | str, *, silent: bool = True) -> None:
        """Deliver nothing from a partition though its links are up; or deliver again."""
        found = self.partition(hub, partition)
        found.silent = silent
        found.wake()

    def recreate(self, hub: str) -> None:
        """Empty a hub as if deleted and created: numbers start again, links are detached."""
        for kind in ("read", "send"):
            self.detach_links(Matching(hub.lower(), kind=kind), NOT_FOUND, "The hub was deleted")
        self.state.hubs[hub.lower()].created = now_ms()
        for partition in self.state.hubs[hub.lower()].partitions:
            partition.recreate()

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(timeout=1, protocols=("AMQPWSB10",), max_msg_size=0)
        await websocket.prepare(request)
        reader, writer = await asyncio.open_connection(HOST, self.port)
        back = asyncio.create_task(_copy(reader, websocket, request))
        try:
            async for message in websocket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()
        except ConnectionError:
            pass  # the other direction has told the client
        finally:
            back.cancel()
            writer.transport.abort()
            await asyncio.gather(back, return_exceptions=True)
        return websocket


async def _copy(
    reader: asyncio.StreamReader, websocket: web.WebSocketResponse, request: web.Request
) -> None:
    try:
        while data := await reader.read(65_536):
            await websocket.send_bytes(data)
        await websocket.close()
    except ConnectionError:
        if request.transport is not None:
            request.transport.abort()


if __name__ == "__main__":
    from tests.servers.eventhub_process import main

    main()
