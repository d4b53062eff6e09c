"""Where the text of a list comes from: a file, or a URL that is asked only for what is new."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from schemas.errors import FeedFailed, SourceUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.sources.http import HttpClient, HttpResponse

MAX_LIST_BYTES = 32 * 1024 * 1024
MAX_LIST_PAGES = 100
PAGE_SIZE = 10_000
"""Lines to request at once from a list in pages."""
_CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


class ListContent(Protocol):
    """The text of a list."""

    async def read(self) -> bytes | None:
        """Return the list as it is now; None if it has not changed. Raises FeedFailed."""

    def forget(self) -> None:
        """Return the list at the next read, whether it has changed or not."""

    async def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A list in a local file."""

    path: Path

    async def read(self) -> bytes | None:
        """Return the content of the file."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_LIST_BYTES + 1)
        except OSError as error:
            raise FeedFailed(f"cannot read the file: {error.strerror}", refused=True) from None
        if len(content) > MAX_LIST_BYTES:
            raise FeedFailed(f"is larger than {MAX_LIST_BYTES:,} bytes", refused=True)
        return content

    def forget(self) -> None:
        """Do nothing: the file is always read."""

    async def close(self) -> None:
        """Do nothing."""


@dataclass(slots=True)
class WebContent:
    """A list at a URL. Owns and closes *http*, which carries the password."""

    http: HttpClient
    url: str
    paged: bool = False
    conditions: dict[str, str] = field(default_factory=dict)
    """The headers that make the next request conditional."""

    async def read(self) -> bytes | None:
        """Return the list, all pages together, unless the first one has not changed."""
        parts: list[bytes] = []
        for page in range(1, (MAX_LIST_PAGES if self.paged else 1) + 1):
            params = {"page": str(page), "page_size": str(PAGE_SIZE)} if self.paged else {}
            part = await self._get(params, conditional=page == 1)
            if part is None:
                return None
            parts.append(part)
            if part.count(b"\n") + 1 < PAGE_SIZE:
                break
        return b"\n".join(parts)

    async def _get(self, params: dict[str, str], *, conditional: bool) -> bytes | None:
        for name in _CONDITIONS.values():
            self.http.headers.pop(name, None)
        if conditional:
            self.http.headers.update(self.conditions)
        try:
            response = await self.http.get(self.url, params or None)
        except SourceUnavailable as error:
            raise FeedFailed(str(error)) from None
        if response.status == 304 and conditional:
            return None
        if response.status != 200:
            raise _refusal(response)
        if conditional:
            self.conditions = {
                header: response.headers[name]
                for name, header in _CONDITIONS.items()
                if name in response.headers
            }
        return response.body

    def forget(self) -> None:
        """Ask for the whole list at the next read."""
        self.conditions = {}

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()


def _refusal(response: HttpResponse) -> FeedFailed:
    """Return what a response without a list means, and how long to wait."""
    match response.status:
        case 401 | 403:
            text = f"HTTP {response.status}: the user name or password is not accepted"
            return FeedFailed(text, refused=True)
        case 404:
            return FeedFailed("HTTP 404: there is no list at this URL", refused=True)
        case 429:
            text = "HTTP 429: pulled too often; CrowdSec's community plan allows one in 24 hours"
            return FeedFailed(text, retry_after=response.retry_after)
        case status if 300 <= status < 400:
            text = f"HTTP {status}: redirects are not followed; set the URL where the list is now"
            return FeedFailed(text, refused=True)
        case status:
            return FeedFailed(f"HTTP {status}", retry_after=response.retry_after)
