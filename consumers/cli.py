"""The command line: one command a function, exit status 0, 1 or 2."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console

from consumers.commands import console as screens
from consumers.commands.check import check
from consumers.commands.demo import run_demo
from consumers.commands.feeds_cli import feeds_group
from consumers.commands.forget_cli import forget_command
from consumers.commands.logging import start_logging
from consumers.commands.lookup import look_up
from consumers.commands.options import (
    PATH,
    quota_option,
    require_outputs,
    spend_option,
    state_option,
    write_summary,
)
from consumers.commands.plan.cli import plan_command
from consumers.commands.publish_cli import publish_command
from consumers.commands.quarantine_cli import quarantine_group
from consumers.commands.redact.cli import redact_command
from consumers.commands.replay import Replay, replay
from consumers.commands.run import run
from consumers.inputs.recording import sizes_of
from consumers.ledger.sqlite.schema import clock_of
from consumers.settings import Settings, load_settings
from consumers.wiring.replay import ShownSink, StateFolder, make_sink
from consumers.wiring.shared_ledger import is_shared
from schemas.errors import ConfigurationError, SigninwatchError

if TYPE_CHECKING:
    from consumers.commands.replay import Told
    from consumers.wiring.replay import Chain
    from schemas.ports import Sink

STDERR = Console(stderr=True)
findings_option = click.option(
    "--findings", help="Where findings go: a file of JSON lines, - or azure. Default: a table."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="signinwatch")
@click.option("--config", type=PATH, help="TOML file with settings; environment variables win.")
@click.option("--verbose", is_flag=True, help="Log at debug, addresses and accounts included.")
@click.pass_context
def cli(context: click.Context, config: Path | None, verbose: bool) -> None:
    """Judge every sign-in by the address it came from."""
    start_logging(verbose=verbose)
    context.obj = config


@cli.command("replay")
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


@cli.command("run")
@click.option("--findings", help="Where findings go instead of Azure: a file of JSON lines, or -.")
@click.pass_obj
def run_command(config: Path | None, findings: str | None) -> None:
    """Judge sign-ins as they come from Event Hubs, until SIGTERM or SIGINT."""
    asyncio.run(run(config, findings))


@cli.command("check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def check_command(config: Path | None, as_json: bool) -> None:
    """Try every configured connection and permission; say what works and how to mend the rest.

    Spends at most one lookup. Writes one test row to each table (in findings with Origin "test").
    """
    settings = load_settings(config)
    raise SystemExit(asyncio.run(_check(settings, as_json=as_json)))


async def _check(settings: Settings, *, as_json: bool) -> int:
    failed = 0
    async for one in check(settings):
        failed += one.code is not None
        code = one.code.value if one.code else None
        if as_json:
            line = {"check": one.name, "ok": code is None, "code": code, "text": one.text}
            click.echo(orjson.dumps(line).decode())
        else:
            Console(soft_wrap=True).print(screens.check_line(one.name, one.text, code))
    return 1 if failed else 0


@cli.command("lookup")
@click.argument("addresses", nargs=-1, required=True, metavar="IP...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--explain", is_flag=True, help="Show cache, age, rank and why, next asking.")
@click.option("--cached", is_flag=True, help="Ask nobody; show what the ledger knows.")
@state_option
@click.pass_obj
def lookup_command(
    config: Path | None,
    addresses: tuple[str, ...],
    as_json: bool,
    explain: bool,
    cached: bool,
    state: Path | None,
) -> None:
    """Show the verdicts on addresses."""
    settings = load_settings(config)
    kept = place = state or settings.state.dir
    if cached and kept is not None and clock_of(kept) is None:
        kept = None  # looking must not make a ledger
    shown = partial(look_up, settings, texts=addresses, cached=cached, explain=explain)
    if place is None and is_shared(settings):
        rows = asyncio.run(shown(None, place=settings.state.scratch))
    else:
        with StateFolder(kept) as folder:
            rows = asyncio.run(shown(folder, place=place or settings.state.scratch))
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
    else:
        Console().print(screens.verdicts_table(rows, explain))
    if not cached and any(row["Verdict"] == "unanswered" for row in rows):
        raise SystemExit(1)


cli.add_command(feeds_group)
cli.add_command(forget_command)
cli.add_command(plan_command)
cli.add_command(publish_command)
cli.add_command(quarantine_group)
cli.add_command(redact_command)


@cli.command("demo")
@click.option(
    "--findings",
    type=PATH,
    default=Path("signinwatch-demo-findings.jsonl"),
    show_default=True,
    help="File for the findings.",
)
def demo_command(findings: Path) -> None:
    """Show the whole job on embedded parts: no account, no network."""
    if str(findings) == "-" or findings.is_dir() or not findings.resolve().parent.is_dir():
        raise ConfigurationError(
            f"--findings {findings}: a file is needed, in a folder that exists"
        )
    raise SystemExit(run_demo(findings, STDERR, Console()))


def main() -> None:
    """Run the command line; errors become one line and an exit status.

    SIGTERM ends a command the way Ctrl-C does, so that nothing temporary stays behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cli(standalone_mode=True, windows_expand_args=False)
    except ConfigurationError as error:
        _fail(error, 2)
    except SigninwatchError as error:
        _fail(error, 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("signinwatch: interrupted", err=True)
        sys.exit(1)
    except OSError as error:  # standard output is closed or full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"signinwatch: standard output: {error.strerror}", err=True)
        sys.exit(1)


def _fail(error: SigninwatchError, status: int) -> None:
    text = str(screens.plain(" ".join(str(error).split()), 1_000))
    mend = getattr(error, "mend", None)
    click.echo(f"signinwatch: {text}{'; ' + mend if mend else ''}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
