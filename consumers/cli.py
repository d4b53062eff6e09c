"""The command line: commands, and the exit statuses of docs/operations.md.

Each command is a file or folder of ``consumers/commands``. Slow modules are imported inside
functions, so that help and usage errors appear at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING

import click

from consumers.commands import console as screens
from consumers.commands.check.command import check_command
from consumers.commands.completion import completion_command
from consumers.commands.config import config_group
from consumers.commands.demo import demo_command
from consumers.commands.explain import explain_command
from consumers.commands.export import export_command
from consumers.commands.feeds import feeds_group
from consumers.commands.forget import forget_command
from consumers.commands.formats import forgive_encodings
from consumers.commands.global_options import PROGRAM, CommandLine
from consumers.commands.inspect.command import inspect_command
from consumers.commands.lookup import lookup_command
from consumers.commands.options import PATH
from consumers.commands.plan.command import plan_command
from consumers.commands.publish import publish_command
from consumers.commands.quarantine import quarantine_group
from consumers.commands.redact.command import redact_command
from consumers.commands.replay.command import replay_command
from consumers.commands.run import run_command
from schemas.errors import CommandInterrupted, ConfigurationError, SigninwatchError, SinkHeldBack

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(None, "-V", "--version", package_name="signinwatch")
@click.option(
    "--config", type=PATH, help="TOML file with settings. Environment variables override it."
)
@click.option("--verbose", is_flag=True, help="Log at debug level, including IPs and accounts.")
@click.pass_context
def cli(context: click.Context, config: Path | None, verbose: bool) -> None:
    """Check the client IP of every sign-in against threat intelligence."""
    from consumers.commands.logging import start_logging

    start_logging(verbose=verbose)
    context.obj = config


cli.add_command(replay_command)
cli.add_command(run_command)
cli.add_command(check_command)
cli.add_command(completion_command)
cli.add_command(config_group)
cli.add_command(lookup_command)
cli.add_command(explain_command)
cli.add_command(export_command)
cli.add_command(inspect_command)
cli.add_command(feeds_group)
cli.add_command(forget_command)
cli.add_command(plan_command)
cli.add_command(publish_command)
cli.add_command(quarantine_group)
cli.add_command(redact_command)
cli.add_command(demo_command)


def main() -> None:
    """Run the command line and turn errors into one line and an exit status.

    SIGTERM ends a command like Ctrl-C, so that temporary files are removed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    forgive_encodings()
    try:
        status = cli.main(prog_name=PROGRAM, standalone_mode=False, windows_expand_args=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigurationError as error:
        _fail(error, 2)
    except CommandInterrupted as error:
        _fail(error, 130)
    except SigninwatchError as error:
        _fail(error, 1)
    except click.Abort as error:
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)  # else a question's answer
        click.echo("signinwatch: interrupted" if interrupted else "Aborted!", err=True)
        sys.exit(130 if interrupted else 1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("signinwatch: interrupted", err=True)
        sys.exit(130)
    except OSError as error:  # standard output is closed or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno != errno.EPIPE:  # whoever reads has what it wanted
            click.echo(f"signinwatch: standard output: {error.strerror}", err=True)
        sys.exit(1)


def _fail(error: SigninwatchError, status: int) -> None:
    text = str(screens.plain(" ".join(str(error).split()), 1_000))
    remedy = f"; {error.remedy}" if isinstance(error, SinkHeldBack) else ""
    click.echo(f"signinwatch: {text}{remedy}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
