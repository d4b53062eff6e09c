"""The quarantine in Azure Blob Storage, beside the checkpoints.

Each put writes a block blob below ``quarantine/YYYY-MM-DD/``, never appended to: writers need no
coordination, and a blob is complete or absent. The SDK's retries are off: they cannot retry without
limit and report no problems.

Responses of the service: Microsoft's "Put Blob", "List Blobs", "Status and error codes of the Blob
service" (404 ContainerNotFound, 409 BlobAlreadyExists, 412 ConditionNotMet, 503 ServerBusy).
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import stamina
import structlog
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
)
from azure.storage.blob import BlobType, StorageErrorCode

from producers.quarantine.blob_errors import (
    FIRST_BACKOFF_SECONDS,
    MAX_BLOB_BACKOFF_SECONDS,
    NoResponse,
    denial,
    refusal,
    silence,
    without_token,
)
from producers.quarantine.directory import (
    MAX_DIRECTORY_BYTES,
    bodies_of,
    day_of,
    is_selected,
    oldest_day,
    read_line,
)
from schemas.errors import ConfigurationError, LedgerFailed
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.storage.blob.aio import ContainerClient

    from schemas.health import HealthReporter
    from schemas.ports import QuarantineItem

T = TypeVar("T")
log = structlog.get_logger()
# The SDK warns about every error that is not XML, such as a gateway's; we report it ourselves.
logging.getLogger("azure.storage").setLevel(logging.ERROR)

BLOB_PREFIX = "quarantine/"
PAGE_BLOBS = 1_000
REQUEST_BYTES = 1024 * 1024
"""Bytes that a request writes; aiohttp warns beyond. Larger uploads would be staged in blocks whose
ids two writers of a blob would share. A longer line is alone in its blob, which is written once and
later deleted, but never rewritten."""
MAX_BLOB_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a blob that is read; blobs of this class are always smaller."""
LIMITS_INTERVAL_SECONDS = 3_600.0
"""Interval between two checks of age and total size."""
MAX_TRIES = 3
"""Attempts of a command, where a person waits for the result."""
MAX_CONCURRENT_CHANGES = 10
"""Attempts to change a blob that other writers change at the same time."""

_OURS = re.compile(r"quarantine/(\d{4}-\d\d-\d\d)/\d{6}\.\d{6}-[\w.-]+-[0-9a-f]{16}-\d+\.ndjson")


class _Blob(NamedTuple):
    name: str
    day: str
    size: int


CONTAINER_OPTIONS: dict[str, Any] = {
    "retry_total": 0,
    "read_timeout": 60,
    "max_single_put_size": REQUEST_BYTES,
    "max_block_size": REQUEST_BYTES,
}
"""Options of the container client that the quarantine writes with."""


