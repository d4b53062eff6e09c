"""The command ``signinwatch replay``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.commands.replay import Replay, Told
    from consumers.settings import Settings
    from consumers.wiring.replay import Chain, ShownSink, StateFolder
    from schemas.ports import Sink

STDERR = Console(stderr=True)
findings_option = click.option(
    "--findings", help="Where findings go: a file of JSON lines, - or azure. Default: a table."
)


@click.command("replay")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@findings_option
@click.option("--summary", help="Where one JSON object with the counts goes: a file or -.")
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
    """Run recordings through the pipeline.

    FILE is NDJSON, the same gzipped, or Event Hubs Capture Avro; - is standard input.
    """
    from consumers.commands.replay import Replay
    from consumers.settings import load_settings
    from consumers.wiring.replay import ShownSink, StateFolder

    settings = load_settings(config)
    outputs = {"--findings": None if findings == "azure" else findings, "--summary": summary}
    require_outputs(files, outputs)
    late_origin = "replay" if findings == "azure" else "late"  # the shipped rules alert on late
    plan = Replay(files, clock, quota, spend, late_origin=late_origin)
    shown = ShownSink()
    with StateFolder(state) as folder:
        told = _replay(settings, plan, folder, shown, findings)
        if told.summary["findings_refused"] and folder.temporary:
            folder.kept = True
            told.notes.append(f"Findings were refused; they are kept in {folder.path}.")
    write_summary(summary, told.summary)
    _show(told, shown if findings is None else None, quiet="-" in (findings, summary))


def _replay(
    settings: Settings, plan: Replay, folder: StateFolder, shown: ShownSink, findings: str | None
) -> Told:
    from consumers.commands.replay import replay
    from consumers.inputs.recording import sizes_of
    from consumers.wiring.replay import make_sink

    def new_sink() -> Sink:
        return shown if findings is None else make_sink(settings, findings)

    with screens.progress_bar(STDERR, sizes_of(plan.files)) as advance:

        def progress(read: int, chain: Chain | None) -> None:
            advance(read, _described(chain) if chain else "")

        return asyncio.run(replay(settings, plan, folder, new_sink, progress))


def _described(chain: Chain) -> str:
    counts = chain.pipeline.counts
    lookups = chain.lookups.counts.lookups if chain.lookups else 0
    findings = chain.outbox.accepted.total()
    return f"{counts.signins:,} sign-ins, {lookups:,} lookups, {findings:,} findings"


def _show(told: Told, shown: ShownSink | None, *, quiet: bool) -> None:
    """Show findings and summary to people; on standard error where output is for programs."""
    console = STDERR if quiet else Console()
    if shown is not None and shown.rows:
        console.print(screens.findings_table(shown.rows, told.summary["findings"], console.width))
    console.print(screens.summary_panel(told.summary, told.notes))
