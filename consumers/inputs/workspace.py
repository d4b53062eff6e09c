"""Reads tables of a Log Analytics workspace through the Logs query API, in slices of time.

Limits of the service: Microsoft's "Azure Monitor service limits", query API: 500,000 rows, about
100 MB and 10 minutes a query; 200 requests in 30 seconds for each user, answered by 429 with
Retry-After. A result that is cut carries an error beside its rows.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import stamina
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.monitor.query import LogsQueryPartialResult
from azure.monitor.query.aio import LogsQueryClient

from schemas.errors import ConfigurationError, WorkspaceFailed
from schemas.network_errors import why_no_token, why_unreached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from azure.core.credentials_async import AsyncTokenCredential

# The SDK warns about responses that we report ourselves.
logging.getLogger("azure.monitor.query").setLevel(logging.ERROR)

MAX_RESULT_ROWS = 500_000
SERVER_TIMEOUT_SECONDS = 600
CLIENT_OPTIONS: dict[str, Any] = {
    "retry_total": 0,
    "connection_timeout": 10,
    "read_timeout": SERVER_TIMEOUT_SECONDS + 30,
}
MAX_TRIES = 5
FIRST_QUERY_BACKOFF_SECONDS = 1.0
MAX_QUERY_BACKOFF_SECONDS = 60.0
MISSING_TABLE = "SEM0100"
"""The code of the query language for a name that does not exist."""
_TIMED_OUT = (408, 504)
_ACCESS = (
    "give the identity the role Log Analytics Data Reader on the workspace (SENTINEL__WORKSPACE_ID)"
)

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SliceResult:
    """The rows of a slice of time. If they are *cut*, some are missing: request less time."""

    rows: Sequence[Row]
    cut: bool = False


class WorkspaceClient:
    """A client of one workspace. Close it after use."""

    def __init__(
        self,
        url: str,
        workspace_id: str,
        credential: AsyncTokenCredential,
        **options: Any,
    ) -> None:
        """*options* go to the SDK. The *credential* is closed with this."""
        self._credential = credential
        self._client = LogsQueryClient(credential, endpoint=url, **{**CLIENT_OPTIONS, **options})
        self._workspace = workspace_id

    async def count_hourly(
        self, table: str, start: datetime, end: datetime
    ) -> list[tuple[datetime, int]] | None:
        """Return the number of rows in each hour that has some; None if there is no such table.

        Raises ConfigurationError and WorkspaceFailed.
        """
        query = (
            f"{_within(table, start, end)} | summarize Rows = count() by "
            "Hour = bin(TimeGenerated, 1h) | order by Hour asc"
        )
        try:
            result = await self._query(query, start, end)
        except _NoSuchTable:
            return None
        if result.cut:
            raise WorkspaceFailed(f"{table}: the hours cannot be counted; request fewer days")
        return [(row["Hour"], int(row["Rows"])) for row in result.rows]

    async def rows(self, table: str, start: datetime, end: datetime) -> SliceResult:
        """Return the rows from *start* to before *end*; the same errors as :meth:`count_hourly`."""
        return await self._query(_within(table, start, end), start, end)

    async def _query(self, query: str, start: datetime, end: datetime) -> SliceResult:
        async for attempt in stamina.retry_context(
            on=_when_again,
            attempts=MAX_TRIES,
            timeout=None,
            wait_initial=FIRST_QUERY_BACKOFF_SECONDS,
            wait_max=MAX_QUERY_BACKOFF_SECONDS,
        ):
            with attempt:
                return await self._query_once(query, start, end)
        raise AssertionError  # the last attempt returns or raises

    async def _query_once(self, query: str, start: datetime, end: datetime) -> SliceResult:
        """Send a query, and translate the errors of the SDK."""
        seen: list[Any] = []  # the SDK raises ValueError for an error that is not JSON
        try:
            result = await self._client.query_workspace(
                self._workspace,
                query,
                timespan=(start, end),
                server_timeout=SERVER_TIMEOUT_SECONDS,
                raw_response_hook=lambda response: seen.append(response.http_response),
            )
        except (HttpResponseError, ValueError) as error:
            status = seen[-1].status_code if seen else None
            if status in _TIMED_OUT:
                return SliceResult((), cut=True)
            headers = seen[-1].headers if seen else {}
            raise _translated(error, status, headers) from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise WorkspaceFailed(
                f"SENTINEL__QUERY_URL: no answer: {why_unreached(error)}", again=True
            ) from None
        except AzureError as error:
            raise WorkspaceFailed(
                f"SENTINEL__QUERY_URL: {type(error).__name__}", again=True
            ) from None
        if isinstance(result, LogsQueryPartialResult):
            return SliceResult((), cut=True)
        found = result.tables[0] if result.tables else None
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows] if found else []
        return SliceResult(rows, cut=len(rows) >= MAX_RESULT_ROWS)

    async def close(self) -> None:
        """Close the connections and the credential."""
        await self._client.close()
        await self._credential.close()


class _NoSuchTable(Exception):
    """The workspace has no table of that name."""


def _within(table: str, start: datetime, end: datetime) -> str:
    times = (f"datetime({time.isoformat()})" for time in (start, end))
    since, until = times
    return f"['{table}'] | where TimeGenerated >= {since} and TimeGenerated < {until}"


def _when_again(error: Exception) -> bool | float:
    if not isinstance(error, WorkspaceFailed) or not error.again:
        return False
    return True if error.retry_after is None else error.retry_after


def _translated(error: Exception, status: int | None, headers: Mapping[str, str]) -> Exception:
    if (why := why_no_token(error)) is not None:  # the SDK hides the type of some errors
        return ConfigurationError(f"SENTINEL__QUERY_URL: no token could be had: {why}")
    if status in (401, 403):
        return ConfigurationError(f"SENTINEL__QUERY_URL: the workspace answers {status}; {_ACCESS}")
    if status == 404:
        return ConfigurationError(
            "SENTINEL__WORKSPACE_ID: there is no such workspace; set it to the workspace ID (a "
            "GUID) of the workspace's Overview page"
        )
    if isinstance(error, HttpResponseError) and MISSING_TABLE in _codes(error):
        return _NoSuchTable()
    answer = f"SENTINEL__QUERY_URL: the query API answers {status}"
    if status == 429 or status is None or status >= 500:
        return WorkspaceFailed(answer, again=True, retry_after=_retry_after(headers))
    return WorkspaceFailed(answer)


def _codes(error: HttpResponseError) -> set[str]:
    """Return the codes of an error and of what it contains."""
    found: set[str] = set()
    left: list[Any] = [error.error.innererror, error.error.details] if error.error else []
    for _ in range(20):
        if not left:
            break
        item = left.pop()
        if isinstance(item, list):
            left += item
        elif isinstance(item, dict):
            found.add(str(item.get("code")))
            left += [item.get("innererror"), item.get("details")]
        elif item is not None:
            found.add(str(getattr(item, "code", None)))
            left += [getattr(item, "innererror", None), getattr(item, "details", None)]
    return found


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return min(max(float(headers.get("Retry-After", "")), 0.0), MAX_QUERY_BACKOFF_SECONDS)
    except ValueError:
        return None
