"""Bytes from one connection to another, both ways, until either side ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress

HOST = "127.0.0.1"


async def splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Join a connection to *port* on loopback; both are closed at the end."""
    try:
        there, back = await asyncio.open_connection(HOST, port)
    except OSError:
        writer.transport.abort()
        return
    ways = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        back.close()  # at once: we may be cancelled while we wait
        writer.close()
        await asyncio.gather(*ways, return_exceptions=True)
        await close(back)
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, however it is."""
    with suppress(OSError):
        writer.close()
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


class Server:
    """A loopback server of one handler, whose connections end with it; a context manager."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raise NotImplementedError

    async def start(self, **options: object) -> None:
        """Listen, at the port of last time if there was one."""
        self._server = await asyncio.start_server(
            self._accept,
            HOST,
            self.port,
            **options,  # type: ignore[arg-type]
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.handle(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())

    async def stop(self) -> None:
        """Listen no more, and end what is connected."""
        assert self._server is not None
        self._server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # the transports close their sockets in the next round
