"""``signinwatch replay``: run exported sign-ins through the pipeline of the service."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import click

from consumers.commands import console as screens
from consumers.commands.formats import (
    format_options,
    refuse_to_overwrite,
    screen_console,
    target_of,
)
from consumers.commands.options import (
    filter_options,
    forget_paid_option,
    quota_option,
    require_outputs,
    require_table,
    spend_option,
    state_option,
    table_option,
    timezone_option,
    write_summary,
)
from schemas.errors import CommandInterrupted, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from typing_extensions import Unpack

    from consumers.commands.answer.findings_log import FindingsLog
    from consumers.commands.answer.times import Times
    from consumers.commands.formats import Target
    from consumers.commands.replay.job import ReplayOptions, ReplayResult
    from consumers.settings import Settings
    from consumers.wiring.replay import ReplayPipeline, StateFolder

findings_option = click.option(
    "--findings", help="Also write findings as they are made: a JSON lines file, - or azure."
)


class ReplayFlags(TypedDict):
    """The options of the command."""

    findings: str | None
    summary: str | None
    state: Path | None
    clock: str
    quota: int | None
    spend: bool
    forget_paid: bool
    table: str | None
    only_learn: bool
    since: datetime | None
    until: datetime | None
    accounts: tuple[str, ...]
    addresses: tuple[str, ...]
    min_severity: str | None
    outcomes: tuple[str, ...]
    details: bool
    timezone: str | None
    fail_on: str | None
    strict: bool
    require_sign_ins: bool
    format_: str | None
    output: str | None
    force: bool


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@format_options
@findings_option
@click.option("--summary", help="Write the counts as one JSON object to a file, or -.")
@click.option("--details", is_flag=True, help="Show the findings one by one as well.")
@filter_options
@timezone_option
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
@forget_paid_option
@table_option
@click.option(
    "--warm", "only_learn", is_flag=True, help="Learn the history only; look up and report nothing."
)
@click.option(
    "--fail-on",
    type=click.Choice(["high", "medium", "low"]),
    help="Exit with 3 if a finding is at least so severe.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with 4 if something is unanswered or unreadable."
)
@click.option("--require-sign-ins", is_flag=True, help="Exit with 1 if there are no sign-ins.")
@click.pass_obj
def replay_command(
    config: Path | None, files: tuple[str, ...], **flags: Unpack[ReplayFlags]
) -> None:
    """Run exported sign-ins through the pipeline.

    FILE is an export of any kind, recognised by its content: JSON, NDJSON, CSV of the Entra or Logs
    portal or of Purview, or Event Hubs Capture Avro; plain, gzip, zip or zstd. It may be a folder
    or a pattern; - reads standard input. All of it is judged; filters say what is shown.
    """
    from consumers.inputs.recording import expand_names
    from consumers.settings import load_settings

    settings = load_settings(config)
    files = tuple(expand_names(files))
    target = _checked(settings, files, flags)
    if flags["only_learn"]:
        _warm(settings, files, flags)
        return
    raise SystemExit(_run(settings, files, flags, target))


def _checked(settings: Settings, files: Sequence[str], flags: ReplayFlags) -> Target:
    """Return the target. Raises ConfigurationError for options that cannot be followed."""
    from pathlib import Path

    findings = None if flags["findings"] == "azure" else flags["findings"]
    target = target_of(flags["format_"], flags["output"], force=flags["force"], as_json=False)
    outputs = {"--findings": findings, "--summary": flags["summary"]}
    if "-" in outputs.values() and target.path is None and not target.on_screen:
        taken = next(option for option, name in outputs.items() if name == "-")
        raise ConfigurationError(
            f"--format {target.format}: {taken} - writes to standard output already; use --output"
        )
    for option, name in outputs.items():
        if name not in (None, "-"):
            refuse_to_overwrite(option, Path(name or ""), force=flags["force"])
    if target.path is not None:
        outputs["--output"] = str(target.path)
    require_outputs(files, outputs)
    require_table(settings, flags["table"])
    return target


def _warm(settings: Settings, files: Sequence[str], flags: ReplayFlags) -> None:
    from consumers.commands.replay.notes import unread_notes
    from consumers.commands.warm import show, warm
    from consumers.inputs.recording import sizes_of

    place = flags["state"], flags["clock"]
    with screens.progress_bar(screen_console(stderr=True), sizes_of(files)) as advance:
        summary, counts = asyncio.run(warm(settings, files, flags["table"], place, advance))
    write_summary(flags["summary"], summary)
    show(summary, unread_notes(counts), screen_console(stderr=flags["summary"] == "-"))


def _run(settings: Settings, files: Sequence[str], flags: ReplayFlags, target: Target) -> int:
    """Replay, show the answer, and return the exit status."""
    from consumers.commands.answer.findings_log import FindingsLog
    from consumers.commands.answer.times import times_in
    from consumers.commands.options import filter_of
    from consumers.commands.replay.job import ReplayOptions
    from consumers.commands.replay.show import Shown, show
    from consumers.wiring.paid_answers import folder_to_keep
    from consumers.wiring.replay import StateFolder, make_sink

    late_origin = "replay" if flags["findings"] == "azure" else "late"  # the rules alert on late
    options = ReplayOptions(
        files, flags["clock"], flags["quota"], flags["spend"],
        table=flags["table"], late_origin=late_origin,
    )  # fmt: skip
    chosen, times = filter_of(flags, flags["table"]), times_in(flags["timezone"])
    findings = flags["findings"]
    paid = folder_to_keep(settings, forget=flags["forget_paid"], spend=flags["spend"])
    with FindingsLog(chosen.accepts) as log, StateFolder(flags["state"], paid) as folder:
        reached = _Reached()
        try:
            result = _replay(
                settings,
                options,
                folder,
                lambda: log.before(None if findings is None else make_sink(settings, findings)),
                reached,
            )
        except KeyboardInterrupt:
            _show_reached(log, times)
            raise CommandInterrupted(reached.text(folder)) from None
        if result.summary["findings_refused"] and folder.temporary:
            folder.kept = True
            result.notes.append(
                f"Findings were permanently rejected; they are quarantined in {folder.path}."
            )
        if not chosen.is_empty:
            rows = screens.counted(result.summary["findings"], "row")
            result.notes.append(
                f"{screens.counted(len(log), 'finding')} of {rows} pass the filters."
            )
        write_summary(flags["summary"], result.summary)
        taken = "-" in (findings, flags["summary"])
        quiet = taken or (target.path is None and not target.on_screen)
        shown = Shown(files, result, log, times, details=flags["details"])
        show(shown, target, quiet=quiet, only_summary=taken)
        return _status(result, log, flags)


def _status(result: ReplayResult, log: FindingsLog, flags: ReplayFlags) -> int:
    """Return the exit status; see docs/operations.md."""
    from schemas.rows.policy import Severity

    summary = result.summary
    if 0 < summary["rejected"] == summary["records"]:
        return 1  # nothing at all was recognised
    if flags["require_sign_ins"] and not summary["signins"]:
        return 1
    worst = max((Severity(row["Severity"]).rank for row in log.worst(1)), default=0)
    if flags["fail_on"] is not None and worst >= Severity(flags["fail_on"].title()).rank:
        return 3
    return 4 if flags["strict"] and (summary["unanswered"] or summary["rejected"]) else 0


@dataclass(slots=True)
class _Reached:
    """How far a replay has come."""

    running: ReplayPipeline | None = None
    read: int = 0
    size: int | None = None

    def text(self, folder: StateFolder) -> str:
        """Return what was reached, what is kept, and how to go on."""
        done = _described(self.running) if self.running else "before the first sign-in"
        share = f" ({self.read / self.size:.0%} of the input)" if self.size else ""
        if folder.temporary:
            kept = "only with --state DIR is the rest kept: verdicts, waiting sign-ins, history"
        else:
            kept = "the ledger keeps what was done; run the same command to go on"
        return f"interrupted after {done}{share}; {kept}"


def _replay(
    settings: Settings,
    options: ReplayOptions,
    folder: StateFolder,
    new_sink: Any,
    reached: _Reached,
) -> ReplayResult:
    from consumers.commands.replay.job import replay
    from consumers.inputs.recording import sizes_of

    reached.size = sizes_of(options.files)
    with screens.progress_bar(screen_console(stderr=True), reached.size) as advance:

        def progress(read: int, running: ReplayPipeline | None) -> None:
            reached.running = running or reached.running
            reached.read += read
            advance(read, _described(running) if running else "")

        return asyncio.run(replay(settings, options, folder, new_sink, progress))


def _described(running: ReplayPipeline) -> str:
    counts = running.pipeline.counts
    lookups = running.lookups.counts.lookups if running.lookups else 0
    findings = running.outbox.accepted.total()
    return ", ".join(
        screens.counted(number, what)
        for number, what in (
            (counts.signins, "sign-in"), (lookups, "lookup"), (findings, "finding"),
        )
    )  # fmt: skip


def _show_reached(log: FindingsLog, times: Times) -> None:
    from consumers.commands.answer.groups import grouped
    from consumers.commands.answer.screen import groups_table

    if len(log):
        answer = grouped(log.rows())
        screen_console(stderr=True).print(groups_table(answer.addresses, times, by="IP address"))
