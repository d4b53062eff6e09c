"""The broker as a process of its own, and the client of its control API on loopback.

The command prints one line of JSON, ``{"port", "websocket_port", "control_port", "pid"}``, when it
serves, and runs until SIGTERM or, with ``--with-parent``, until its standard input ends. Controls
are ``POST`` with a JSON object to ``/fill``, ``/publish``, ``/rate``, ``/drop``, ``/refuse``,
``/allow``, ``/detach``, ``/silence``, ``/trim`` and ``/recreate``; ``GET /received`` has counters
and the ends of all logs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from aiohttp import ClientSession, web

from tests.servers.eventhub import HOST, KEY, KEY_NAME, Broker, connection_string
from tests.servers.eventhub_state import Key, Matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).parent.parent.parent
MOST = 1024 * 1024 * 1024


def _bodies(asked: dict[str, Any]) -> list[bytes]:
    if "file" in asked:
        return Path(asked["file"]).read_bytes().splitlines()
    return [base64.b64decode(body) for body in asked["bodies"]]


def _matching(asked: dict[str, Any]) -> Matching:
    names = ("hub", "partition", "group", "kind")
    return Matching(**{name: asked[name] for name in names if name in asked})


def _told(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: asked[name] for name in ("condition", "text") if name in asked}


class Control:
    """The control API of a broker; ``close`` ends what runs at a rate."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._rates: dict[str, asyncio.Task[None]] = {}
        self.app = web.Application(client_max_size=MOST)
        self.app.router.add_get("/received", self._received)
        self.app.router.add_post("/{word}", self._do)

    async def _received(self, _: web.Request) -> web.Response:
        logs = {
            f"{hub.name}/{number}": [partition.first, partition.next]
            for hub in self._broker.state.hubs.values()
            for number, partition in enumerate(hub.partitions)
        }
        return web.json_response({**self._broker.received.as_json(), "logs": logs})

    async def _do(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read() or b"{}")
        word = request.match_info["word"]
        act = getattr(self, f"_on_{word}", None)
        if act is None:
            return web.json_response({"error": f"unknown control {word}"}, status=404)
        try:
            result = act(asked)
        except (KeyError, IndexError, TypeError, ValueError, OSError) as problem:
            return web.json_response({"error": repr(problem)}, status=400)
        return web.json_response({"result": result})

    def _on_fill(self, asked: dict[str, Any]) -> int:
        more = {name: asked[name] for name in ("enqueued", "step") if name in asked}
        where = asked["hub"], asked["partition"]
        return self._broker.fill(*where, _bodies(asked), asked["count"], **more)

    def _on_publish(self, asked: dict[str, Any]) -> int:
        names = ("properties", "key", "enqueued")
        more = {name: asked[name] for name in names if name in asked}
        return self._broker.publish(asked["hub"], asked["partition"], *_bodies(asked), **more)

    def _on_rate(self, asked: dict[str, Any]) -> None:
        hub = asked["hub"]
        if (running := self._rates.pop(hub, None)) is not None:
            running.cancel()
        if asked["per_second"]:
            publish = self._broker.publish_at(hub, _bodies(asked), asked["per_second"])
            self._rates[hub] = asyncio.create_task(publish)

    def _on_drop(self, _: dict[str, Any]) -> int:
        return self._broker.drop_connections()

    def _on_refuse(self, asked: dict[str, Any]) -> None:
        self._broker.refuse_links(_matching(asked), **_told(asked))

    def _on_allow(self, _: dict[str, Any]) -> None:
        self._broker.allow_links()

    def _on_detach(self, asked: dict[str, Any]) -> int:
        return self._broker.detach_links(_matching(asked), **_told(asked))

    def _on_silence(self, asked: dict[str, Any]) -> None:
        silent = asked.get("silent", True)
        self._broker.silence(asked["hub"], asked["partition"], silent=silent)

    def _on_trim(self, asked: dict[str, Any]) -> None:
        self._broker.partition(asked["hub"], asked["partition"]).trim(asked["first"])

    def _on_recreate(self, asked: dict[str, Any]) -> None:
        self._broker.recreate(asked["hub"])

    async def close(self) -> None:
        """End what runs at a rate."""
        for task in self._rates.values():
            task.cancel()
        await asyncio.gather(*self._rates.values(), return_exceptions=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An Event Hubs-compatible broker for tests")
    parser.add_argument("--hub", action="append", required=True, help="NAME:PARTITIONS")
    parser.add_argument("--group", action="append", help="a consumer group of every hub")
    parser.add_argument("--key", action="append", help="NAME:SECRET[:listen|:send]")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--with-parent", action="store_true", help="end with standard input")
    return parser.parse_args()


def _key(text: str) -> tuple[str, Key]:
    name, secret, *only = text.split(":")
    return name, Key(secret, listen=only != ["send"], send=only != ["listen"])


async def _end(with_parent: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, ended.set)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


async def _run(given: argparse.Namespace) -> None:
    hubs = {name: int(size) for name, _, size in (one.partition(":") for one in given.hub)}
    keys = dict(map(_key, given.key)) if given.key else None
    broker = Broker(hubs, groups=given.group or ["$Default"], keys=keys, port=given.port)
    control = Control(broker)
    runner = web.AppRunner(control.app, access_log=None, shutdown_timeout=0.1)
    async with broker:
        await runner.setup()
        await web.TCPSite(runner, HOST, given.control_port).start()
        ports = {"port": broker.port, "websocket_port": broker.websocket_port}
        ready = {**ports, "control_port": runner.addresses[0][1], "pid": os.getpid()}
        print(orjson.dumps(ready).decode(), flush=True)
        await _end(given.with_parent)
        await control.close()
        await runner.cleanup()


def main() -> None:
    """Serve until told to end."""
    asyncio.run(_run(_arguments()))


class BrokerProcess:
    """A broker in a process of its own, for the life of an async context.

    The process ends with the context, or with this process, whatever ends it.
    """

    def __init__(self, hubs: Mapping[str, int], *, groups: Iterable[str] = ("$Default",)) -> None:
        self._given = [*(f"--hub={name}:{size}" for name, size in hubs.items())]
        self._given += [f"--group={group}" for group in groups]
        self._process: asyncio.subprocess.Process | None = None
        self._session: ClientSession | None = None
        self.port = self.websocket_port = self.control_port = self.pid = 0

    async def __aenter__(self) -> Self:
        program = (sys.executable, "-m", "tests.servers.eventhub", "--with-parent")
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *program, *self._given, stdin=pipe, stdout=pipe, cwd=ROOT
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        if not line:
            raise RuntimeError(f"the broker ended with {await self._process.wait()}")
        ready = orjson.loads(line)
        self.port, self.websocket_port = ready["port"], ready["websocket_port"]
        self.control_port = ready["control_port"]
        self._session = ClientSession(f"http://{HOST}:{self.control_port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._session is not None:
            await self._session.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.communicate()

    def connection_string(self, hub: str | None = None, key: str = KEY) -> str:
        """Return the connection string."""
        return connection_string(self.port, hub, key, KEY_NAME)

    @property
    def websocket_endpoint(self) -> str:
        """The ``custom_endpoint_address`` with which clients use the WebSocket."""
        return f"sb://{HOST}:{self.websocket_port}"

    async def control(self, word: str, **asked: object) -> Any:
        """Ask for a control; raises if it is refused."""
        assert self._session is not None
        async with self._session.post(f"/{word}", data=orjson.dumps(asked)) as response:
            told = orjson.loads(await response.read())
        if response.status != 200:
            raise RuntimeError(f"{word}: {told['error']}")
        return told["result"]

    async def received(self) -> dict[str, Any]:
        """Return the counters, and first and next number of every log."""
        assert self._session is not None
        async with self._session.get("/received") as response:
            found: dict[str, Any] = orjson.loads(await response.read())
            return found

    async def fill(
        self, hub: str, partition: int, bodies: Sequence[bytes], count: int, **more: float
    ) -> None:
        """Append *count* messages that repeat the bodies; see ``Broker.fill``."""
        packed = [base64.b64encode(body).decode() for body in bodies]
        where = {"hub": hub, "partition": partition}
        await self.control("fill", **where, bodies=packed, count=count, **more)

    async def rate(self, hub: str, bodies: Sequence[bytes], per_second: float) -> None:
        """Publish at a rate from now on; 0 stops. See ``Broker.publish_at``."""
        packed = [base64.b64encode(body).decode() for body in bodies]
        await self.control("rate", hub=hub, bodies=packed, per_second=per_second)
