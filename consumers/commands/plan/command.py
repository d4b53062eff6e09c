"""``signinwatch plan``: estimate lookups per CrowdSec plan. Makes no lookups, stores nothing.

The pipelines of all plans run side by side over each batch, so that the input is read once and
may be a pipe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.clock import EventClock
from consumers.commands import console as screens
from consumers.commands.options import require_outputs, require_table, table_option
from schemas.errors import ConfigurationError, RecordingUnreadable
from schemas.events.addresses import Networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.commands.plan.traffic import TrafficPlan
    from consumers.settings import Settings
    from consumers.wiring.plan import PlanChain
    from schemas.ports import Message


MAX_PLAN_BATCH_MESSAGES = 256
MAX_PLAN_BATCH_BYTES = 16 * 1024 * 1024
"""Limits of a batch that the pipelines process at once."""
Progress = Callable[[int, str], None]
"""Gets the number of bytes read and a description of what was counted."""


@click.command("plan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--html", metavar="FILE", help="Write a self-contained HTML page.")
@click.option("--json", "as_object", metavar="FILE", help="Write one JSON object to a file, or -.")
@table_option
@click.pass_obj
def plan_command(
    config: Path | None,
    files: tuple[str, ...],
    html: str | None,
    as_object: str | None,
    table: str | None,
) -> None:
    """Estimate what each CrowdSec plan covers for your sign-ins.

    FILE is an export of any kind, as for replay, a folder or a pattern; - reads standard input.
    Give several files in chronological order. Makes no lookups and needs no key.
    """
    from consumers.commands.plan.console import plan_screen
    from consumers.inputs.recording import expand_names, sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    files = tuple(expand_names(files))
    if html == "-":
        raise ConfigurationError("--html -: standard output is not supported; name a file")
    require_outputs(files, {"--html": html, "--json": as_object})
    require_table(settings, table)
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        planned = asyncio.run(plan(settings, files, advance, table))
    _write(planned, html, as_object)
    console = console if as_object == "-" else Console()
    console.print(plan_screen(planned, console.width))


def _write(planned: TrafficPlan, html: str | None, as_object: str | None) -> None:
    from consumers.commands.plan.html import plan_page
    from consumers.commands.plan.report import as_json

    if html is not None:
        _write_file("--html", html, plan_page(planned).encode())
    if as_object is not None:
        text = orjson.dumps(as_json(planned))
        if as_object == "-":
            click.echo(text.decode())
        else:
            _write_file("--json", as_object, text + b"\n")


def _write_file(option: str, name: str, content: bytes) -> None:
    try:
        Path(name).write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{option} {name}: {error.strerror}") from None


class _PlanRuns:
    """The pipelines of all plans, and a clock for the arrival time of each sign-in."""

    def __init__(self, settings: Settings, planned: TrafficPlan) -> None:
        from consumers.wiring.pipeline import make_decoder

        self._planned = planned
        self._decoder = make_decoder(settings)
        self._clock = EventClock()
        self.pipelines: list[PlanChain] = []

    async def take(self, messages: Sequence[Message]) -> None:
        """Count messages, then process them with the pipeline of each plan."""
        from consumers.event_time import advance

        planned = self._planned
        before = self._clock.now()
        for message in messages:
            decoded = self._decoder.decode(message.body)
            advance(self._clock, decoded, message)
            planned.records += decoded.records
            planned.skipped += decoded.skips.total()
            planned.rejected += decoded.rejected
            planned.traffic.take(self._clock.now(), decoded.signins)
        arrived = planned.traffic.arrivals()
        for coverage, running in zip(planned.coverages, self.pipelines, strict=True):
            coverage.arrive(arrived, before)
            await running.pipeline.process(messages)

    async def end(self) -> None:
        """Make the lookups that are still due now, as the service would, within the pacing."""
        for coverage, running in zip(self._planned.coverages, self.pipelines, strict=True):
            await running.pipeline.drain()
            coverage.end(self._clock.now())
            coverage.lookups = running.lookups.counts.lookups


async def plan(
    settings: Settings, files: Sequence[str], progress: Progress, table: str | None = None
) -> TrafficPlan:
    """Run files through the pipeline of each plan and return the coverage.

    *progress* gets the number of bytes read, *table* names that of records that do not. Raise
    ConfigurationError for invalid settings or files that cannot be opened.
    """
    from consumers.commands.plan.traffic import PLANS, PlanCoverage, Traffic, TrafficPlan
    from consumers.inputs.recording import require_recording
    from consumers.wiring.lookups import lifetimes
    from consumers.wiring.plan import open_plan_chain

    for name in files:
        require_recording(name)
    lifetime = lifetimes(settings).unknown
    planned = TrafficPlan(
        Traffic(Networks(settings.trusted_networks), lifetime),
        [PlanCoverage(quota, waiting_limit=settings.policy.waiting_limit) for quota in PLANS],
    )
    runs = _PlanRuns(settings, planned)
    async with AsyncExitStack() as stack:
        for coverage in planned.coverages:
            opened = open_plan_chain(settings, coverage.lookups_a_month, coverage.record_verdicts)
            runs.pipelines.append(await stack.enter_async_context(opened))
        for name in files:
            await _read(name, table, runs, planned, progress)
        await runs.end()
    planned.notes += _advice(planned)
    return planned


async def _read(
    name: str, table: str | None, runs: _PlanRuns, planned: TrafficPlan, progress: Progress
) -> None:
    from consumers.inputs.recording import read_recording

    batch: list[Message] = []
    size = 0
    try:
        for message in read_recording(name, lambda read: progress(read, ""), table):
            batch.append(message)
            size += len(message.body)
            if len(batch) >= MAX_PLAN_BATCH_MESSAGES or size >= MAX_PLAN_BATCH_BYTES:
                await runs.take(batch)
                progress(0, f"{planned.traffic.signins[0]:,} sign-ins")
                batch, size = [], 0
    except RecordingUnreadable as error:
        planned.notes.append(f"{error}; messages before it were counted.")
    await runs.take(batch)


def _advice(planned: TrafficPlan) -> list[str]:
    """Return notes on what to do if little or nothing was read."""
    if planned.rejected * 2 > planned.records:
        return [
            "Most records could not be read. A file needs JSON objects, or CSV with a line of "
            "column names."
        ]
    if planned.traffic.signins[0] == 0 and planned.records:
        return ["No sign-ins were found; check the settings TABLES and TRUSTED_NETWORKS."]
    return []
