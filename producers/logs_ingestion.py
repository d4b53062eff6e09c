"""Findings to Azure Monitor's Logs Ingestion API, through azure-monitor-ingestion.

The SDK's list interface exceeds the limit of 1 MB a call (it ignores separators), measures each row
twice and compresses slowly, so bodies are built here and passed as a stream. Its retries are off:
they miss 429 without Retry-After and lost connections, and have no usable time limit.

Limits and responses: Microsoft's "Logs Ingestion API in Azure Monitor" and "Azure Monitor service
limits" (1 MB a call, compressed and not; 204 accepted; 429 with Retry-After).
"""

from __future__ import annotations

import math
import time
from io import BytesIO
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import stamina
import structlog
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.monitor.ingestion.aio import LogsIngestionClient
from isal import igzip

from schemas.errors import SinkHeldBack, SinkRefused
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached
from schemas.rows.columns import FINDINGS_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline.transport import AsyncHttpTransport

    from schemas.health import HealthReporter
    from schemas.rows.findings import FindingRow

log = structlog.get_logger()

MAX_REQUEST_BYTES = 1_000_000
"""Maximum bytes of a call, compressed or not. Microsoft says 1 MB; this is the smaller reading."""
TARGET_FILL = 900_000
"""Planned bytes of JSON in a body."""
MAX_UPLOAD_BACKOFF_SECONDS = 30.0
"""Maximum time between two attempts."""
MAX_UPLOAD_RETRY_AFTER_SECONDS = 60.0
REPORT_INTERVAL_SECONDS = 300.0
"""Interval between log warnings about the same problem."""

_UPLOAD_REMEDIES = {
    401: "check the identity that runs this (managed identity, or az login)",
    403: "give the identity the role Monitoring Metrics Publisher on the data collection rule; "
    "a new role takes up to 30 minutes",
    404: "check LOGS__RULE_ID (the immutable id, dcr-…), LOGS__ENDPOINT, and that the rule "
    "declares the stream",
}
_BUSY_REMEDY = "no action needed; the service is busy or unreachable"
_NO_RESPONSE_REMEDY = "no action if it clears by itself; else check LOGS__ENDPOINT and the network"
_TOO_LARGE = 413
REQUEST_ERROR_CODES = frozenset(
    {
        "InvalidStream",
        "InvalidStreamName",
        "InvalidDcrImmutableId",
        "InvalidDataCollectionRule",
        "InvalidDataCollectionEndpoint",
        "InvalidOutputTable",
        "InvalidApiVersion",
        "InvalidApiVersionParameter",
        "MissingApiVersionParameter",
        "UnsupportedApiVersion",
        "UnsupportedContentType",
        "UnsupportedMediaType",
        "InvalidContentType",
        "InvalidContentEncoding",
        "InvalidHeaderValue",
        "MissingRequiredHeader",
        "ResourceNotFound",
    }
)
"""Error codes of a 400 that no other row could avoid (Logs Ingestion API and Azure's common REST
error codes)."""
ACCEPTED_RECENTLY_SECONDS = 600.0
"""How long an accepted upload proves that endpoint, rule and stream are right."""
MAX_REFUSED_IN_A_ROW = 3
"""Consecutive rejected rows after which the request, not the rows, is at fault."""
_REQUEST_REMEDY = (
    "check LOGS__RULE_ID (the immutable id, dcr-…), LOGS__ENDPOINT, and that the rule declares the "
    "stream and its columns; findings are kept until then"
)


class TokenSource(NamedTuple):
    """Who gives tokens, and for what."""

    credential: AsyncTokenCredential
    scope: str
    owned: bool = False
    """Whether the credential is closed with its only user."""


class PlaceholderToken(SansIOHTTPPolicy[Any, Any]):
    """Placeholder for an Entra ID token on a loopback endpoint."""

    def on_request(self, request: Any) -> None:
        """Add the header."""
        request.http_request.headers["Authorization"] = "Bearer placeholder"


