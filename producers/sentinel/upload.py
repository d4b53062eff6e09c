"""Upload indicators to Sentinel threat intelligence with the STIX objects upload API.

An upload replaces the object with the same id, so it may be repeated safely.

Path, limits and responses: Microsoft's "Import threat intelligence to Microsoft Sentinel with the
upload API" (preview, 2024-02-01): 100 objects a request, 100 requests a minute for each user; a
200 may report individually rejected objects; 404 for an unknown workspace.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec
import orjson
import structlog
from azure.core import AsyncPipelineClient
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    RequestIdPolicy,
    UserAgentPolicy,
)
from azure.core.rest import HttpRequest

from producers.logs_ingestion import PlaceholderToken, TokenSource
from schemas.durations import MINUTE_SECONDS
from schemas.errors import ConfigurationError, SinkHeldBack, SinkRefused
from schemas.health import Problem
from schemas.network_errors import why_no_token, why_unreached
from schemas.values import clean_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from azure.core.pipeline.transport import AsyncHttpTransport
    from azure.core.rest import AsyncHttpResponse

    from schemas.health import HealthReporter
    from schemas.intel.stix_export import StixObject

log = structlog.get_logger()

API_VERSION = "2024-02-01-preview"
MAX_REQUEST_OBJECTS = 100
MAX_REQUESTS_PER_MINUTE = 100
"""Maximum requests per minute."""
MAX_INDICATOR_REQUEST_BYTES = 1_000_000
"""Maximum bytes of a request. No limit is documented; this is the limit of Logs Ingestion."""
MAX_INDICATOR_RESPONSE_BYTES = 1_000_000
UPLOAD_PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS = 0.5
MAX_INDICATOR_PAUSE_SECONDS = 30.0
"""Maximum time between two attempts."""
MAX_INDICATOR_RETRY_AFTER_SECONDS = 120.0
MAX_REASON_LENGTH = 300
MIN_ALL_REJECTED = 8
"""From this number on, objects that are all rejected cannot all be invalid."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RETRY_IN = re.compile(rb"[Tt]ry again in (\d{1,5}) seconds")
"""The wait in the body of a 429."""
_RESTRICTED = "microsoft sentinel"
_REFUSED = (400, 413)
_INDICATOR_REMEDIES = {
    401: "check the identity that runs this (managed identity, or az login)",
    403: "give the identity the role Microsoft Sentinel Contributor on the workspace; a new role "
    "takes up to 30 minutes",
    404: "check SENTINEL__WORKSPACE_ID (the Log Analytics workspace's id), and that Sentinel is "
    "enabled on it",
}
_BUSY_REMEDY = "no action needed; the service is busy or unreachable"
_NO_RESPONSE_REMEDY = "no action if it clears by itself; else check SENTINEL__URL and the network"
_STRANGE = "check SENTINEL__URL, and whether a proxy answers in its place"
_CHANGED = "see whether the upload API has changed; a newer version of signinwatch may be needed"


class _Refusal(msgspec.Struct):
    record: int = msgspec.field(name="recordIndex")
    reasons: list[Any] = msgspec.field(name="errorMessages", default_factory=list)


class _Answer(msgspec.Struct):
    errors: list[_Refusal] | None = None


