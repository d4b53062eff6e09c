"""HTTP transport for Azure clients: one TLS context and one connection pool per client."""

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
    """The SDK's transport, with connections that are reused.

    With a CA bundle, the SDK loads it again for every request, and aiohttp does not reuse a
    connection with a different TLS context. Proxies of the environment are used.
    """

    session: aiohttp.ClientSession | None

    def __init__(
        self,
        ca_bundle: Path | None,
        answered: Callable[[str | None], None] | None = None,
        **options: Any,
    ) -> None:
        """*answered* gets the ``Date`` of each response; *options* go to the SDK."""
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
        """Create the session in the running loop, again after :meth:`close`."""
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
    """Return a factory of transports that trust *ca_bundle*, or the system store for None.

    *answered* gets the ``Date`` header of each response.
    """
    return partial(Transport, ca_bundle, answered)
