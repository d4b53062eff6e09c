"""``signinwatch plan``: what the traffic of a recording costs. Asks nobody, keeps nothing.

The chains of all plans run side by side over each batch of a recording, so that it is read once
and may come from a pipe.
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
from consumers.commands.options import require_outputs
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
"""Limits of the batch that is passed to the pipelines."""
Progress = Callable[[int, str], None]
"""Called with the bytes read and a description of the counts."""


@click.command("plan")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--html", metavar="FILE", help="Write a self-contained HTML page.")
@click.option("--json", "as_object", metavar="FILE", help="Write a JSON object; - is stdout.")
@click.pass_obj
def plan_command(
    config: Path | None, files: tuple[str, ...], html: str | None, as_object: str | None
) -> None:
    """Estimate what each CrowdSec plan would cover for exported sign-ins.

    FILE is NDJSON, gzipped NDJSON or Event Hubs Capture Avro; - is standard input. Several files
    are read one after another, in order of time. Makes no lookups and needs no key.
    """
    from consumers.commands.plan.console import plan_screen
    from consumers.inputs.recording import require_recording, sizes_of
    from consumers.settings import load_settings

    settings = load_settings(config)
    for name in files:
        require_recording(name)
    if html == "-":
        raise ConfigurationError("--html -: must be a file")
    require_outputs(files, {"--html": html, "--json": as_object})
    console = Console(stderr=True)
    with screens.progress_bar(console, sizes_of(files)) as advance:
        planned = asyncio.run(plan(settings, files, advance))
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
    """The chains, and a clock beside theirs that tells when each sign-in came."""

    def __init__(self, settings: Settings, planned: TrafficPlan) -> None:
        from consumers.wiring.core import make_decoder

        self._planned = planned
        self._decoder = make_decoder(settings)
        self._clock = EventClock()
        self.chains: list[PlanChain] = []

    async def take(self, messages: Sequence[Message]) -> None:
        """Count messages, then run each plan's pipeline over them."""
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
        for coverage, chain in zip(planned.coverages, self.chains, strict=True):
            coverage.arrive(arrived, before)
            await chain.pipeline.process(messages)

    async def end(self) -> None:
        """Let each pipeline make the lookups that its budget still permits."""
        for coverage, chain in zip(self._planned.coverages, self.chains, strict=True):
            await chain.pipeline.drain()
            coverage.end(self._clock.now())
            coverage.lookups = chain.lookups.counts.lookups


async def plan(settings: Settings, files: Sequence[str], progress: Progress) -> TrafficPlan:
    """Run recordings through the chain of each plan.

    *progress* is told of bytes read. ConfigurationError for what a person must mend first.
    """
    from consumers.commands.plan.traffic import PLANS, PlanCoverage, Traffic, TrafficPlan
    from consumers.inputs.recording import require_recording
    from consumers.wiring.core import lifetimes
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
            opened = open_plan_chain(settings, coverage.lookups_a_month, coverage.resolved)
            runs.chains.append(await stack.enter_async_context(opened))
        for name in files:
            await _read(name, runs, planned, progress)
        await runs.end()
    planned.notes += _advice(planned)
    return planned


async def _read(name: str, runs: _PlanRuns, planned: TrafficPlan, progress: Progress) -> None:
    from consumers.inputs.recording import read_recording

    batch: list[Message] = []
    size = 0
    try:
        for message in read_recording(name, lambda read: progress(read, "")):
            batch.append(message)
            size += len(message.body)
            if len(batch) >= MAX_PLAN_BATCH_MESSAGES or size >= MAX_PLAN_BATCH_BYTES:
                await runs.take(batch)
                progress(0, f"{planned.traffic.signins[0]:,} sign-ins")
                batch, size = [], 0
    except RecordingUnreadable as error:
        planned.notes.append(f"{error}; what came before it was counted.")
    await runs.take(batch)


def _advice(planned: TrafficPlan) -> list[str]:
    """Say what a person may want to do about what was not read."""
    if planned.rejected * 2 > planned.records:
        return [
            "Most of it could not be read. A recording holds one JSON text a line: "
            "`jq -c . FILE` turns a pretty-printed file into one."
        ]
    if planned.traffic.signins[0] == 0 and planned.records:
        return ["No sign-in was found; see the TABLES setting, and TRUSTED_NETWORKS."]
    return []