class Timing(NamedTuple):
    """How an upload measures time and waits; tests pass their own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


REAL_TIME = Timing()


class RequestRateLimiter:
    """Limits the requests per minute; further requests wait."""

    def __init__(self, requests_per_minute: int, timing: Timing) -> None:
        self._limit = requests_per_minute
        self._timing = timing
        self._begun: deque[float] = deque()

    async def acquire(self) -> None:
        """Return when a request may begin."""
        while len(self._begun) >= self._limit:
            wait = self._begun[0] + MINUTE_SECONDS - self._timing.monotonic()
            if wait > 0:
                await self._timing.sleep(wait)
            else:
                self._begun.popleft()
        self._begun.append(self._timing.monotonic())


class IndicatorUpload:
    """Uploads STIX objects to one workspace.

    A body that is refused as malformed is halved until the bad object is found. Any other
    error is retried for *patience* seconds.
    """

    def __init__(
        self,
        url: str,
        workspace_id: str,
        token: TokenSource | None,
        *,
        source: str,
        patience: float = UPLOAD_PATIENCE_SECONDS,
        requests_per_minute: int = MAX_REQUESTS_PER_MINUTE,
        health: HealthReporter | None = None,
        new_transport: Callable[..., AsyncHttpTransport[Any, Any]] | None = None,
        timing: Timing = REAL_TIME,
    ) -> None:
        """*source* is what Sentinel shows as the source system.

        Without a *token* (loopback only) a placeholder is sent. The caller closes the
        credential. ConfigurationError for an invalid workspace or source.
        """
        if token is not None and not _GUID.fullmatch(workspace_id):
            raise ConfigurationError(
                "SIGNINWATCH_SENTINEL__WORKSPACE_ID: must be the workspace's id, a GUID"
            )
        if not source.strip() or source.strip().lower() == _RESTRICTED:
            raise ConfigurationError(
                "SIGNINWATCH_SENTINEL__SOURCE: must be a name, and not Microsoft Sentinel"
            )
        options: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 60}
        if new_transport is not None:
            options["transport"] = new_transport(**options)
        authentication = (
            PlaceholderToken()
            if token is None
            else AsyncBearerTokenCredentialPolicy(token.credential, token.scope)
        )
        policies = [RequestIdPolicy(), UserAgentPolicy("signinwatch"), authentication]
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            url, policies=policies, **options
        )
        workspace = quote(workspace_id, safe="")
        self._url = (
            f"{url.rstrip('/')}/workspaces/{workspace}/threat-intelligence-stix-objects:upload"
        )
        self._head = b'{"sourcesystem":' + orjson.dumps(source) + b',"stixobjects":['
        self._patience = patience
        self._rate_limiter = RequestRateLimiter(requests_per_minute, timing)
        self._health = health
        self._timing = timing
        self.errors = 0
        """Failed uploads, whether or not they were retried."""

    async def send(self, objects: Sequence[StixObject]) -> list[tuple[StixObject, str]]:
        """Upload *objects*; return those permanently rejected, each with the reason.

        Sentinel has stored all others. SinkHeldBack when the time is up; any of the objects may
        have arrived then.
        """
        refused: list[tuple[StixObject, str]] = []
        for part in _parts([(item, orjson.dumps(item)) for item in objects], len(self._head) + 2):
            refused += await self._send_part(part)
        return refused

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send_part(
        self, part: Sequence[tuple[StixObject, bytes]]
    ) -> list[tuple[StixObject, str]]:
        body = self._head + b",".join(encoded for _, encoded in part) + b"]}"
        try:
            found = await self._post_patiently(body)
        except SinkRefused as error:
            return await self._send_halves(part, error)
        reasons = {item.record: _reason(item) for item in found}
        refused = [(part[at][0], why) for at, why in reasons.items() if 0 <= at < len(part)]
        if len(refused) < len(reasons):
            log.warning("refusals of what was not sent", refusals=len(reasons) - len(refused))
        return refused

    async def _send_halves(
        self, part: Sequence[tuple[StixObject, bytes]], error: SinkRefused
    ) -> list[tuple[StixObject, str]]:
        """Find the invalid objects. SinkHeldBack if all are rejected: the request is at fault."""
        if len(part) == 1:
            return [(part[0][0], str(error))]
        middle = len(part) // 2
        refused = await self._send_part(part[:middle]) + await self._send_part(part[middle:])
        if len(refused) == len(part) >= MIN_ALL_REJECTED:
            raise SinkHeldBack(f"SENTINEL__URL: every object is {error}", remedy=_CHANGED)
        return refused

    async def _post_patiently(self, body: bytes) -> list[_Refusal]:
        if len(body) > MAX_INDICATOR_REQUEST_BYTES:
            raise SinkRefused(f"{len(body):,} bytes are more than one request may hold")
        began, pause = self._timing.monotonic(), FIRST_PAUSE_SECONDS
        while True:
            await self._rate_limiter.acquire()
            try:
                refusals = await self._post(body)
            except SinkHeldBack as error:
                self.errors += 1
                if self._health is not None:
                    detail = f"{error}; {error.remedy}"
                    self._health.report(Problem.INDICATORS_HELD_BACK, detail)
                wait = pause if error.retry_after is None else error.retry_after
                if self._timing.monotonic() + wait > began + self._patience:
                    raise
            else:
                if self._health is not None:
                    self._health.resolve(Problem.INDICATORS_HELD_BACK)
                return refusals
            await self._timing.sleep(wait)
            pause = min(2 * pause, MAX_INDICATOR_PAUSE_SECONDS)

    async def _post(self, body: bytes) -> list[_Refusal]:
        """Send a body once, and translate the errors of the SDK."""
        request = HttpRequest(
            "POST",
            self._url,
            params={"api-version": API_VERSION},
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            content=body,
        )
        try:
            response = await self._client.send_request(request, stream=True)
            async with response:
                answer = await _bounded(response)
        except ClientAuthenticationError as error:
            raise SinkHeldBack(
                "SENTINEL__URL: no token could be had",
                remedy=why_no_token(error) or _INDICATOR_REMEDIES[401],
            ) from None
        except (ServiceRequestError, ServiceResponseError) as error:
            result = f"SENTINEL__URL: no answer: {why_unreached(error)}"
            raise SinkHeldBack(result, remedy=_NO_RESPONSE_REMEDY) from None
        except AzureError as error:
            raise SinkHeldBack(
                f"SENTINEL__URL: {type(error).__name__}", remedy=_BUSY_REMEDY
            ) from None
        if response.status_code != 200:
            raise _translated(response, answer)
        return _refusals(answer)


async def _bounded(response: AsyncHttpResponse) -> bytes:
    """Return the response up to the size limit; the rest is not read."""
    result = b""
    async for chunk in response.iter_raw():
        result += chunk
        if len(result) > MAX_INDICATOR_RESPONSE_BYTES:
            break
    return result[:MAX_INDICATOR_RESPONSE_BYTES]


def _refusals(answer: bytes) -> list[_Refusal]:
    if not answer.strip():
        return []
    try:
        result = msgspec.json.decode(answer, type=_Answer | None)
    except msgspec.MsgspecError:
        raise SinkHeldBack("SENTINEL__URL: unreadable response", remedy=_STRANGE) from None
    return [] if result is None else result.errors or []


def _reason(refusal: _Refusal) -> str:
    """Return the service's reason, bounded."""
    words = "; ".join(str(item) for item in refusal.reasons[:5])
    return clean_text(words, MAX_REASON_LENGTH) or "no reason given"


