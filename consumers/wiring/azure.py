"""HTTP for Azure's clients: one TLS context and one pool of connections for each of them."""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Transport(AioHttpTransport):  # type: ignore[misc] # the SDK loads it lazily
    """The SDK's own transport, except that kept connections are used again.

    Given a CA bundle, the SDK reads it anew for every request, and aiohttp never uses a connection
    again that was made with another TLS context. Proxies of the environment are used.
    """

    session: aiohttp.ClientSession | None

    def __init__(
        self,
        ca_bundle: Path | None,
        answered: Callable[[str | None], None] | None = None,
        **options: Any,
    ) -> None:
        """*answered* gets the ``Date`` of each answer; *options* are the SDK's own."""
        super().__init__(**options)
        self._ca_bundle = ca_bundle
        self._answered = answered

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request."""
        response = await super().send(request, **options)
        if self._answered is not None:
            self._answered(response.headers.get("Date"))
        return response

    async def open(self) -> None:
        """Make the session, in the loop that uses it; again after :meth:`close`."""
        if self.session is None:
            trusted = ssl.create_default_context(cafile=self._ca_bundle)
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trusted),
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        await super().open()


def transports(
    ca_bundle: Path | None, answered: Callable[[str | None], None] | None = None
) -> Callable[..., Transport]:
    """Return what makes transports that trust *ca_bundle*, else the machine's own store.

    *answered* gets the ``Date`` header of each answer.
    """
    return partial(Transport, ca_bundle, answered)
