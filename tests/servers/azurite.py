"""Azurite, Microsoft's own stand-in for blob and table storage, on free loopback ports."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from asyncio.subprocess import Process

HOME = Path(__file__).parent / "azurite"
PROGRAM = HOME / "node_modules" / ".bin" / "azurite"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's well-known key; it opens nothing else."""


class Azurite:
    """Azurite as a process of its own; use as an async context manager.

    Data live in memory and end with the process; with ``keep=True`` they lie in a directory, and
    :meth:`stop` and :meth:`start` bring them back at the same ports.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.blob_port, self.table_port = _free_ports(2)
        self._folder = tempfile.TemporaryDirectory(prefix="azurite-") if keep else None
        self._process: Process | None = None

    @property
    def connection_string(self) -> str:
        """Return what the SDKs take."""
        return self.connection_string_at(self.blob_port, self.table_port)

    @staticmethod
    def connection_string_at(blob_port: int, table_port: int) -> str:
        """Return the same for other ports, such as those of a proxy."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{blob_port}/{ACCOUNT};"
            f"TableEndpoint=http://127.0.0.1:{table_port}/{ACCOUNT};"
        )

    async def start(self) -> None:
        """Start, and return when both services answer."""
        place = ["--inMemoryPersistence"]
        if self._folder is not None:
            place = ["--location", self._folder.name]
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(PROGRAM.resolve()),
            *("--blobHost", "127.0.0.1", "--blobPort", str(self.blob_port)),
            *("--queueHost", "127.0.0.1", "--queuePort", "0"),
            *("--tableHost", "127.0.0.1", "--tablePort", str(self.table_port)),
            *("--disableTelemetry", "--silent", "--skipApiVersionCheck", *place),
            "--disableProductStyleUrl",  # it gets transactions of such URLs wrong
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            for port in (self.blob_port, self.table_port):
                await self._until_answered(port)

    async def _until_answered(self, port: int) -> None:
        """Ask until there is an answer, whatever it says."""
        assert self._process is not None
        while True:
            if self._process.returncode is not None:
                raise RuntimeError(f"azurite ended with status {self._process.returncode}")
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if await reader.readline():
                        return
                finally:
                    writer.close()
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End the process and wait until it is gone; what is kept lies in the directory then."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        self._process = None

    async def __aenter__(self) -> Self:
        for last in (False, False, True):
            try:
                await self.start()
            except RuntimeError:  # somebody else was quicker to take a port that was free
                if last:
                    await self.__aexit__()
                    raise
                self.blob_port, self.table_port = _free_ports(2)
            except BaseException:
                await self.__aexit__()
                raise
            else:
                break
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._folder is not None:
            self._folder.cleanup()


def _free_ports(count: int) -> list[int]:
    """Return ports that were free just now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
