"""One Azure table: reads and transactions that wait until the service responds.

Every request is retried until it gets a response. The caller waits, which is the back-pressure.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import stamina
import structlog

from consumers.ledger.table.endpoint import endpoint_by_account_url, endpoint_by_connection_string
from consumers.ledger.table.entities import MissingRow, WriteConflict
from consumers.ledger.table.service import (
    MAX_CONNECTIONS,
    NoToken,
    TableError,
    TableService,
    Unreached,
)
from schemas.errors import ConfigurationError, LedgerFailed
from schemas.health import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from azure.core.credentials_async import AsyncTokenCredential

    from consumers.ledger.table.entities import Entity, Write
    from consumers.ledger.table.service import Page
    from schemas.health import HealthReporter

log = structlog.get_logger()

Result = TypeVar("Result")

MAX_TABLE_RETRY_AFTER_SECONDS = 60.0
_MAX_BACKOFF_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_ABSENT = frozenset({"ResourceNotFound", "EntityNotFound"})
_NO_TABLE = frozenset({"TableNotFound", "TableBeingDeleted"})
_CONFLICTS = frozenset({"UpdateConditionNotSatisfied", "ConditionNotMet", "EntityAlreadyExists"})
_TRANSIENT_STATUSES = frozenset({408, 429})
MAX_UNEXPLAINED_CONFLICTS = 6
"""Attempts of a request that is answered with a conflict which no condition explains."""

_TABLE_REMEDIES = {
    Problem.LEDGER_UNREACHABLE: "no action if it clears by itself; otherwise check "
    "STATE__ACCOUNT_URL or STATE__CONNECTION_STRING, the network, and the storage account's status",
    Problem.LEDGER_REFUSED: "assign Storage Table Data Contributor to the identity (takes minutes "
    "to apply), or check the key in STATE__CONNECTION_STRING and the account's firewall",
    Problem.LEDGER_MISSING: "create the table named by STATE__TABLE, or let signinwatch create it",
}


class _Retryable(Exception):
    """The request got no usable response and must be retried."""

    def __init__(
        self,
        problem: Problem,
        message: str,
        retry_after: float | None = None,
        *,
        unexplained: bool = False,
        remedied: bool = False,
    ) -> None:
        """*unexplained* is True for a conflict that no condition of the request explains.

        *remedied* is True if the message names the fix.
        """
        super().__init__(message)
        self.problem = problem
        self.retry_after = retry_after
        self.unexplained = unexplained
        self.remedied = remedied


class StateTable:
    """One table of a storage account. Every method waits until the service responds.

    From the second attempt on, every failure is reported to *health*. The problem is resolved when
    no request has it any more.
    """

    def __init__(self, service: TableService, health: HealthReporter) -> None:
        self._service = service
        self._health = health
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)
        self._failing: Counter[Problem] = Counter()
        self._creates = False

    @classmethod
    def at(
        cls,
        name: str,
        health: HealthReporter,
        *,
        connection_string: str | None = None,
        account_url: str | None = None,
        credential: AsyncTokenCredential | None = None,
        ca_bundle: Path | None = None,
        answered: Callable[[str | None], None] | None = None,
    ) -> StateTable:
        """Return the table *name* without sending a request.

        Pass a *connection_string*, or an *account_url* and a *credential*. The caller closes the
        credential. *answered* gets the ``Date`` header of each response. Raises
        ConfigurationError with the name of the invalid setting.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "STATE__TABLE: invalid table name; use 3 to 63 letters and digits, a letter first"
            )
        endpoint = (
            endpoint_by_connection_string(connection_string)
            if connection_string is not None
            else endpoint_by_account_url(account_url or "", credential)
        )
        service = TableService(endpoint, name, ca_bundle=ca_bundle, answered=answered)
        return cls(service, health)

    async def open(self, *, create: bool) -> None:
        """Wait until the table responds. With *create*, create it if it does not exist.

        It is then created again as well if somebody deletes it later.
        """
        self._creates = create
        if create:
            await self._retry_forever(self._create_if_missing)
        else:
            await self._retry_forever(self._probe)

    async def _probe(self) -> None:
        try:
            await self._service.get("meta", "opened", ())
        except TableError as error:
            if error.code not in _ABSENT:
                raise

    async def _create_if_missing(self) -> None:
        """Check before creating, because the identity may lack the permission to create tables."""
        try:
            await self._probe()
        except TableError as error:
            if error.code != "TableNotFound":
                raise
            try:
                await self._service.create_table()
            except TableError as refused:
                if refused.code != "TableAlreadyExists":  # another instance has just created it
                    raise
            log.debug("ledger table created", table=self._service.table)

    async def get(
        self, partition: str, row: str, columns: Sequence[str] | None = None
    ) -> Entity | None:
        """Return a row, or None if it does not exist."""
        try:
            return await self._retry_forever(lambda: self._service.get(partition, row, columns))
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
        if where:
            condition = f"{condition} and {where}"
        continuation: Mapping[str, str] = {}
        while True:

            async def read(after: Mapping[str, str] = continuation) -> Page:
                return await self._service.query(condition, columns, page_size, after)

            page = await self._retry_forever(read)
            if page.entities:
                yield page.entities
            continuation = page.continuation
            if not continuation:
                return

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

    async def write(self, partition: str, writes: Sequence[Write]) -> list[str]:
        """Apply all *writes* or, with WriteConflict, none of them; return the new ETags.

        The rows must be distinct. A deleted row has the ETag "".
        """
        conditional = any(write.etag is not None or write.kind == "create" for write in writes)
        return await self._retry_forever(
            lambda: self._service.submit(partition, writes), conditional=conditional
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._service.close()

    async def _retry_forever(
        self, request: Callable[[], Awaitable[Result]], *, conditional: bool = False
    ) -> Result:
        """Send a request until it gets a response.

        For a *conditional* request, WriteConflict is a response. After an unexplained conflict
        the request is retried. After :data:`MAX_UNEXPLAINED_CONFLICTS` attempts it raises
        LedgerFailed, because something else writes to the table.
        """
        try:
            # the common case, without the cost of retries
            return await self._attempt(request, conditional=conditional)
        except _Retryable as error:
            return await self._retry(request, error, conditional=conditional)

    async def _attempt(
        self, request: Callable[[], Awaitable[Result]], *, conditional: bool
    ) -> Result:
        try:
            async with self._slots:
                with _edge():
                    result = await request()
        except WriteConflict as conflict:
            if not conditional and not isinstance(conflict, MissingRow):
                raise _unexplained_conflict() from None
            self._resolve_ended()
            raise
        self._resolve_ended()
        return result

    async def _retry(
        self,
        request: Callable[[], Awaitable[Result]],
        first: _Retryable | None,
        *,
        conditional: bool,
    ) -> Result:
        """Repeat a request whose *first* attempt has failed."""
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
                    if first is not None:
                        failed, first = first, None
                        raise failed
                    try:
                        result = await self._attempt(request, conditional=conditional)
                    except _Retryable as error:
                        if error.unexplained and attempt.num >= MAX_UNEXPLAINED_CONFLICTS:
                            raise _unexplained_conflicts() from None
                        reported = self._report(reported, error)
                        if error.problem is Problem.LEDGER_MISSING and self._creates:
                            await self._create_again()
                        raise
                    except WriteConflict as conflict:
                        conflict.doubtful = answered = True
                        raise
                    answered = True
                    return result
            raise AssertionError("unreachable")  # pragma: no cover
        finally:
            if reported is not None:
                self._failing[reported] -= 1
            if answered:
                self._resolve_ended()

    async def _create_again(self) -> None:
        """Create a table that was deleted. Its name is free only some time after the deletion."""
        with suppress(TableError, Unreached, NoToken):
            await self._service.create_table()
            log.warning("ledger table was deleted, created again", table=self._service.table)

    def _report(self, reported: Problem | None, error: _Retryable) -> Problem:
        """Report the problem of a request. A request has one problem at a time."""
        if reported is not error.problem:
            if reported is not None:
                self._failing[reported] -= 1
            self._failing[error.problem] += 1
        remedy = "" if error.remedied else f"; {_TABLE_REMEDIES[error.problem]}"
        self._health.report(error.problem, f"{error}{remedy}")
        return error.problem

    def _resolve_ended(self) -> None:
        """Resolve the problems that no request has any more.

        A problem may affect writes only, so a successful read does not resolve it.
        """
        for problem in [key for key, requests in self._failing.items() if requests <= 0]:
            del self._failing[problem]
            self._health.resolve(problem)


_UNEXPLAINED = "the storage account reports a conflict (409 or 412) that no condition explains"


def _unexplained_conflict() -> _Retryable:
    return _Retryable(Problem.LEDGER_UNREACHABLE, _UNEXPLAINED, unexplained=True)


def _unexplained_conflicts() -> LedgerFailed:
    return LedgerFailed(f"STATE__TABLE: {_UNEXPLAINED}; use a separate table for each deployment")


def _retry_delay(error: Exception) -> bool | float:
    if not isinstance(error, _Retryable):
        return False
    return True if error.retry_after is None else error.retry_after


@contextmanager
def _edge() -> Iterator[None]:
    """Translate errors by what the caller does."""
    try:
        yield
    except TableError as error:
        raise _translated(error) from None
    except NoToken as error:
        message = f"STATE__ACCOUNT_URL: no token could be had: {error}"
        raise _Retryable(Problem.LEDGER_REFUSED, message, remedied=True) from None
    except Unreached as error:
        message = f"no response from the storage account: {error}"
        raise _Retryable(Problem.LEDGER_UNREACHABLE, message) from None


def _translated(error: TableError) -> Exception:
    status, message = error.status, f"the storage account responded with {error}"
    if error.code in _NO_TABLE:
        return _Retryable(Problem.LEDGER_MISSING, message)
    if status in (409, 412) and error.code in _CONFLICTS:
        return _conflict(WriteConflict(), error)
    if status in (409, 412):
        return _unexplained_conflict()
    if status == 404 and error.code in _ABSENT:
        return _conflict(MissingRow(), error)
    if status in (401, 403):
        return _Retryable(Problem.LEDGER_REFUSED, message)
    if 300 <= status < 500 and status not in (404, *_TRANSIENT_STATUSES):
        return LedgerFailed(f"STATE__TABLE: {message}")
    return _Retryable(Problem.LEDGER_UNREACHABLE, message, _retry_after(error.retry_after))


def _conflict(conflict: WriteConflict, error: TableError) -> WriteConflict:
    conflict.row = error.row
    return conflict


def _retry_after(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_TABLE_RETRY_AFTER_SECONDS) if seconds == seconds else None
