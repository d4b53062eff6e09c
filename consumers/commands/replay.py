"""``signinwatch replay``: run exported sign-ins through the pipeline of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import click
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.options import (
    quota_option,
    require_outputs,
    require_table,
    spend_option,
    state_option,
    table_option,
    write_summary,
)
from schemas.errors import ConfigurationError, RecordingRefused, RecordingUnreadable
from schemas.intel.verdicts import WhyUnanswered
from schemas.ports import Message, Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from typing_extensions import Unpack

    from consumers.pipeline.stats import PipelineCounts
    from consumers.settings import Settings
    from consumers.wiring.replay import ReplayPipeline, StateFolder
    from producers.findings_file import TopFindings
    from schemas.ports import Sink

STDERR = Console(stderr=True)
findings_option = click.option(
    "--findings", help="Output of findings: a JSON lines file, - or azure. Default: a table."
)
Progress = Callable[[int, "ReplayPipeline | None"], None]
"""Gets the number of bytes read and, at intervals, the pipeline."""
MAX_BATCH_MESSAGES = 256
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Limits of a batch that the pipeline processes at once."""


class ReplayFlags(TypedDict):
    """The options that say how to replay."""

    clock: str
    quota: int | None
    spend: bool
    table: str | None
    only_learn: bool


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@findings_option
@click.option("--summary", help="Write the counts as one JSON object to a file, or -.")
@state_option
@click.option(
    "--clock",
    type=click.Choice(["event", "wall"]),
    default="event",
    show_default=True,
    help="Use the time of the events or the current time.",
)
@quota_option
@spend_option
@table_option
@click.option(
    "--warm", "only_learn", is_flag=True, help="Learn the history only; look up and report nothing."
)
@click.pass_obj
def replay_command(
    config: Path | None,
    files: tuple[str, ...],
    findings: str | None,
    summary: str | None,
    state: Path | None,
    **flags: Unpack[ReplayFlags],
) -> None:
    """Run exported sign-ins through the pipeline.

    FILE is an export of any kind, recognised by its content: JSON, NDJSON, CSV of the Entra or Logs
    portal or of Purview, or Event Hubs Capture Avro; plain, gzip, zip or zstd. It may be a folder
    or a pattern; - reads standard input.
    """
    from consumers.inputs.recording import expand_names
    from consumers.settings import load_settings
    from consumers.wiring.replay import StateFolder
    from producers.findings_file import TopFindings

    settings = load_settings(config)
    clock, table = flags["clock"], flags["table"]
    outputs = {"--findings": None if findings == "azure" else findings, "--summary": summary}
    files = tuple(expand_names(files))
    require_outputs(files, outputs)
    require_table(settings, table)
    if flags["only_learn"]:
        _warm(settings, files, table, (state, clock), summary)
        return
    late_origin = "replay" if findings == "azure" else "late"  # the bundled rules alert on late
    options = ReplayOptions(
        files, clock, flags["quota"], flags["spend"], table=table, late_origin=late_origin
    )
    shown = TopFindings()
    with StateFolder(state) as folder:
        result = _replay(settings, options, folder, shown, findings)
        if result.summary["findings_refused"] and folder.temporary:
            folder.kept = True
            result.notes.append(
                f"Findings were permanently rejected; they are quarantined in {folder.path}."
            )
    write_summary(summary, result.summary)
    _show(result, shown if findings is None else None, quiet="-" in (findings, summary))
    if 0 < result.summary["rejected"] == result.summary["records"]:
        raise SystemExit(1)  # nothing at all was recognised


def _warm(
    settings: Settings,
    files: Sequence[str],
    table: str | None,
    state: tuple[Path | None, str],
    target: str | None,
) -> None:
    from consumers.commands.warm import show, warm
    from consumers.inputs.recording import sizes_of

    with screens.progress_bar(STDERR, sizes_of(files)) as advance:
        summary, counts = asyncio.run(warm(settings, files, table, state, advance))
    write_summary(target, summary)
    show(summary, unread_notes(counts), STDERR if target == "-" else Console())


