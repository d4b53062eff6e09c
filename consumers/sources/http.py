"""HTTP client for sources: no redirects, limited body sizes, translated aiohttp errors."""

from __future__ import annotations

import asyncio
import math
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

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
"""Errors of a request that was definitely not sent: no connection, or refused by a proxy."""
KEPT_HEADERS = (
    "content-type",
    "date",
    "etag",
    "last-modified",
    "location",
    "x-taxii-date-added-last",
)
MAX_HEADER_LENGTH = 1_000
MAX_HTTP_RETRY_AFTER_SECONDS = 30.0
"""A longer Retry-After is capped, so that no header can pause a source for a day."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete HTTP response."""

    status: int
    body: bytes
    retry_after: float | None
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers listed in :data:`KEPT_HEADERS`, by lower-case name."""


def retry_after(
    value: str | None, now: float, max_seconds: float = MAX_HTTP_RETRY_AFTER_SECONDS
) -> float | None:
    """Return the delay of a Retry-After header (RFC 9110 section 10.2.3), in seconds, capped."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), max_seconds)


class ResponseTooLarge(SourceUnavailable):
    """A response exceeds the size limit; the rest of it was not read."""


def _too_large(max_bytes: int) -> ResponseTooLarge:
    return ResponseTooLarge(f"a response beyond {max_bytes:,} bytes")


def _connection_error(error: Exception) -> SourceUnavailable:
    """Translate a connection error. ``counted`` is False if the request was definitely not sent."""
    if isinstance(error, _NOT_CONNECTED):
        return SourceUnavailable(f"cannot connect: {why_unreached(error)}", counted=False)
    return SourceUnavailable(f"no response: {type(error).__name__}")


def _kept_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    headers = response.headers
    return {name: headers[name][:MAX_HEADER_LENGTH] for name in KEPT_HEADERS if name in headers}


class Trust(NamedTuple):
    """The certificates of a client."""

    ca_bundle: Path | None = None
    """PEM file of certificate authorities; None for the operating system's."""
    client_certificate: Path | None = None
    """PEM file with a certificate and its private key that identify this client."""

    def context(self) -> ssl.SSLContext | bool:
        """Return the TLS context; True for the default one."""
        if self.ca_bundle is None and self.client_certificate is None:
            return True
        context = ssl.create_default_context(cafile=self.ca_bundle)
        if self.client_certificate is not None:
            context.load_cert_chain(self.client_certificate)
        return context


DEFAULT_TRUST = Trust()


class HttpClient:
    """One aiohttp session for one source.

    Uses the proxies of the environment, except for this machine. Does not follow redirects, so
    that a key is never sent to another host.
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
        trust: Trust = DEFAULT_TRUST,
        idle: float | None = None,
        longest_wait: float = MAX_HTTP_RETRY_AFTER_SECONDS,
    ) -> None:
        """Configure the client without opening a connection. Times are in seconds.

        *timeout* limits a whole response and *idle* the wait for its next bytes. *longest_wait*
        caps the delay of a Retry-After header.
        """
        self.headers = dict(headers)
        """Headers of every request. Changes apply from the next request on."""
        self._timeout = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout, 5.0), sock_read=idle
        )
        self._connections = connections
        self._largest_body = largest_body
        self._proxies = proxies
        self._trust = trust
        self._now = now
        self._longest_wait = longest_wait
        self._session: aiohttp.ClientSession | None = None

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        value = response.headers.get("Retry-After")
        return retry_after(value, self._now.now(), self._longest_wait)

    async def get(self, url: str, params: Mapping[str, str] | None = None) -> HttpResponse:
        """GET *url* once.

        Raises SourceUnavailable; ``counted`` is False if the request definitely did not count.
        """
        session = self._open()
        try:
            async with session.get(
                url, params=params, headers=self.headers, allow_redirects=False
            ) as response:
                body = await self._limited_body(response)
                after = self._retry_after(response)
                return HttpResponse(response.status, body, after, _kept_headers(response))
        except aiohttp.ClientError as error:
            raise _connection_error(error) from None
        except (TimeoutError, ssl.SSLError, OSError) as error:
            raise _connection_error(error) from None

    async def download(self, url: str, file: IO[bytes], max_bytes: int) -> HttpResponse:
        """GET *url* once and write the body of a 200 to *file*, at most *max_bytes* bytes.

        The URL is sent unchanged because it may be signed. The body is written without decoding.
        Raises SourceUnavailable like :meth:`get`; the file may then hold a part of the body.
        """
        try:
            target = URL(url, encoded=True)
        except ValueError:
            raise SourceUnavailable("not a valid URL", counted=False) from None
        session = self._open()
        size = 0
        try:
            async with session.get(
                target,
                headers=self.headers,
                allow_redirects=False,
                auto_decompress=False,
            ) as response:
                after = self._retry_after(response)
                reply = HttpResponse(response.status, b"", after, _kept_headers(response))
                if response.status != 200:
                    return reply
                async for part in response.content.iter_chunked(1 << 20):
                    size += len(part)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    await asyncio.to_thread(file.write, part)
                return reply
        except aiohttp.ClientError as error:
            raise _connection_error(error) from None
        except (TimeoutError, ssl.SSLError, ConnectionError) as error:
            raise _connection_error(error) from None

    async def _limited_body(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(65_536):
            size += len(part)
            if size > self._largest_body:
                raise _too_large(self._largest_body)
            parts.append(part)
        return b"".join(parts)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._trust.context()),
                trust_env=self._proxies,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # aiohttp silently repeats a GET when a reused connection breaks. The first request may
            # have counted against the quota. There is no public option to disable this.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None
