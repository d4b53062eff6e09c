"""TLS before loopback servers: a throw-away authority, and certificates for made-up names."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import trustme

from tests.servers.splice import Server, splice

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


class Authority:
    """Signs certificates that nobody trusts unless told to."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write_bundle(self, path: Path) -> Path:
        """Write the CA bundle; returns *path*."""
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def write_client(self, path: Path) -> Path:
        """Write a client's certificate with its key; returns *path*."""
        certificate = self._ca.issue_cert("client@example.test")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
        return path

    def context(self, name: str, *, knows_clients: bool = False) -> ssl.SSLContext:
        """Return the server's side of TLS for a name; it may ask clients for a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        if knows_clients:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class Front(Server):
    """Takes TLS for one name and passes what is inside to a port; an async context manager."""

    def __init__(
        self, authority: Authority, name: str, behind: int, *, knows_clients: bool = False
    ) -> None:
        super().__init__()
        self._context = authority.context(name, knows_clients=knows_clients)
        self._behind = behind

    async def __aenter__(self) -> Self:
        await self.start(ssl=self._context)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection."""
        await splice(reader, writer, self._behind)


@asynccontextmanager
async def fronts(authority: Authority, behind: Mapping[str, int]) -> AsyncIterator[dict[str, int]]:
    """Open a front for each name before a port; gives the fronts' ports by name."""
    async with AsyncExitStack() as stack:
        yield {
            name: (await stack.enter_async_context(Front(authority, name, port))).port
            for name, port in behind.items()
        }
