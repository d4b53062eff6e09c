"""``signinwatch replay``: recorded events through the same pipeline as the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import (
    quota_option,
    require_outputs,
    spend_option,
    state_option,
    write_summary,
)
from schemas.errors import ConfigurationError, RecordingUnreadable
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from consumers.settings import Settings
    from consumers.wiring.replay import ReplayPipeline, StateFolder
    from producers.findings_file import TopFindings
    from schemas.ports import Sink

STDERR = Console(stderr=True)
findings_option = click.option(
    "--findings", help="Write findings to a JSON Lines file, - or azure. Default: show a table."
)
Progress = Callable[[int, "ReplayPipeline | None"], None]
"""Called with the bytes read and, at intervals, with the pipeline."""
MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Limits of the batch that is passed to the pipeline."""


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@findings_option
@click.option("--summary", help="Write the counts as a JSON object to a file or -.")
@state_option
@click.option("--clock", type=click.Choice(["event", "wall"]), default="event", show_default=True)
@quota_option
@spend_option
@click.pass_obj
def replay_command(
    config: Path | None,
    files: tuple[str, ...],
    findings: str | None,
    summary: str | None,
    state: Path | None,
    clock: str,
    quota: int | None,
    spend: bool,
) -> None:
    """Run exported sign-ins through the same pipeline as the service.

    FILE is NDJSON, gzipped NDJSON or Event Hubs Capture Avro; - is standard input.
    """
    from consumers.settings import load_settings
    from consumers.wiring.replay import StateFolder
    from producers.findings_file import TopFindings

    settings = load_settings(config)
    outputs = {"--findings": None if findings == "azure" else findings, "--summary": summary}
    require_outputs(files, outputs)
    late_origin = "replay" if findings == "azure" else "late"  # the shipped rules alert on late
    plan = ReplayOptions(files, clock, quota, spend, late_origin=late_origin)
    shown = TopFindings()
    with StateFolder(state) as folder:
        told = _replay(settings, plan, folder, shown, findings)
        if told.summary["findings_refused"] and folder.temporary:
            folder.kept = True
            told.notes.append(f"Findings were rejected; they are stored in {folder.path}.")
    write_summary(summary, told.summary)
    _show(told, shown if findings is None else None, quiet="-" in (findings, summary))


def _replay(
    settings: Settings,
    plan: ReplayOptions,
    folder: StateFolder,
    shown: TopFindings,
    findings: str | None,
) -> ReplayResult:
    from consumers.inputs.recording import sizes_of
    from consumers.wiring.replay import make_sink

    def new_sink() -> Sink:
        return shown if findings is None else make_sink(settings, findings)

    with screens.progress_bar(STDERR, sizes_of(plan.files)) as advance:

        def progress(read: int, chain: ReplayPipeline | None) -> None:
            advance(read, _described(chain) if chain else "")

        return asyncio.run(replay(settings, plan, folder, new_sink, progress))


def _described(chain: ReplayPipeline) -> str:
    counts = chain.pipeline.counts
    lookups = chain.lookups.counts.lookups if chain.lookups else 0
    findings = chain.outbox.accepted.total()
    return f"{counts.signins:,} sign-ins, {lookups:,} lookups, {findings:,} findings"


