"""``signinwatch check``: test every connection and permission, one after the other."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from consumers.clock import WallClock
from consumers.commands.check.sources import feeds_to_check, try_replica, try_sentinel
from consumers.inputs.eventhub_client import explain_refusal, read_properties, read_refusal
from consumers.ledger.cache import VerdictCache
from consumers.wiring.credentials import Credentials
from consumers.wiring.lookups import LookupOptions, make_lookup_queue, may_look_up_paid
from consumers.wiring.service import (
    instance_name,
    make_checkpoints,
    make_hubs,
    make_logs_sink,
    make_run_ledger,
)
from schemas.errors import (
    ConfigurationError,
    FeedFailed,
    KeyRefused,
    SigninwatchError,
    SinkHeldBack,
    StateRefused,
)
from schemas.events.times import iso
from schemas.health import Problem
from schemas.intel.verdicts import Unanswered, WhyUnanswered
from schemas.rows.columns import FINDINGS_TABLE, HEALTH_TABLE, SCHEMA_VERSION, VERDICTS_TABLE
from schemas.rows.findings import finding_id
from schemas.rows.verdicts import verdict_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from consumers.inputs.checkpoint_container import CheckpointContainer
    from consumers.inputs.eventhub_client import EventHub
    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger

CHECK_TIMEOUT_SECONDS = 20.0
"""Seconds for each test."""
SINK_RETRY_SECONDS = 3.0
"""Seconds for which sending a test row is retried."""
PROBE_ADDRESS = "9.9.9.9"
"""The only IP address that is looked up in CrowdSec: a public resolver, no user's client IP."""
TEST_ADDRESS = "192.0.2.1"
"""The IP address in test rows (RFC 5737: documentation only)."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one test; ``code`` is None if it passed."""

    name: str
    text: str
    code: Problem | None = None


class _ProblemRecorder:
    """Records the last problem and ignores its end."""

    def __init__(self) -> None:
        self.problem: tuple[Problem, str] | None = None

    def report(self, what: Problem, detail: str, *, part: str = "") -> None:
        """Record the problem."""
        del part
        self.problem = (what, detail)

    def resolve(self, what: Problem, *, part: str = "") -> None:
        """Do nothing."""


_CODES: tuple[tuple[type[SigninwatchError], Problem], ...] = (
    (KeyRefused, Problem.KEY_REFUSED),
    (StateRefused, Problem.STATE_IN_USE),
    (ConfigurationError, Problem.NOT_CONFIGURED),
    (SinkHeldBack, Problem.FINDINGS_HELD_BACK),
)
_DEFAULT_CODE = Problem.LEDGER_UNREACHABLE

Check = tuple[str, "Callable[[_ProblemRecorder], Awaitable[str]]"]
"""A name and its test, which returns a text, reports a problem, or raises."""


class _CheckFailed(Exception):
    """A check failed with a specific code."""

    def __init__(self, code: Problem, text: str) -> None:
        super().__init__(text)
        self.code = code


async def check(settings: Settings) -> AsyncIterator[CheckResult]:
    """Test everything that ``run`` would use and yield one result each. Problems never raise.

    Spends at most one lookup. Writes one test row to each table, one blob that it deletes, and
    one value in the ledger.
    """
    async with AsyncExitStack() as stack:
        credentials = Credentials(stack, settings)
        yield await _try("checkpoint container", _checkpoints(settings, credentials))
        try:
            hubs = make_hubs(settings, credentials)
        except ConfigurationError as error:
            yield CheckResult("event hub", str(error), Problem.NOT_CONFIGURED)
            hubs = []
        for hub in hubs:
            yield await _try(f"event hub {hub.name}", _hub(hub))
            yield await _try(f"consumer group {hub.settings.consumer_group}", _group(hub))
        yield await _try("ledger", _ledger(settings, credentials))
        yield await _try("CrowdSec key", _key(settings, credentials))
        for table in (FINDINGS_TABLE, VERDICTS_TABLE, HEALTH_TABLE):
            yield await _try(f"ingestion {table}", _stream(settings, credentials, table))
        async for result in _local_sources(settings, credentials):
            yield result