def _replay(
    settings: Settings,
    options: ReplayOptions,
    folder: StateFolder,
    shown: TopFindings,
    findings: str | None,
) -> ReplayResult:
    from consumers.inputs.recording import sizes_of
    from consumers.wiring.replay import make_sink

    def new_sink() -> Sink:
        return shown if findings is None else make_sink(settings, findings)

    with screens.progress_bar(STDERR, sizes_of(options.files)) as advance:

        def progress(read: int, running: ReplayPipeline | None) -> None:
            advance(read, _described(running) if running else "")

        return asyncio.run(replay(settings, options, folder, new_sink, progress))


def _described(running: ReplayPipeline) -> str:
    counts = running.pipeline.counts
    lookups = running.lookups.counts.lookups if running.lookups else 0
    findings = running.outbox.accepted.total()
    return f"{counts.signins:,} sign-ins, {lookups:,} lookups, {findings:,} findings"


def _show(result: ReplayResult, shown: TopFindings | None, *, quiet: bool) -> None:
    """Show findings and summary; *quiet* keeps standard output for machine-readable output."""
    console = STDERR if quiet else Console()
    if shown is not None and shown.rows:
        console.print(screens.findings_table(shown.rows, result.summary["findings"], console.width))
    console.print(screens.summary_panel(result.summary, result.notes))


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and by which clock and quota."""

    files: Sequence[str]
    clock: str = "event"
    quota: int | None = None
    spend: bool = False
    origin: str = "replay"
    table: str | None = None
    """The table of records that do not name theirs."""
    late_origin: str = "late"
    """Origin of findings on sign-ins that waited: "replay" where rules would alert on "late"."""


@dataclass(slots=True)
class ReplayResult:
    """Summary and notes of a replay."""

    summary: dict[str, Any]
    severities: dict[str, int]
    notes: list[str]


async def replay(
    settings: Settings,
    options: ReplayOptions,
    folder: StateFolder,
    new_sink: Callable[[], Sink],
    progress: Progress,
) -> ReplayResult:
    """Run files through the pipeline and return the summary and notes.

    *progress* gets the number of bytes read. Raise ConfigurationError for invalid settings or
    files that cannot be opened.
    """
    from consumers.inputs.recording import require_recording
    from consumers.wiring.replay import open_chain

    quota = settings.crowdsec.monthly_quota if options.quota is None else options.quota
    refuse_to_spend_unasked(settings, options.clock, quota, spend=options.spend)
    for name in options.files:
        require_recording(name)
    started = time.monotonic()
    async with open_chain(
        settings,
        folder,
        new_sink,
        clock_kind=options.clock,
        quota=quota,
        origin=options.origin,
        late_origin=options.late_origin,
    ) as running:
        notes = running.notes
        refused = []
        for name in options.files:
            try:
                await _replay_file(name, options.table, running, progress, notes)
            except RecordingRefused as error:
                refused.append(error)
        if refused and not running.pipeline.counts.messages:
            raise refused[0]
        notes += [f"{error}." for error in refused]
        await running.pipeline.drain(spend_remaining=await _nothing_follows(running, folder))
        size = await running.ledger.size()
        notes += _advice(running, size.waiting, quota)
        summary = summarise(running, time.monotonic() - started)
        return ReplayResult(summary, dict(running.outbox.accepted), notes)


async def _nothing_follows(running: ReplayPipeline, folder: StateFolder) -> bool:
    """Return True if the remaining budget may be spent at the end of the input.

    True only if the budget covers half a day or less, which is too short to estimate demand, and
    either the state is temporary or the remaining lookups cover all waiting IP addresses.
    """
    if running.lookups is None or not await running.lookups.paid_lookup.budget.is_new():
        return False
    waiting = (await running.ledger.size()).waiting_addresses
    return folder.temporary or waiting <= await running.lookups.paid_lookup.budget.remaining()


def refuse_to_spend_unasked(settings: Settings, clock: str, quota: int, *, spend: bool) -> None:
    """Raise ConfigurationError if the event clock would spend real lookups without *spend*."""
    from consumers.settings.urls import is_loopback

    crowdsec = settings.crowdsec
    would_look_up = crowdsec.api_key is not None and quota > 0 and not is_loopback(crowdsec.url)
    if clock == "event" and would_look_up and not spend:
        raise ConfigurationError(
            "--spend: with the event clock this would spend real lookups of CROWDSEC__API_KEY; "
            "use --spend to allow it, or --quota 0 for no lookups"
        )


async def _replay_file(
    name: str, table: str | None, running: ReplayPipeline, progress: Progress, notes: list[str]
) -> None:
    from consumers.inputs.recording import read_recording
    from schemas.events.decode import Reject

    batch: list[Message] = []
    size = last = 0
    try:
        for message in read_recording(name, lambda read: progress(read, None), table):
            batch.append(message)
            size += len(message.body)
            last = message.position.number
            if len(batch) >= MAX_BATCH_MESSAGES or size >= MAX_BATCH_BYTES:
                await running.pipeline.process(batch)
                progress(0, running)
                batch, size = [], 0
    except RecordingUnreadable as error:
        await running.pipeline.process(batch)
        batch = []
        await running.pipeline.reject(Position(name, last + 1), Reject(str(error), b""))
        notes.append(f"{error}; messages before it were replayed.")
    await running.pipeline.process(batch)
    progress(0, running)
    if not last:
        notes.append(f"{name} is empty.")


def summarise(running: ReplayPipeline, seconds: float) -> dict[str, Any]:
    """Return the summary: the counts that the contract names, and further counts."""
    counts = running.pipeline.counts
    lookup_counts = running.lookups.counts if running.lookups else None
    return {
        "messages": counts.messages,
        "records": counts.records,
        "rejected": counts.rejected,
        "skipped": counts.skipped.total(),
        "signins": counts.signins,
        "distinct_ips": len(counts.addresses),
        "cache_hits": counts.cache_hits,
        "lookups": lookup_counts.lookups if lookup_counts else 0,
        "requests": lookup_counts.requests if lookup_counts else 0,
        "findings": running.outbox.accepted.total(),
        "unanswered": counts.unanswered,
        "seconds": round(seconds, 3),
        "own_network": counts.own_network,
        "without_time": counts.without_time,
        "findings_refused": running.outbox.refused,
        "skipped_by_reason": dict(counts.skipped.most_common()),
        "findings_by_severity": dict(running.outbox.accepted),
    }


def _advice(running: ReplayPipeline, waiting: int, quota: int) -> list[str]:
    """Return notes on what to do about unanswered sign-ins and unreadable records."""
    counts = running.pipeline.counts
    notes = []
    if counts.unanswered and running.lookups is None:
        reasons = [
            "SIGNINWATCH_CROWDSEC__API_KEY is not set"
            if reason == WhyUnanswered.NO_SOURCE
            else reason
            for reason in sorted(counts.reasons)
        ]
        why = "--quota is 0" if quota == 0 else ", ".join(reasons)
        notes.append(
            f"No lookups were made; {counts.unanswered:,} sign-ins are unanswered, not clean: "
            f"{why}."
        )
    elif counts.unanswered:
        notes.append(
            f"{counts.unanswered:,} sign-ins are unanswered, not clean ({waiting:,} waiting in the "
            f"ledger): {', '.join(sorted(counts.reasons))}. The quota is {quota:,} lookups."
        )
    if counts.without_time:
        notes.append(
            f"{counts.without_time:,} sign-ins have no readable time and count as happening when "
            "they were read; their findings have no EventTime."
        )
    return notes + unread_notes(counts)


def unread_notes(counts: PipelineCounts) -> list[str]:
    """Return notes on records that were not read, or are of tables that are off."""
    notes = []
    if counts.records and counts.rejected * 2 > counts.records:
        notes.append(
            "Most records could not be read. A file needs JSON objects, or CSV with a line of "
            "column names."
        )
    elif counts.rejected:
        notes.append(
            f"{screens.counted(counts.rejected, 'record')} could not be read; `signinwatch "
            "quarantine list --state DIR` shows why if you replay with --state DIR."
        )
    if counts.off:
        tables = ", ".join(sorted(counts.off))
        notes.append(
            f"{screens.counted(counts.off.total(), 'record')} of tables that are off: {tables}. "
            f"SIGNINWATCH_TABLES=default,{tables.replace(' ', '')} turns them on as well."
        )
    elif counts.signins == 0 and counts.skipped:
        notes.append(
            "No sign-ins were found. If the rows have no column Type, --table NAME says whose "
            "they are."
        )
    return notes
