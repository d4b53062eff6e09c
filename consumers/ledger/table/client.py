"""One Azure table: reads and transactions that wait until the service responds.

The SDK's own retries are disabled, because they end after a few attempts without a report. Here
every request is retried until it gets a response. The caller waits, which is the back-pressure.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import stamina
import structlog
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.data.tables import UpdateMode

from consumers.ledger.table.endpoint import client_by_account_url, client_by_connection_string
from consumers.ledger.table.rows import Entity, MissingRow, WriteConflict
from schemas.errors import ConfigurationError, LedgerFailed
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline.transport import AsyncHttpTransport
    from azure.data.tables import TableEntity
    from azure.data.tables.aio import TableClient

    from consumers.ledger.table.rows import Value, Write
    from schemas.health import HealthReporter

log = structlog.get_logger()

Result = TypeVar("Result")

MAX_CONCURRENT_REQUESTS = 64
"""Concurrent requests of all callers together."""
MAX_TABLE_RETRY_AFTER_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_ABSENT = frozenset({"ResourceNotFound", "EntityNotFound"})
_NO_TABLE = frozenset({"TableNotFound", "TableBeingDeleted"})
_TRANSIENT_STATUSES = frozenset({408, 429})
MAX_UNCONDITIONAL_CONFLICTS = 6
"""Attempts of an unconditional request that is answered with a conflict."""

_TABLE_REMEDIES = {
    Problem.LEDGER_UNREACHABLE: "no action if it clears by itself; otherwise check "
    "STATE__ACCOUNT_URL or STATE__CONNECTION_STRING, the network, and the storage account's status",
    Problem.LEDGER_REFUSED: "assign Storage Table Data Contributor to the identity (takes minutes "
    "to apply), or check the key in STATE__CONNECTION_STRING and the account's firewall",
    Problem.LEDGER_MISSING: "create the table named by STATE__TABLE, or let signinwatch create it",
}


class _Retryable(Exception):
    """The request got no usable response and must be retried."""

    def __init__(self, problem: Problem, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.problem = problem
        self.retry_after = retry_after


class StateTable:
    """One table of a storage account. Every method waits until the service responds.

    From the second attempt on, every failure is reported to *health*. The problem is resolved when
    no request has it any more.
    """

    def __init__(self, client: TableClient, health: HealthReporter) -> None:
        self._client = client
        self._health = health
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._failing: Counter[Problem] = Counter()

    @classmethod
    def at(
        cls,
        name: str,
        health: HealthReporter,
        *,
        connection_string: str | None = None,
        account_url: str | None = None,
        credential: AsyncTokenCredential | None = None,
        new_transport: Callable[..., AsyncHttpTransport[Any, Any]] | None = None,
    ) -> StateTable:
        """Return the table *name* without sending a request.

        Pass a *connection_string*, or an *account_url* and a *credential*. The caller closes the
        credential. *new_transport* creates the HTTP transport; by default the SDK does. Raises
        ConfigurationError with the name of the invalid setting.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "STATE__TABLE: invalid table name; use 3 to 63 letters and digits, a letter first"
            )
        options: dict[str, Any] = {
            "retry_total": 0,
            "permit_redirects": False,
            "connection_timeout": 10,
            "read_timeout": 30,
        }
        if new_transport is not None:
            options["transport"] = new_transport(**options)
        if connection_string is not None:
            return cls(client_by_connection_string(connection_string, name, options), health)
        return cls(client_by_account_url(account_url or "", name, credential, options), health)

    async def open(self, *, create: bool) -> None:
        """Wait until the table responds. With *create*, create it if it does not exist."""
        if create:
            await self._retry_forever(self._create_if_missing)
        else:
            await self._retry_forever(self._probe)

    async def _probe(self) -> None:
        try:
            await self._client.get_entity("meta", "opened", select=["RowKey"])
        except HttpResponseError as error:
            if _code(error) not in _ABSENT:
                raise

    async def _create_if_missing(self) -> None:
        """Check before creating, because the identity may lack the permission to create tables."""
        try:
            await self._probe()
        except HttpResponseError as error:
            if _code(error) != "TableNotFound":
                raise
            try:
                await self._client.create_table()
            except HttpResponseError as refused:
                if _code(refused) != "TableAlreadyExists":  # another instance has just created it
                    raise
            log.debug("ledger table created", table=self._client.table_name)

    async def get(
        self, partition: str, row: str, columns: Sequence[str] | None = None
    ) -> Entity | None:
        """Return a row, or None if it does not exist."""

        async def read() -> Entity:
            return _entity(await self._client.get_entity(partition, row, select=_select(columns)))

        try:
            return await self._retry_forever(read)
        except MissingRow:
            return None

    async def pages(
        self,
        partition: str,
        low: str,
        high: str,
        columns: Sequence[str] | None = (),
        *,
        where: str = "",
        page_size: int | None = None,
    ) -> AsyncGenerator[list[Entity]]:
        """Yield the rows from *low* up to but excluding *high*, in order, in pages.

        Only the page that failed is requested again, so a long scan survives an outage.
        """
        condition = f"PartitionKey eq '{partition}' and RowKey ge '{low}' and RowKey lt '{high}'"
        pages = self._client.query_entities(
            f"{condition} and {where}" if where else condition,
            select=_select(columns),
            results_per_page=page_size,
        ).by_page()

        async def read() -> list[Entity] | None:
            async for page in pages:
                return [_entity(entity) async for entity in page]
            return None

        while (found := await self._retry_forever(read)) is not None:
            yield found

    async def first(self, partition: str, low: str, high: str) -> str | None:
        """Return the key of the first row from *low* up to but excluding *high*, or None."""
        async with aclosing(self.pages(partition, low, high, page_size=1)) as pages:
            async for page in pages:
                if page:
                    return page[0].row
        return None

    async def rows(
        self,
        partition: str,
        low: str,
        high: str,
        columns: Sequence[str] | None = (),
        *,
        where: str = "",
    ) -> list[Entity]:
        """Return all rows from *low* up to but excluding *high*, in order."""
        pages = self.pages(partition, low, high, columns, where=where)
        return [entity async for page in pages for entity in page]

    async def write(self, partition: str, writes: Sequence[Write]) -> None:
        """Apply all *writes* or, with WriteConflict, none of them. The rows must be distinct."""
        operations = [_operation(partition, write) for write in writes]
        conditional = any(write.etag is not None or write.kind == "create" for write in writes)

        async def send() -> None:
            await self._client.submit_transaction(operations)

        await self._retry_forever(send, conditional=conditional)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _retry_forever(
        self, request: Callable[[], Awaitable[Result]], *, conditional: bool = False
    ) -> Result:
        """Send a request until it gets a response.

        For a *conditional* request, WriteConflict is a response. An unconditional request is
        retried after a conflict. After :data:`MAX_UNCONDITIONAL_CONFLICTS` attempts it raises
        LedgerFailed, because something else writes to the table.
        """
        reported: Problem | None = None
        answered = False
        try:
            async for attempt in stamina.retry_context(
                on=_retry_delay,
                attempts=None,
                timeout=None,
                wait_initial=0.2,
                wait_max=_MAX_BACKOFF_SECONDS,
                wait_jitter=0.3,
            ):
                with attempt:
                    try:
                        async with self._slots:
                            with _edge():
                                result = await request()
                    except _Retryable as error:
                        if attempt.num > 1:
                            reported = self._report(reported, error)
                        raise
                    except WriteConflict as conflict:
                        if not conditional and not isinstance(conflict, MissingRow):
                            raise _unexplained_conflict(attempt.num) from None
                        answered = True
                        conflict.doubtful = attempt.num > 1
                        raise
                    answered = True
                    return result
            raise AssertionError("unreachable")  # pragma: no cover
        finally:
            if reported is not None:
                self._failing[reported] -= 1
            if answered:
                self._resolve_ended()

    def _report(self, reported: Problem | None, error: _Retryable) -> Problem:
        """Report the problem of a request. A request has one problem at a time."""
        if reported is not error.problem:
            if reported is not None:
                self._failing[reported] -= 1
            self._failing[error.problem] += 1
        self._health.report(error.problem, f"{error}; {_TABLE_REMEDIES[error.problem]}")
        return error.problem

    def _resolve_ended(self) -> None:
        """Resolve the problems that no request has any more.

        A problem may affect writes only, so a successful read does not resolve it.
        """
        for problem in [key for key, requests in self._failing.items() if requests <= 0]:
            del self._failing[problem]
            self._health.resolve(problem)