def _show(told: ReplayResult, shown: TopFindings | None, *, quiet: bool) -> None:
    """Show findings and summary, on standard error if standard output is for programs."""
    console = STDERR if quiet else Console()
    if shown is not None and shown.rows:
        console.print(screens.findings_table(shown.rows, told.summary["findings"], console.width))
    console.print(screens.summary_panel(told.summary, told.notes))


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and by which clock and quota."""

    files: Sequence[str]
    clock: str = "event"
    quota: int | None = None
    spend: bool = False
    origin: str = "replay"
    late_origin: str = "late"
    """Origin of findings whose sign-in waited; "replay" where rules would alert on "late"."""


@dataclass(slots=True)
class ReplayResult:
    """The result of a replay, besides its findings."""

    summary: dict[str, Any]
    severities: dict[str, int]
    notes: list[str]


async def replay(
    settings: Settings,
    plan: ReplayOptions,
    folder: StateFolder,
    new_sink: Callable[[], Sink],
    progress: Progress,
) -> ReplayResult:
    """Run recordings through the pipeline and return the summary.

    *progress* is told of bytes read. ConfigurationError for what a person must mend first.
    """
    from consumers.inputs.recording import require_recording
    from consumers.wiring.replay import open_chain

    quota = settings.crowdsec.monthly_quota if plan.quota is None else plan.quota
    refuse_to_spend_unasked(settings, plan.clock, quota, spend=plan.spend)
    for name in plan.files:
        require_recording(name)
    started = time.monotonic()
    async with open_chain(
        settings,
        folder,
        new_sink,
        clock_kind=plan.clock,
        quota=quota,
        origin=plan.origin,
        late_origin=plan.late_origin,
    ) as chain:
        notes = chain.notes
        for name in plan.files:
            await _replay_file(name, chain, progress, notes)
        await chain.pipeline.drain(hurry=await _nothing_follows(chain, folder))
        size = await chain.ledger.size()
        notes += _advice(chain, size.waiting, quota)
        summary = summarise(chain, time.monotonic() - started)
        return ReplayResult(summary, dict(chain.outbox.accepted), notes)


async def _nothing_follows(chain: ReplayPipeline, folder: StateFolder) -> bool:
    """Return True if the rest of the budget may be spent at the end of a recording.

    That is when half a day or less was met, which tells nothing of the demand to come: if the
    state goes away with the replay, or what is left is enough for all that waits.
    """
    if chain.lookups is None or not await chain.lookups.paid_lookup.budget.is_new():
        return False
    waiting = (await chain.ledger.size()).waiting_addresses
    return folder.temporary or waiting <= await chain.lookups.paid_lookup.budget.remaining()


def refuse_to_spend_unasked(settings: Settings, clock: str, quota: int, *, spend: bool) -> None:
    """Raise ConfigurationError if real lookups would be spent without permission."""
    from consumers.settings.urls import is_loopback

    crowdsec = settings.crowdsec
    would_ask = crowdsec.api_key is not None and quota > 0 and not is_loopback(crowdsec.url)
    if clock == "event" and would_ask and not spend:
        raise ConfigurationError(
            "--spend: under the event clock this would spend real lookups of CROWDSEC__API_KEY; "
            "add --spend to permit it, or --quota 0 to make no lookups"
        )


async def _replay_file(
    name: str, chain: ReplayPipeline, progress: Progress, notes: list[str]
) -> None:
    from consumers.inputs.recording import read_recording
    from schemas.events.decode import Reject

    batch: list[Message] = []
    size = last = 0
    try:
        for message in read_recording(name, lambda read: progress(read, None)):
            batch.append(message)
            size += len(message.body)
            last = message.position.number
            if len(batch) >= MAX_BATCH_MESSAGES or size >= MAX_BATCH_BYTES:
                await chain.pipeline.process(batch)
                progress(0, chain)
                batch, size = [], 0
    except RecordingUnreadable as error:
        await chain.pipeline.process(batch)
        batch = []
        await chain.pipeline.reject(Position(name, last + 1), Reject(str(error), b""))
        notes.append(f"{error}; everything before it was replayed.")
    await chain.pipeline.process(batch)
    progress(0, chain)


def summarise(chain: ReplayPipeline, seconds: float) -> dict[str, Any]:
    """Return the counts of a replay."""
    counts = chain.pipeline.counts
    asked = chain.lookups.counts if chain.lookups else None
    return {
        "messages": counts.messages,
        "records": counts.records,
        "rejected": counts.rejected,
        "skipped": counts.skipped.total(),
        "signins": counts.signins,
        "distinct_ips": len(counts.addresses),
        "cache_hits": counts.cache_hits,
        "lookups": asked.lookups if asked else 0,
        "requests": asked.requests if asked else 0,
        "findings": chain.outbox.accepted.total(),
        "unanswered": counts.unanswered,
        "seconds": round(seconds, 3),
        "own_network": counts.own_network,
        "findings_refused": chain.outbox.refused,
        "skipped_by_reason": dict(counts.skipped.most_common()),
        "findings_by_severity": dict(chain.outbox.accepted),
    }


def _advice(chain: ReplayPipeline, waiting: int, quota: int) -> list[str]:
    """Return advice about sign-ins without a verdict and unreadable input."""
    counts = chain.pipeline.counts
    notes = []
    if counts.unanswered and chain.lookups is None:
        why = "--quota is 0" if quota == 0 else ", ".join(sorted(counts.reasons))
        notes.append(
            f"No lookups were made; {counts.unanswered:,} sign-ins are unanswered, not "
            f"clean: {why}."
        )
    elif counts.unanswered:
        notes.append(
            f"{counts.unanswered:,} sign-ins are unanswered, not clean ({waiting:,} wait in the "
            f"ledger): {', '.join(sorted(counts.reasons))}. The quota is {quota:,} lookups."
        )
    if counts.records and counts.rejected * 2 > counts.records:
        notes.append(
            "Most of the input could not be read. A recording holds a JSON text per line: "
            "`jq -c . FILE` turns a pretty-printed file into one."
        )
    elif counts.signins == 0 and counts.records:
        notes.append("No sign-ins were found; check the reasons and the TABLES setting.")
    return notes
