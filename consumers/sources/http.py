"""HTTP for sources: one session, no redirects, every body capped, aiohttp's errors translated."""

from __future__ import annotations

import asyncio
import math
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from schemas.errors import SourceUnavailable
from schemas.network_errors import why_unreached

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import IO

    from schemas.ports import Clock

_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
"""The request surely never left: no connection, or a proxy that refuses to make one."""
KEPT_HEADERS = ("content-type", "date", "x-taxii-date-added-first", "x-taxii-date-added-last")
MAX_HTTP_RETRY_AFTER_SECONDS = 30.0
"""Seconds; a Retry-After beyond this is cut, so that no header can stop us for a day."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP answer."""

    status: int
    body: bytes
    retry_after: float | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that :data:`KEPT_HEADERS` names, by lower-case name."""


def retry_after(
    value: str | None, now: float, longest: float = MAX_HTTP_RETRY_AFTER_SECONDS
) -> float | None:
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
    return None if math.isnan(seconds) else min(max(seconds, 0.0), longest)


class ResponseTooLarge(SourceUnavailable):
    """An answer has more bytes than were allowed; the rest was not read."""


def _too_large(largest: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"an answer beyond {largest:,} bytes")


def _lost(error: Exception) -> SourceUnavailable:
    """Translate an error of the connection; tell whether the request surely never left."""
    if isinstance(error, _NOT_CONNECTED):
        return SourceUnavailable(f"cannot connect: {why_unreached(error)}", counted=False)
    return SourceUnavailable(f"no answer: {type(error).__name__}")


def _told(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers = response.headers
    return {name: headers[name][:200] for name in KEPT_HEADERS if name in headers}


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
        idle: float | None = None,
        longest_wait: float = MAX_HTTP_RETRY_AFTER_SECONDS,
    ) -> None:
        """*timeout* is for all of an answer, *idle* for the wait for its next bytes, in seconds.

        *longest_wait* caps what a server asks us to wait.
        """
        self.headers = dict(headers)
        """Sent with every request from now on."""
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout, 5.0), sock_read=idle
        )
        self._connections = connections
        self._largest_body = largest_body
        self._proxies = proxies
        self._ca_bundle = ca_bundle
        self._now = now
        self._longest_wait = longest_wait
        self._session: aiohttp.ClientSession | None = None

    def _wait_of(self, response: aiohttp.ClientResponse) -> float | None:
        told = response.headers.get("Retry-After")
        return retry_after(told, self._now.now(), self._longest_wait)

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> HttpResponse:
        """GET *url* once. SourceUnavailable tells whether the request surely did not count."""
        session = self._open()
        try:
            async with session.get(
                url, params=params, headers=self.headers, allow_redirects=False
            ) as response:
                body = await self._capped(response)
                after = self._wait_of(response)
                return HttpResponse(response.status, body, after, _told(response))
        except aiohttp.ClientError as error:
            raise _lost(error) from None
        except (TimeoutError, ssl.SSLError, OSError) as error:
            raise _lost(error) from None

    async def download(self, url: str, file: IO[bytes], largest: int) -> HttpResponse:
        """GET *url* once into *file*, at most *largest* bytes; only a 200 has its body written.

        The URL is asked for to the letter, for it may be signed, and the body written as it came.

        SourceUnavailable as for :meth:`get`; the file then holds a part.
        """
        try:
            target = URL(url, encoded=True)
        except ValueError:
            raise SourceUnavailable("no URL", counted=False) from None
        session = self._open()
        size = 0
        try:
            async with session.get(
                target,
                headers=self.headers,
                allow_redirects=False,
                auto_decompress=False,
            ) as response:
                after = self._wait_of(response)
                reply = HttpResponse(response.status, b"", after, _told(response))
                if response.status != 200:
                    return reply
                async for part in response.content.iter_chunked(1 << 20):
                    size += len(part)
                    if size > largest:
                        raise _too_large(largest)
                    await asyncio.to_thread(file.write, part)
                return reply
        except aiohttp.ClientError as error:
            raise _lost(error) from None
        except (TimeoutError, ssl.SSLError, ConnectionError) as error:
            raise _lost(error) from None

    async def _capped(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(65_536):
            size += len(part)
            if size > self._largest_body:
                raise _too_large(self._largest_body)
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