async def _local_sources(
    settings: Settings, credentials: Credentials
) -> AsyncIterator[CheckResult]:
    try:
        feeds = feeds_to_check(settings)
    except ConfigurationError as error:
        yield CheckResult("feeds", str(error), Problem.NOT_CONFIGURED)
        feeds = []
    for name, action in feeds:
        yield await _try(f"feed {name}", _without_recorder(action))
    if settings.crowdsec.replica:
        yield await _try("CrowdSec replica", _without_recorder(lambda: try_replica(settings)))
    if settings.sentinel.workspace_id is not None:
        test = _without_recorder(lambda: try_sentinel(settings, credentials))
        yield await _try("Sentinel indicators", test)


def _without_recorder(
    action: Callable[[], Awaitable[str]],
) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    """Return a test that raises and reports no problems."""

    async def test(recorder: _ProblemRecorder) -> str:
        del recorder
        return await action()

    return test


async def _try(name: str, action: Callable[[_ProblemRecorder], Awaitable[str]]) -> CheckResult:
    recorder = _ProblemRecorder()
    text = ""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            text = await action(recorder)
    except TimeoutError:
        if recorder.problem is None:
            return CheckResult(
                name, f"no response within {CHECK_TIMEOUT_SECONDS:.0f} s", Problem.NOT_CONFIGURED
            )
    except (_CheckFailed, SigninwatchError) as error:
        remedy = f"; {error.remedy}" if isinstance(error, SinkHeldBack) else ""
        return CheckResult(name, f"{error}{remedy}", _code_of(error))
    if recorder.problem is not None:
        return CheckResult(name, recorder.problem[1], recorder.problem[0])
    return CheckResult(name, text)


def _code_of(error: _CheckFailed | SigninwatchError) -> Problem:
    """Return the code of an error."""
    if isinstance(error, _CheckFailed):
        return error.code
    if isinstance(error, FeedFailed):
        return Problem.FEED_REFUSED if error.refused else Problem.FEED_DOWN
    return next((code for kind, code in _CODES if isinstance(error, kind)), _DEFAULT_CODE)


def _checkpoints(
    settings: Settings, credentials: Credentials
) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        checkpoints = make_checkpoints(settings, credentials, recorder)
        try:
            blob = f"check/{instance_name(settings)}"
            if await checkpoints.probe() and await checkpoints.probe_write(blob):
                await _read_positions(settings, credentials, checkpoints)
        finally:
            await checkpoints.close()
        return f"{settings.checkpoint.container} exists, writable (quarantine too)"

    return action


async def _read_positions(
    settings: Settings, credentials: Credentials, checkpoints: CheckpointContainer
) -> None:
    """Read all checkpoints and owners; unreadable ones are reported as a problem."""
    with suppress(ConfigurationError):  # reported by the test of the hub itself
        for hub in make_hubs(settings, credentials):
            names = (hub.namespace, hub.name, hub.settings.consumer_group)
            await checkpoints.store.list_ownership(*names)
            await checkpoints.store.list_checkpoints(*names)


def _hub(hub: EventHub) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        properties = await read_properties(hub, recorder)
        return f"{len(properties.partitions)} partitions" if properties else ""

    return action


def _group(hub: EventHub) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        properties = await read_properties(hub, recorder)
        if properties is None:
            return ""
        partitions = properties.partitions
        refusal = await read_refusal(hub, partitions[0])
        if refusal is None:
            return f"partition {partitions[0]} is readable"
        if "link:stolen" in refusal[0]:
            return f"partition {partitions[0]} is being read by the service"
        raise _CheckFailed(
            Problem.PARTITION_SILENT, explain_refusal(refusal, hub.settings.consumer_group)
        )

    return action


@asynccontextmanager
async def _opened(
    settings: Settings, credentials: Credentials, recorder: _ProblemRecorder
) -> AsyncIterator[Ledger]:
    state = settings.state
    if state.dir is None and state.connection_string is None and state.account_url is None:
        raise ConfigurationError(
            "SIGNINWATCH_STATE__DIR is not set; set it, STATE__CONNECTION_STRING or "
            "STATE__ACCOUNT_URL"
        )
    ledger, opened = make_run_ledger(settings, WallClock(), recorder, credentials)
    try:
        await opened()
        yield ledger
    finally:
        await ledger.close()