class BlobQuarantine:
    """See :class:`schemas.ports.Quarantine`. The container must exist.

    With *patient*, every problem is reported to *health* and retried forever. Otherwise
    ConfigurationError names the setting to fix, and LedgerFailed means that the service does not
    answer. Blobs with other names are left alone; invalid lines are skipped.
    """

    def __init__(
        self,
        container: ContainerClient,
        *,
        credential: AsyncTokenCredential | None = None,
        instance: str,
        patient: bool,
        health: HealthReporter | None = None,
        largest: int = MAX_DIRECTORY_BYTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take a container opened with `CONTAINER_OPTIONS`, and the *credential* it uses, if any.

        Both are closed with this.
        """
        self._setting = "CONNECTION_STRING" if credential is None else "ACCOUNT_URL"
        self._credential = credential
        self._client = container
        self._patient = patient
        self._health = health
        self._largest = largest
        self._now = now
        self._trimmed: float | None = None
        self._writer = f"{_nameable(instance)}-{secrets.token_hex(8)}"
        self._numbers = count()

    @property
    def endpoint(self) -> str:
        """Return scheme and host of the storage account."""
        return f"{self._client.scheme}://{self._client.primary_hostname}"

    async def put(self, items: Sequence[QuarantineItem]) -> None:
        """Write items; about once an hour, remove items beyond the limits of age and size.

        If it raises, some items may be stored: a second put does not duplicate them.
        """
        for lines in bodies_of(items, REQUEST_BYTES):
            await self._steadily(partial(self._write_new, self._new_name(), lines))
        now = self._now()
        if items and (self._trimmed is None or abs(now - self._trimmed) >= LIMITS_INTERVAL_SECONDS):
            self._trimmed = now
            await self._trim(now)

    async def probe(self) -> None:
        """Write and delete an empty blob."""
        name = self._new_name()
        await self._steadily(partial(self._write_new, name, b""))
        await self._steadily(partial(self._client.delete_blob, name))

    async def items(self) -> AsyncIterator[QuarantineItem]:
        """Yield the items, oldest first, each once."""
        seen: set[str] = set()
        async for blob in self._blobs(self._patient):
            lines, _ = await self._read(blob)
            for line in lines:
                item = read_line(line)
                if item is not None and item.id not in seen:
                    seen.add(item.id)
                    yield item

    async def remove(self, ids: Collection[str] | None, before: datetime | None = None) -> int:
        """Remove items by id, or all; only those older than *before* if given. Return how many."""
        removed: set[str] = set()
        if ids is None or ids:
            async for blob in self._blobs(self._patient):
                removed |= await self._remove_from(blob, ids, before)
        return len(removed)

    async def close(self) -> None:
        """Close the connection and the credential."""
        await self._client.close()
        if self._credential is not None:
            await self._credential.close()

    # --- blobs ---

    def _new_name(self) -> str:
        now = self._now()
        timestamp = datetime.fromtimestamp(now, UTC)
        number = next(self._numbers)
        return f"{BLOB_PREFIX}{day_of(now)}/{timestamp:%H%M%S.%f}-{self._writer}-{number:06}.ndjson"

    async def _write_new(self, name: str, lines: bytes) -> None:
        try:
            await self._client.upload_blob(name, lines, length=len(lines), overwrite=False)
        except ResourceExistsError as error:
            # The name is unique: an earlier attempt succeeded and its response was lost.
            if _code(error) != StorageErrorCode.BLOB_ALREADY_EXISTS:
                raise

    async def _blobs(self, patient: bool) -> AsyncIterator[_Blob]:
        """Yield the quarantine's blobs, oldest first, page by page."""
        token: str | None = ""
        while token is not None:
            page, token = await self._steadily(partial(self._page, token), patient)
            for blob in page:
                yield blob

    async def _page(self, token: str) -> tuple[list[_Blob], str | None]:
        blobs = self._client.list_blobs(name_starts_with=BLOB_PREFIX, results_per_page=PAGE_BLOBS)
        pages = blobs.by_page(token or None)
        found = []
        async for page in pages:
            async for read in page:
                ours = _OURS.fullmatch(read.name)
                if ours and read.blob_type == BlobType.BLOCKBLOB:
                    found.append(_Blob(read.name, ours[1], read.size))
            break
        return found, getattr(pages, "continuation_token", None) or None

    async def _read(self, blob: _Blob) -> tuple[list[bytes], str | None]:
        """Return the lines of a blob and its ETag; no lines if it is gone or not ours."""
        if blob.size > MAX_BLOB_BYTES:
            log.warning("a blob is too large to be of the quarantine", blob=blob.name)
            return [], None
        return await self._steadily(partial(self._download, blob.name))

    async def _download(self, name: str) -> tuple[list[bytes], str | None]:
        try:
            stream = await self._client.download_blob(name)
            body = await stream.readall()
        except HttpResponseError as error:
            if _is_gone(error):
                return [], None
            if error.status_code == 409:  # for example archived
                log.warning("a blob cannot be read now", blob=name, why=_code(error))
                return [], None
            raise
        return body.splitlines(keepends=True), stream.properties.etag

    async def _remove_from(
        self, blob: _Blob, ids: Collection[str] | None, before: datetime | None
    ) -> set[str]:
        """Remove items from a blob, again after a concurrent change; return their ids."""
        for _ in range(MAX_CONCURRENT_CHANGES):
            lines, etag = await self._read(blob)
            items = {line: item for line in lines if (item := read_line(line)) is not None}
            leaving = {
                line: read.id for line, read in items.items() if is_selected(read, ids, before)
            }
            if not leaving or etag is None:
                return set()
            rest = b"".join(line for line in lines if line not in leaving)
            if len(rest) > REQUEST_BYTES:
                log.warning("a blob of the quarantine was changed from outside", blob=blob.name)
                return set()
            if await self._steadily(partial(self._replace, blob.name, rest, etag)):
                return set(leaving.values())
        raise LedgerFailed(f"{blob.name}: is leased, or being changed by others; try again")

    async def _replace(self, name: str, rest: bytes, etag: str) -> bool:
        """Replace a blob by *rest*, or delete it; return False if its ETag changed."""
        unchanged: dict[str, Any] = {
            "etag": etag,
            "match_condition": MatchConditions.IfNotModified,
        }
        try:
            if rest:
                await self._client.upload_blob(
                    name, rest, length=len(rest), overwrite=True, **unchanged
                )
            else:
                await self._client.delete_blob(name, delete_snapshots="include", **unchanged)
        except HttpResponseError as error:
            if _is_gone(error) or error.status_code == 412:
                return False
            raise
        return True

    # --- limits ---

    async def _trim(self, now: float) -> None:
        """Remove items beyond the limits. New items are stored by now: a failure is harmless."""
        try:
            removed = await self._trim_to(self._largest, oldest_day(now))
        except (ConfigurationError, LedgerFailed) as error:
            log.warning("the quarantine could not be trimmed", why=str(error))
        else:
            if removed:
                log.warning("old items of the quarantine were removed", blobs=removed)

    async def _trim_to(self, largest: int, oldest: str) -> int:
        size = removed = 0
        async for blob in self._blobs(patient=False):
            if blob.day < oldest:
                removed += await self._steadily(
                    partial(self._delete_once, blob.name), patient=False
                )
            else:
                size += blob.size
        if size <= largest:
            return removed
        async for blob in self._blobs(patient=False):
            if size <= largest:
                break
            removed += await self._steadily(partial(self._delete_once, blob.name), patient=False)
            size -= blob.size
        return removed

    async def _delete_once(self, name: str) -> int:
        try:
            await self._client.delete_blob(name, delete_snapshots="include")
        except HttpResponseError as error:
            if _is_gone(error) or error.status_code in (
                409,
                412,
            ):  # retained, or leased
                return 0
            raise
        return 1

    # --- errors ---

    async def _steadily(self, call: Callable[[], Awaitable[T]], patient: bool | None = None) -> T:
        """Retry until success; without *patient* a few times, and once if access is denied."""
        patient = self._patient if patient is None else patient

        def again(error: Exception) -> bool | float:
            if isinstance(error, NoResponse):
                return error.retry_after or True
            return patient and isinstance(error, ConfigurationError)

        async for attempt in stamina.retry_context(
            on=again,
            attempts=None if patient else MAX_TRIES,
            timeout=None,
            wait_initial=FIRST_BACKOFF_SECONDS,
            wait_max=MAX_BLOB_BACKOFF_SECONDS,
        ):
            with attempt:
                result = await self._once(call, self._health if patient else None)
        return result

    async def _once(self, call: Callable[[], Awaitable[T]], health: HealthReporter | None) -> T:
        try:
            result = await call()
        except AzureError as error:
            failed = _translated(error, self._setting)
            if health is not None:
                health.report(Problem.QUARANTINE_UNREACHABLE, str(failed))
            raise failed from None
        if health is not None:
            health.resolve(Problem.QUARANTINE_UNREACHABLE)
        return result


def _nameable(instance: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", instance)[:60] or "instance"


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _is_gone(error: HttpResponseError) -> bool:
    return _code(error) == StorageErrorCode.BLOB_NOT_FOUND


def _translated(error: AzureError, setting: str) -> ConfigurationError | NoResponse:
    """Translate an error. The SDK's text may contain secrets and is not shown."""
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if isinstance(error, HttpResponseError) and status is not None:
        headers = getattr(error.response, "headers", None) or {}
        return refusal(setting, status, _code(error), headers)
    if (why := why_no_token(error)) is not None:
        return without_token(setting, why)
    if isinstance(error, ClientAuthenticationError):
        return denial(setting, "the key cannot be used")
    return silence(setting, why_unreached(error))