def _translated(response: AsyncHttpResponse, answer: bytes) -> SinkHeldBack | SinkRefused:
    status = response.status_code
    if status in _REFUSED:
        return SinkRefused(f"refused by the upload API ({status})")
    fallback = _BUSY_REMEDY if status in (408, 429) or status >= 500 else _STRANGE
    return SinkHeldBack(
        f"SENTINEL__URL: the upload API answers {status}",
        remedy=_INDICATOR_REMEDIES.get(status, fallback),
        retry_after=_retry_after(response.headers.get("Retry-After"), answer),
    )


def _retry_after(header: str | None, answer: bytes) -> float | None:
    """Return the wait that the service requests, in a header or the body, capped."""
    result = _RETRY_IN.search(answer[:1_000])
    try:
        wanted = float(header if header is not None else result[1] if result else "")
    except ValueError:
        return None
    return min(wanted, MAX_INDICATOR_RETRY_AFTER_SECONDS) if wanted >= 0 else None  # NaN is neither


def _parts(
    objects: Sequence[tuple[StixObject, bytes]], around: int
) -> Iterator[Sequence[tuple[StixObject, bytes]]]:
    """Yield slices that fit a request, by number and by bytes."""
    start, size = 0, around
    for end, (_, encoded) in enumerate(objects):
        larger = size + len(encoded) + 1
        if end > start and (
            end - start == MAX_REQUEST_OBJECTS or larger > MAX_INDICATOR_REQUEST_BYTES
        ):
            yield objects[start:end]
            start, larger = end, around + len(encoded) + 1
        size = larger
    if start < len(objects):
        yield objects[start:]