class MissingCredential:
    """The credential for a loopback endpoint: the client requires it and never uses it."""

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        """Return the placeholder."""
        return AccessToken("placeholder", 0)

    async def close(self) -> None:
        """Do nothing."""

    async def __aenter__(self) -> MissingCredential:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing."""


class LogsIngestionSink:
    """See :class:`schemas.ports.Sink`.

    A body that is refused as malformed or too large is halved until the bad row is found. Any
    other error holds the findings back for up to *patience* seconds. So does a rejection of the
    request itself, recognised by its code or because no row at all is accepted.
    """

    def __init__(
        self,
        endpoint: str,
        rule_id: str,
        token: TokenSource | None,
        *,
        patience: float | None,
        table: str = FINDINGS_TABLE,
        health: HealthReporter | None = None,
        new_transport: Callable[..., AsyncHttpTransport[Any, Any]] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a *token* (loopback only) a placeholder is sent.

        With *patience* None, errors are retried forever and reported to *health*. *new_transport*
        creates the transport; by default the SDK does.
        """
        options: dict[str, Any] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 60}
        if new_transport is not None:
            options["transport"] = new_transport(**options)
        if token is None:
            options["authentication_policy"] = PlaceholderToken()
        else:
            options["credential_scopes"] = [token.scope]
        credential: AsyncTokenCredential = token.credential if token else MissingCredential()
        self._owned = credential if token is not None and token.owned else None
        self._client = LogsIngestionClient(endpoint, credential, **options)
        self._rule_id = rule_id
        self.errors = 0
        """Failed uploads that were retried."""
        self._stream = f"Custom-{table}"
        self._patience = patience
        self._health = health
        self._monotonic = monotonic
        self._reported_at: tuple[str, float] | None = None
        self._accepted_at = -math.inf
        self._malformed_in_a_row = 0

    async def send(self, rows: Sequence[FindingRow]) -> list[tuple[FindingRow, str]]:
        """Upload *rows*; return those permanently rejected. SinkHeldBack when the time is up."""
        refused: list[tuple[FindingRow, str]] = []
        for part, body in _bodies(rows):
            bad = await self._send_part(part, body)
            while len(bad) == len(part) and self._is_about_the_request(len(bad)):
                await self._wait_until_accepted(bad)
                bad = await self._send_part(part, body)
            refused += bad
        return refused

    def _is_about_the_request(self, rows: int) -> bool:
        """Return True if all *rows* were rejected because of the request, not the rows."""
        recently = self._monotonic() - self._accepted_at < ACCEPTED_RECENTLY_SECONDS
        enough = min(rows, MAX_REFUSED_IN_A_ROW) if rows > 1 else MAX_REFUSED_IN_A_ROW
        return not recently and self._malformed_in_a_row >= enough

    async def _wait_until_accepted(self, bad: Sequence[tuple[FindingRow, str]]) -> None:
        """Retry the rejected rows individually, in turn, until the service accepts one."""
        rows = cycle(row for row, _ in bad)
        reason = bad[0][1]
        async for attempt in stamina.retry_context(
            on=_when_again,
            attempts=None,
            timeout=self._patience,
            wait_initial=1.0,
            wait_max=MAX_UPLOAD_BACKOFF_SECONDS,
        ):
            with attempt:
                try:
                    await self._upload_patiently(_json([next(rows)]))
                except SinkRefused:
                    error = SinkHeldBack(
                        f"LOGS__ENDPOINT: every row is {reason} for {self._stream}",
                        remedy=_REQUEST_REMEDY,
                    )
                    self.errors += 1
                    self._tell(error)
                    raise error from None

    async def _send_part(
        self, rows: Sequence[FindingRow], body: bytes
    ) -> list[tuple[FindingRow, str]]:
        try:
            await self._upload_patiently(body)
        except SinkRefused as error:
            if len(rows) == 1:
                self._malformed_in_a_row += not error.too_large
                return [(rows[0], str(error))]
            middle = len(rows) // 2
            halves = (rows[:middle], rows[middle:])
            return [bad for half in halves for bad in await self._send_part(half, _json(half))]
        return []

    async def _upload_patiently(self, body: bytes) -> None:
        if len(body) > MAX_REQUEST_BYTES:
            result = f"{len(body):,} bytes are more than one call may hold"
            raise SinkRefused(result, too_large=True)
        async for attempt in stamina.retry_context(
            on=_when_again,
            attempts=None,
            timeout=self._patience,
            wait_initial=0.5,
            wait_max=MAX_UPLOAD_BACKOFF_SECONDS,
        ):
            with attempt:
                try:
                    await self._upload(body)
                except SinkHeldBack as error:
                    self.errors += 1
                    self._tell(error)
                    raise
        self._accepted_at = self._monotonic()
        self._malformed_in_a_row = 0
        if self._health is not None:
            self._health.resolve(Problem.FINDINGS_HELD_BACK)

    async def _upload(self, body: bytes) -> None:
        """Send a body once, and translate the errors of the SDK."""
        packed = BytesIO(igzip.compress(body, compresslevel=1))
        try:
            await self._client.upload(self._rule_id, self._stream, packed)
        except HttpResponseError as error:
            raise _translated(error, self._stream) from None
        except (ServiceRequestError, ServiceResponseError) as error:
            raise SinkHeldBack(
                f"LOGS__ENDPOINT: no answer: {why_unreached(error)}", remedy=_NO_RESPONSE_REMEDY
            ) from None
        except AzureError as error:
            raise SinkHeldBack(
                f"LOGS__ENDPOINT: {type(error).__name__}", remedy=_BUSY_REMEDY
            ) from None

    def _tell(self, error: SinkHeldBack) -> None:
        """Report the problem; log the same warning once per interval, not on each attempt."""
        if self._health is not None:
            self._health.report(Problem.FINDINGS_HELD_BACK, f"{error}; {error.remedy}")
            return
        now = self._monotonic()
        if (
            self._reported_at is None
            or self._reported_at[0] != str(error)
            or now - self._reported_at[1] > REPORT_INTERVAL_SECONDS
        ):
            self._reported_at = (str(error), now)
            log.warning("rows held back", stream=self._stream, why=str(error), remedy=error.remedy)

    async def close(self) -> None:
        """Close the connection, and the credential if it is owned."""
        await self._client.close()
        if self._owned is not None:
            await self._owned.close()


