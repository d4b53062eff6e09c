"""medallion 3.0.0, the OASIS TAXII 2.1 server, as a process of its own on a free loopback port."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence

USER, PASSWORD = "reader", "a-good-password"
ROOT = "api1"
VERSIONED = "application/taxii+json;version=2.1"


def authorization(password: str) -> str:
    """Return what the reader sends along with a password."""
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


class Medallion:
    """One collection with the objects given, as (date added, object); use as a context manager.

    Dates are RFC 3339 with microseconds. Data live in memory; with *readable* False, nobody may
    read them.
    """

    def __init__(
        self,
        objects: Sequence[tuple[str, Mapping[str, Any]]],
        *,
        collection: str = "365fed99-08fa-fdcd-a1b3-fb247eb41d01",
        page_size: int = 100,
        readable: bool = True,
    ) -> None:
        self.collection = collection
        self._folder = tempfile.TemporaryDirectory(prefix="medallion-")
        self._process: Process | None = None
        self._port = 0
        self._write(objects, page_size, readable=readable)

    @property
    def url(self) -> str:
        """Return the API root."""
        return f"http://127.0.0.1:{self._port}/{ROOT}"

    def _write(
        self, objects: Sequence[tuple[str, Mapping[str, Any]]], page_size: int, *, readable: bool
    ) -> None:
        folder = Path(self._folder.name)
        stix = "application/stix+json;version=2.1"
        collection = {
            "id": self.collection,
            "title": "A collection",
            "can_read": readable,
            "can_write": True,
            "media_types": [stix],
            "objects": [one for _, one in objects],
            "manifest": [
                {"id": one["id"], "date_added": added, "version": one["modified"]}
                | {"media_type": stix}
                for added, one in objects
            ],
        }
        information = {
            "title": "A root",
            "versions": [VERSIONED],
            "max_content_length": 10_000_000,
        }
        data = {
            "/discovery": {"title": "A server", "default": ROOT, "api_roots": [ROOT]},
            ROOT: {"information": information, "status": [], "collections": [collection]},
        }
        backend = {
            "module": "medallion.backends.memory_backend",
            "module_class": "MemoryBackend",
            "filename": str(folder / "data.json"),
        }
        settings = {
            "backend": backend,
            "users": {USER: PASSWORD},
            "taxii": {"max_page_size": page_size},
        }
        (folder / "data.json").write_text(json.dumps(data))
        (folder / "config.json").write_text(json.dumps(settings))

    async def add(self, *objects: Mapping[str, Any]) -> None:
        """Add objects or versions of them, as a writer does; the server's clock dates them."""
        headers = {
            "Accept": VERSIONED,
            "Content-Type": VERSIONED,
            "Authorization": authorization(PASSWORD),
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self.url}/collections/{self.collection}/objects/",
                headers=headers,
                data=json.dumps({"objects": list(objects)}),
            ) as answer,
        ):
            told = json.loads(await answer.read())
            assert (answer.status, told["success_count"]) == (202, len(objects)), told

    async def start(self) -> None:
        """Start, and return when it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "medallion.scripts.run"),
            str(Path(self._folder.name) / "config.json"),
            *("--host", "127.0.0.1", "--port", str(self._port)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            await self._until_answered()

    async def _until_answered(self) -> None:
        assert self._process is not None
        while True:
            if self._process.returncode is not None:
                raise RuntimeError(f"medallion ended with status {self._process.returncode}")
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        self._process = None

    async def __aenter__(self) -> Self:
        try:
            for last in (False, False, True):
                try:
                    await self.start()
                except RuntimeError:  # somebody else was quicker to take the port
                    if last:
                        raise
                else:
                    break
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._folder.cleanup()
