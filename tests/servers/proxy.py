"""A proxy of a company: CONNECT alone, to the names it knows, with a password if it has one."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from typing import TYPE_CHECKING, Self

from tests.servers.splice import HOST, Server, close, splice

if TYPE_CHECKING:
    from collections.abc import Mapping


class Proxy(Server):
    """Maps names to loopback ports; use as an async context manager.

    ``carried`` and ``refused`` count tunnels by ``name:port``. *credentials* are
    ``user:password``; without them, or with *refusing*, a tunnel is refused.
    """

    def __init__(self, routes: Mapping[str, int], credentials: str | None = None) -> None:
        super().__init__()
        self.routes = dict(routes)
        """Loopback ports by ``name:port``."""
        self.credentials = credentials
        self.refusing: int | None = None
        """A status that every tunnel is refused with."""
        self.carried: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """What ``HTTPS_PROXY`` is to be, without credentials."""
        return f"http://{HOST}:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and be a tunnel from then on."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, OSError):
            await close(writer)
            return
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        status = self._judge(method, target, head)
        if status != 200:
            self.refused[target] += 1
            more = "Proxy-Authenticate: Basic realm=test\r\n" if status == 407 else ""
            writer.write(f"HTTP/1.1 {status} No\r\n{more}Content-Length: 0\r\n\r\n".encode())
            await close(writer)
            return
        self.carried[target] += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await splice(reader, writer, self.routes[target])

    def _judge(self, method: str, target: str, head: str) -> int:
        """Return the status of the answer."""
        if self.refusing is not None:
            return self.refusing
        if self.credentials is not None:
            token = base64.b64encode(self.credentials.encode()).decode()
            if f"\r\nproxy-authorization: basic {token}\r\n".lower() not in head.lower():
                return 407
        if method != "CONNECT":
            return 405
        return 200 if target in self.routes else 403