def _when_again(error: Exception) -> bool | float:
    if not isinstance(error, SinkHeldBack):
        return False
    return True if error.retry_after is None else error.retry_after


def _translated(error: HttpResponseError, stream: str) -> SinkHeldBack | SinkRefused:
    status, code = error.status_code, _code(error)
    if status == 400 and code in REQUEST_ERROR_CODES:
        return SinkHeldBack(
            f"LOGS__ENDPOINT: the ingestion service answers 400 {code} for {stream}",
            remedy=_REQUEST_REMEDY,
        )
    if status in (400, _TOO_LARGE):
        result = f"{status} {code}".rstrip()
        refused = f"refused by the ingestion service ({result})"
        return SinkRefused(refused, too_large=status == _TOO_LARGE)
    if (why := why_no_token(error)) is not None:
        return SinkHeldBack("LOGS__ENDPOINT: no token could be had", remedy=why)
    return SinkHeldBack(
        f"LOGS__ENDPOINT: the ingestion service answers {status} for {stream}",
        remedy=_UPLOAD_REMEDIES.get(status or 0, _BUSY_REMEDY),
        retry_after=_retry_after(error),
    )


def _code(error: HttpResponseError) -> str:
    """Return the error code in Azure's error body, or an empty text."""
    code = getattr(error.error, "code", None)
    return code if isinstance(code, str) and code.isalnum() and len(code) <= 60 else ""


def _retry_after(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", None) or {}
    try:
        return min(max(float(headers.get("Retry-After", "")), 0.0), MAX_UPLOAD_RETRY_AFTER_SECONDS)
    except ValueError:
        return None


def _json(rows: Sequence[FindingRow]) -> bytes:
    return orjson.dumps(list(rows))


def _bodies(rows: Sequence[FindingRow]) -> Iterator[tuple[Sequence[FindingRow], bytes]]:
    """Yield slices of *rows*, each with its JSON array below the size limit.

    Slices are encoded whole, since a bytes object for each row is many times slower.
    """
    body = _json(rows)
    if len(body) <= MAX_REQUEST_BYTES or len(rows) == 1:
        yield rows, body
        return
    parts = min(len(rows), len(body) // TARGET_FILL + 1)
    step = -(-len(rows) // parts)
    for start in range(0, len(rows), step):
        yield from _bodies(rows[start : start + step])
