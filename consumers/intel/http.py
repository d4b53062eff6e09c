"""HTTP for sources: one session, no redirects, every body capped, aiohttp's errors translated."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp

from schemas.errors import SourceUnavailable
from schemas.reach import why_unreached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from schemas.ports import Clock

_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""The request surely never left: no connection, or a proxy that refuses to make one."""
LONGEST_WAIT = 30.0
"""Seconds; a Retry-After beyond this is cut, so that no header can stop us for a day."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP answer."""

    status: int
    body: bytes
    retry_after: float | None


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), capped."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT)


class HttpClient:
    """One aiohttp session for one source.

    Proxies of the environment are used, except towards this machine. Redirects are not followed:
    a key must not travel to another host.
    """

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        timeout: float,
        connections: int,
        largest_body: int,
        proxies: bool,
        now: Clock,
        ca_bundle: Path | None = None,
    ) -> None:
        self.headers = dict(headers)
        """Sent with every request from now on."""
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 5.0))
        self._connections = connections
        self._largest_body = largest_body
        self._proxies = proxies
        self._ca_bundle = ca_bundle
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> Reply:
        """GET *url* once. SourceUnavailable tells whether the request surely did not count."""
        session = self._open()
        try:
            async with session.get(
                url, params=params, headers=self.headers, allow_redirects=False
            ) as response:
                body = await self._capped(response)
                after = retry_after(response.headers.get("Retry-After"), self._now.now())
                return Reply(response.status, body, after)
        except _NOT_CONNECTED as error:
            raise SourceUnavailable(
                f"cannot connect: {why_unreached(error)}", counted=False
            ) from None
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            raise SourceUnavailable(f"no answer: {type(error).__name__}") from None

    async def _capped(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(65_536):
            size += len(part)
            if size > self._largest_body:
                raise SourceUnavailable(f"an answer beyond {self._largest_body:,} bytes")
            parts.append(part)
        return b"".join(parts)

    def _trust(self) -> ssl.SSLContext | bool:
        """Return whom to trust: the system, and who the user adds."""
        if self._ca_bundle is None:
            return True
        return ssl.create_default_context(cafile=self._ca_bundle)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._trust()),
                trust_env=self._proxies,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # aiohttp sends a GET again, unasked and untold, when a kept connection breaks. That
            # question may have counted. There is no public switch.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None
