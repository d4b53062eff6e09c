"""``signinwatch check``: test every connection and permission, all at the same time."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from consumers.clock import WallClock
from consumers.commands.check.attempt import (
    PROBLEM_RETRY_SECONDS,
    Check,
    CheckFailed,
    CheckResult,
    ProblemRecorder,
    attempt,
    failing,
    without_recorder,
)
from consumers.commands.check.key import try_key
from consumers.commands.check.sources import (
    feeds_to_check,
    lists_to_check,
    try_replica,
    try_sentinel,
)
from consumers.inputs.eventhub_client import explain_refusal, read_properties, read_refusal
from consumers.wiring.credentials import Credentials
from consumers.wiring.lookups import may_look_up_paid
from consumers.wiring.replay import make_quarantine
from consumers.wiring.service import (
    instance_name,
    make_checkpoints,
    make_hubs,
    make_logs_sink,
    make_run_ledger,
)
from schemas.errors import ConfigurationError, LedgerFailed
from schemas.events.times import iso
from schemas.health import Problem
from schemas.rows.columns import FINDINGS_TABLE, HEALTH_TABLE, SCHEMA_VERSION, VERDICTS_TABLE
from schemas.rows.findings import finding_id
from schemas.rows.verdicts import verdict_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from consumers.inputs.checkpoint_container import CheckpointContainer
    from consumers.inputs.eventhub_client import EventHub
    from consumers.settings import Settings
    from schemas.ledger_ports import Ledger

TEST_ADDRESS = "192.0.2.1"
"""The IP address in test rows (RFC 5737: documentation only)."""


async def check(settings: Settings) -> AsyncIterator[CheckResult]:
    """Test everything that ``run`` would use and yield one result each. Problems never raise.

    Spends at most one lookup. Writes one test row to each table, one blob that it deletes, and
    one value in the ledger.
    """
    ledger_works: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        credentials = Credentials(stack, settings, retries=1)
        tests: list[Check] = [
            ("checkpoint container", _checkpoints(settings, credentials)),
            *_hubs(settings, credentials),
            ("ledger", _ledger(settings, credentials, ledger_works)),
            ("CrowdSec key", _key(settings, credentials, ledger_works)),
            *(
                (f"ingestion {table}", _stream(settings, credentials, table))
                for table in (FINDINGS_TABLE, VERDICTS_TABLE, HEALTH_TABLE)
            ),
            *_local_sources(settings, credentials),
        ]
        running = [asyncio.create_task(attempt(name, action)) for name, action in tests]
        try:
            for task in running:
                yield await task
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def _hubs(settings: Settings, credentials: Credentials) -> list[Check]:
    try:
        hubs = make_hubs(settings, credentials)
    except ConfigurationError as error:
        return [("event hub", failing(error))]
    return [
        test
        for hub in hubs
        for test in (
            (f"event hub {hub.name}", _hub(hub)),
            (f"consumer group {hub.settings.consumer_group}", _group(hub)),
        )
    ]


def _local_sources(settings: Settings, credentials: Credentials) -> list[Check]:
    tests: list[Check] = []
    try:
        tests += [
            (f"feed {name}", without_recorder(action)) for name, action in feeds_to_check(settings)
        ]
    except ConfigurationError as error:
        tests.append(("feeds", failing(error)))
    try:
        tests += [(name, without_recorder(action)) for name, action in lists_to_check(settings)]
    except ConfigurationError as error:
        tests.append(("lists", failing(error)))
    if settings.crowdsec.replica:
        tests.append(("CrowdSec replica", without_recorder(lambda: try_replica(settings))))
    if settings.sentinel.workspace_id is not None:
        test = without_recorder(lambda: try_sentinel(settings, credentials))
        tests.append(("Sentinel indicators", test))
    return tests


def _checkpoints(
    settings: Settings, credentials: Credentials
) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def action(recorder: ProblemRecorder) -> str:
        checkpoints = make_checkpoints(settings, credentials, recorder)
        try:
            blob = f"check/{instance_name(settings)}"
            if await checkpoints.probe() and await checkpoints.probe_write(blob):
                await _read_positions(settings, credentials, checkpoints)
                await _try_quarantine(settings)
        finally:
            await checkpoints.close()
        return f"{settings.checkpoint.container} exists, writable (quarantine too)"

    return action


async def _try_quarantine(settings: Settings) -> None:
    """Write to the quarantine as ``run`` does. Raises ConfigurationError and CheckFailed."""
    quarantine = make_quarantine(settings, None, instance=instance_name(settings))
    try:
        await quarantine.probe()
    except LedgerFailed as error:
        raise CheckFailed(Problem.QUARANTINE_UNREACHABLE, str(error)) from None
    finally:
        await quarantine.close()


async def _read_positions(
    settings: Settings, credentials: Credentials, checkpoints: CheckpointContainer
) -> None:
    """Read all checkpoints and owners; unreadable ones are reported as a problem."""
    with suppress(ConfigurationError):  # reported by the test of the hub itself
        for hub in make_hubs(settings, credentials):
            names = (hub.namespace, hub.name, hub.settings.consumer_group)
            await checkpoints.store.list_ownership(*names)
            await checkpoints.store.list_checkpoints(*names)


def _hub(hub: EventHub) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def action(recorder: ProblemRecorder) -> str:
        properties = await read_properties(hub, recorder)
        return f"{len(properties.partitions)} partitions" if properties else ""

    return action


def _group(hub: EventHub) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def action(recorder: ProblemRecorder) -> str:
        properties = await read_properties(hub, recorder)
        if properties is None:
            return ""
        partitions = properties.partitions
        refusal = await read_refusal(hub, partitions[0])
        if refusal is None:
            return f"partition {partitions[0]} is readable"
        if "link:stolen" in refusal[0]:
            return f"partition {partitions[0]} is being read by the service"
        raise CheckFailed(
            Problem.PARTITION_SILENT, explain_refusal(refusal, hub.settings.consumer_group)
        )

    return action


@asynccontextmanager
async def _opened(
    settings: Settings, credentials: Credentials, recorder: ProblemRecorder
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
    settings: Settings, credentials: Credentials, works: asyncio.Future[bool]
) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def tried(recorder: ProblemRecorder) -> str:
        async with _opened(settings, credentials, recorder) as ledger:
            stamp = repr(time.time())
            await ledger.put_value("check", stamp)
            if await ledger.get_value("check") != stamp:
                raise CheckFailed(Problem.LEDGER_UNREACHABLE, "a value just written is missing")
            size = await ledger.size()
            return f"writable; {size.verdicts:,} verdicts, {size.waiting:,} sign-ins waiting"

    async def action(recorder: ProblemRecorder) -> str:
        worked = False
        try:
            text = await tried(recorder)
            worked = True
            return text
        finally:
            works.set_result(worked)

    return action


def _key(
    settings: Settings, credentials: Credentials, ledger_works: asyncio.Future[bool]
) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def action(recorder: ProblemRecorder) -> str:
        if not may_look_up_paid(settings):
            return "the replica is used; no lookups in the paid API"
        if settings.crowdsec.api_key is None and settings.feeds:
            return "no key: only feeds are used"
        if settings.crowdsec.api_key is None:
            raise ConfigurationError(
                "SIGNINWATCH_CROWDSEC__API_KEY is not set; without it no lookups are made"
            )
        # An embedded ledger is open once at a time, so the test of it comes first.
        if not await ledger_works:
            raise CheckFailed(
                Problem.LEDGER_UNREACHABLE, "not tested: the ledger, which counts lookups, fails"
            )
        async with _opened(settings, credentials, recorder) as ledger:
            return await try_key(settings, ledger)

    return action


def _stream(
    settings: Settings, credentials: Credentials, table: str
) -> Callable[[ProblemRecorder], Awaitable[str]]:
    async def action(recorder: ProblemRecorder) -> str:
        sink = make_logs_sink(
            settings, table, credentials, patience=PROBLEM_RETRY_SECONDS, health=recorder
        )
        try:
            refused = await sink.send([_test_row(settings, table)])
        finally:
            await sink.close()
        if refused:
            raise CheckFailed(Problem.FINDINGS_HELD_BACK, f"LOGS__RULE_ID: {refused[0][1]}")
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