def _ledger(
    settings: Settings, credentials: Credentials
) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        async with _opened(settings, credentials, recorder) as ledger:
            stamp = repr(time.time())
            await ledger.put_value("check", stamp)
            if await ledger.get_value("check") != stamp:
                raise _CheckFailed(Problem.LEDGER_UNREACHABLE, "a value just written is missing")
            size = await ledger.size()
            return f"writable; {size.verdicts:,} verdicts, {size.waiting:,} sign-ins waiting"

    return action


def _key(
    settings: Settings, credentials: Credentials
) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        if not may_look_up_paid(settings):
            return "the replica is used; no lookups in the paid API"
        if settings.crowdsec.api_key is None and settings.feeds:
            return "no key: only feeds are used"
        if settings.crowdsec.api_key is None:
            raise ConfigurationError(
                "SIGNINWATCH_CROWDSEC__API_KEY is not set; without it no lookups are made"
            )
        async with _opened(settings, credentials, recorder) as ledger:
            return await _look_up(settings, ledger)

    return action


async def _look_up(settings: Settings, ledger: Ledger) -> str:
    """Look up one IP address within the budget; the verdict is stored like any other."""
    clock = WallClock()
    cache = VerdictCache(ledger, clock)
    quota = settings.crowdsec.monthly_quota
    lookups = make_lookup_queue(settings, ledger, cache, clock, LookupOptions(quota))
    if lookups is None:
        return "CROWDSEC__MONTHLY_QUOTA is 0: no lookups, so the key was not tested"
    try:
        [result] = await lookups.look_up_all([PROBE_ADDRESS])
        left = await lookups.paid_lookup.budget.remaining()
    finally:
        await lookups.close()
    answer = result.answer
    if isinstance(answer, Unanswered):
        quota_spent = answer.why is WhyUnanswered.QUOTA
        code = Problem.QUOTA_SPENT if quota_spent else Problem.SOURCE_DOWN
        raise _CheckFailed(
            code, f"no verdict: {answer.why.value}; check CROWDSEC__URL and the network"
        )
    spent = lookups.counts.lookups
    return f"valid; {spent} lookup spent on {PROBE_ADDRESS}, {left:,} of {quota:,} left"


def _stream(
    settings: Settings, credentials: Credentials, table: str
) -> Callable[[_ProblemRecorder], Awaitable[str]]:
    async def action(recorder: _ProblemRecorder) -> str:
        sink = make_logs_sink(
            settings, table, credentials, patience=SINK_RETRY_SECONDS, health=recorder
        )
        try:
            refused = await sink.send([_test_row(settings, table)])
        finally:
            await sink.close()
        if refused:
            raise _CheckFailed(Problem.FINDINGS_HELD_BACK, f"LOGS__RULE_ID: {refused[0][1]}")
        recorder.problem = None
        return "one test row was accepted; it may take minutes to appear in the table"

    return action


def _test_row(settings: Settings, table: str) -> dict[str, Any]:
    """Return a row that is marked as a test; the bundled rules skip it."""
    stamp = iso(datetime.now(UTC))
    if table == HEALTH_TABLE:
        detail = {"test": True}
        return {
            "TimeGenerated": stamp,
            "Instance": instance_name(settings),
            "Version": version("signinwatch"),
            "Metric": "check",
            "Value": 1.0,
            "Detail": detail,
        }
    if table == VERDICTS_TABLE:
        return {"TimeGenerated": stamp, **verdict_row(TEST_ADDRESS, None, "signinwatch check")}
    return {
        "TimeGenerated": stamp,
        "FindingId": finding_id("signinwatch", f"check:{stamp}", TEST_ADDRESS),
        "EventTime": stamp,
        "EventId": f"check:{stamp}",
        "SourceTable": "signinwatch",
        "IPAddress": TEST_ADDRESS,
        "Account": "signinwatch check",
        "Outcome": "Unknown",
        "Reputation": "suspicious",
        "Severity": "Informational",
        "Sources": ["check"],
        "MatchReason": "signinwatch check",
        "Origin": "test",
        "DelaySeconds": 0.0,
        "SchemaVersion": SCHEMA_VERSION,
    }