def _unexplained_conflict(attempt: int) -> Exception:
    message = "the storage account reports a conflict (409 or 412) for an unconditional request"
    if attempt < MAX_UNCONDITIONAL_CONFLICTS:
        return _Retryable(Problem.LEDGER_UNREACHABLE, message)
    return LedgerFailed(f"STATE__TABLE: {message}; use a separate table for each deployment")


def _select(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else ["RowKey", *columns]


def _retry_delay(error: Exception) -> bool | float:
    if not isinstance(error, _Retryable):
        return False
    return True if error.retry_after is None else error.retry_after


@contextmanager
def _edge() -> Iterator[None]:
    """Translate the SDK's errors. Drop their texts, which may contain signed URLs."""
    try:
        yield
    except HttpResponseError as error:
        raise _translated(error) from None
    except AzureError as error:
        raise _Retryable(
            Problem.LEDGER_UNREACHABLE,
            f"no response from the storage account: {why_unreached(error)}",
        ) from None
    except (OSError, TimeoutError) as error:
        raise _Retryable(
            Problem.LEDGER_UNREACHABLE,
            f"the storage account is unreachable: {why_unreached(error)}",
        ) from None


def _translated(error: HttpResponseError) -> Exception:
    status, code = error.status_code, _code(error)
    message = f"the storage account responded with {status} {code}".rstrip()
    if code in _NO_TABLE:
        return _Retryable(Problem.LEDGER_MISSING, message)
    if status == 404 and code in _ABSENT:
        return MissingRow()
    if status in (409, 412):
        return WriteConflict()
    if isinstance(error, ClientAuthenticationError) or status in (401, 403):
        if status is None:
            message = f"for the storage account {why_no_token(error)}"
        return _Retryable(Problem.LEDGER_REFUSED, message)
    if status is not None and 400 <= status < 500 and status not in (404, *_TRANSIENT_STATUSES):
        return LedgerFailed(f"STATE__TABLE: {message}")
    return _Retryable(Problem.LEDGER_UNREACHABLE, message, _retry_after(error))


def _code(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _retry_after(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_TABLE_RETRY_AFTER_SECONDS) if seconds == seconds else None


def _entity(found: TableEntity) -> Entity:
    """Convert a row. The SDK returns None for missing columns; they are left out."""
    values = {name: value for name, value in found.items() if value is not None}
    return Entity(values.pop("RowKey"), values, str(found.metadata["etag"]))


def _operation(partition: str, write: Write) -> tuple[str, dict[str, Value], dict[str, Any]]:
    entity: dict[str, Value] = {"PartitionKey": partition, "RowKey": write.row, **write.values}
    unchanged: dict[str, Any] = {}
    if write.etag is not None:
        unchanged = {"etag": write.etag, "match_condition": MatchConditions.IfNotModified}
    if write.kind == "replace":
        if write.etag is None:
            return "upsert", entity, {"mode": UpdateMode.REPLACE}
        return "update", entity, {"mode": UpdateMode.REPLACE, **unchanged}
    if write.kind == "merge":
        return "update", entity, {"mode": UpdateMode.MERGE, **unchanged}
    return write.kind, entity, unchanged
