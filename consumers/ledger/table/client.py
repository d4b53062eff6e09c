"""One Azure table: reads and transactions that wait until the service answers.

The SDK's own retries are switched off: they end after some tries, and nobody is told. Here every
request is repeated until it is answered. The caller simply waits, and that is the back-pressure.
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
"""Requests under way at the same time, over all callers."""
MAX_TABLE_RETRY_AFTER_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_ABSENT = frozenset({"ResourceNotFound", "EntityNotFound"})
_NO_TABLE = frozenset({"TableNotFound", "TableBeingDeleted"})
_TRANSIENT_STATUSES = frozenset({408, 429})
MAX_UNCONDITIONAL_CONFLICTS = 6
"""Times that a request is sent which meets a conflict without having set a condition."""

_TABLE_REMEDIES = {
    Problem.LEDGER_UNREACHABLE: "nothing to mend if it passes; else check STATE__ACCOUNT_URL or "
    "STATE__CONNECTION_STRING, the network, and the state of the storage account",
    Problem.LEDGER_REFUSED: "give the identity the role Storage Table Data Contributor (a new role "
    "takes some minutes), or check the key of STATE__CONNECTION_STRING and the account's firewall",
    Problem.LEDGER_MISSING: "create the table that STATE__TABLE names, or let this do it",
}


class _Retryable(Exception):
    """No usable answer yet: to be tried again."""

    def __init__(self, trouble: Problem, told: str, retry_after: float | None = None) -> None:
        super().__init__(told)
        self.trouble = trouble
        self.retry_after = retry_after


class StateTable:
    """One table of a storage account. Every method waits until the service has answered.

    While it does not, *health* is told at each try but the first, and again when all is well.
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
        """Return the table *name*; nothing is sent yet.

        By *connection_string*, or by *account_url* with a *credential*, which stays the caller's
        to close. *new_transport* makes the transport, by default the SDK does.
        ConfigurationError names the setting that cannot be right.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "STATE__TABLE: a table's name is 3 to 63 letters and digits, a letter first"
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
        """Wait until the table answers; make it if it is not there and that is allowed."""
        if create:
            await self._patiently(self._create_if_missing)
        else:
            await self._patiently(self._probe)

    async def _probe(self) -> None:
        try:
            await self._client.get_entity("meta", "opened", select=["RowKey"])
        except HttpResponseError as error:
            if _code(error) not in _ABSENT:
                raise

    async def _create_if_missing(self) -> None:
        """Look before creating: an identity that may only use the table is served as well."""
        try:
            await self._probe()
        except HttpResponseError as error:
            if _code(error) != "TableNotFound":
                raise
            try:
                await self._client.create_table()
            except HttpResponseError as refused:
                if _code(refused) != "TableAlreadyExists":  # made by another instance just now
                    raise
            log.debug("ledger table created", table=self._client.table_name)

    async def get(
        self, partition: str, row: str, columns: Sequence[str] | None = None
    ) -> Entity | None:
        """Return one row, or None where there is none."""

        async def read() -> Entity:
            return _entity(await self._client.get_entity(partition, row, select=_select(columns)))

        try:
            return await self._patiently(read)
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
        most: int | None = None,
    ) -> AsyncGenerator[list[Entity]]:
        """Yield the rows from *low* to before *high*, in order, *most* at a time.

        A page that fails is asked for again by itself: a long scan gets through a bad hour.
        """
        condition = f"PartitionKey eq '{partition}' and RowKey ge '{low}' and RowKey lt '{high}'"
        pages = self._client.query_entities(
            f"{condition} and {where}" if where else condition,
            select=_select(columns),
            results_per_page=most,
        ).by_page()

        async def read() -> list[Entity] | None:
            async for page in pages:
                return [_entity(one) async for one in page]
            return None

        while (found := await self._patiently(read)) is not None:
            yield found

    async def first(self, partition: str, low: str, high: str) -> str | None:
        """Return the name of the first row from *low* to before *high*, if there is one."""
        async with aclosing(self.pages(partition, low, high, most=1)) as pages:
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
        """Return all rows from *low* to before *high*, in order."""
        pages = self.pages(partition, low, high, columns, where=where)
        return [one async for page in pages for one in page]

    async def write(self, partition: str, writes: Sequence[Write]) -> None:
        """Do all of *writes* or, with a Conflict, none. The rows must be distinct."""
        operations = [_operation(partition, one) for one in writes]
        conditional = any(one.etag is not None or one.kind == "create" for one in writes)

        async def send() -> None:
            await self._client.submit_transaction(operations)

        await self._patiently(send, conditional=conditional)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _patiently(
        self, request: Callable[[], Awaitable[Result]], *, conditional: bool = False
    ) -> Result:
        """Send a request until it is answered.

        A Conflict is an answer to a *conditional* one; else it is tried again, and LedgerFailed in
        the end: something else uses the table.
        """
        told: Problem | None = None
        answered = False
        try:
            async for attempt in stamina.retry_context(
                on=_when_again,
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
                            told = self._tell(told, error)
                        raise
                    except WriteConflict as conflict:
                        if not conditional and not isinstance(conflict, MissingRow):
                            raise _odd_conflict(attempt.num) from None
                        answered = True
                        conflict.doubtful = attempt.num > 1
                        raise
                    answered = True
                    return result
            raise AssertionError("unreachable")  # pragma: no cover
        finally:
            if told is not None:
                self._failing[told] -= 1
            if answered:
                self._tell_well()

    def _tell(self, told: Problem | None, error: _Retryable) -> Problem:
        """Tell of a trouble; one request has one trouble at a time."""
        if told is not error.trouble:
            if told is not None:
                self._failing[told] -= 1
            self._failing[error.trouble] += 1
        self._health.report(error.trouble, f"{error}; {_TABLE_REMEDIES[error.trouble]}")
        return error.trouble

    def _tell_well(self) -> None:
        """Tell the end of troubles that no request has any more.

        A trouble may be one of writes alone: that a read succeeds does not end it.
        """
        for trouble in [one for one, requests in self._failing.items() if requests <= 0]:
            del self._failing[trouble]
            self._health.resolve(trouble)


def _odd_conflict(attempt: int) -> Exception:
    told = "the storage account reports a conflict (409 or 412) that no condition of ours explains"
    if attempt < MAX_UNCONDITIONAL_CONFLICTS:
        return _Retryable(Problem.LEDGER_UNREACHABLE, told)
    return LedgerFailed(
        f"STATE__TABLE: {told}; give each deployment a table of its own, which nothing else writes"
    )


def _select(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else ["RowKey", *columns]


def _when_again(error: Exception) -> bool | float:
    if not isinstance(error, _Retryable):
        return False
    return True if error.retry_after is None else error.retry_after


@contextmanager
def _edge() -> Iterator[None]:
    """Translate what the SDK raises. Its texts may hold URLs with signatures and are not kept."""
    try:
        yield
    except HttpResponseError as error:
        raise _translated(error) from None
    except AzureError as error:
        raise _Retryable(
            Problem.LEDGER_UNREACHABLE,
            f"no answer from the storage account: {why_unreached(error)}",
        ) from None
    except (OSError, TimeoutError) as error:
        raise _Retryable(
            Problem.LEDGER_UNREACHABLE,
            f"the storage account is out of reach: {why_unreached(error)}",
        ) from None


def _translated(error: HttpResponseError) -> Exception:
    status, code = error.status_code, _code(error)
    told = f"the storage account answers {status} {code}".rstrip()
    if code in _NO_TABLE:
        return _Retryable(Problem.LEDGER_MISSING, told)
    if status == 404 and code in _ABSENT:
        return MissingRow()
    if status in (409, 412):
        return WriteConflict()
    if isinstance(error, ClientAuthenticationError) or status in (401, 403):
        if status is None:
            told = f"for the storage account {why_no_token(error)}"
        return _Retryable(Problem.LEDGER_REFUSED, told)
    if status is not None and 400 <= status < 500 and status not in (404, *_TRANSIENT_STATUSES):
        return LedgerFailed(f"STATE__TABLE: {told}")
    return _Retryable(Problem.LEDGER_UNREACHABLE, told, _retry_after(error))


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
    """Return what was read; columns that the row lacks come as None and are left out."""
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
